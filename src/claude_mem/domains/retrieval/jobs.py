"""The job that embeds what has no vector yet.

In small steps, the newest documents first: take up what is new, read texts, embed them outside of any transaction,
write rows and engine in one short transaction that looks again whether the documents are still what they were. Killed
anywhere it loses one step. Recording, and an agent that waits for its context, come first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import repository, vector_repository
from claude_mem.domains.retrieval.chunks import fingerprint, fingerprint_of, pieces_of
from claude_mem.domains.retrieval.embedding import VectorKeeper, embed_job
from claude_mem.domains.retrieval.model import Hydrate, IndexEntry
from claude_mem.domains.retrieval.vector_repository import Gap, Stored
from claude_mem.kernel.errors import Invalid, Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.queue import Job, Queue
from claude_mem.ports.vectors import VectorEntry, VectorIndex, VectorModel

DOCUMENTS: Final = 64  # that are looked at in a step,
PIECES: Final = 48  # and texts that are embedded in it, but for one long document
_AT_ONCE = 8  # texts: more at once cost memory and gain nothing
_SLICE_S = 20.0  # after which the job is queued again, behind others
_ASK_AGAIN_S = 120  # while there is no model
_FIRST = "hello"  # asked of a model that has not said yet how many numbers its vectors have
_REMEMBERED = 1_000  # vectors of texts seen lately
_log = structlog.get_logger("vectors")
EntryOf = Callable[[str, dict[str, Any]], IndexEntry]
Build = Callable[[Scope, VectorModel], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class _Document:
    """A document to embed, with its texts and their hashes."""

    number: int
    ref: EntityRef
    project_id: str | None
    made_of: bytes
    texts: tuple[str, ...]
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """What is to be done next: `down_to` is how far the gap is worked off then; `known` are vectors by text's hash."""

    gap: Gap
    down_to: int
    documents: tuple[_Document, ...]
    known: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Engines:
    """What the job works with. `read` is `memory`'s read of rows by reference, `entry_of` what is indexed of a row."""

    database: Database
    vectors: VectorIndex
    embedder: Embedder
    queue: Queue
    keeper: VectorKeeper
    read: Hydrate
    entry_of: EntryOf


async def _at_once() -> None:
    """Nobody is to be waited for."""


async def nothing_to_build(scope: Scope, model: VectorModel) -> bool:
    """The engine needs nothing but `settle`."""
    del scope, model
    return False


