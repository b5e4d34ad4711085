"""Whose a session is: of who handed it in. Without `forget:any` somebody forgets their own and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import orjson
import pytest

from claude_mem.app.build import System
from claude_mem.domains.capture import forget
from claude_mem.domains.capture.schemas import check_events
from claude_mem.domains.capture.service import BY
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import Forbidden, Invalid
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_USER, ROLES, Scope, local_scope
from claude_mem.ports.database import Tx

T = TypeVar("T")
ADMIN = local_scope()
GRACE = replace(ADMIN, user_id=new_id(), permissions=ROLES["user"], role="user")
ALAN = replace(GRACE, user_id=new_id())
LEARNED = "Always run the linter before you commit: never skip it."


def event(session: str, at: int, content: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "type": "prompt.submitted",
        "occurred_at": to_iso(now_ms() - 3_600_000 + at * 1000),
        "agent": "claude-code",
        "session": session,
        "project": "ledger",
        "data": {"content": content},
    }


async def read(system: System, work: Callable[[Tx], T]) -> T:
    found: T = await system.parts.state["database"].read(ADMIN, work)
    return found


async def write(system: System, work: Callable[[Tx], T]) -> T:
    found: T = await system.parts.state["database"].write(ADMIN, work)
    return found


@pytest.fixture
async def recorded(system: System) -> System:
    """A session each, handed in together and turned into rows in one batch."""
    capture = system.parts.state["capture"]
    for number, (scope, session) in enumerate(((GRACE, "g"), (ALAN, "a"), (ADMIN, "l"))):
        await capture.accept(scope, [event(session, number, LEARNED)])
    await capture.drain_all()
    return system


async def test_a_session_is_of_who_handed_it_in(recorded: System) -> None:
    for session, owner in (("g", GRACE.user_id), ("a", ALAN.user_id), ("l", LOCAL_USER)):
        row = await read(recorded, lambda tx, its=session: memory.get_session(ADMIN, tx, its))
        assert row["user_id"] == owner


async def test_who_handed_it_in_cannot_be_made_up() -> None:
    with pytest.raises(Invalid):
        check_events([{**event("g", 0, "x"), BY: ADMIN.user_id}])


async def test_where_there_is_one_person_nothing_is_added(system: System) -> None:
    await system.parts.state["capture"].accept(ADMIN, [event("l", 0, "x")])
    [waiting] = await system.inbox.take(10)
    assert BY not in orjson.loads(waiting.body)


def each_way(scope: Scope, tx: Tx, system: System, session: str) -> dict[str, Callable[[], Any]]:
    indexing = system.parts.state["indexing"]
    row = memory.get_session(ADMIN, tx, session)
    refs = memory.entities_since(ADMIN, tx, row["id"], 0)
    assert refs
    return {
        "session": lambda: forget.forget_session(scope, tx, indexing, session),
        "turn": lambda: forget.forget_turn(scope, tx, indexing, forget.Turn(row["id"], 0)),
        **{
            ref.kind: lambda its=ref: forget.forget_entity(scope, tx, indexing, its) for ref in refs
        },
    }


async def test_of_others_nothing_is_forgotten(recorded: System) -> None:
    def work(tx: Tx) -> None:
        ways = each_way(GRACE, tx, recorded, "a")
        assert {"session", "turn", "prompt"} <= set(ways)
        for name, way in ways.items():
            with pytest.raises(Forbidden):
                way()
            assert memory.get_session(ADMIN, tx, "a"), name

    await write(recorded, work)
    before = await read(recorded, lambda tx: memory.counts(ADMIN, tx))
    assert before["prompts"] == 3


@pytest.mark.parametrize("way", ["session", "turn", "prompt"])
@pytest.mark.parametrize("scope", [GRACE, ADMIN], ids=["its owner", "an administrator"])
async def test_ones_own_and_for_an_administrator_everything(
    recorded: System, way: str, scope: Scope
) -> None:
    await write(recorded, lambda tx: each_way(scope, tx, recorded, "g")[way]())
    counts = await read(recorded, lambda tx: memory.counts(ADMIN, tx))
    assert counts["prompts"] == 2


async def test_what_others_taught_too_is_not_ones_own(recorded: System) -> None:
    from claude_mem.domains.intelligence import service as intelligence

    indexing = recorded.parts.state["indexing"]

    def distil(tx: Tx) -> list[dict[str, Any]]:
        for session in ("g", "a"):
            its = memory.get_session(ADMIN, tx, session)["id"]
            intelligence.distil(ADMIN, tx, indexing, its)
        return memory.learnings(ADMIN, tx, None)

    learned = await write(recorded, distil)
    assert len(learned) == 1, "both sessions taught the same"
    ref = EntityRef("learning", learned[0]["id"])
    with pytest.raises(Forbidden):
        await write(recorded, lambda tx: forget.forget_entity(GRACE, tx, indexing, ref))
    assert len(await read(recorded, lambda tx: memory.learnings(ADMIN, tx, None))) == len(learned)
    await write(recorded, lambda tx: forget.forget_entity(ADMIN, tx, indexing, ref))
