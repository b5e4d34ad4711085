"""The running system as a fixture: on both profiles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_support import Api, running, serving
from stream_support import Stage

# What the door refuses, it refuses before any engine is asked: once is enough.
_AT_THE_DOOR = ("refused", "wrong", "fault", "bounds", "unknown_fields")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, on the server profile, what says nothing of it."""
    here = Path(__file__).parent
    out = [
        item
        for item in items
        if item.path.is_relative_to(here)
        and "[server" in item.name
        and any(word in item.name.partition("[")[0] for word in _AT_THE_DOOR)
    ]
    if out:
        config.hook.pytest_deselected(items=out)
        gone = set(out)
        items[:] = [item for item in items if item not in gone]


@pytest.fixture
async def api(profile: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """A client of the system; the servers are started by the first test that needs them."""
    if profile == "local":
        async with running(tmp_path / "data") as found:
            yield found
    else:
        async with serving(request.getfixturevalue("servers"), tmp_path / "data") as found:
            yield found


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running(tmp_path / "data") as api:
        await api.system.loop.stop(0)  # tests record themselves, when they want to
        made = Stage(api)
        yield made
        await made.live.close()
