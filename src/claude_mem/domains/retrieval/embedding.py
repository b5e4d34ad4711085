"""Keeping vectors in step with what is remembered.

What changes or goes takes its vectors along, in the same transaction; what is new is embedded later, by a job of the
enterprise (`jobs`). Nothing of it holds up recording: the documents' own numbers say what lacks a vector, so that
indexing leaves no note of them but the job.

One model is served, the embedder's: a question can be asked in no other. Vectors of another one stay until those of
the served one are complete, and are removed then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import repository, vector_repository
from claude_mem.domains.retrieval.chunks import fingerprint
from claude_mem.domains.retrieval.model import IndexEntry
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.queue import NewJob, Queue
from claude_mem.ports.vectors import VectorIndex, VectorModel

KIND: Final = "vectors.embed"
SOON_MS: Final = 1_000  # after something was indexed: what comes at once with it is taken along
_BEHIND: Final = -2  # priority: what records and what sums up come first
_FILLED_AT_ONCE: Final = 500
_REMOVED_AT_ONCE: Final = 500


def embed_job(run_at: int = 0) -> NewJob:
    """The one job of an enterprise."""
    return NewJob(KIND, "all", run_at=run_at, priority=_BEHIND)


@dataclass(frozen=True, slots=True)
class Coverage:
    """`embedded` of `total` documents have vectors of the served model; `waiting`: some are still to be embedded.

    `reason` says why nothing is made of them now; empty where it goes on. A document that says nothing has no vector.
    """

    embedded: int
    total: int
    model: VectorModel | None
    waiting: bool
    reason: str = ""


class VectorKeeper:
    """What indexing tells of; every method works inside the caller's transaction.

    Without an embedder vectors are only taken away; without a queue somebody else has to see to the job.
    """

    def __init__(
        self, vectors: VectorIndex, embedder: Embedder | None = None, queue: Queue | None = None
    ) -> None:
        self._vectors = vectors
        self._embedder = embedder
        self._queue = queue

    def added(self, scope: Scope, tx: Tx) -> None:
        """Something was indexed: have it embedded, where there is what embeds."""
        if self._queue is not None and self._embedder is not None and self._embedder.state().ready:
            self._queue.enqueue(scope, tx, [embed_job(now_ms() + SOON_MS)])

    def replaced(self, scope: Scope, tx: Tx, entries: Iterable[IndexEntry]) -> None:
        """Entries that were in the index are indexed anew: those that say something else lose their vectors."""
        now = {EntityRef(entry.kind, entry.entity_id): fingerprint(entry) for entry in entries}
        if now:
            self.removed(scope, tx, vector_repository.changed(scope, tx, now))

    def removed(self, scope: Scope, tx: Tx, refs: Iterable[EntityRef]) -> None:
        """Entities left the index."""
        self._take_out(scope, tx, vector_repository.remove(scope, tx, refs))

    def removed_of(
        self, scope: Scope, tx: Tx, model: VectorModel, refs: Iterable[EntityRef]
    ) -> None:
        """Entities lose their vectors of one model, which are about to be made anew."""
        self._take_out(scope, tx, vector_repository.remove(scope, tx, refs, model))

    def purge(self, scope: Scope, tx: Tx) -> None:
        """Leave nothing of what was taken out in files; the job sees to what has to be made anew."""
        self._vectors.purge(scope, tx)
        self.added(scope, tx)

    def removed_numbers(self, scope: Scope, tx: Tx, numbers: Sequence[int]) -> None:
        """Documents are about to leave the index."""
        self.removed(scope, tx, repository.refs_of(scope, tx, numbers).values())

    def made_anew(self, scope: Scope, tx: Tx) -> None:
        """The whole index was: vectors of what is remembered no more go, the others are looked at again by the job."""
        self._take_out(scope, tx, vector_repository.remove_orphans(scope, tx))

    def retire(self, scope: Scope, tx: Tx, served: VectorModel) -> bool:
        """Remove some vectors of other models than `served`; True while there is more to do."""
        for each in vector_repository.models(scope, tx):
            if each.model != served:
                gone = vector_repository.remove_some(scope, tx, each.model, _REMOVED_AT_ONCE)
                self._take_out(scope, tx, gone)
                return True
        return False

    def models(self, scope: Scope, tx: Tx) -> list[VectorModel]:
        """Every model that has vectors."""
        return [each.model for each in vector_repository.models(scope, tx)]

    def refill(self, scope: Scope, tx: Tx, model: VectorModel, after: str | None) -> str | None:
        """Put the next vectors of a model into the engine again, whatever it holds; where to go on, None at the end.

        For an engine whose structures were lost, or are doubted.
        """
        page = vector_repository.page(scope, tx, model, after, _FILLED_AT_ONCE)
        if not page:
            return None
        with suppress(Unavailable):  # the job waits for an engine, and says so
            self._vectors.remove(scope, tx, [entry.id for entry in page])
            self._vectors.add(scope, tx, model, page)
        return page[-1].id

    def coverage(self, scope: Scope, tx: Tx) -> Coverage:
        """How much of the enterprise the served model covers; cheap."""
        total = repository.collection(scope, tx).documents
        state = None if self._embedder is None else self._embedder.state()
        if state is None or state.model is None:
            reason = "no model makes vectors" if state is None else state.reason
            return Coverage(0, total, None, bool(total), reason)
        return coverage_of(scope, tx, state.model, "" if state.ready else state.reason)

    def _take_out(self, scope: Scope, tx: Tx, ids: Sequence[str]) -> None:
        if ids:
            with suppress(Unavailable):  # an engine that is not installed holds none
                self._vectors.remove(scope, tx, ids)


def coverage_of(scope: Scope, tx: Tx, model: VectorModel, reason: str = "") -> Coverage:
    """How much of the enterprise a model covers."""
    found = repository.collection(scope, tx)
    done = vector_repository.progress(scope, tx, model)
    if done is None:
        return Coverage(0, found.documents, model, bool(found.documents), reason)
    waiting = bool(done.gaps) or found.last > done.head
    return Coverage(
        min(max(done.documents, 0), found.documents), found.documents, model, waiting, reason
    )
