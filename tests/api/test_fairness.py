"""Fairness: what one enterprise asks at once leaves room for others, and holds up nothing that is handed in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from api_support import API, serving

from claude_mem.api.fairness import EXPORTS, Fairness
from claude_mem.api.middleware import Message, Receive, Send
from claude_mem.domains.access import founding
from claude_mem.domains.access.model import Origin
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope, tenant_scope
from deployment import Servers

MOST = 2
PATIENCE_S = 30.0
LOUD, QUIET = tenant_scope(new_id()), tenant_scope(new_id())


class Slow:
    """An application whose every request goes on until `release`; counts who is being answered."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.inside: Counter[str] = Counter()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        caller = scope["state"].get("caller")
        who = "nobody" if caller is None else caller.enterprise_id
        self.inside[who] += 1
        await self.release.wait()


async def _receive() -> Message:
    return {"type": "http.request"}


async def _send(message: Message) -> None:
    del message


def asked(fairness: Fairness, path: str, caller: Scope | None) -> asyncio.Task[None]:
    """A request, under way."""
    scope = {"type": "http", "method": "GET", "path": path, "state": {"caller": caller}}

    async def ask() -> None:
        await fairness(scope, _receive, _send)

    return asyncio.create_task(ask())


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_enterprise_leaves_room_for_another_and_all_are_answered_in_the_end() -> None:
    app = Slow()
    fairness = Fairness(app, MOST)
    requests = [asked(fairness, "/api/v1/search", LOUD) for _ in range(10)]
    await settled()
    assert app.inside[LOUD.enterprise_id] == MOST
    requests.append(asked(fairness, "/api/v1/timeline", QUIET))
    await settled()
    assert app.inside[QUIET.enterprise_id] == 1
    app.release.set()
    await asyncio.wait_for(asyncio.gather(*requests), PATIENCE_S)
    assert app.inside[LOUD.enterprise_id] == 10


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/events",
        "/api/v1/hooks/claude-code",
        "/api/v1/stream/events",
        "/api/v1/health",
        "/health",
        "/mcp/call",  # what it asks comes again by itself: both waiting would be for ever
    ],
)
async def test_what_is_handed_in_and_what_holds_nothing_waits_for_nobody(path: str) -> None:
    app = Slow()
    fairness = Fairness(app, MOST)
    requests = [asked(fairness, "/api/v1/search", LOUD) for _ in range(MOST + 1)]
    await settled()
    requests += [asked(fairness, path, LOUD) for _ in range(5)]
    await settled()
    assert app.inside[LOUD.enterprise_id] == MOST + 5
    app.release.set()
    await asyncio.gather(*requests)


async def test_exports_which_last_have_a_line_of_their_own() -> None:
    app = Slow()
    fairness = Fairness(app, MOST)
    requests = [asked(fairness, "/api/v1/export", LOUD) for _ in range(5)]
    await settled()
    assert app.inside[LOUD.enterprise_id] == EXPORTS
    requests.append(asked(fairness, "/api/v1/search", LOUD))
    await settled()
    assert app.inside[LOUD.enterprise_id] == EXPORTS + 1
    app.release.set()
    await asyncio.gather(*requests)


async def test_who_hangs_up_makes_room() -> None:
    app = Slow()
    fairness = Fairness(app, 1)
    gone, waiting = (asked(fairness, "/api/v1/search", LOUD) for _ in range(2))
    await settled()
    gone.cancel()
    await settled()
    assert app.inside[LOUD.enterprise_id] == 2
    app.release.set()
    await asyncio.wait_for(waiting, PATIENCE_S)


async def test_who_is_nobody_is_none_of_its_business() -> None:
    app = Slow()
    fairness = Fairness(app, 1)
    requests = [asked(fairness, "/api/v1/health", None) for _ in range(3)]
    await settled()
    assert app.inside["nobody"] == 3
    app.release.set()
    await asyncio.gather(*requests)


async def test_searches_of_one_enterprise_leave_another_one_connections(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight connections, twelve searches that stand still: three are begun, and the next enterprise is answered."""
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
        url = f"{API}/search?q=ledger"
        flood = [asyncio.create_task(api.client.get(url)) for _ in range(12)]
        try:
            for _ in range(3):
                assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE_S)
            assert not await asyncio.to_thread(begun.acquire, timeout=0.2), "a fourth is begun"
            key = {"authorization": f"Bearer {other.key}"}
            answer = await asyncio.wait_for(api.client.get(url, headers=key), PATIENCE_S)
            assert answer.status_code == 200
        finally:
            release.set()
        assert [it.status_code for it in await asyncio.gather(*flood)] == [200] * 12
