"""The lease in the database, and the bell that tells of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import ProgrammingError

from claude_mem.adapters.postgres.bell import JobBell
from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.lease import Lease
from claude_mem.adapters.postgres.queue import PostgresQueue
from claude_mem.domains.access import repository as access
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import nobody, tenant_scope
from claude_mem.ports.queue import NewJob
from servers import PostgresServer, Urls


@pytest.fixture
async def database(postgres_urls: Urls) -> AsyncIterator[PostgresDatabase]:
    made = PostgresDatabase(postgres_urls.runtime, 3)
    yield made
    await made.close()


async def test_one_holds_it_until_it_gives_it_back(database: PostgresDatabase) -> None:
    mine, other = Lease(database, "work"), Lease(database, "work")
    assert await mine.take()
    assert not await other.take()
    assert await mine.take()
    await other.give_back()  # is no way to take it from somebody
    assert not await other.take()
    await mine.give_back()
    assert await other.take()
    assert not await mine.take()


async def test_of_two_at_once_one_has_it(database: PostgresDatabase) -> None:
    leases = [Lease(database, "work") for _ in range(12)]
    taken = await asyncio.gather(*(lease.take() for lease in leases))
    assert sum(taken) == 1


async def test_one_that_is_over_goes_to_another(
    database: PostgresDatabase, postgres: PostgresServer, postgres_urls: Urls
) -> None:
    mine, other = Lease(database, "work"), Lease(database, "work")
    assert await mine.take()
    past = "UPDATE claude_mem_control.leases SET until = now() - interval '1 second'"
    postgres.execute(past, postgres_urls.name)
    assert await other.take()
    assert not await mine.take()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM claude_mem_control.leases",
        "DELETE FROM claude_mem_control.leases",
        "UPDATE claude_mem_control.leases SET until = now() + interval '9 years'",
    ],
)
async def test_the_table_itself_is_out_of_reach(database: PostgresDatabase, sql: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        await database.write(nobody(), lambda tx: tx.exec_driver_sql(sql))


async def test_nobody_takes_it_for_long(
    database: PostgresDatabase, postgres: PostgresServer, postgres_urls: Urls
) -> None:
    sql = "SELECT take_lease('work', gen_random_uuid(), 2000000000)"
    assert await database.write(nobody(), lambda tx: tx.exec_driver_sql(sql).scalar())
    left = "SELECT until < now() + interval '61 seconds' FROM claude_mem_control.leases"
    assert postgres.execute(left, postgres_urls.name) == [(True,)]


async def test_the_bell_rings_when_a_job_is_committed(
    database: PostgresDatabase, postgres_urls: Urls
) -> None:
    scope, queue = tenant_scope(new_id()), PostgresQueue()
    bell = JobBell(postgres_urls.runtime)
    try:
        await bell.wait(60)  # returns as soon as it listens: something may have been added before
        for number in range(3):
            waiting = asyncio.create_task(bell.wait(60))
            await asyncio.sleep(0)
            assert not waiting.done()

            def add(tx: object, number: int = number) -> None:
                if not number:
                    access.make_enterprise(
                        tx,
                        enterprise_id=scope.enterprise_id,
                        solution_id=new_id(),
                        user_id=new_id(),
                        now=1,
                    )
                queue.enqueue(scope, tx, [NewJob("any", str(number))])

            await database.write(scope, add)
            async with asyncio.timeout(30):
                await waiting
    finally:
        await bell.close()


async def test_the_bell_goes_on_after_its_connection_was_ended(
    database: PostgresDatabase,
    postgres: PostgresServer,
    postgres_urls: Urls,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("claude_mem.adapters.postgres.bell._AGAIN_S", 0.05)
    bell = JobBell(postgres_urls.runtime)
    try:
        await bell.wait(60)
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'claude-mem-bell'"
        assert postgres.execute(end)
        async with asyncio.timeout(30):
            await bell.wait(60)  # it listens again, and says so
    finally:
        await bell.close()
