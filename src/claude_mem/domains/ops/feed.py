"""What happens in one enterprise, followed once for all who listen to it in this process.

A message on the bus only says that the journal has new entries, and from which moment on; what they are is read from
the journal. So nothing that is told can be other than what is kept, an entry that was committed late is not missed,
and a lost message costs time only: every so often the journal is read though nothing was said.

Owns the following while somebody listens. Must never wait for a listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from claude_mem.domains.ops import model
from claude_mem.domains.ops.reading import read_page
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import MemError, Unavailable
from claude_mem.kernel.ids import first_id, id_epoch_ms
from claude_mem.kernel.mailbox import Mailbox
from claude_mem.kernel.scope import Scope
from claude_mem.ports.bus import Bus, LiveEvent
from claude_mem.ports.database import Database

_AGAIN_S = 1.0  # after a failure
_KNOWN = 50_000  # ids
# An entry whose transaction began before this one follows may be committed after: what is known reaches back so far.
_REACH_MS = 10_000
_log = structlog.get_logger("live")


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """Somebody who is told; `types` None: everything."""

    mailbox: Mailbox[LiveEvent]
    types: frozenset[str] | None


class Known:
    """Ids that were told, so that none is told twice. Of entries before `since` it is not known any more."""

    def __init__(self, since: int) -> None:
        self.since = since
        self._ids: dict[str, None] = {}

    def __contains__(self, entry_id: object) -> bool:
        return entry_id in self._ids

    def add(self, ids: Sequence[str]) -> None:
        """Remember these, and forget the oldest of too many."""
        self._ids.update(dict.fromkeys(ids))
        excess = len(self._ids) - _KNOWN
        if excess > 0:
            self._forget(sorted(self._ids)[: excess + _KNOWN // 10])

    def forget_before(self, moment: int) -> None:
        """Let go of what can not come again."""
        first = first_id(moment)
        self._forget([it for it in self._ids if it < first])
        self.since = max(self.since, moment)

    def _forget(self, ids: list[str]) -> None:
        for each in ids:
            del self._ids[each]
        if ids:
            self.since = max(self.since, id_epoch_ms(max(ids)) + 1)


class Feed:
    """One enterprise's; `join` and `leave` are told by whoever holds the listeners."""

    def __init__(
        self, scope: Scope, database: Database, bus: Bus, options: model.LiveOptions
    ) -> None:
        self._scope = scope
        self._database = database
        self._bus = bus
        self._options = options
        self._listeners: set[Listener] = set()
        self._bell = asyncio.Event()
        self._from: int | None = None  # the earliest moment that was said to have new entries
        self._swept = now_ms()
        self._reach_ms = max(options.overlap_ms, _REACH_MS)
        self._known = Known(self._swept - self._reach_ms)
        self._ready = asyncio.Event()
        self._fault: Exception | None = None
        self._tasks = [
            asyncio.create_task(self._listen(), name="live-listen"),
            asyncio.create_task(self._follow(), name="live-follow"),
        ]

    @property
    def is_idle(self) -> bool:
        """Whether nobody listens."""
        return not self._listeners

    async def join(self, listener: Listener) -> None:
        """Tell a listener all that is committed from now on. Raises what kept the following from beginning."""
        self._listeners.add(listener)
        await self._ready.wait()
        if self._fault is not None:
            raise self._fault

    def leave(self, listener: Listener) -> None:
        """Tell it nothing more."""
        self._listeners.discard(listener)

    async def close(self) -> None:
        """End every listener, and the following."""
        for listener in self._listeners:
            listener.mailbox.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fault = self._fault or Unavailable("live events are ending", retry_after=1)
        self._ready.set()

    async def _listen(self) -> None:
        """Hear of changes for as long as this lives; when something may have been missed, look."""
        while True:
            async with self._bus.subscribe(self._scope) as heard:
                if not await self._begun():
                    return
                self._ring(self._swept - self._options.overlap_ms)
                async for event in heard:
                    if event.type == model.CHANGED:
                        self._ring(event.at)
                    elif event.type in model.TRANSIENT:
                        self._tell([event])
            await asyncio.sleep(self._options.pace)

    async def _begun(self) -> bool:
        """Know what is there already, once the bus listens: what is committed from then on is told."""
        if not self._ready.is_set():
            try:
                await self._read(self._known.since, told=False)
            except Exception as error:  # noqa: BLE001 - raised to whoever joins
                self._fault = error
            self._ready.set()
        return self._fault is None

    def _ring(self, moment: int) -> None:
        self._from = moment if self._from is None else min(self._from, moment)
        self._bell.set()

    async def _follow(self) -> None:
        await self._ready.wait()
        while self._fault is None:
            await self._due()
            self._bell.clear()
            moment, self._from = self._from, None
            try:
                if moment is not None:
                    await self._read(max(moment, self._known.since), told=True)
            except MemError as error:
                await self._again(moment, error)
            except Exception as error:  # noqa: BLE001 - logged and tried again: listeners wait for it
                _log.exception("live.failed")
                await self._again(moment, error)
            await asyncio.sleep(self._options.pace)

    async def _due(self) -> None:
        """Wait until something was said to have happened, or it is time to look anyhow."""
        waited_ms = now_ms() - self._swept
        try:
            async with asyncio.timeout(max(self._options.sweep - waited_ms / 1000, 0.0)):
                await self._bell.wait()
        except TimeoutError:
            moment, self._swept = self._swept - self._options.overlap_ms, now_ms()
            self._known.forget_before(moment - self._reach_ms)
            self._ring(moment)

    async def _again(self, moment: int | None, error: Exception) -> None:
        _log.warning("live.not_read", reason=str(error))
        if moment is not None:
            self._ring(moment)
        await asyncio.sleep(_AGAIN_S)

    async def _read(self, moment: int, *, told: bool) -> None:
        """Tell what the journal holds from a moment on and was not told."""
        after = first_id(moment)
        while True:
            page = await read_page(self._scope, self._database, after, self._known, self._options)
            self._known.add(page.fresh)
            if told:
                self._tell(page.events)
            if not page.is_full:
                return
            after = page.last

    def _tell(self, events: Sequence[LiveEvent]) -> None:
        for listener in self._listeners:
            wanted = [model.chosen(event, listener.types) for event in events]
            listener.mailbox.put(event for event in wanted if event is not None)
