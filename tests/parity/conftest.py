"""A developer's store with all there is, databases to bring it to, and engines that embed what they are told."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from migrating_support import Row, bring, make_enterprises, record, written
from parity_support import (
    NOW,
    awkward,
    sample,
    with_nul,
)
from vectors_support import World, side_on

from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_ENTERPRISE
from servers import PostgresServer, Urls
from word_embedder import WordEmbedder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all there is: sessions of the sample, odd texts, NUL, summaries, learnings, uses."""
    folder = tmp_path_factory.mktemp("store")
    record(folder, sample(), awkward(), [it | {"id": new_id(NOW)} for it in with_nul()])
    with written(folder) as tx:
        ids = [row[0] for row in tx.exec_driver_sql("SELECT id FROM learnings ORDER BY id LIMIT 5")]
        tx.exec_driver_sql(
            "INSERT INTO entity_use VALUES "
            + ", ".join(f"('{LOCAL_ENTERPRISE}', 'learning', '{it}', 3, {NOW})" for it in ids)
        )
    return folder


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    """One of one's own."""
    folder = tmp_path / "own"
    shutil.copytree(whole, folder)
    return folder


@pytest.fixture
def urls(postgres: PostgresServer) -> Iterator[Urls]:
    made = postgres.database()
    make_enterprises(made)
    yield made
    postgres.drop(made)


@pytest.fixture(scope="session")
def brought(whole: Path, postgres: PostgresServer) -> Iterator[tuple[Urls, Row]]:
    """The whole store, brought once; only looked at."""
    made = postgres.database()
    make_enterprises(made)
    yield made, bring(whole, made)
    postgres.drop(made)


@pytest.fixture(params=["sqlite", "postgres"])
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_urls: Urls
) -> AsyncIterator[World]:
    embedder = WordEmbedder()
    async with side_on(request.param, tmp_path, postgres_urls.runtime, embedder) as side:
        yield World(side, embedder)
