"""Rows go in whole on PostgreSQL, where all of them travel as one document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.domains.sql import (
    EpochMs,
    among,
    id_type,
    insert_many,
    json_type,
    text_type,
)
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import nobody
from servers import Urls

_TABLE = sa.Table(
    "kinds_of_values",
    sa.MetaData(),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("words", text_type()),
    sa.Column("document", json_type()),
    sa.Column("moment", EpochMs),
    sa.Column("bytes", sa.LargeBinary),
    sa.Column("number", sa.BigInteger),
    sa.Column("share", sa.Float),
    sa.Column("is_so", sa.Boolean),
)


@pytest.fixture
async def database(postgres_urls: Urls) -> AsyncIterator[PostgresDatabase]:
    engine = sa.create_engine(postgres_urls.owner)
    _TABLE.create(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("GRANT SELECT, INSERT ON kinds_of_values TO cm_runtime")
    engine.dispose()
    made = PostgresDatabase(postgres_urls.runtime, 2)
    yield made
    await made.close()


def row(
    words: str | None, document: Any, moment: int | None, data: bytes | None
) -> tuple[Any, ...]:
    return (new_id(), words, document, moment, data, 2**62, 0.1, True)


async def test_every_kind_of_value_comes_back_as_it_was(database: PostgresDatabase) -> None:
    rows = [
        row(
            '"quotes" \\u0041 \\ 预约 🙂 \n',
            {"a": [1, None, "\\u0000?"], "b": '"'},
            0,
            bytes(range(256)),
        ),
        row("", [], 1_790_000_000_123, b""),
        row(None, None, None, None),
        row("null", "null", -62_135_596_800_000, b"\\x00"),
    ]
    await database.write(nobody(), lambda tx: insert_many(tx, _TABLE, rows))
    found = await database.read(nobody(), lambda tx: tx.execute(sa.select(_TABLE)).all())
    assert {tuple(it) for it in map(_plain, found)} == {tuple(it) for it in map(_plain, rows)}


async def test_nul_becomes_what_the_engine_can_hold(database: PostgresDatabase) -> None:
    rows = [row("a\0b", {"k\0": ["\0"]}, 1, b"\0")]
    await database.write(nobody(), lambda tx: insert_many(tx, _TABLE, rows))
    found = await database.read(nobody(), lambda tx: tx.execute(sa.select(_TABLE)).one())
    assert (found.words, found.document, found.bytes) == (
        "a\ufffdb",
        {"k\ufffd": ["\ufffd"]},
        b"\0",
    )


async def test_more_rows_than_go_into_one_document(database: PostgresDatabase) -> None:
    rows = [row(str(number), {}, number, b"") for number in range(1_201)]
    await database.write(nobody(), lambda tx: insert_many(tx, _TABLE, rows))
    wanted = [rows[0][0], rows[1_200][0], new_id(), "none"]
    query = sa.select(sa.func.count()).select_from(_TABLE)
    counts = await database.read(
        nobody(),
        lambda tx: (
            tx.execute(query).scalar(),
            tx.execute(query.where(among(tx, _TABLE.c.id, wanted))).scalar(),
        ),
    )
    assert counts == (1_201, 2)


async def test_an_id_that_is_none_is_an_error(database: PostgresDatabase) -> None:
    with pytest.raises(sa.exc.DBAPIError):
        await database.write(
            nobody(), lambda tx: insert_many(tx, _TABLE, [("none", *row("", {}, 1, b"")[1:])])
        )


def _plain(values: Any) -> list[Any]:
    return [repr(value) for value in values]
