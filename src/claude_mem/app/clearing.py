"""Taking the last bytes of what was forgotten out of the files: what a deleted row leaves where pages were rearranged.

Owns when that is done: at once where the files are small, when the worker is idle where writing them anew takes long.
Must never hold up recording, and never lose sight of what is still to be cleared: that is a job of the same
transaction that forgot.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import Final

import structlog

from claude_mem.adapters.sqlite import maintenance
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.inbox import SqliteInbox
from claude_mem.app import copies
from claude_mem.app.settings import Settings
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.scope import Scope
from claude_mem.ports.queue import Job, NewJob

KIND: Final = "store.clear"
AT_ONCE_BYTES: Final = 200 << 20
_QUIET_MS = 600_000  # what is forgotten in one go is cleared in one go
_PATIENCE_MS = 3_600_000  # so long it waits for a moment when nothing is recorded
_log = structlog.get_logger("clearing")


class Clearing:
    """Implements `capture.model.Clearing`, and the handler of `store.clear`."""

    def __init__(self, database: SqliteDatabase, inbox: SqliteInbox, settings: Settings) -> None:
        self._database = database
        self._inbox = inbox
        self._settings = settings
        self._cleared_at = 0

    def jobs(self) -> list[NewJob]:
        """See `capture.model.Clearing`."""
        now = now_ms()
        return [NewJob(KIND, "all", {"since": now}, run_at=now + _QUIET_MS, priority=-1)]

    async def at_once(self) -> bool:
        """See `capture.model.Clearing`."""
        if await asyncio.to_thread(self._size) > AT_ONCE_BYTES:
            return False
        try:
            await self._clear()
        except Unavailable as error:  # no room, or somebody else at work: the job comes to it
            _log.warning("clearing.put_off", reason=error.message)
            return False
        return True

    async def copies(self) -> list[str]:
        """See `capture.model.Clearing`."""
        home = self._settings.home
        await asyncio.to_thread(copies.drop_of_migrations, home)
        kept = await asyncio.to_thread(copies.of_damaged, home)
        return [str(path.relative_to(home)) for path in kept]

    async def run(self, scope: Scope, job: Job) -> None:
        """Clear what was forgotten before now, unless that was done since."""
        del scope
        since = int(job.payload.get("since", 0))
        if since < self._cleared_at:
            return
        if await self._inbox.pending() and now_ms() - since < _PATIENCE_MS:
            raise Unavailable(
                "something is being recorded: the files are cleared later", retry_after=60
            )
        await self._clear()

    async def _clear(self) -> None:
        started = now_ms()
        await asyncio.to_thread(self._need_room)
        await self._database.write_anew()
        await self._inbox.write_anew()
        self._cleared_at = started
        _log.info("store.cleared", ms=now_ms() - started)

    def _need_room(self) -> None:
        free = shutil.disk_usage(self._settings.home).free
        maintenance.room_for_vacuum(self._settings.database, free)

    def _size(self) -> int:
        files = (self._settings.database, self._settings.inbox)
        return sum(path.stat().st_size for path in files if path.exists())
