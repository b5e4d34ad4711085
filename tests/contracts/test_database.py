"""The contract of the `Database` port, run on every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.kernel.errors import ForeignDatabase
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Database, Tx

SCOPE = local_scope()


@pytest.fixture(params=["sqlite"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    made = SqliteDatabase(tmp_path / "contract.db")
    await made.write(
        SCOPE, lambda tx: tx.exec_driver_sql("CREATE TABLE things (name TEXT PRIMARY KEY)") and None
    )
    yield made
    await made.close()


def add(name: str) -> Any:
    def work(tx: Tx) -> str:
        tx.exec_driver_sql("INSERT INTO things VALUES (?)", (name,))
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


async def test_close_finishes_what_was_handed_in(tmp_path: Path) -> None:
    first = SqliteDatabase(tmp_path / "close.db")
    await first.write(
        SCOPE, lambda tx: tx.exec_driver_sql("CREATE TABLE things (name TEXT)") and None
    )
    pending = [asyncio.ensure_future(first.write(SCOPE, add(str(n)))) for n in range(50)]
    await asyncio.sleep(0)
    await first.close()
    await asyncio.gather(*pending)
    second = SqliteDatabase(tmp_path / "close.db")
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
