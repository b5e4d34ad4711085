"""The worlds that are attacked, each built once a file; how hard they are is a number that only a long run changes."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from isolation_spy import LEDGER
from isolation_system import Servers
from isolation_world import World, postgres_world, sqlite_world

from nats_servers import NatsServer, nats_server
from redis_servers import RedisServer, redis_server
from servers import PostgresServer, Urls

_REPORT = "ISOLATION_REPORT"  # a file for the numbers, of `bench.isolation`
_SCALE = "ISOLATION_SCALE"
_SEED = "ISOLATION_SEED"


@pytest.fixture(scope="session")
def scale() -> int:
    """How many times as much is tried as in the suite."""
    return int(os.environ.get(_SCALE, "1"))


@pytest.fixture(scope="session")
def seed() -> int:
    """The same attempts each time, unless a long run asks for others."""
    return int(os.environ.get(_SEED, "20261128"))


@pytest.fixture
def chance(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """A test's own dice."""
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for all tests of a file: a world lives as long as its file."""
    return "asyncio"


@pytest.fixture(scope="module")
def urls(postgres: PostgresServer) -> Iterator[Urls]:
    """The database of the file's world."""
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """What counts and caches."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    """What takes events in."""
    with nats_server() as server:
        yield server


@pytest.fixture(scope="module")
async def world(
    urls: Urls,
    redis: RedisServer,
    nats: NatsServer,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[World]:
    """Three tenants of the server profile."""
    servers = Servers(urls, redis.url, nats.url)
    async with postgres_world(servers, tmp_path_factory.mktemp("world"), seed) as made:
        yield made


@pytest.fixture(scope="module")
async def world_on_sqlite(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Three tenants in one file of SQLite."""
    async with sqlite_world(tmp_path_factory.mktemp("world"), seed) as made:
        yield made


def pytest_sessionfinish(session: Any) -> None:
    """Leave the numbers where a long run wants them."""
    where = os.environ.get(_REPORT)
    if where:
        with Path(where).open("a", encoding="utf-8") as file:
            file.write(
                json.dumps({"attempts": dict(LEDGER.attempts), "leaks": LEDGER.leaks}) + "\n"
            )
