"""Work that is done once for all replicas: whoever holds the lease does it, everybody else looks on.

Owns who leads and when a task is due. Must never let one task's failure end the schedule. A lease can end in the middle
of a task, so tasks are such that doing them twice is harmless.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from claude_mem.kernel.errors import Unavailable

_log = structlog.get_logger("schedule")


class Lease(Protocol):
    """What only one process holds at a time."""

    async def take(self) -> bool:
        """Whether it is ours for a while longer. Raises Unavailable."""
        ...

    async def give_back(self) -> None:
        """Let others have it."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be done every so many seconds, first as soon as somebody leads."""

    name: str
    every_s: float
    run: Callable[[], Awaitable[object]]


class Schedule:
    """Runs until `stop`; asks for the lease every `renew_s` seconds."""

    def __init__(self, lease: Lease, tasks: Sequence[Task], renew_s: float) -> None:
        self._lease = lease
        self._tasks = tasks
        self._renew_s = renew_s
        self._due = {task.name: 0.0 for task in tasks}
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self.leads = False
        self.failing: dict[str, str] = {}

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._loop = asyncio.create_task(self._forever(), name="schedule")

    async def stop(self) -> None:
        """End, and let another replica lead at once."""
        tasks = [*self._running, *([self._loop] if self._loop is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.leads:
            self.leads = False
            try:
                await self._lease.give_back()
            except Unavailable as error:
                _log.warning("lease.left", reason=error.message)  # it ends by itself

    async def _forever(self) -> None:
        while True:
            await self._step()
            await asyncio.sleep(self._renew_s)

    async def _step(self) -> None:
        leads = False
        try:
            leads = await self._lease.take()
        except Unavailable as error:
            _log.warning("lease.unknown", reason=error.message)
        except Exception as error:  # noqa: BLE001 - noted and tried again: the schedule must not end
            _log.error("lease.failed", exc_info=error)
        if leads != self.leads:
            _log.info("lease.taken" if leads else "lease.lost")
        self.leads = leads
        if leads:
            self._begin_due()

    def _begin_due(self) -> None:
        now = time.monotonic()
        busy = {running.get_name() for running in self._running}
        for task in self._tasks:
            if now >= self._due[task.name] and task.name not in busy:
                self._due[task.name] = now + task.every_s
                running = asyncio.create_task(self._run(task), name=task.name)
                self._running.add(running)
                running.add_done_callback(self._running.discard)

    async def _run(self, task: Task) -> None:
        try:
            await task.run()
            self.failing.pop(task.name, None)
        except Exception as error:  # noqa: BLE001 - shown by health and done again when it is due next
            self.failing[task.name] = str(error)
            _log.error("task.failed", task=task.name, exc_info=error)
