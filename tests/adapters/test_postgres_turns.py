"""Turns: no tenant holds all of a process's connections, and whoever waits is told in time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from tests.servers import Urls

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.turns import Turns
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import nobody, tenant_scope
from claude_mem.ports.database import Tx

SOON_S = 0.05
PATIENCE_S = 30.0


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_tenant_has_so_many_and_the_others_have_theirs() -> None:
    turns = Turns(each=2, together=3)
    for tenant in ("a", "a", "b"):
        await asyncio.wait_for(turns.take(tenant), PATIENCE_S)
    order: list[str] = []

    async def wait(tenant: str, name: str) -> None:
        await turns.take(tenant)
        order.append(name)

    waiting = [
        asyncio.create_task(wait(tenant, f"{tenant}{number}"))
        for number, tenant in enumerate(("a", "a", "b", "c"))
    ]
    await settled()
    assert order == []
    turns.give_back("b")  # "a" has two already, so the turn passes by those who came first
    await settled()
    assert order == ["b2"]
    for tenant in ("a", "a", "b"):
        turns.give_back(tenant)
    await settled()
    assert sorted(order) == ["a0", "a1", "b2", "c3"]
    await asyncio.gather(*waiting)


async def test_who_waits_too_long_is_told_when_to_come_again_and_leaves_no_trace() -> None:
    turns = Turns(each=1, together=1, patience_s=SOON_S)
    await turns.take("a")
    with pytest.raises(Unavailable) as told:
        await turns.take("a")
    assert told.value.retry_after
    turns.give_back("a")
    await turns.take("b")
    turns.give_back("b")


async def test_a_turn_that_comes_while_its_caller_leaves_is_handed_on() -> None:
    turns = Turns(each=1, together=1)
    await turns.take("a")
    leaving, staying = (asyncio.create_task(turns.take("a")) for _ in range(2))
    await settled()
    turns.give_back("a")  # it is the first one's now, who has not run yet
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await asyncio.wait_for(staying, PATIENCE_S)


async def test_who_leaves_while_turns_come_back_takes_none_and_harms_nobody() -> None:
    turns = Turns(each=4, together=4, patience_s=SOON_S)
    for _ in range(4):
        await turns.take("a")
    loop, faults = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    waiting = [asyncio.create_task(turns.take("a")) for _ in range(200)]
    await settled()
    time.sleep(SOON_S * 1.2)  # noqa: ASYNC251 - so that all their patience ends before any of them runs
    loop.call_soon(lambda: [turns.give_back("a") for _ in range(4)])
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(it) for it in found} == {Unavailable}
    assert faults == []
    await asyncio.wait_for(turns.ended(), PATIENCE_S)


async def test_a_tenant_who_asks_once_is_not_held_up_by_those_who_ask_for_much() -> None:
    turns = Turns(each=2, together=3)
    for tenant in ("a", "a", "b"):
        await turns.take(tenant)
    order: list[str] = []

    async def take(tenant: str) -> None:
        await turns.take(tenant)
        order.append(tenant)

    waiting = [asyncio.create_task(take(tenant)) for tenant in "aaabbbc"]
    await settled()
    turns.give_back("a")
    await settled()
    assert order == ["c"]
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_is_written_goes_before_what_is_asked_and_waits_as_long_as_it_takes() -> None:
    turns = Turns(each=1, together=1, patience_s=SOON_S)
    await turns.take("a")
    order: list[str] = []

    async def take(name: str, *, first: bool) -> None:
        await turns.take("a", first=first)
        order.append(name)
        turns.give_back("a")

    asked = asyncio.create_task(take("asked", first=False))
    await settled()
    written = asyncio.create_task(take("written", first=True))
    with pytest.raises(Unavailable):
        await asked
    turns.give_back("a")
    await asyncio.wait_for(written, PATIENCE_S)
    assert order == ["written"]


async def test_a_closed_database_keeps_no_turn(postgres_urls: Urls) -> None:
    database = PostgresDatabase(postgres_urls.runtime, connections=2)
    await database.close()
    with pytest.raises(RuntimeError):
        await database.read(tenant_scope(new_id()), lambda _: None)
    await asyncio.wait_for(database.close(), PATIENCE_S)


async def test_slow_work_of_one_tenant_leaves_room_for_others(postgres_urls: Urls) -> None:
    database = PostgresDatabase(postgres_urls.runtime, connections=4)
    loud, quiet = tenant_scope(new_id()), tenant_scope(new_id())
    release, running = threading.Event(), threading.Semaphore(0)

    def slow(tx: Tx) -> None:
        running.release()
        assert release.wait(PATIENCE_S)

    def quick(tx: Tx) -> int:
        return int(tx.exec_driver_sql("SELECT 1").scalar_one())

    try:
        asked = [asyncio.create_task(database.read(loud, slow)) for _ in range(10)]
        for _ in range(2):
            assert await asyncio.to_thread(running.acquire, timeout=PATIENCE_S)
        assert not running.acquire(timeout=SOON_S), "a third of the same tenant runs"
        for scope in (quiet, nobody()):
            assert await asyncio.wait_for(database.read(scope, quick), PATIENCE_S) == 1
        for one in asked[:2]:
            one.cancel()  # who hangs up does not free what still works for him
        await settled()
        assert not running.acquire(timeout=SOON_S), "a caller who left made room"
        release.set()
        await asyncio.gather(*asked[2:])
    finally:
        release.set()
        await database.close()
