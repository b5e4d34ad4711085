"""Recording lets an agent's answer go first, for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from claude_mem.app.build import System
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.inbox import Entry
from claude_mem.worker import loop as module
from claude_mem.worker.loop import Loop, Work


async def loop_with_an_event(
    system: System, spool: Path, answered: Callable[[], Awaitable[object]]
) -> Loop:
    event = {
        "id": new_id(),
        "type": "prompt.submitted",
        "occurred_at": to_iso(now_ms()),
        "agent": "claude-code",
        "session": "one",
        "project": "ledger",
        "data": {"content": "Mend the rounding"},
    }
    await system.inbox.append(local_scope(), [Entry(str(event["id"]), orjson.dumps(event))])
    state = system.parts.state
    return Loop(
        Work(
            capture=state["capture"],
            inbox=system.inbox,
            database=state["database"],
            queue=state["queue"],
            handlers={},
            maintain=state["maintain"],
            spool=spool,
            scope=local_scope(),
            answered=answered,
        )
    )


async def test_recording_waits_until_the_answer_is_given(system: System, tmp_path: Path) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def until_answered() -> None:
        asked.set()
        await answered.wait()

    loop = await loop_with_an_event(system, tmp_path, until_answered)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LONGEST_ANSWER_S", 60.0)
        draining = asyncio.create_task(loop._drain())
        await asked.wait()
        assert (loop.health.recorded, await system.inbox.pending()) == (0, 1)
        answered.set()
        await draining
    assert (loop.health.recorded, await system.inbox.pending()) == (1, 0)


async def test_an_answer_without_end_holds_up_no_recording(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_ANSWER_S", 0.02)
    loop = await loop_with_an_event(system, tmp_path, asyncio.Event().wait)
    await loop._drain()
    assert loop.health.recorded == 1


async def test_a_stop_goes_on_while_the_inbox_is_away(system: System, tmp_path: Path) -> None:
    async def at_once() -> None:
        return None

    async def away() -> int:
        raise Unavailable("the event broker is away")

    loop = await loop_with_an_event(system, tmp_path, at_once)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system.inbox, "pending", away)
        assert await loop.stop(0.0) == 0
