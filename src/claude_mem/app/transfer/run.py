"""One run: everything of a store that its enterprise does not have yet, range by range; or a look at what it would be.

A range goes in with the note of it in one transaction, so that a run that was killed goes on where it was. What the
journal says is gone goes from the target in the same transaction that brings the journal's word of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.exc import DBAPIError

from claude_mem.app.transfer import target
from claude_mem.app.transfer.convert import Converted, Converter, Fault, Row
from claude_mem.app.transfer.meeting import Meeting
from claude_mem.app.transfer.plan import ENTITIES, INDEXED, TOMBSTONES, Relation, relations
from claude_mem.app.transfer.source import Key, Source
from claude_mem.app.transfer.target import Range
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

CHUNK: Final = 1_000  # rows a transaction
_MOST_FAULTS: Final = 1_000  # told one by one; the others are counted
_REFUSED: Final = ("22", "23")  # SQLSTATE classes: data, integrity
Say = Callable[[str, int, int], None]


@dataclass(slots=True)
class Table:
    """What became of one table."""

    rows: int = 0  # in the store, that come along
    sent: int = 0
    ranges_kept: int = 0  # were there already
    bytes: int = 0  # of what was sent, or would be
    nuls: int = 0  # values in which NUL became U+FFFD


@dataclass(frozen=True, slots=True)
class Gone:
    """What is to go from the target: entities by kind, counts of uses, and what sessions say no more of learnings."""

    entities: dict[str, list[str]]
    unused: list[str]
    learnings: list[str]  # that changed
    said: set[tuple[str, str]]  # (learning, session) that the store still has of these


@dataclass(slots=True)
class Report:
    """What a run did, or would do."""

    tables: dict[str, Table] = field(default_factory=dict)
    removed: int = 0
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0
    seconds: float = 0.0

    def tell(self, faults: Sequence[Fault]) -> None:
        """Keep faults, as many as can be read."""
        self.fault_count += len(faults)
        self.faults += faults[: max(_MOST_FAULTS - len(self.faults), 0)]


class Transfer:
    """A store, an enterprise, and what was found where they meet."""

    def __init__(
        self,
        source: Source,
        database: Database,
        scope: Scope,
        meeting: Meeting,
        indexing: IndexingService,
    ) -> None:
        self.source = source
        self.database = database
        self.scope = scope
        self.report = Report()
        self._meeting = meeting
        self._indexing = indexing
        self._converter = Converter(meeting.ids)
        self._store = source.identity()
        self._left_out = set(meeting.left_out)
        self._dropped: set[str] = set()  # entities that do not come along
        self._sending: asyncio.Task[None] | None = None

    async def run(self, say: Say, *, write: bool) -> Report:
        """Bring everything; without `write` only look."""
        started = time.monotonic()
        self.report = Report()
        self.report.tell(self._meeting.conflicts)
        for relation in relations().values():
            await self._table(relation, say, write=write)
        if write:
            await self._unsay_met()
        self.report.seconds = time.monotonic() - started
        return self.report

    async def ranges(
        self, relation: Relation
    ) -> AsyncIterator[tuple[Range | None, Converted, Key]]:
        """Every range of the store: as it was brought (None: it is new), as it is, and its last key."""
        known = await self.database.read(
            self.scope, lambda tx: target.ranges(self.scope, tx, self._store, relation)
        )
        after: Key | None = None
        for old in known:
            while True:
                rows = self.source.rows(relation, after, old.upto, 2 * CHUNK + 1)
                if len(rows) <= 2 * CHUNK:
                    yield old, self._come_along(relation, rows), old.upto
                    after = old.upto
                    break
                after = _key(relation, rows[CHUNK - 1])
                yield None, self._come_along(relation, rows[:CHUNK]), after
        while rows := self.source.rows(relation, after, None, CHUNK):
            after = _key(relation, rows[-1])
            yield None, self._come_along(relation, rows), after

    async def _table(self, relation: Relation, say: Say, *, write: bool) -> None:
        done = self.report.tables[relation.name] = Table()
        total = self.source.count(relation)
        say(relation.name, 0, total)
        async for old, rows, upto in self.ranges(relation):
            self.report.tell(rows.faults)
            done.rows += len(rows)
            done.nuls += rows.nuls
            fresh = Range(upto, len(rows), rows.digest)
            if old == fresh:
                done.ranges_kept += 1
            else:
                done.sent += len(rows)
                done.bytes += rows.size
                if write:
                    await self._hand_over(relation, rows, fresh)
            say(relation.name, min(done.rows, total), total)
        await self._settle()
        say(relation.name, total, total)

    async def _hand_over(self, relation: Relation, rows: Converted, fresh: Range) -> None:
        """Send while the next range is read; one at a time."""
        await self._settle()
        self._sending = asyncio.create_task(self._send(relation, rows, fresh))
        await asyncio.sleep(0)  # which begins it

    async def _settle(self) -> None:
        if self._sending is not None:
            sending, self._sending = self._sending, None
            await sending

    async def _send(self, relation: Relation, rows: Converted, fresh: Range) -> None:
        gone = self._gone(rows) if relation.name == "change_journal" else None
        try:
            await self._write(relation, rows, gone, fresh)
        except DBAPIError as error:
            if not _is_refused(error):
                raise
            kept = await self._in_parts(relation, rows, list(range(len(rows))))
            rows = rows.only(kept)
            # Its hash is of less than the store has: the next run tries the others again.
            fresh = Range(fresh.upto, len(rows), rows.digest)
            await self._write(relation, rows, gone, fresh)

    async def _in_parts(self, relation: Relation, rows: Converted, places: list[int]) -> list[int]:
        """Which of the rows the target takes; the others are told, each with what it says against them."""
        if not places:
            return []
        try:
            await self._write(relation, rows.only(places), None, None)
        except DBAPIError as error:
            if not _is_refused(error):
                raise
            if len(places) > 1:
                half = len(places) // 2
                return [
                    *await self._in_parts(relation, rows, places[:half]),
                    *await self._in_parts(relation, rows, places[half:]),
                ]
            self._refused(relation, rows.keys[places[0]], error)
            return []
        return places

    def _refused(self, relation: Relation, key: Key, error: DBAPIError) -> None:
        diagnosis = getattr(error.orig, "diag", None)
        constraint = getattr(diagnosis, "constraint_name", None)
        state = getattr(error.orig, "sqlstate", "")
        what = f"refused by {constraint}" if constraint else f"refused ({state})"
        self.report.tell([Fault(relation.name, ", ".join(key), what)])
        if relation.name == "sessions":
            self._left_out.add(key[0])
        if relation.entity:
            self._dropped.add(key[0])

    async def _write(
        self, relation: Relation, rows: Converted, gone: Gone | None, fresh: Range | None
    ) -> None:
        def work(tx: Tx) -> int:
            removed = self._remove(tx, gone) if gone is not None else 0
            if relation.entity in INDEXED and len(rows):
                ids = rows.columns[relation.places["id"]]
                there = target.there(self.scope, tx, relation, ids)
                # What changes is taken out of the index: what is missing there is indexed at the end.
                refs = [EntityRef(str(relation.entity), it) for it in there]
                self._indexing.remove(self.scope, tx, refs)
            target.put(self.scope, tx, rows)
            if fresh is not None:
                target.note(self.scope, tx, self._store, relation, fresh)
            return removed

        self.report.removed += await self.database.write(self.scope, work)

    def _remove(self, tx: Tx, gone: Gone) -> int:
        removed = 0
        for kind, ids in gone.entities.items():
            if kind in INDEXED:
                self._indexing.remove(self.scope, tx, [EntityRef(kind, it) for it in ids])
            removed += target.remove(self.scope, tx, relations()[ENTITIES[kind]], ids)
        target.drop_uses(self.scope, tx, gone.unused)
        target.unsay(self.scope, tx, gone.learnings, gone.said, self._meeting.sessions)
        return removed

    def _gone(self, journal: Converted) -> Gone:
        """What the target may still have of what a range of the journal tells of, and the store has no more."""
        buried: dict[str, set[str]] = {}
        for kind, entity in tombstones(journal):
            buried.setdefault(kind, set()).add(entity)
        entities = {
            kind: sorted(ids - self.source.there(relations()[ENTITIES[kind]], sorted(ids)))
            for kind, ids in buried.items()
        }
        every = sorted(set().union(*buried.values()))
        used = self.source.there(relations()["entity_use"], every, "entity_id")
        kinds, ids = (journal.columns[journal.relation.places[it]] for it in ("kind", "entity_id"))
        # Fewer sessions may say a learning that changed.
        changed = sorted({it for kind, it in zip(kinds, ids, strict=True) if kind == "learning"})
        return Gone(
            {kind: ids for kind, ids in entities.items() if ids},
            [it for it in every if it not in used],
            changed,
            set(self.source.sources_of(changed)),
        )

    async def _unsay_met(self) -> None:
        """What the store's sessions say no more of learnings that the target has under another id."""
        met = self._meeting.learnings
        if not met:
            return
        said = {(met[mine], session) for mine, session in self.source.sources_of(sorted(met))}
        ids = sorted(set(met.values()))
        await self.database.write(
            self.scope,
            lambda tx: target.unsay(self.scope, tx, ids, said, self._meeting.sessions),
        )

    def _come_along(self, relation: Relation, rows: Sequence[Row]) -> Converted:
        """Rows as the target holds them, without those that do not come along."""
        kept = [row for row in rows if not self._is_left_out(relation, row)]
        made = self._converter.convert(relation, kept)
        if made.faults:
            bad = {fault.key.partition(",")[0] for fault in made.faults}
            if relation.name == "sessions":
                self._left_out |= bad
            if relation.entity:
                self._dropped |= bad
        return made

    def _is_left_out(self, relation: Relation, row: Row) -> bool:
        places = relation.places
        name = relation.name
        if name == "sessions":
            is_out = row[places["id"]] in self._left_out
        elif name == "learnings":
            is_out = row[places["id"]] in self._meeting.learnings
        elif name in ("entity_use", "change_journal"):
            entity = row[places["entity_id"]]
            return entity in self._dropped or entity in self._meeting.learnings
        else:
            is_out = row[places["session_id"]] in self._left_out
        if is_out and relation.entity:
            self._dropped.add(row[places["id"]])
        return is_out


def tombstones(journal: Converted) -> Iterator[tuple[str, str]]:
    """(kind, id) of what rows of the journal say is gone."""
    kinds, ids, states = (
        journal.columns[journal.relation.places[it]] for it in ("kind", "entity_id", "state")
    )
    for kind, entity, state in zip(kinds, ids, states, strict=True):
        if state in TOMBSTONES:
            yield kind, entity


def _key(relation: Relation, row: Row) -> Key:
    return tuple(row[at] for at in relation.key_places)


def _is_refused(error: DBAPIError) -> bool:
    state: Any = getattr(error.orig, "sqlstate", None)
    return isinstance(state, str) and state.startswith(_REFUSED)