class EmbedDocuments:
    """The handler of `vectors.embed`; `quiet` returns when nobody who comes first needs the processor.

    `build` is what the engine does outside of transactions to find faster; True while there is more to do.
    """

    def __init__(
        self,
        engines: Engines,
        quiet: Callable[[], Awaitable[None]] = _at_once,
        clock: Callable[[], float] = time.monotonic,
        build: Build = nothing_to_build,
    ) -> None:
        self._engines = engines
        self._build = build
        self._quiet = quiet
        self._clock = clock
        self._recent: OrderedDict[tuple[str, VectorModel, bytes], bytes] = OrderedDict()

    async def run(self, scope: Scope, _job: Job) -> None:
        """Embed until nothing waits or others should have a turn. Raises Unavailable while there is no model."""
        embedder = self._engines.embedder
        if embedder.state().ready and embedder.state().model is None:
            # An endpoint says with its first answer how many numbers a vector has.
            await embedder.documents([_FIRST])
        state = embedder.state()
        if state.model is None or not state.ready:
            raise Unavailable(state.reason or "there is no model", retry_after=_ASK_AGAIN_S)
        model, until = state.model, self._clock() + _SLICE_S
        more = True
        while more and self._clock() < until:
            more = await self._step(scope, model)
        write = self._engines.database.write
        while await write(scope, lambda tx: self._engines.vectors.settle(scope, tx, model)):
            await self._quiet()
        more = await self._build(scope, model) or more
        if more:
            await write(scope, lambda tx: self._engines.queue.enqueue(scope, tx, [embed_job()]))
            return
        while await write(scope, lambda tx: self._engines.keeper.retire(scope, tx, model)):
            await self._quiet()

    async def _step(self, scope: Scope, model: VectorModel) -> bool:
        """Embed some; False when nothing is left."""
        database = self._engines.database
        await self._quiet()
        if await database.read(scope, lambda tx: _has_new(scope, tx, model)):
            await database.write(scope, lambda tx: self._begin(scope, tx, model))
        step = await database.read(scope, lambda tx: self._next(scope, tx, model))
        if step is None:
            return False
        made = await self._embedded(step)
        await self._quiet()
        count = await database.write(scope, lambda tx: self._keep(scope, tx, model, step, made))
        if count:
            _log.debug("vectors.made", documents=count)
        return True

    def _begin(self, scope: Scope, tx: Tx, model: VectorModel) -> None:
        self._engines.vectors.add(scope, tx, model, [])  # raises where there is no engine
        vector_repository.reach_for_new(scope, tx, model)

    def _next(self, scope: Scope, tx: Tx, model: VectorModel) -> _Step | None:
        progress = vector_repository.progress(scope, tx, model)
        if progress is None or not progress.gaps:
            return None
        gap = progress.gaps[-1]
        ours, down_to = vector_repository.newest_between(scope, tx, *gap, DOCUMENTS)
        done = vector_repository.made_of(scope, tx, model, ours.values())
        rows = self._engines.read(scope, tx, list(ours.values()))
        documents: list[_Document] = []
        pieces = 0
        for number, ref in ours.items():
            document = self._document(number, ref, rows.get(ref), done.get(ref))
            if document is None:
                continue
            if documents and pieces + len(document.texts) > PIECES:
                down_to = number  # this one is the next step's first
                break
            documents.append(document)
            pieces += len(document.texts)
        known = self._known(scope, tx, model, documents)
        return _Step(gap, down_to, tuple(documents), known)

    def _document(
        self, number: int, ref: EntityRef, row: Mapping[str, Any] | None, done: bytes | None
    ) -> _Document | None:
        """None where there is nothing to embed: it is done, gone, or says nothing."""
        if row is None:
            return None
        entry = self._engines.entry_of(ref.kind, dict(row))
        made_of = fingerprint(entry)
        if made_of == done:
            return None
        texts = tuple(pieces_of(entry))
        hashes = tuple(map(fingerprint_of, texts))
        return _Document(number, ref, entry.project_id, made_of, texts, hashes) if texts else None

    def _known(
        self, scope: Scope, tx: Tx, model: VectorModel, documents: Sequence[_Document]
    ) -> dict[bytes, bytes]:
        wanted = {each for document in documents for each in document.hashes}
        known = {it: found for it in wanted if (found := self._recalled(scope, model, it))}
        missing = list(wanted.difference(known))
        return known | vector_repository.known_texts(scope, tx, model, missing)

    async def _embedded(self, step: _Step) -> dict[bytes, bytes]:
        """Vectors by text's hash, those that were known among them; what the model refuses is left out."""
        texts = {
            key: text
            for document in step.documents
            for key, text in zip(document.hashes, document.texts, strict=True)
            if key not in step.known
        }
        made = dict(step.known)
        keys = sorted(texts, key=lambda key: len(texts[key]))  # of one length they are quicker
        for at in range(0, len(keys), _AT_ONCE):
            some = keys[at : at + _AT_ONCE]
            made.update(await self._vectors([(key, texts[key]) for key in some]))
            await self._quiet()
        return made

    async def _vectors(self, texts: Sequence[tuple[bytes, str]]) -> dict[bytes, bytes]:
        try:
            vectors = await self._engines.embedder.documents([text for _, text in texts])
        except Invalid as error:
            if len(texts) == 1:
                _log.warning("vectors.refused", reason=error.message)
                return {}
            middle = len(texts) // 2  # one bad text must not keep the others from being found
            first = await self._vectors(texts[:middle])
            return first | await self._vectors(texts[middle:])
        return {key: vector for (key, _), vector in zip(texts, vectors, strict=True)}

    def _keep(
        self, scope: Scope, tx: Tx, model: VectorModel, step: _Step, made: Mapping[bytes, bytes]
    ) -> int:
        """Write what was made of documents that are still the same; how many more have vectors."""
        repository.hold_numbers(scope, tx)
        there = vector_repository.still_there(
            scope, tx, {document.number: document.ref for document in step.documents}
        )
        documents = [it for it in step.documents if it.number in there]
        self._engines.keeper.removed_of(scope, tx, model, [it.ref for it in documents])
        rows: list[Stored] = []
        entries: list[VectorEntry] = []
        for document in documents:
            for row in _rows(model, document, made):
                rows.append(row)
                entries.append(VectorEntry(row.id, document.project_id, row.vector, row.owner))
        self._engines.vectors.add(scope, tx, model, entries)
        vector_repository.add(scope, tx, rows)
        count = len({row.ref for row in rows})
        vector_repository.settle_gap(scope, tx, model, step.gap, step.down_to, count)
        if rows:
            repository.raise_generation(scope, tx)
        for row in rows:
            self._remember(scope, model, row.content_hash, row.vector)
        return count

    def _recalled(self, scope: Scope, model: VectorModel, key: bytes) -> bytes | None:
        return self._recent.get((scope.enterprise_id, model, key))

    def _remember(self, scope: Scope, model: VectorModel, key: bytes, vector: bytes) -> None:
        self._recent[(scope.enterprise_id, model, key)] = vector
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)


def _has_new(scope: Scope, tx: Tx, model: VectorModel) -> bool:
    """Whether documents were indexed since the model last looked, or it never did."""
    progress = vector_repository.progress(scope, tx, model)
    if progress is None or progress.is_outdated:
        return True
    return repository.collection(scope, tx).last > progress.head


def _rows(model: VectorModel, document: _Document, made: Mapping[bytes, bytes]) -> list[Stored]:
    """The vectors of a document; one whose texts were refused has fewer, or none."""
    there = [key for key in document.hashes if key in made]
    return [
        Stored(
            *(new_id(), document.ref, model, place, len(there)),
            *(key, document.made_of, made[key]),
        )
        for place, key in enumerate(there)
    ]
