"""Taking events in. `accept` makes them durable (the agent's part ends there); `drain` turns them into rows.

Order at the door, for every way in: validate, mask, trim, append. Nothing unmasked is ever durable.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from claude_mem.domains.capture import recorder
from claude_mem.domains.capture.fitting import fitted
from claude_mem.domains.capture.makers import CATCH_UP, Built
from claude_mem.domains.capture.model import DrainReport, Gate, Limits, ProjectKeys, Receipt
from claude_mem.domains.capture.paths import with_usable_path
from claude_mem.domains.capture.schemas import check_events
from claude_mem.domains.capture.trim import ORIGINAL_FILE, trim_tree, without_surrogates
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import Changed, untold
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.hook.cut import CUT_KEEP, CUT_OVER, cut_tree
from claude_mem.kernel.clock import from_iso, now_ms
from claude_mem.kernel.errors import Invalid, MemError, StoreFull, Unavailable
from claude_mem.kernel.ids import id_epoch_ms
from claude_mem.kernel.redact import mask_tree
from claude_mem.kernel.scope import LOCAL_USER, Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.inbox import DeadLetter, Entry, Inbox, Pending
from claude_mem.ports.queue import Queue

Event = dict[str, Any]
_REMEMBERED_IDS = 20_000
_REMEMBERED_SESSIONS = 10_000
_SKEW_MS = 1_000
_LARGE = 400_000  # bytes
_DATA_FAULTS = ("22", "23", "54")
# Of the exceptions that every driver of the Python database API has: those that name a value.
_VALUE_FAULTS = frozenset({"DataError", "IntegrityError", "ProgrammingError", "NotSupportedError"})
BY = "user_id"  # in the durable event, beside what the wire knows: who handed it in
# Above the cap tool events are refused first, so that prompts still have room.
_FULL_FOR_TOOLS, _FULL = 1.0, 1.05


@dataclass(frozen=True, slots=True)
class Engines:
    """What capture stands on."""

    database: Database
    inbox: Inbox
    queue: Queue
    indexing: IndexingService
    changed: Changed = untold


class CaptureService:
    """One per process. Holds no truth: everything it remembers is a shortcut."""

    def __init__(
        self, engines: Engines, gate: Gate, project_keys: ProjectKeys, limits: Limits
    ) -> None:
        self._db = engines.database
        self._inbox = engines.inbox
        self._queue = engines.queue
        self._indexing = engines.indexing
        self._changed = engines.changed
        self._gate = gate
        self._project_keys = project_keys
        self._limits = limits
        self._draining = asyncio.Lock()
        self.calls = 0  # of `accept`, ever: how busy the door is
        # (enterprise, id) -> when it was accepted
        self._recent: OrderedDict[tuple[str, str], int] = OrderedDict()
        # (enterprise, agent, session) that began in a project which opted out
        self._out: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._horizon = now_ms()  # every id accepted since then is in `_recent`

    async def accept(
        self, scope: Scope, events: object, size: int = 0, *, told_later: bool = False
    ) -> Receipt:
        """Make a batch durable, or refuse all of it. `size` in bytes, if known, keeps large ones off the event loop.

        Ignored is what happened while capture was paused, and all that is not `told_later` while it is. Raises Invalid
        (index and field), StoreFull or Unavailable (with retry_after).
        """
        self.calls += 1
        checked = check_events(events)
        paused = not told_later and self._gate.paused()
        wanted = [] if paused else [event for event in checked if self._is_wanted(event)]
        ignored = len(checked) - len(wanted)
        if not wanted:
            return Receipt(0, 0, ignored)
        self._check_room(wanted)
        fresh = await self._fresh(scope, wanted)
        added = 0
        if fresh:
            aside = told_later or size >= _LARGE
            entries = await self._entries(scope, fresh, aside=aside)
            added = await self._inbox.append(scope, entries)
            self._gate.grew(sum(len(entry.body) for entry in entries))
            self._remember(scope, (event["id"] for event in fresh))
        return Receipt(added, len(wanted) - added, ignored)

    async def accept_valid(
        self, scope: Scope, events: list[Event], size: int = 0
    ) -> tuple[int, list[tuple[Event, str]]]:
        """Make the valid events of a batch durable: (how many, the others with what is wrong with each).

        For sources that tell later what happened and cannot mend an event (a spool, a transcript): one bad event must
        not hold up the rest. Raises StoreFull or Unavailable: at the cap when all but the tool events was taken, for
        these wait where they are, and hold up no prompt.
        """
        now, waiting = events, 0
        if not self._has_room():
            now = [event for event in events if not _is_tool(event)]
            waiting = len(events) - len(now)
        taken, faults = await self._accept_each(scope, now, size) if now else (0, [])
        if waiting:
            raise _full()
        return taken, faults

    def is_out(self, scope: Scope, event: Event, project: str) -> bool:
        """Whether an event belongs to a session whose project asked not to be recorded.

        `project` is the folder the session was started in, "" when it was not told: then the session's
        beginning counts, so that a `cd` elsewhere does not make it recorded.
        """
        key = (scope.enterprise_id, event["agent"], event["session"])
        began = project or (event["project"] if event["type"] == "session.started" else "")
        if not began:
            return key in self._out
        out = began.startswith("/") and self._gate.opted_out(began)
        if out:
            self._out[key] = None
            self._out.move_to_end(key)
            if len(self._out) > _REMEMBERED_SESSIONS:
                self._out.popitem(last=False)
        else:
            self._out.pop(key, None)
        return out

    def wants(self, scope: Scope, event: Event) -> bool:
        """Whether a person wants an event recorded: capture is not paused, its folder did not opt out."""
        del scope  # both are decided on this machine, for all of it
        return not self._gate.paused() and self._is_wanted(event)

    def _has_room(self) -> bool:
        """Whether the store is below its cap, so that events of every kind are taken."""
        return self._gate.fill() < _FULL_FOR_TOOLS

    async def _accept_each(
        self, scope: Scope, events: list[Event], size: int
    ) -> tuple[int, list[tuple[Event, str]]]:
        try:
            receipt = await self.accept(scope, events, size, told_later=True)
        except Invalid as error:
            if len(events) == 1:
                return 0, [(events[0], error.message)]
            middle = len(events) // 2
            taken, faults = await self._accept_each(scope, events[:middle], size // 2)
            more, others = await self._accept_each(scope, events[middle:], size // 2)
            return taken + more, faults + others
        return receipt.accepted + receipt.duplicates, []

    async def drain(self, limit: int | None = None) -> DrainReport:
        """Turn one batch of waiting events into rows; an empty report means nothing waits.

        Enterprises are recorded side by side: their transactions have nothing in common. Raises what one of them met
        when all have ended.
        """
        async with self._draining:  # two at once would be given the same events
            return await self._drain(limit)

    async def _drain(self, limit: int | None) -> DrainReport:
        report = DrainReport()
        waiting = await self._inbox.take(limit or self._limits.batch_size)
        by_enterprise: dict[str, list[Pending]] = {}
        for pending in waiting:
            by_enterprise.setdefault(pending.enterprise_id, []).append(pending)
        ended = await asyncio.gather(
            *(
                self._record_batch(_recording_scope(enterprise_id), batch, report)
                for enterprise_id, batch in by_enterprise.items()
            ),
            return_exceptions=True,
        )
        for fault in ended:
            if fault is not None:
                raise fault
        return report

    async def drain_all(self) -> DrainReport:
        """Drain until nothing waits."""
        total = DrainReport()
        while True:
            report = await self.drain()
            total.events += report.events
            total.rows += report.rows
            total.repeated += report.repeated
            total.passed_over += report.passed_over
            total.buried += report.buried
            if report.events == 0:
                return total

    async def replay(self, scope: Scope, letter: DeadLetter, mended: Event | None) -> None:
        """Hand a dead letter in again: as it is, or a valid `mended` event of the same id in its place.

        Raises StoreFull or Unavailable; then it stays where it is.
        """
        body = letter.body
        if mended is not None:
            was = _parsed(letter.body).get(BY)
            body = self._entry(scope, mended).body
            if was is not None:  # whose it was, not whose who mended it
                body = _dump({**orjson.loads(body), BY: was})
        await self._inbox.return_dead_letter(letter, body)
        self._remember(scope, [letter.event_id])

    def _is_wanted(self, event: Event) -> bool:
        folder = event["data"].get("cwd") or event["project"]
        if self._gate.paused_at(from_iso(event["occurred_at"])):
            return False
        return not (folder.startswith("/") and self._gate.opted_out(folder))

    async def _entries(self, scope: Scope, events: list[Event], *, aside: bool) -> list[Entry]:
        if not aside:
            return [self._entry(scope, event) for event in events]
        # Masking megabytes takes long: on another thread, so that others are answered meanwhile.
        return await asyncio.to_thread(lambda: [self._entry(scope, event) for event in events])

    def _entry(self, scope: Scope, event: Event) -> Entry:
        """What becomes durable of an event: masked, then trimmed; what is very long is cut before."""
        # The key comes from the true folder; masking it afterwards gives the same key every time.
        keep = max(self._limits.keep_output_chars, CUT_KEEP)
        data = cut_tree(event["data"], max(2 * keep, CUT_OVER), keep)
        project = fitted(self._project_keys(event["project"]))
        masked = with_usable_path(event, mask_tree({**event, "project": project, "data": data}))
        if scope.user_id != LOCAL_USER:
            masked[BY] = scope.user_id
        body = _dump(masked)
        if len(body) > self._limits.keep_output_chars or ORIGINAL_FILE in body:
            trimmed = trim_tree(masked["data"], self._limits.keep_output_chars)
            body = _dump({**masked, "data": trimmed})
        return Entry(event["id"], body)

    def _check_room(self, events: list[Event]) -> None:
        fill = self._gate.fill()
        if fill < _FULL_FOR_TOOLS:
            return
        if fill >= _FULL or any(map(_is_tool, events)):
            raise _full()

    async def _fresh(self, scope: Scope, events: list[Event]) -> list[Event]:
        """Events not accepted before, as far as is known without the final word of the tables."""
        new: dict[str, Event] = {}
        unsure: list[str] = []
        upper = now_ms() + _SKEW_MS
        for event in events:
            event_id = event["id"]
            if (scope.enterprise_id, event_id) in self._recent or event_id in new:
                continue
            new[event_id] = event
            if not self._horizon <= id_epoch_ms(event_id) <= upper:
                unsure.append(event_id)
        if unsure:
            known = await self._db.read(scope, lambda tx: memory.known_events(scope, tx, unsure))
            for event_id in known:
                del new[event_id]
        return list(new.values())

    def _remember(self, scope: Scope, event_ids: Iterable[str]) -> None:
        now = now_ms()
        for event_id in event_ids:
            self._recent[(scope.enterprise_id, event_id)] = now
        while len(self._recent) > _REMEMBERED_IDS:
            _, self._horizon = self._recent.popitem(last=False)

    async def _record_batch(
        self, scope: Scope, batch: list[Pending], report: DrainReport, *, again: bool = False
    ) -> None:
        since = now_ms()
        try:
            built = await self._record(scope, batch)
        except Unavailable:
            raise  # a full disk or a lost engine is nobody's fault: everything waits
        except Exception as error:
            # Broad, for one poisoned event must not hold up the others, whatever it breaks.
            if not _is_of_events(error):
                raise Unavailable(f"nothing can be recorded: {_reason(error)}") from error
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._record_batch(scope, batch[:middle], report)
                await self._record_batch(scope, batch[middle:], report)
                return
            if not again:
                # An engine that is just going can fail in ways that look like the event's: it gets a second chance.
                await self._record_batch(scope, batch, report, again=True)
                return
            await self._inbox.bury(batch[0], _reason(error), now_ms())
            report.events += 1
            report.buried.append(batch[0].event_id)
            return
        await self._inbox.ack([pending.position for pending in batch])
        await self._changed(scope, since)
        report.events += len(batch)
        report.rows += built.made
        report.repeated += built.repeated
        report.passed_over += built.passed_over

    async def _record(self, scope: Scope, batch: list[Pending]) -> Built:
        events = [orjson.loads(pending.body) for pending in batch]
        by_user: dict[str, list[Event]] = {}
        for event in events:
            by_user.setdefault(event.get(BY, LOCAL_USER), []).append(event)

        def work(tx: Tx) -> Built:
            recorder.hold(scope, tx, events)
            total = Built()
            for user_id, own in by_user.items():
                built = self._record_as(_recording_scope(scope.enterprise_id, user_id), tx, own)
                total.made += built.made
                total.repeated += built.repeated
                total.passed_over += built.passed_over
            return total

        return await self._db.write(scope, work)

    def _record_as(self, scope: Scope, tx: Tx, events: list[Event]) -> Built:
        built = recorder.build(scope, tx, events)
        memory.record(scope, tx, built.recording)
        self._indexing.index(scope, tx, built.entries)
        jobs = built.jobs
        if not self._limits.reads_transcripts:
            jobs = [job for job in jobs if job.kind != CATCH_UP]
        self._queue.enqueue(scope, tx, jobs)
        return built


def _parsed(body: bytes) -> Event:
    """What of a durable event can be read; a poisoned one may be no JSON at all."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_tool(event: Event) -> bool:
    return event.get("type") in ("tool.used", "tool.failed")


