"""Rows of summaries and learnings, and counts of use: versions, sources, tombstones, scopes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claude_mem.app.build import System
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef, NewLearning, SessionSummary
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ALL_PERMISSIONS, Scope, local_scope

SCOPE = local_scope()
THEIRS = Scope(
    "00000000-0000-7000-8000-0000000000aa", "00000000-0000-7000-8000-0000000000ab", ALL_PERMISSIONS
)
T0 = 1_791_000_000_000


class Rows:
    """Memory of a system with two sessions of one project."""

    def __init__(self, system: System) -> None:
        self.state = system.parts.state
        self.sessions: list[dict[str, Any]] = []

    async def begin(self) -> None:
        for number in range(2):
            event = {
                "id": new_id(T0 + number),
                "type": "prompt.submitted",
                "occurred_at": to_iso(T0 + number),
                "agent": "claude-code",
                "session": f"s{number}",
                "project": "/nowhere/ledger",
                "data": {"content": "Mend the rounding"},
            }
            await self.state["capture"].accept(SCOPE, [event])
        await self.state["capture"].drain_all()
        for number in range(2):
            found = await self.do(lambda s, tx, n=number: memory.get_session(s, tx, f"s{n}"))
            self.sessions.append(found)

    async def do(self, work: Any, scope: Scope = SCOPE) -> Any:
        return await self.state["database"].write(scope, lambda tx: work(scope, tx))

    def summary(self, number: int = 0, **changes: Any) -> SessionSummary:
        made = SessionSummary(
            session_id=self.sessions[number]["id"],
            title="Rounding",
            content="Rounded half up.",
            key_points=("half up",),
            action_items=(),
            details={"open": []},
            covers={"prompt_count": 1},
            model_used="extractive",
            quality=0.5,
            occurred_at=T0 + number,
        )
        return replace(made, **changes)

    def learning(self, number: int = 0, **changes: Any) -> NewLearning:
        made = NewLearning(
            project_id=self.sessions[number]["project_id"],
            session_id=self.sessions[number]["id"],
            category="best_practice",
            title="Integers only",
            description=f"Amounts are integers, said session {number}",
            fingerprint="f-1",
            context={},
            examples=("1",),
            tags=("preference",),
            refs=(EntityRef("prompt", f"p{number}"),),
            confidence=0.7,
            importance=0.9,
            occurred_at=T0 + number,
        )
        return replace(made, **changes)

    async def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.do(lambda s, tx: memory.learnings(s, tx, None))
        return found


@pytest.fixture
async def rows(system: System) -> Rows:
    made = Rows(system)
    await made.begin()
    return made


async def test_a_summary_is_one_row_whose_changes_are_versions(rows: Rows) -> None:
    first = await rows.do(lambda s, tx: memory.save_summary(s, tx, rows.summary()))
    await rows.do(lambda s, tx: memory.save_summary(s, tx, rows.summary()))
    changed = rows.summary(content="Rounded half even.")
    second = await rows.do(lambda s, tx: memory.save_summary(s, tx, changed))
    assert first == second
    found = await rows.do(lambda s, tx: memory.summary_of(s, tx, rows.sessions[0]["id"]))
    assert (found["version"], found["content"], found["source"]) == (
        2,
        "Rounded half even.",
        "extractive",
    )
    versions = await rows.do(lambda s, tx: memory.summary_versions(s, tx, first))
    assert [(it["version"], it["content"]) for it in versions] == [
        (2, "Rounded half even."),
        (1, "Rounded half up."),
    ]


async def test_what_it_covers_may_move_without_a_version(rows: Rows) -> None:
    await rows.do(lambda s, tx: memory.save_summary(s, tx, rows.summary()))
    moved = rows.summary(covers={"prompt_count": 2}, occurred_at=T0 + 9)
    await rows.do(lambda s, tx: memory.save_summary(s, tx, moved))
    found = await rows.do(lambda s, tx: memory.summary_of(s, tx, rows.sessions[0]["id"]))
    assert (found["version"], found["covers_json"], found["occurred_at"]) == (
        1,
        {"prompt_count": 2},
        T0 + 9,
    )


async def test_those_of_some_sessions_are_what_each_by_itself_is(rows: Rows) -> None:
    ids = [row["id"] for row in rows.sessions]
    assert await rows.do(lambda s, tx: memory.summaries_of(s, tx, ids)) == {}
    await rows.do(lambda s, tx: memory.save_summary(s, tx, rows.summary(1)))
    single = await rows.do(lambda s, tx: memory.summary_of(s, tx, ids[1]))
    assert await rows.do(lambda s, tx: memory.summaries_of(s, tx, ids)) == {ids[1]: single}
    assert await rows.do(lambda s, tx: memory.summaries_of(s, tx, [])) == {}
    assert await rows.do(lambda s, tx: memory.summaries_of(s, tx, ids), THEIRS) == {}


async def test_the_latest_come_first_and_by_project(rows: Rows) -> None:
    for number in (1, 0):
        await rows.do(lambda s, tx, n=number: memory.save_summary(s, tx, rows.summary(n)))
    latest = await rows.do(lambda s, tx: memory.latest_summaries(s, tx, None, 5))
    assert [row["agent_session"] for row in latest] == ["s1", "s0"]
    project = rows.sessions[0]["project_id"]
    assert len(await rows.do(lambda s, tx: memory.latest_summaries(s, tx, project, 1))) == 1
    assert await rows.do(lambda s, tx: memory.latest_summaries(s, tx, new_id(), 5)) == []


async def test_a_repeat_adds_its_session_and_confidence(rows: Rows) -> None:
    made, is_new = await rows.do(lambda s, tx: memory.save_learning(s, tx, rows.learning(0)))
    assert is_new
    assert await rows.do(lambda s, tx: memory.save_learning(s, tx, rows.learning(0))) == (
        made,
        False,
    )
    assert await rows.do(lambda s, tx: memory.save_learning(s, tx, rows.learning(1))) == (
        made,
        True,
    )
    [row] = await rows.all()
    assert row["source_session_ids"] == [it["id"] for it in rows.sessions]
    assert row["description"] == "Amounts are integers, said session 1"
    assert row["confidence_score"] == pytest.approx(0.8)
    assert row["refs_json"] == [["prompt", "p1"], ["prompt", "p0"]]
    hydrated = await rows.do(
        lambda s, tx: memory.get_many(s, tx, [EntityRef("learning", row["id"])])
    )
    [shown] = hydrated.values()
    assert (shown["project_id"], shown["session_id"], shown["agent_session"]) == (
        rows.sessions[1]["project_id"],
        rows.sessions[1]["id"],
        "s1",
    )


async def test_a_session_that_no_longer_says_it_is_no_source(rows: Rows) -> None:
    for number in range(2):
        one = [rows.learning(number)]
        own = rows.sessions[number]["id"]
        await rows.do(lambda s, tx, own=own, one=one: memory.replace_learnings(s, tx, own, one))
    first, second = (it["id"] for it in rows.sessions)
    derived = await rows.do(lambda s, tx: memory.replace_learnings(s, tx, second, []))
    [row] = await rows.all()
    assert derived.changed == (EntityRef("learning", row["id"]),)
    assert row["description"] == "Amounts are integers, said session 0"
    assert row["confidence_score"] == pytest.approx(0.7)
    derived = await rows.do(lambda s, tx: memory.withdraw(s, tx, first))
    assert derived.removed == (EntityRef("learning", row["id"]),)
    assert await rows.all() == []


async def test_a_forgotten_learning_keeps_only_its_fingerprint(rows: Rows) -> None:
    made, _ = await rows.do(lambda s, tx: memory.save_learning(s, tx, rows.learning()))
    ref = EntityRef("learning", made)
    await rows.do(lambda s, tx: memory.note_use(s, tx, [ref], T0))
    await rows.do(lambda s, tx: memory.erase(s, tx, [ref]))
    again = await rows.do(lambda s, tx: memory.save_learning(s, tx, rows.learning(1)))
    assert again == (made, False)
    assert await rows.all() == []
    assert (await rows.do(lambda s, tx: memory.counts(s, tx)))["learnings"] == 0
    assert await rows.do(lambda s, tx: memory.uses(s, tx, [ref])) == {}
    states = await rows.do(lambda s, tx: list(memory.history(s, tx, "learning", made)))
    assert [it["state"] for it in states][-1] == {"forgotten": True}
    assert "Integers" not in repr(states)


async def test_uses_are_counted_once_a_call(rows: Rows) -> None:
    refs = [EntityRef("prompt", "a"), EntityRef("summary", "b"), EntityRef("prompt", "a")]
    await rows.do(lambda s, tx: memory.note_use(s, tx, refs, T0))
    await rows.do(lambda s, tx: memory.note_use(s, tx, refs[:1], T0 + 1))
    asked = [*refs, EntityRef("prompt", "never")]
    assert await rows.do(lambda s, tx: memory.uses(s, tx, asked)) == {refs[0]: 2, refs[1]: 1}
    assert await rows.do(lambda s, tx: memory.uses(s, tx, asked), THEIRS) == {}
