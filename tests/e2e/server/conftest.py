"""One deployment a test module: three servers, a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment import Deployment, deployment
from nats_servers import nats_server
from redis_servers import redis_server
from servers import PostgresServer


@pytest.fixture(scope="module")
def deployed(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The servers; a test starts as many processes as it wants."""
    folder: Path = tmp_path_factory.mktemp("deployment")
    with (
        redis_server() as redis,
        nats_server() as nats,
        deployment(postgres, redis, nats, folder) as made,
    ):
        yield made
