"""Nothing of a test is left in memory after it: a run of thousands would become slower and slower."""

from __future__ import annotations

import gc
import weakref

import pytest
from api_support import Api

BEFORE: list[weakref.ref[Api]] = []


@pytest.mark.parametrize("_turn", range(3))
async def test_the_system_of_the_test_before_is_gone(api: Api, _turn: int) -> None:
    await api.take(api.event())
    gc.collect()
    assert [it() for it in BEFORE] == [None] * len(BEFORE)
    BEFORE.append(weakref.ref(api))
