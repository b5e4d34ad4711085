"""The running system, and the support that other tests have too."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

# Support shared with tests/api.
sys.path.insert(0, str(Path(__file__).parents[1] / "api"))

from api_support import Api, running


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(tmp_path / "data") as found:
        yield found
