"""Nothing of a test is left in memory after it: a run of thousands would become slower and slower."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from api_support import Api

BEFORE: list[weakref.ref[Any]] = []


@pytest.mark.parametrize("_turn", range(3))
async def test_the_system_of_the_test_before_is_gone(api: Api, _turn: int) -> None:
    await api.take(api.event())
    gc.collect()
    assert [it() for it in BEFORE] == [None] * len(BEFORE)
    BEFORE.extend(weakref.ref(it) for it in (api, api.system.parts.state["database"]))
