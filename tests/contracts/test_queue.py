"""The contract of the `Queue` port, run on every implementation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from sqlalchemy.exc import DBAPIError

from claude_mem.adapters.sqlite.queue import SqliteQueue
from claude_mem.app.build import System
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import Job, NewJob, Queue
from servers import Urls

SCOPE = local_scope()
OTHER = Scope(new_id(), new_id(), SCOPE.permissions)
DAY = 86_400_000
T = TypeVar("T")


class Jobs:
    """A queue, its database, and one worker."""

    def __init__(self, database: Any, queue: Queue) -> None:
        self.database, self.queue = database, queue

    async def within(self, work: Callable[[Tx], T], scope: Scope = SCOPE) -> T:
        found: T = await self.database.write(scope, work)
        return found

    async def add(self, *jobs: NewJob, scope: Scope = SCOPE) -> None:
        await self.within(lambda tx: self.queue.enqueue(scope, tx, jobs), scope)

    async def claim(
        self, now: int, limit: int = 9, busy: tuple[str, ...] = (), worker: str = "w"
    ) -> list[Job]:
        return await self.within(
            lambda tx: self.queue.claim(
                tx, worker=worker, now=now, lease_ms=60_000, limit=limit, busy=busy
            )
        )

    async def complete(self, job: Job) -> None:
        await self.within(lambda tx: self.queue.complete(tx, job))

    async def fail(self, job: Job, now: int) -> bool:
        return await self.within(
            lambda tx: self.queue.fail(tx, job, now=now, retry_at=now, error="no")
        )

    async def defer(self, job: Job, run_at: int) -> None:
        await self.within(lambda tx: self.queue.defer(tx, job, run_at=run_at, error="no"))

    async def counts(self, scope: Scope = SCOPE) -> dict[str, int]:
        return await self.within(lambda tx: self.queue.counts(scope, tx), scope)


@pytest.fixture
async def postgres_jobs(postgres_urls: Urls) -> AsyncIterator[Jobs]:
    from claude_mem.adapters.postgres.database import PostgresDatabase
    from claude_mem.adapters.postgres.queue import PostgresQueue

    database = PostgresDatabase(postgres_urls.runtime)
    yield Jobs(database, PostgresQueue())
    await database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def jobs(request: pytest.FixtureRequest) -> Jobs:
    if request.param == "postgres":
        found: Jobs = request.getfixturevalue("postgres_jobs")
        return found
    system: System = request.getfixturevalue("system")
    return Jobs(system.parts.state["database"], SqliteQueue())


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
    await jobs.complete(job)
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


async def test_a_job_done_is_gone_and_one_re_armed_meanwhile_stays(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "a", run_at=now), NewJob("k", "b", run_at=now))
    one, two = await jobs.claim(now)
    await jobs.add(NewJob(two.kind, two.key, run_at=now + 7))
    await jobs.complete(one)
    await jobs.complete(two)
    assert await jobs.counts() == {"pending": 1}
    assert await jobs.claim(now + 6) == []
    assert [job.id for job in await jobs.claim(now + 7)] == [two.id]


async def test_enqueueing_again_makes_one_job_of_it(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "a", {"n": 1}, run_at=now + 5, priority=3))
    last = {"n": 2.5, "text": "zwölf 十二 \U0001f40c", "list": [None, True, {"x": "'; --"}]}
    await jobs.add(NewJob("k", "a", {"n": 2}, run_at=now), NewJob("k", "a", last, run_at=now + 9))
    await jobs.add(NewJob("k", "b", run_at=now, priority=2))
    [first] = await jobs.claim(now, limit=1)
    assert (first.key, first.payload) == ("a", last)
    assert [job.key for job in await jobs.claim(now)] == ["b"]


async def test_a_claim_takes_jobs_of_every_tenant_and_each_sees_its_own(jobs: Jobs) -> None:
    now = now_ms()
    await jobs.add(NewJob("k", "a", {"whose": "mine"}, run_at=now - 3, priority=1))
    for number, scope in enumerate((SCOPE, OTHER)):
        await jobs.add(NewJob("k", "b", {"n": number}, run_at=now - number), scope=scope)
    claimed = await jobs.claim(now)
    assert {(job.enterprise_id, job.key): job.payload for job in claimed} == {
        (SCOPE.enterprise_id, "a"): {"whose": "mine"},
        (SCOPE.enterprise_id, "b"): {"n": 0},
        (OTHER.enterprise_id, "b"): {"n": 1},
    }
    assert await jobs.counts() == {"running": 2}
    assert await jobs.counts(OTHER) == {"running": 1}
    for job in claimed:
        await jobs.complete(job)
    assert (await jobs.counts(), await jobs.counts(OTHER)) == ({}, {})


# PostgreSQL only: several workers at once, and tenants that the database itself keeps apart.

_TENANT = "SELECT current_setting('app.current_enterprise_id', true)"


def as_role(address: str) -> Any:
    """A connection of its own, past every adapter; each statement a transaction."""
    import psycopg

    return psycopg.connect(address.replace("+psycopg", ""), autocommit=True)


async def test_postgres_two_claims_at_once_share_the_jobs_and_wait_for_nobody(
    postgres_jobs: Jobs,
) -> None:
    now = now_ms()
    await postgres_jobs.add(*(NewJob("k", str(number), run_at=now) for number in range(8)))
    both = threading.Barrier(2, timeout=30)

    def claim(worker: str) -> Callable[[Tx], list[str]]:
        def work(tx: Tx) -> list[str]:
            both.wait()
            queue = postgres_jobs.queue
            found = queue.claim(tx, worker=worker, now=now, lease_ms=60_000, limit=5)
            both.wait()  # neither is committed when both have theirs
            return [job.key for job in found]

        return work

    one, two = await asyncio.gather(*(postgres_jobs.within(claim(name)) for name in ("v", "w")))
    assert sorted(one + two) == [str(number) for number in range(8)]
    assert min(len(one), len(two)) == 3


async def test_postgres_many_workers_drain_the_queue_and_each_job_runs_once(
    postgres_jobs: Jobs,
) -> None:
    now = now_ms()
    for scope in (SCOPE, OTHER):
        new = (NewJob("k", str(number), run_at=now, priority=number % 3) for number in range(40))
        await postgres_jobs.add(*new, scope=scope)
    ran: list[tuple[str, str]] = []

    async def worker(name: str) -> None:
        while found := await postgres_jobs.claim(now, limit=3, worker=name):
            for job in found:
                ran.append((job.enterprise_id, job.key))
                await postgres_jobs.complete(job)

    await asyncio.gather(*(worker(f"w{number}") for number in range(4)))
    assert len(ran) == len(set(ran)) == 80
    assert (await postgres_jobs.counts(), await postgres_jobs.counts(OTHER)) == ({}, {})


async def test_postgres_the_most_important_come_first_whatever_the_plan(
    postgres_jobs: Jobs,
) -> None:
    now = now_ms()
    await postgres_jobs.add(*(NewJob("k", str(n), run_at=now, priority=n % 5) for n in range(10)))

    def work(tx: Tx) -> list[str]:
        tx.exec_driver_sql("SET LOCAL enable_indexscan = off")
        tx.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        claimed = postgres_jobs.queue.claim(tx, worker="w", now=now, lease_ms=1, limit=4)
        return [job.key for job in claimed]

    found = await postgres_jobs.within(work)
    assert [int(key) % 5 for key in found] == [4, 4, 3, 3]


async def test_postgres_jobs_are_added_in_one_order_whoever_adds(
    postgres_jobs: Jobs, postgres_urls: Urls
) -> None:
    await postgres_jobs.add(NewJob("k", "a"), NewJob("k", "b"))
    lock = "SELECT FROM task_queue WHERE task_key = %s FOR UPDATE NOWAIT"
    with as_role(postgres_urls.admin) as raw, as_role(postgres_urls.admin) as watch:
        with raw.transaction():
            raw.execute(lock, ("a",))
            adding = asyncio.create_task(postgres_jobs.add(NewJob("k", "b"), NewJob("k", "a")))
            async with asyncio.timeout(30):
                while not watch.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            raw.execute(lock, ("b",))  # not held by who waits for the first
        await adding


async def test_postgres_who_lost_a_lease_changes_nothing(postgres_jobs: Jobs) -> None:
    now = now_ms()
    await postgres_jobs.add(NewJob("k", "a", run_at=now))
    [lost] = await postgres_jobs.claim(now, worker="slow")
    [held] = await postgres_jobs.claim(now + 60_001, worker="quick")
    await postgres_jobs.complete(lost)
    await postgres_jobs.defer(lost, now)
    assert await postgres_jobs.fail(lost, now) is False
    assert await postgres_jobs.counts() == {"running": 1}
    assert await postgres_jobs.claim(now + 60_002) == []
    await postgres_jobs.complete(held)
    assert await postgres_jobs.counts() == {}


async def test_postgres_a_job_re_armed_while_it_runs_is_nobody_elses_until_it_ends(
    postgres_jobs: Jobs,
) -> None:
    now = now_ms()
    ends: list[Callable[[Job], Any]] = [
        postgres_jobs.complete,
        lambda job: postgres_jobs.defer(job, now + 9),
        lambda job: postgres_jobs.fail(job, now + 9),
    ]
    await postgres_jobs.add(NewJob("k", "a", run_at=now))
    [job] = await postgres_jobs.claim(now, worker="one")
    for end in ends:
        await postgres_jobs.add(NewJob("k", "a", run_at=now))
        assert await postgres_jobs.claim(now, worker="two") == []
        await end(job)
        [job] = await postgres_jobs.claim(now, worker="two")
        assert job.attempt == 1
    await postgres_jobs.add(NewJob("k", "a", run_at=now))
    [again] = await postgres_jobs.claim(now + 60_001, worker="three")
    assert again.id == job.id, "its worker is gone"


@pytest.mark.parametrize("limit", [0, 5])
async def test_postgres_a_claim_prolongs_the_leases_of_what_its_worker_is_busy_with(
    postgres_jobs: Jobs, limit: int
) -> None:
    now = now_ms()
    await postgres_jobs.add(NewJob("k", "a", run_at=now), NewJob("k", "b", run_at=now))
    busy = tuple(job.id for job in await postgres_jobs.claim(now, worker="one"))
    await postgres_jobs.add(NewJob("k", "b", run_at=now))
    assert await postgres_jobs.claim(now + 50_000, limit, busy, worker="one") == []
    await postgres_jobs.claim(now + 55_000, limit, busy, worker="a stranger to them")
    assert await postgres_jobs.claim(now + 110_000, worker="two") == []
    assert len(await postgres_jobs.claim(now + 110_001, worker="two")) == 2


async def test_postgres_leaves_the_transaction_to_its_tenant(postgres_jobs: Jobs) -> None:
    now, queue = now_ms(), postgres_jobs.queue
    await postgres_jobs.add(
        *(NewJob("k", str(number), run_at=now) for number in range(4)), scope=OTHER
    )

    def tenant(tx: Tx) -> str:
        return str(tx.exec_driver_sql(_TENANT).scalar())

    def work(tx: Tx) -> list[str]:
        seen = []
        one, two, three, four = queue.claim(tx, worker="w", now=now, lease_ms=1, limit=9)
        seen.append(tenant(tx))
        queue.complete(tx, one)
        queue.fail(tx, two, now=now, retry_at=now, error="no")
        queue.defer(tx, three, run_at=now, error="no")
        seen.append(tenant(tx))
        with pytest.raises(DBAPIError), tx.begin_nested():
            queue.complete(tx, replace(four, id="refused by the server"))
        with pytest.raises(DBAPIError):
            queue.complete(tx, replace(four, id=object()))  # never sent
        with pytest.raises(TypeError, match="claimed from"):
            queue.complete(tx, Job(OTHER.enterprise_id, four.id, "k", "4", {}, 1, 5))
        seen.append(tenant(tx))
        assert queue.counts(OTHER, tx) == {}
        return seen

    assert await postgres_jobs.within(work) == [SCOPE.enterprise_id] * 3
    assert await postgres_jobs.counts(OTHER) == {"pending": 2, "running": 1}


async def test_postgres_an_error_text_never_keeps_a_job_from_failing(postgres_jobs: Jobs) -> None:
    now, queue = now_ms(), postgres_jobs.queue
    await postgres_jobs.add(NewJob("k", "a", run_at=now))
    for _ in range(5):
        [job] = await postgres_jobs.claim(now)
        await postgres_jobs.within(
            lambda tx, job=job: queue.fail(tx, job, now=now, retry_at=now, error="\0 \ud800 %s '")
        )
    [dead] = await postgres_jobs.within(lambda tx: queue.dead(SCOPE, tx, 1))
    assert dead.error == "\ufffd ? %s '"


async def test_postgres_a_tenant_neither_sees_nor_revives_anothers_jobs(
    postgres_jobs: Jobs,
) -> None:
    now, queue = now_ms(), postgres_jobs.queue
    await postgres_jobs.add(NewJob("k", "a", run_at=now), scope=OTHER)
    for _ in range(5):
        [job] = await postgres_jobs.claim(now)
        await postgres_jobs.fail(job, now)

    def attack(tx: Tx) -> list[Any]:
        # The transaction is one tenant's whatever scope a query is handed.
        return [
            *(queue.counts(OTHER, tx), queue.waiting(OTHER, tx)),
            *(queue.dead(OTHER, tx, 9), queue.revive(OTHER, tx)),
        ]

    assert await postgres_jobs.within(attack) == [{}, {}, [], 0]
    with pytest.raises(Exception, match="row-level security"):
        await postgres_jobs.within(lambda tx: queue.enqueue(OTHER, tx, [NewJob("k", "b")]))
    assert await postgres_jobs.counts(OTHER) == {"dead": 1}
    assert await postgres_jobs.within(lambda tx: queue.revive(OTHER, tx), OTHER) == 1


async def test_postgres_the_claim_tells_ids_and_tenants_only(
    postgres_jobs: Jobs, postgres_urls: Urls
) -> None:
    now = now_ms()
    await postgres_jobs.add(NewJob("k", "a", {"secret": "x"}, run_at=now), scope=OTHER)
    claim = (
        "SELECT * FROM claim_tasks('w', now() + interval '1 s', now(), now() + interval '1 day',"
        " '{}', %s)"
    )
    with as_role(postgres_urls.runtime) as raw:
        assert raw.execute("SELECT count(*) FROM task_queue").fetchone() == (0,)
        for nothing in (0, -1, None):
            assert raw.execute(claim, (nothing,)).fetchall() == []
        cursor = raw.execute(claim, (2**31 - 1,))
        assert [column.name for column in cursor.description] == ["enterprise_id", "id"]
        [(tenant, _)] = cursor.fetchall()
        assert str(tenant) == OTHER.enterprise_id
        assert raw.execute("SELECT count(*) FROM task_queue").fetchone() == (0,)
        assert raw.execute(_TENANT).fetchone()[0] in (None, "")


async def test_postgres_tells_that_jobs_were_added_and_not_whose(
    postgres_jobs: Jobs, postgres_urls: Urls
) -> None:
    from claude_mem.adapters.postgres.queue import CHANNEL

    def in_vain(tx: Tx) -> None:
        postgres_jobs.queue.enqueue(SCOPE, tx, [NewJob("k", "a")])
        raise ValueError

    with as_role(postgres_urls.runtime) as raw:
        raw.execute(f"LISTEN {CHANNEL}")
        with pytest.raises(ValueError):  # noqa: PT011 - our own, above
            await postgres_jobs.within(in_vain)
        await postgres_jobs.add(NewJob("k", "a"), NewJob("k", "b"), scope=OTHER)
        await postgres_jobs.claim(now_ms())
        raw.execute(f"NOTIFY {CHANNEL}, 'the end'")
        told = [note.payload for note in raw.notifies(timeout=30, stop_after=2)]
    assert told == ["", "the end"]
