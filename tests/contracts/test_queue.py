"""The contract of the `Queue` port, run on every implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from claude_mem.adapters.sqlite.queue import SqliteQueue
from claude_mem.app.build import System
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import Job, NewJob, Queue

SCOPE = local_scope()
DAY = 86_400_000
T = TypeVar("T")


class Jobs:
    """A queue, its database, and one worker."""

    def __init__(self, database: Any, queue: Queue) -> None:
        self.database, self.queue = database, queue

    async def within(self, work: Callable[[Tx], T]) -> T:
        found: T = await self.database.write(SCOPE, work)
        return found

    async def add(self, *jobs: NewJob) -> None:
        await self.within(lambda tx: self.queue.enqueue(SCOPE, tx, jobs))

    async def claim(self, now: int, limit: int = 9, busy: tuple[str, ...] = ()) -> list[Job]:
        return await self.within(
            lambda tx: self.queue.claim(
                tx, worker="w", now=now, lease_ms=60_000, limit=limit, busy=busy
            )
        )

    async def fail(self, job: Job, now: int) -> bool:
        return await self.within(
            lambda tx: self.queue.fail(tx, job, now=now, retry_at=now, error="no")
        )

    async def defer(self, job: Job, run_at: int) -> None:
        await self.within(lambda tx: self.queue.defer(tx, job, run_at=run_at, error="no"))

    async def counts(self) -> dict[str, int]:
        return await self.within(lambda tx: self.queue.counts(SCOPE, tx))


@pytest.fixture(params=["sqlite"])
def jobs(request: pytest.FixtureRequest, system: System) -> Jobs:
    return Jobs(system.parts.state["database"], {"sqlite": SqliteQueue}[request.param]())


async def test_the_most_important_come_first_and_each_once(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "a", run_at=now - 2), NewJob("k", "b", run_at=now - 1, priority=1))
    assert [job.key for job in await jobs.claim(now, limit=1)] == ["b"]
    assert [(job.key, job.attempt) for job in await jobs.claim(now)] == [("a", 1)]
    assert await jobs.claim(now) == []


async def test_a_job_waits_for_its_time_and_a_lease_runs_out(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "a", run_at=now + 1_000))
    assert await jobs.claim(now) == []
    assert len(await jobs.claim(now + 1_000)) == 1
    assert await jobs.claim(now + 61_000) == []
    assert [job.attempt for job in await jobs.claim(now + 61_001)] == [2]


async def test_what_a_worker_still_runs_is_not_given_out_again(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "a", run_at=now))
    [job] = await jobs.claim(now)
    assert await jobs.claim(now + 90_000, busy=(job.id,)) == []
    await jobs.add(NewJob("k", "a", run_at=now))
    assert await jobs.claim(now, busy=(job.id,)) == []
    await jobs.within(lambda tx: jobs.queue.complete(tx, job))
    assert [again.id for again in await jobs.claim(now)] == [job.id]


async def test_a_failed_job_is_retried_and_dead_in_the_end(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "a", run_at=now))
    ends = []
    for _ in range(5):
        [job] = await jobs.claim(now)
        ends.append(await jobs.fail(job, now))
    assert ends == [False] * 4 + [True]
    assert await jobs.counts() == {"dead": 1}


async def test_a_job_put_off_keeps_its_attempts(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "a", run_at=now))
    for _ in range(8):
        [job] = await jobs.claim(now)
        assert job.attempt == 1
        await jobs.defer(job, now + 5)
        assert await jobs.claim(now) == []
        now += 5
    assert await jobs.counts() == {"pending": 1}


async def test_a_job_re_armed_while_it_ran_is_not_put_off(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "a", run_at=now))
    [job] = await jobs.claim(now)
    await jobs.add(NewJob("k", "a", run_at=now))
    await jobs.defer(job, now + 5)
    assert len(await jobs.claim(now)) == 1


async def test_a_clock_that_was_ahead_does_not_stall_a_job(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "soon", run_at=now + DAY), NewJob("k", "far", run_at=now + DAY + 1))
    assert [job.key for job in await jobs.claim(now)] == ["far"]
    await jobs.claim(now + 2 * DAY)
    assert len(await jobs.claim(now)) == 2, "leases of the day after tomorrow"


async def test_dead_jobs_are_told_and_can_be_revived(jobs: Jobs) -> None:
    await jobs.add(NewJob("a", "1"), NewJob("b", "2"))
    now = now_ms()
    for _ in range(9):
        for job in await jobs.claim(now + 1):
            if job.kind == "a":
                await jobs.fail(job, now)
    [dead] = await jobs.within(lambda tx: jobs.queue.dead(SCOPE, tx, 9))
    assert (dead.kind, dead.key, dead.error, dead.at) == ("a", "1", "no", now)
    assert dead.attempts > 1
    assert await jobs.claim(now + 1, busy=()) == []
    assert await jobs.within(lambda tx: jobs.queue.revive(SCOPE, tx)) == 1
    assert await jobs.within(lambda tx: jobs.queue.dead(SCOPE, tx, 9)) == []
    assert await jobs.within(lambda tx: jobs.queue.waiting(SCOPE, tx)) == {"a": 1, "b": 1}
    [again] = await jobs.claim(now_ms() + 1)
    assert (again.kind, again.attempt) == ("a", 1)
