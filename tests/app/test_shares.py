"""Shares: what an enterprise asks at once leaves another one connections, whoever hangs up, and however it asks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.api.api_support import API, Api, serving
from tests.servers import Urls

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.app.shares import Shared
from claude_mem.domains.access import founding
from claude_mem.domains.access.model import Origin
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope, nobody, tenant_scope
from claude_mem.ports.database import Tx
from deployment import Servers

PATIENCE_S = 30.0
SOON_S = 0.2
LOUD, QUIET = tenant_scope(new_id()), tenant_scope(new_id())


def quick(tx: Tx) -> int:
    return int(tx.exec_driver_sql("SELECT 1").scalar_one())


async def test_slow_work_of_one_enterprise_leaves_room_for_others(postgres_urls: Urls) -> None:
    database = PostgresDatabase(postgres_urls.runtime, connections=4)
    shared = Shared(database, 2)
    release, running = threading.Event(), threading.Semaphore(0)

    def slow(tx: Tx) -> None:
        running.release()
        assert release.wait(PATIENCE_S)

    try:
        asked = [asyncio.create_task(shared.read(LOUD, slow)) for _ in range(10)]
        for _ in range(2):
            assert await asyncio.to_thread(running.acquire, timeout=PATIENCE_S)
        assert not await asyncio.to_thread(running.acquire, timeout=SOON_S), "a third of it runs"
        for scope in (QUIET, nobody()):
            for how in (shared.read, shared.write):
                assert await asyncio.wait_for(how(scope, quick), PATIENCE_S) == 1
        for one in asked[:2]:
            one.cancel()
        await asyncio.gather(*asked[:2], return_exceptions=True)
        assert not await asyncio.to_thread(running.acquire, timeout=SOON_S), "who left made room"
        release.set()
        await asyncio.gather(*asked[2:])
        await asyncio.wait_for(shared.close(), PATIENCE_S)
        assert not shared._turns._running
    finally:
        release.set()
        await database.close()


async def test_what_fails_is_told_and_gives_its_turn_back(postgres_urls: Urls) -> None:
    database = PostgresDatabase(postgres_urls.runtime, connections=1)
    shared = Shared(database, 1)

    def failing(tx: Tx) -> None:
        raise ZeroDivisionError

    try:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(shared.write(LOUD, failing), PATIENCE_S)
        assert await asyncio.wait_for(shared.read(LOUD, quick), PATIENCE_S) == 1
    finally:
        await database.close()


Asks = Callable[[Api], Coroutine[Any, Any, Any]]


@pytest.mark.parametrize(
    "ask",
    [
        lambda api: api.client.get(f"{API}/search?q=ledger"),
        lambda api: api.client.post(f"{API}/search/similar", json={"text": "ledger"}),
        lambda api: api.client.get(f"{API}/search/stream?q=ledger"),
    ],
    ids=["search", "similar", "steps"],
)
async def test_a_flood_of_one_enterprise_leaves_another_one_answered(
    ask: Asks, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight connections three are held, however many reads a request makes and whoever hangs up meanwhile."""
    release, begun = threading.Event(), threading.Semaphore(0)
    async with serving(servers, tmp_path / "data") as api:
        state = api.system.parts.state
        origin = Origin(None, None, time.perf_counter())
        other = await founding.found(state["database"], origin, "other", "admin", None)
        asked_of = state["search"]._asked

        def slow(scope: Scope, *given: Any) -> Any:
            if scope.enterprise_id == api.scope.enterprise_id:
                begun.release()
                assert release.wait(PATIENCE_S)
            return asked_of(scope, *given)

        monkeypatch.setattr(state["search"], "_asked", slow)
        flood = [asyncio.create_task(ask(api)) for _ in range(12)]
        try:
            for _ in range(3):
                assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE_S)
            for one in flood[:6]:
                one.cancel()
            await asyncio.gather(*flood[:6], return_exceptions=True)
            assert not await asyncio.to_thread(begun.acquire, timeout=SOON_S), "a fourth is begun"
            key = {"authorization": f"Bearer {other.key}"}
            asked = api.client.get(f"{API}/search?q=ledger", headers=key)
            assert (await asyncio.wait_for(asked, PATIENCE_S)).status_code == 200
        finally:
            release.set()
        found = await asyncio.gather(*flood[6:])
        assert {it.status_code for it in found} == {200}