def _full() -> StoreFull:
    return StoreFull(
        "the store has reached its size cap: raise max_store_mb in config.toml, or forget what is not needed",
        retry_after=60,
    )


def _dump(event: Event) -> bytes:
    try:
        return orjson.dumps(event)
    except TypeError:  # half of a surrogate pair, which JSON of an agent can hold and UTF-8 cannot
        return orjson.dumps(without_surrogates(event))


def _recording_scope(enterprise_id: str, user_id: str = LOCAL_USER) -> Scope:
    """The recorder acts for the enterprise whose event it is, and for who told it; it may do nothing but record."""
    return Scope(enterprise_id, user_id, frozenset({"events:write"}))


def _is_of_events(error: Exception) -> bool:
    """Whether an event is to blame: its data, and not the database, its rights or this machine.

    By the class of SQLSTATE: data, integrity, limits. An engine's error without one is the connection's, unless its
    kind says that a value was refused (SQLite has no SQLSTATE at all). All else is the same for every event, and to put
    them aside one by one would empty the ingest log into the dead letters.
    """
    original = getattr(error, "orig", None)
    if original is None:
        return not isinstance(error, MemoryError)
    state = getattr(original, "sqlstate", None)
    if state is None:
        kinds = {kind.__name__ for kind in type(original).__mro__}
        return "Error" not in kinds or bool(kinds & _VALUE_FAULTS)
    return bool(state[:2] in _DATA_FAULTS)


def _reason(error: Exception) -> str:
    """What went wrong, without the values that SQL errors repeat."""
    text = error.message if isinstance(error, MemError) else type(error).__name__
    original = getattr(error, "orig", None)
    if original is None:
        return text
    # Of PostgreSQL the first line alone: the others hold what the row was to be.
    said = getattr(getattr(original, "diag", None), "message_primary", None)
    return f"{text}: {said or original}"
