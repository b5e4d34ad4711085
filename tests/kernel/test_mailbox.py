"""The queue that ends its listener instead of waiting for it."""

from __future__ import annotations

import asyncio

from claude_mem.kernel.mailbox import Mailbox


async def test_items_come_in_order_one_by_one_or_together() -> None:
    box = Mailbox[int](10)
    assert box.put([1, 2, 3])
    assert await anext(box) == 1
    assert await box.take(0) == [2, 3]
    assert await box.take(0.001) == []
    waiting = asyncio.create_task(box.take(30))
    await asyncio.sleep(0)
    box.put([4])
    assert await waiting == [4]


async def test_what_does_not_fit_ends_it_and_drops_everything() -> None:
    box = Mailbox[int](3)
    assert box.put([1, 2, 3])
    assert not box.put([4])
    assert box.is_ended
    assert await box.take(30) is None
    assert [it async for it in box] == []
    assert not box.put([5])
    assert await box.take(30) is None


async def test_the_end_wakes_who_waits() -> None:
    box = Mailbox[int](3)
    taking = asyncio.create_task(box.take(3_600))
    await asyncio.sleep(0)
    box.end()
    assert await asyncio.wait_for(taking, 30) is None


async def test_putting_nothing_wakes_nobody() -> None:
    box = Mailbox[int](3)
    taking = asyncio.create_task(box.take(0.01))
    await asyncio.sleep(0)
    assert box.put([])
    assert await asyncio.wait_for(taking, 30) == []
