"""Being told of new jobs at once: one connection that listens to what the queue announces.

Nothing rests on it: whoever waits looks for jobs by itself every so often. Must never hold up a stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import psycopg
import structlog
from sqlalchemy import make_url

from claude_mem.adapters.postgres.queue import CHANNEL

_AGAIN_S: Final = 5.0  # after the connection was lost
_log = structlog.get_logger("postgres")


class JobBell:
    """Listens from the first `wait` on; `url` as `PostgresDatabase` takes it."""

    def __init__(self, url: str) -> None:
        address = make_url(url).set(drivername="postgresql")
        self._address = address.render_as_string(hide_password=False)
        self._rang = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def wait(self, seconds: float) -> None:
        """Return when jobs were added since the last wait, or after `seconds`."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="job-bell")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rang.wait()
        self._rang.clear()

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (psycopg.Error, OSError) as error:
                _log.warning("bell.lost", reason=type(error).__name__)
            await asyncio.sleep(_AGAIN_S)

    async def _hear(self) -> None:
        options: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": 5,
            "application_name": "claude-mem-bell",
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }
        async with await psycopg.AsyncConnection.connect(self._address, **options) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._rang.set()  # whatever was added while nobody listened
            async for _ in connection.notifies():
                self._rang.set()
