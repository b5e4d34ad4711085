"""The contract of the `Database` port, run on every implementation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.kernel.errors import ForeignDatabase, MemError, StoreFull, Unavailable
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Database, Tx
from servers import RUNTIME, PostgresServer, Urls

SCOPE = local_scope()
OTHER = replace(SCOPE, enterprise_id="00000000-0000-7000-8000-0000000000ff")
Open = Callable[[], Database]


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def opener(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Open]:
    """Opens the one database of the test, which has a table of things; any number of times."""
    if engine == "sqlite":
        made = SqliteDatabase(tmp_path / "contract.db")
        await made.write(
            SCOPE,
            lambda tx: tx.exec_driver_sql("CREATE TABLE things (name TEXT PRIMARY KEY)") and None,
        )
        await made.close()
        yield lambda: SqliteDatabase(tmp_path / "contract.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        urls: Urls = request.getfixturevalue("postgres_urls")
        server.execute("CREATE TABLE things (name TEXT PRIMARY KEY)", urls.name)
        server.execute(f"GRANT SELECT, INSERT, UPDATE ON things TO {RUNTIME}", urls.name)
        yield lambda: PostgresDatabase(urls.runtime, connections=4)


@pytest.fixture
async def database(opener: Open) -> AsyncIterator[Database]:
    made = opener()
    yield made
    await made.close()


def add(name: str) -> Any:
    def work(tx: Tx) -> str:
        tx.execute(sa.text("INSERT INTO things VALUES (:name)"), {"name": name})
        return name

    return work


def names(tx: Tx) -> list[str]:
    return [row[0] for row in tx.exec_driver_sql("SELECT name FROM things ORDER BY name")]


async def test_what_is_written_is_read(database: Database) -> None:
    assert await database.write(SCOPE, add("a")) == "a"
    assert await database.read(SCOPE, names) == ["a"]


async def test_a_failed_work_leaves_nothing_and_harms_no_one_else(database: Database) -> None:
    def broken(tx: Tx) -> None:
        tx.exec_driver_sql("INSERT INTO things VALUES ('half')")
        raise LookupError("on purpose")

    results = await asyncio.gather(
        *(database.write(SCOPE, work) for work in (add("a"), broken, add("b"))),
        return_exceptions=True,
    )
    assert isinstance(results[1], LookupError)
    assert await database.read(SCOPE, names) == ["a", "b"]


async def test_a_constraint_broken_by_one_is_told_to_that_one(database: Database) -> None:
    await database.write(SCOPE, add("a"))
    results = await asyncio.gather(
        database.write(SCOPE, add("a")), database.write(SCOPE, add("c")), return_exceptions=True
    )
    assert isinstance(results[0], Exception)
    assert results[1] == "c"


async def test_500_writers_at_once_lose_nothing(database: Database) -> None:
    await asyncio.gather(*(database.write(SCOPE, add(f"{n:03}")) for n in range(500)))
    assert await database.read(SCOPE, names) == [f"{n:03}" for n in range(500)]


async def test_a_reader_may_not_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"readonly|read-only|cannot be written"):
        await database.read(SCOPE, add("x"))
    assert await database.read(SCOPE, names) == []


async def test_a_reader_sees_one_moment(database: Database) -> None:
    await database.write(SCOPE, add("before"))
    looked, written = threading.Event(), threading.Event()

    def twice(tx: Tx) -> tuple[list[str], list[str]]:
        first = names(tx)
        looked.set()
        assert written.wait(30)
        return first, names(tx)

    reading = asyncio.ensure_future(database.read(SCOPE, twice))
    await asyncio.to_thread(looked.wait, 30)
    await database.write(SCOPE, add("meanwhile"))
    written.set()
    assert await reading == (["before"], ["before"])
    assert await database.read(SCOPE, names) == ["before", "meanwhile"]


async def test_close_finishes_what_was_handed_in(opener: Open) -> None:
    first = opener()
    pending = [asyncio.ensure_future(first.write(SCOPE, add(str(n)))) for n in range(50)]
    await asyncio.sleep(0)
    await first.close()
    await asyncio.gather(*pending)
    second = opener()
    assert len(await second.read(SCOPE, names)) == 50
    await second.close()


async def test_another_programs_file_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "foreign.db"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.commit()
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(ForeignDatabase, match="import --upstream"):
        SqliteDatabase(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.glob("foreign*")] == ["foreign.db"]


async def test_a_caller_who_gives_up_harms_no_one(database: Database) -> None:
    for number in range(30):
        abandoned = asyncio.ensure_future(database.write(SCOPE, add(f"given-up-{number}")))
        await asyncio.sleep(0.0005 * (number % 3))
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
    assert await database.write(SCOPE, add("still works")) == "still works"
    assert "still works" in await database.read(SCOPE, names)


# -- PostgreSQL alone ----------------------------------------------------------------------------

postgres_only = pytest.mark.parametrize("engine", ["postgres"], indirect=True)


def tenant(tx: Tx) -> str:
    return str(tx.exec_driver_sql("SELECT current_setting('app.current_enterprise_id')").scalar())


def run(statement: str) -> Callable[[Tx], None]:
    return lambda tx: tx.exec_driver_sql(statement) and None


@postgres_only
async def test_each_transaction_is_its_scopes(database: Database) -> None:
    scopes = [SCOPE, OTHER] * 20
    found = await asyncio.gather(*(database.read(scope, tenant) for scope in scopes))
    assert found == [scope.enterprise_id for scope in scopes]
    found = await asyncio.gather(*(database.write(scope, tenant) for scope in scopes))
    assert found == [scope.enterprise_id for scope in scopes]


@postgres_only
@pytest.mark.parametrize("fails", [False, True])
async def test_a_connection_given_back_carries_no_tenant(
    fails: bool, postgres_urls: Urls, opener: Open
) -> None:
    one = PostgresDatabase(postgres_urls.runtime, connections=1)

    def work(tx: Tx) -> None:
        assert tenant(tx) == SCOPE.enterprise_id
        if fails:
            tx.exec_driver_sql("SELECT 1 / 0")

    for handed_in in (one.read, one.write):
        await asyncio.gather(handed_in(SCOPE, work), return_exceptions=True)
        with one._engine.connect() as pooled:  # the only connection there is
            assert tenant(pooled) == ""
            assert not pooled.connection.driver_connection.info.transaction_status
    await one.close()


@postgres_only
@pytest.mark.parametrize("bad", ["", "x", "'; RESET ROLE; --"])
async def test_a_scope_without_a_tenant_gets_no_transaction(bad: str, database: Database) -> None:
    with pytest.raises(MemError, match="no UUID"):
        await database.read(replace(SCOPE, enterprise_id=bad), names)


@postgres_only
async def test_a_failure_that_a_work_swallows_is_told(database: Database) -> None:
    """PostgreSQL answers such a COMMIT with a rollback, and no error."""

    def swallows(tx: Tx) -> None:
        add("lost")(tx)
        with pytest.raises(sa.exc.IntegrityError):
            add("lost")(tx)

    with pytest.raises(MemError, match="failed unnoticed"):
        await database.write(SCOPE, swallows)
    with pytest.raises(MemError, match="ended the transaction"):
        await database.write(SCOPE, run("COMMIT"))
    assert await database.read(SCOPE, names) == []


@postgres_only
async def test_a_deadlock_is_tried_again(database: Database) -> None:
    for name in "ab":
        await database.write(SCOPE, add(name))
    both, attempts = threading.Barrier(2), []

    def locking(first: str, second: str) -> Callable[[Tx], str]:
        def work(tx: Tx) -> str:
            lock = sa.text("UPDATE things SET name = name WHERE name = :name")
            tx.execute(lock, {"name": first})
            attempts.append(first)
            if attempts.count(first) == 1:
                both.wait(30)
            tx.execute(lock, {"name": second})
            return first

        return work

    works = [locking("a", "b"), locking("b", "a")]
    assert await asyncio.gather(*(database.write(SCOPE, work) for work in works)) == ["a", "b"]
    assert len(attempts) == 3


@postgres_only
async def test_a_plan_from_before_an_upgrade_harms_no_one(
    database: Database, postgres: PostgresServer, postgres_urls: Urls
) -> None:
    def everything(tx: Tx) -> int:
        return len(tx.exec_driver_sql("SELECT * FROM things WHERE name <> %s", ("x",)).keys())

    for _ in range(40):  # often enough on each connection for the driver to prepare it
        assert await database.read(SCOPE, everything) == 1
    postgres.execute("ALTER TABLE things ADD COLUMN later text", postgres_urls.name)
    for _ in range(8):
        assert await database.read(SCOPE, everything) == 2


@postgres_only
async def test_connections_that_were_cut_are_made_anew(
    database: Database, postgres: PostgresServer, postgres_urls: Urls
) -> None:
    await asyncio.gather(*(database.write(SCOPE, add(f"{n}")) for n in range(8)))
    cut = (
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{RUNTIME}'"
    )
    postgres.execute(cut, postgres_urls.name)
    assert await database.write(SCOPE, add("after")) == "after"
    results = await asyncio.gather(*(database.read(SCOPE, names) for _ in range(8)))
    assert {len(result) for result in results} == {9}


@postgres_only
async def test_a_connection_cut_in_the_middle_is_told(
    database: Database, postgres: PostgresServer
) -> None:
    def cut(tx: Tx) -> None:
        add("half")(tx)
        pid = tx.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        postgres.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
        add("more")(tx)

    with pytest.raises(Unavailable) as told:
        await database.write(SCOPE, cut)
    assert told.value.retry_after
    assert await database.read(SCOPE, names) == []


async def test_a_server_that_is_away_is_told_without_its_address(postgres_urls: Urls) -> None:
    nowhere = sa.make_url(postgres_urls.runtime).set(port=1, password="hush")
    away = PostgresDatabase(nowhere.render_as_string(hide_password=False), connections=1)
    with pytest.raises(Unavailable) as told:
        await away.write(SCOPE, add("a"))
    assert told.value.retry_after
    assert "hush" not in str(told.value)
    await away.close()


RAISED = {
    "53100": StoreFull,
    "58030": StoreFull,
    "55P03": Unavailable,
    "57014": Unavailable,
    "53300": Unavailable,
    "40001": Unavailable,  # after a few attempts
}


@postgres_only
@pytest.mark.parametrize("state", sorted(RAISED))
async def test_the_servers_errors_are_told_in_our_words(state: str, database: Database) -> None:
    raising = run(f"DO $$ BEGIN RAISE EXCEPTION 'deep inside' USING ERRCODE = '{state}'; END $$")
    with pytest.raises(RAISED[state]) as told:
        await database.write(SCOPE, raising)
    assert type(told.value) is RAISED[state]
    assert told.value.retry_after
    assert "deep inside" not in str(told.value)
    assert await database.write(SCOPE, add("goes on")) == "goes on"


def test_addresses_that_are_none() -> None:
    for url in ("", "nonsense", "sqlite:///x.db", "mysql://u:p@h/d"):
        with pytest.raises(MemError) as told:
            PostgresDatabase(url)
        assert "p@h" not in str(told.value)
