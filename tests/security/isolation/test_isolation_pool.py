"""Few connections, three tenants in turn, and everything that goes wrong in between: nothing is carried over.

Failures, time limits, cancelled callers, killed backends, and what a unit of work could leave behind on its connection:
a setting, a prepared statement, a cursor, a lock, a subscription.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest
from isolation_spy import LEDGER
from isolation_world import Tenant, World
from sqlalchemy.exc import SQLAlchemyError

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.kernel.errors import MemError
from claude_mem.ports.database import Tx
from servers import Urls

pytestmark = pytest.mark.anyio
UNITS, AT_ONCE = 900, 12
KIND = "pool"
TENANT = "SELECT current_setting('app.current_enterprise_id', true)"

# What is done on the connection after a tenant's rows were read: nothing, or what might reach the next one.
MISCHIEF: dict[str, str] = {
    "": "",
    "fails": "SELECT 1 / 0",
    "takes too long": "SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(1)",
    "dies": "SELECT pg_terminate_backend(pg_backend_pid())",
    "cancels itself": "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(1)",
    "sets for the session": "SELECT set_config('app.current_enterprise_id', '{tenant}', false)",
    "prepares": "PREPARE left_{number} AS SELECT content FROM prompts",
    "leaves a cursor": "DECLARE left_over CURSOR WITH HOLD FOR SELECT content FROM prompts",
    "takes up a cursor": "FETCH ALL FROM left_over",
    "locks": "SELECT pg_advisory_lock({number})",
    "listens": "LISTEN claude_mem_jobs",
    "lifts its limits": "SET statement_timeout = 0; SET row_security = on; SET search_path = pg_catalog, public",
    "ends its transaction": "COMMIT",
    "takes all back": "ROLLBACK",
    "begins another": "ROLLBACK; BEGIN",
    "discards": "RESET ALL",
}


@pytest.fixture
async def database(urls: Urls) -> AsyncIterator[PostgresDatabase]:
    """Three connections for all of them."""
    made = PostgresDatabase(urls.runtime, connections=3)
    yield made
    await made.close()


async def test_nothing_is_carried_over(
    world: World, database: PostgresDatabase, chance: random.Random, scale: int
) -> None:
    since, seen = len(LEDGER.leaks), Counter[str]()
    gate = asyncio.Semaphore(AT_ONCE)
    tables = ["prompts", "sessions", "change_journal", "search_index", "api_keys", "task_queue"]

    def unit(tenant: Tenant, table: str, mischief: str, number: int) -> Callable[[Tx], Any]:
        statement = mischief.format(tenant=tenant.scope.enterprise_id, number=number)

        def work(tx: Tx) -> Any:
            told = [tx.exec_driver_sql(TENANT).scalar()]
            told += tx.exec_driver_sql(f"SELECT t::text FROM {table} t").scalars().all()
            if statement:
                done = tx.exec_driver_sql(statement, execution_options={"no_parameters": True})
                told += done.all() if done.returns_rows else []
            told += tx.exec_driver_sql(f"SELECT t::text FROM {table} t").scalars().all()
            return told

        return work

    async def one(number: int) -> None:
        tenant = chance.choice([*world.tenants.values()])
        mischief = chance.choice([*MISCHIEF]) if chance.random() < 0.5 else ""
        handed_in = chance.choice([database.read, database.write])
        work = unit(tenant, chance.choice(tables), MISCHIEF[mischief], number)
        async with gate:
            task = asyncio.ensure_future(handed_in(tenant.scope, work))
            if chance.random() < 0.1:
                await asyncio.sleep(0)
                task.cancel()
            told: Any
            try:
                told = await task
                assert told[0] == tenant.scope.enterprise_id
                seen["answered"] += 1
            except (MemError, SQLAlchemyError, asyncio.CancelledError) as error:
                told = error
                seen[mischief or "cancelled"] += 1
        LEDGER.tried(KIND)
        for leak in world.spy.leaks(tenant.letter, told):
            LEDGER.leaked(KIND, f"as {tenant.letter}, after {mischief!r}: {leak}")

    await asyncio.gather(*(one(number) for number in range(UNITS * scale)))
    LEDGER.judge(since)
    assert seen["answered"] > UNITS * scale // 2
    assert seen["fails"]
    assert seen["dies"]
    assert seen["ends its transaction"]
    assert seen["cancelled"]


async def test_what_is_left_on_a_connection_shows_the_next_tenant_its_own(
    world: World, urls: Urls, scale: int
) -> None:
    """One connection; a prepared statement and a cursor of one tenant's, used by the other."""
    database = PostgresDatabase(urls.runtime, connections=1)
    since = len(LEDGER.leaks)
    first, *others = world.tenants.values()

    def leave(tx: Tx) -> None:
        tx.exec_driver_sql("PREPARE theirs AS SELECT content FROM prompts")
        tx.exec_driver_sql("EXECUTE theirs").all()
        tx.exec_driver_sql(
            TENANT.replace("current_setting", "set_config").replace(
                ", true", f", '{first.scope.enterprise_id}', false"
            )
        )

    await database.write(first.scope, leave)
    try:
        for tenant in others * (5 * scale):
            told = await database.read(
                tenant.scope, lambda tx: tx.exec_driver_sql("EXECUTE theirs").scalars().all()
            )
            assert told, "the statement is gone: nothing was tried"
            LEDGER.tried(KIND)
            for leak in world.spy.leaks(tenant.letter, list(told)):
                LEDGER.leaked(KIND, f"by a statement that was left: {leak}")
    finally:
        await database.close()
    LEDGER.judge(since)


async def test_requests_at_once_over_failing_connections_never_meet(
    world: World, urls: Urls, chance: random.Random, scale: int
) -> None:
    """The whole application with all tenants at once, while its connections are killed."""
    since = len(LEDGER.leaks)
    targets = ["/sessions", "/projects", "/learnings", "/search?q=zanzibar", "/export"]
    statuses = Counter[int]()

    async def ask(number: int) -> None:
        tenant = chance.choice([*world.tenants.values()])
        target = f"/api/v1{chance.choice(targets)}"
        answer = await world.client.call("GET", target, token=tenant.token)
        statuses[answer.status] += 1
        LEDGER.tried(KIND)
        if answer.status == 200 and "already started" not in answer.logs:  # not cut off
            assert tenant.known in answer.text, target
        # Logs are everybody's here: what was answered is what counts.
        for leak in world.spy.leaks(tenant.letter, answer.told):
            LEDGER.leaked(KIND, f"as {tenant.letter}, {target}: {leak}")

    async def kill() -> None:
        for _ in range(6 * scale):
            await asyncio.sleep(0.05)
            await asyncio.to_thread(_kill_some, urls)

    for _ in range(5 * scale):
        await asyncio.gather(kill(), *(ask(number) for number in range(40)))
    LEDGER.judge(since)
    assert statuses[200] > 100 * scale
    assert set(statuses) <= {200, 503}, statuses


def _kill_some(urls: Urls) -> None:
    with psycopg.connect(urls.admin.replace("+psycopg", ""), autocommit=True) as raw:
        raw.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cm_runtime'"
            " AND datname = current_database() AND random() < 0.3"
        )
