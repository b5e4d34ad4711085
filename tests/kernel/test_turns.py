"""Turns: no tenant has more at once than its share, and whoever waits is told in time."""

from __future__ import annotations

import asyncio

import pytest

from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.turns import Turns

SOON_S = 0.05
PATIENCE_S = 30.0


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_tenant_has_so_many_and_others_have_theirs() -> None:
    turns = Turns(2)
    for tenant in ("a", "a", "b", "b", "c"):
        await asyncio.wait_for(turns.take(tenant), PATIENCE_S)
    order: list[str] = []

    async def wait(name: str) -> None:
        await turns.take("a")
        order.append(name)

    waiting = [asyncio.create_task(wait(name)) for name in ("first", "second")]
    await settled()
    turns.give_back("b")
    await settled()
    assert order == []
    turns.give_back("a")
    await settled()
    assert order == ["first"]
    turns.give_back("a")
    await asyncio.gather(*waiting)
    assert order == ["first", "second"]


async def test_who_waits_too_long_is_told_when_to_come_again_and_leaves_no_trace() -> None:
    turns = Turns(1, patience_s=SOON_S)
    await turns.take("a")
    with pytest.raises(Unavailable) as told:
        await turns.take("a")
    assert told.value.retry_after
    turns.give_back("a")
    await asyncio.wait_for(turns.take("a"), PATIENCE_S)
    turns.give_back("a")
    assert not turns._running
    assert not turns._lines


async def test_a_turn_that_comes_while_its_caller_leaves_is_handed_on() -> None:
    turns = Turns(1)
    await turns.take("a")
    leaving, staying = (asyncio.create_task(turns.take("a")) for _ in range(2))
    await settled()
    turns.give_back("a")  # it is the first one's now, who has not run yet
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await asyncio.wait_for(staying, PATIENCE_S)


async def test_who_leaves_while_turns_come_back_takes_none_and_harms_nobody() -> None:
    turns = Turns(4, patience_s=SOON_S)
    for _ in range(4):
        await turns.take("a")
    waiting = [asyncio.create_task(turns.take("a")) for _ in range(100)]
    await asyncio.sleep(SOON_S * 0.9)
    loop = asyncio.get_running_loop()
    faults: list[object] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    until = loop.time() + SOON_S
    # Each is handed on at once, some to those whose patience ends this very moment.
    while loop.time() < until:
        turns.give_back("a")
        await asyncio.sleep(0)
        if turns._running["a"] < 4:
            await turns.take("a")
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(it) for it in found} <= {type(None), Unavailable}
    assert faults == []
    while turns._running:
        turns.give_back("a")
    assert not turns._lines
