"""A benchmark's PostgreSQL that is kept: the next run goes on with what was filled."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.server import filled, postgres


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the server's user can get at."""
    made = Path(tempfile.mkdtemp(prefix="cm-kept-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_what_was_filled_is_there_the_next_time(folder: Path) -> None:
    times = 0

    def fill(urls: Any) -> dict[str, Any]:
        nonlocal times
        times += 1
        server.execute("CREATE SCHEMA kept; CREATE TABLE kept.filled (number integer)", urls.name)
        return {"seconds": 3}

    for _ in range(2):
        with postgres(folder) as server, filled(server, 7, fill, folder) as (urls, said):
            assert said == {"seconds": 3}
            assert server.execute("SELECT number FROM kept.filled", urls.name) == []
    assert times == 1


def test_what_was_broken_off_is_filled_anew(folder: Path) -> None:
    def fails(urls: Any) -> dict[str, Any]:
        server.execute("CREATE SCHEMA kept; CREATE TABLE kept.filled (half integer)", urls.name)
        raise RuntimeError("broken off")

    def fill(urls: Any) -> dict[str, Any]:
        server.execute("CREATE SCHEMA kept; CREATE TABLE kept.filled (whole integer)", urls.name)
        return {}

    with postgres(folder) as server:
        with pytest.raises(RuntimeError, match="broken off"), filled(server, 7, fails, folder):
            pass
        with filled(server, 7, fill, folder) as (urls, _):
            assert server.execute("SELECT whole FROM kept.filled", urls.name) == []
