"""The worker's background work: drain the inbox, take over the spool, run jobs, keep the database in shape.

Must never let one failure end the loop, and never hold what it could not do: events wait in the inbox or the spool.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from claude_mem.domains.capture.door import take_spool
from claude_mem.domains.capture.service import CaptureService
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database
from claude_mem.ports.inbox import Inbox
from claude_mem.ports.queue import Job, Queue

JobHandler = Callable[[Scope, Job], Awaitable[None]]
_SPOOL_EVERY_S = 1.0
_JOBS_EVERY_S = 1.0
_MAINTAIN_EVERY_S = 300.0
_BURST_BOUND = 10_000  # events that may wait while a burst goes on
_BURST_CALLS_PER_S = 500.0
_BURST_PAUSE_S = 0.1
_GATHER_BELOW = 200
_GATHER_S = 0.05
_LONGEST_ANSWER_S = 0.25
_LEASE_MS = 60_000
_PROLONG_EVERY_S = 15.0
_BACKOFF_S = 2.0
_LONGEST_BACKOFF_S = 15.0  # a disk that was freed should not be waited for longer
_JOB_BACKOFF_MS = 5_000
_JOBS_AT_ONCE = 4  # so that a slow one does not hold up the others
# A process that is killed, whoever by, leaves its jobs claimed. After so many of those a job is taken to end them.
_MOST_CLAIMS = 20
_LONGEST_S = (
    300.0  # a job that takes longer has failed; a long catch-up keeps its progress and goes on
)
_LONGEST_BY_KIND_S = {"index.rebuild": 3_600.0, "store.clear": 3_600.0}
_NOBODYS_FAULT_MS = 30_000  # until a job is tried again that found the disk full or an engine gone
_log = structlog.get_logger("worker")


@dataclass(slots=True)
class Health:
    """What the loop can say of itself."""

    last_error: str | None = None
    last_error_at: int | None = None
    recorded: int = 0
    buried: int = 0
    spooled: int = 0
    rejected: int = 0
    degraded: dict[str, str] = field(default_factory=dict)

    def fail(self, part: str, error: BaseException) -> None:
        """Note that a part of the work cannot go on for now."""
        self.last_error = f"{part}: {error}"
        self.last_error_at = now_ms()
        self.degraded[part] = str(error)

    def mend(self, part: str) -> None:
        """Note that it goes on again."""
        self.degraded.pop(part, None)


@dataclass(frozen=True, slots=True)
class Work:
    """What the loop works on."""

    capture: CaptureService
    inbox: Inbox
    database: Database
    queue: Queue
    handlers: dict[str, JobHandler]
    maintain: Callable[[], Awaitable[None]]
    scope: Scope  # whose spool it is, and who claims
    answered: Callable[[], Awaitable[object]]  # returns when no agent waits for its context
    spool: Path | None = None  # where hooks of this machine leave what nobody took
    job_added: Callable[[float], Awaitable[None]] = asyncio.sleep  # or after so many seconds


def pause_after(part: str, error: Exception) -> float:
    """Seconds until a part of the work that failed is tried again.

    A full store says when to come again: reading the whole spool every two seconds would not empty it. The inbox does
    not wait for that, because it is what keeps others waiting.
    """
    asked = error.retry_after or 0 if part == "spool" and isinstance(error, Unavailable) else 0
    return min(max(_BACKOFF_S, asked), _LONGEST_BACKOFF_S)


class Loop:
    """Runs until `stop`; `health` tells how it goes."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._worker_id = new_id()
        self._looked = (time.monotonic(), 0)
        self._running: dict[str, asyncio.Task[None]] = {}  # by the job's id
        self._at_spool = asyncio.Lock()
        self._passed_over = False
        self._prolong_at = 0.0
        self.health = Health()

    def start(self) -> None:
        """Begin; needs a running event loop."""
        parts: dict[str, Callable[[], Awaitable[float]]] = {
            "inbox": self._drain,
            "jobs": self._run_jobs,
            "maintenance": self._maintain,
        }
        if self._work.spool is not None:
            parts["spool"] = self._take_spool
        for name, step in parts.items():
            self._tasks.append(asyncio.create_task(self._forever(name, step), name=name))

    async def stop(self, seconds: float) -> int:
        """End the loops, then drain what is left for at most `seconds`; what still waits, 0 where nobody can say."""
        self._stopping.set()
        # Given up, not only ended: before Python 3.12 a cancelled task keeps an error that the garbage collector does
        # not see, and by that error's frames this loop, which would keep the task: neither would ever be freed.
        parts, self._tasks = self._tasks, []
        for tasks in (parts, list(self._running.values())):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline and (await self._work.capture.drain()).events:
                pass
            return await self._work.inbox.pending()
        except (
            Unavailable
        ) as error:  # an engine that is away must not keep the rest from being closed
            _log.warning("drain.unfinished", reason=error.message)
        return 0

    async def _forever(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        while not self._stopping.is_set():
            try:
                pause = await step()
                self.health.mend(name)
            except Exception as error:  # noqa: BLE001 - noted, shown by health and tried again; the loop must not end
                self.health.fail(name, error)
                known = isinstance(error, Unavailable)
                _log.error(
                    "step.failed", step=name, exc_info=None if known else error, reason=str(error)
                )
                pause = pause_after(name, error)
            if pause:
                await asyncio.sleep(pause)

    async def _drain(self) -> float:
        pending = await self._work.inbox.pending()
        if pending < _BURST_BOUND and self._is_burst():
            # Many small requests: acknowledging them comes first, the inbox is there to absorb the rest.
            return _BURST_PAUSE_S
        if pending < _GATHER_BELOW:
            # A transaction costs two fsyncs whatever it holds: let a few more events come along.
            await asyncio.sleep(_GATHER_S)
            await self._until_answered()
        report = await self._work.capture.drain()
        self.health.recorded += report.events
        if report.buried:
            self.health.buried += len(report.buried)
            _log.error("events.buried", ids=report.buried[:20])
        self._passed_over = self._passed_over or report.passed_over > 0
        if report.events == 0:
            if (
                self._passed_over
            ):  # of something forgotten: it is not to wait in a log until the next maintenance
                self._passed_over = False
                await self._work.inbox.maintain()
            self.health.mend("inbox")  # all went well: not to be known only after the wait
            await self._work.inbox.wait(5.0)
        return 0.0

    async def _until_answered(self) -> None:
        """Let an agent that waits for its context have the processor; what is to be recorded is safe meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_ANSWER_S):
                await self._work.answered()

    async def take_spool_now(self) -> None:
        """Take over what hooks left behind, for who cannot wait for the loop's next round."""
        await self._take_spool()

    def _is_burst(self) -> bool:
        """Whether requests have come faster than `_BURST_CALLS_PER_S` since the last look."""
        (at, calls), now = self._looked, time.monotonic()
        self._looked = (now, self._work.capture.calls)
        return self._work.capture.calls - calls > max(now - at, 0.01) * _BURST_CALLS_PER_S

    async def _take_spool(self) -> float:
        if self._work.spool is None:
            return _SPOOL_EVERY_S
        async with self._at_spool:  # one reads and deletes a file
            report = await take_spool(self._work.capture, self._work.scope, self._work.spool)
        if report.files:
            self.health.spooled += report.events
            self.health.rejected += report.rejected
            _log.info("spool.taken", events=report.events, rejected=report.rejected)
        return _SPOOL_EVERY_S

    async def _run_jobs(self) -> float:
        jobs = await self._claim(_JOBS_AT_ONCE - len(self._running))
        for job in jobs:
            self._running[job.id] = asyncio.create_task(self._run_job(job), name=job.kind)
        if self._running:
            await asyncio.wait(
                self._running.values(), timeout=_JOBS_EVERY_S, return_when=asyncio.FIRST_COMPLETED
            )
        ended = self._reap()
        if not jobs and not ended and not self._running:
            await self._work.job_added(_JOBS_EVERY_S)
        return 0.0 if jobs or ended or not self._running else _JOBS_EVERY_S

    async def _claim(self, free: int) -> list[Job]:
        """What is to be run next. Asked with no slot free too, before leases end: that prolongs those of what runs."""
        now = time.monotonic()
        if free <= 0 and now < self._prolong_at:
            return []
        self._prolong_at = now + _PROLONG_EVERY_S
        busy = list(self._running)
        return await self._work.database.write(
            self._work.scope,
            lambda tx: self._work.queue.claim(
                tx,
                worker=self._worker_id,
                now=now_ms(),
                lease_ms=_LEASE_MS,
                limit=max(free, 0),
                busy=busy,
            ),
        )

    def _reap(self) -> int:
        """Let go of the jobs that ended; how many. Raises what kept one from telling the queue so."""
        ended = [(key, task) for key, task in self._running.items() if task.done()]
        for key, _ in ended:
            del self._running[key]
        faults = [fault for _, task in ended if (fault := task.exception()) is not None]
        if faults:
            raise faults[0]
        return len(ended)

    async def _run_job(self, job: Job) -> None:
        scope = Scope(job.enterprise_id, self._work.scope.user_id, frozenset({"events:write"}))
        if job.attempt > max(_MOST_CLAIMS, job.max_attempts):
            ended = RuntimeError(f"each of {job.attempt - 1} processes that ran it ended meanwhile")
            await self._fail_job(scope, job, ended)
            return
        try:
            async with asyncio.timeout(_LONGEST_BY_KIND_S.get(job.kind, _LONGEST_S)):
                await self._work.handlers[job.kind](scope, job)
        except Unavailable as error:
            await self._defer_job(scope, job, error)
        except Exception as error:  # noqa: BLE001 - becomes the job's own state: retried with back-off, then dead and shown
            await self._fail_job(scope, job, error)
        else:
            await self._work.database.write(scope, lambda tx: self._work.queue.complete(tx, job))

    async def _defer_job(self, scope: Scope, job: Job, error: Unavailable) -> None:
        """A full disk or a lost engine is nobody's fault: the job waits, and keeps all its attempts."""
        run_at = now_ms() + max((error.retry_after or 0) * 1000, _NOBODYS_FAULT_MS)
        await self._work.database.write(
            scope, lambda tx: self._work.queue.defer(tx, job, run_at=run_at, error=error.message)
        )
        _log.warning("job.put_off", kind=job.kind, reason=error.message)

    async def _fail_job(self, scope: Scope, job: Job, error: Exception) -> None:
        now = now_ms()
        retry_at = now + _JOB_BACKOFF_MS * 2 ** min(job.attempt, 10)

        def work(tx: Any) -> bool:
            return self._work.queue.fail(
                tx, job, now=now, retry_at=retry_at, error=f"{type(error).__name__}: {error}"
            )

        dead = await self._work.database.write(scope, work)
        _log.error("job.failed", kind=job.kind, attempt=job.attempt, dead=dead, exc_info=error)

    async def _maintain(self) -> float:
        await self._work.maintain()
        return _MAINTAIN_EVERY_S
