"""What is forgotten stays forgotten, however often it is told again; everything else goes on as before."""

from __future__ import annotations

from typing import Any

import pytest

from claude_mem.app.build import System
from claude_mem.domains.capture import forget
from claude_mem.domains.memory.model import EntityRef
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.errors import Invalid, NotFound
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Tx

SCOPE = local_scope()
T0 = 1_791_000_000_000
ROWS = ("prompts", "observations", "code_changes", "summaries")
RECORDED = {"summaries": " WHERE source = 'agent'"}
WORD = "zanzibar"


def event(
    kind: str, data: dict[str, Any], *, at: int = 0, session: str = "s1", **more: Any
) -> dict[str, Any]:
    made = {
        "id": new_id(T0 + at),
        "type": kind,
        "occurred_at": to_iso(T0 + at),
        "agent": "claude-code",
        "session": session,
        "project": "/nowhere/ledger",
        "data": data,
    }
    return made | more


def prompt(content: str, at: int, prompt_id: str | None = None, **more: Any) -> dict[str, Any]:
    own = {"prompt_id": prompt_id} if prompt_id else {}
    return event("prompt.submitted", {"content": content} | own, at=at, **more)


def reply(content: str, at: int, prompt_id: str | None = None, **data: Any) -> dict[str, Any]:
    own = {"prompt_id": prompt_id} if prompt_id else {}
    return event("assistant.replied", {"content": content} | own | data, at=at)


def edit(
    at: int, prompt_id: str | None = None, use: str = "toolu_e", **data: Any
) -> dict[str, Any]:
    lines = [{"oldStart": 1, "oldLines": 1, "newStart": 1, "newLines": 1, "lines": ["-1", "+2"]}]
    own = {"prompt_id": prompt_id} if prompt_id else {}
    tool = {
        "tool": "Edit",
        "tool_use_id": use,
        "input": {"file_path": "/nowhere/a.py", "old_string": "1", "new_string": "2"},
        "response": {"structuredPatch": lines},
    }
    return event("tool.used", tool | own | data, at=at)


class Memory:
    """The system under test, with short ways in and out."""

    def __init__(self, system: System) -> None:
        self.state = system.parts.state

    async def take(self, *events: dict[str, Any]) -> None:
        await self.state["capture"].accept(SCOPE, list(events))
        await self.state["capture"].drain_all()

    async def rows(self, sql: str) -> list[Any]:
        def work(tx: Tx) -> list[Any]:
            return [tuple(row) for row in tx.exec_driver_sql(sql).all()]

        return await self.state["database"].read(SCOPE, work)  # type: ignore[no-any-return]

    async def counts(self) -> list[int]:
        """How many rows of each table were recorded; our own summaries are not recorded but made."""
        return [
            (await self.rows(f"SELECT count(*) FROM {table}{RECORDED.get(table, '')}"))[0][0]
            for table in ROWS
        ]

    async def said(self) -> list[str]:
        found = await self.rows("SELECT content FROM prompts ORDER BY occurred_at, id")
        return [row[0] for row in found]

    async def forget_last(self) -> forget.Gone:
        indexing = self.state["indexing"]
        return await self.state["database"].write(  # type: ignore[no-any-return]
            SCOPE, lambda tx: forget.forget_last(SCOPE, tx, indexing, None)
        )

    async def forget_turn_before(self, running: str) -> None:
        def work(tx: Tx) -> None:
            turn = forget.last_turn(SCOPE, tx, None, running)
            forget.forget_turn(SCOPE, tx, self.state["indexing"], turn)

        await self.state["database"].write(SCOPE, work)

    async def forget_session(self, session: str) -> None:
        indexing = self.state["indexing"]
        await self.state["database"].write(
            SCOPE, lambda tx: forget.forget_session(SCOPE, tx, indexing, session)
        )

    async def forget(self, kind: str, entity_id: str) -> forget.Gone:
        ref, indexing = EntityRef(kind, entity_id), self.state["indexing"]
        return await self.state["database"].write(  # type: ignore[no-any-return]
            SCOPE, lambda tx: forget.forget_entity(SCOPE, tx, indexing, ref)
        )

    async def tables_with(self, word: str) -> list[str]:
        """The tables (and those under the index) that hold a word anywhere."""
        named = await self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [name for (name,) in named if not name.startswith(("sqlite_", "search_fts"))]
        return [
            table for table in tables if word in repr(await self.rows(f"SELECT * FROM {table}"))
        ]


@pytest.fixture
def mem(system: System) -> Memory:
    return Memory(system)


async def test_the_last_turn_is_the_newest_prompt_whatever_its_session_does(mem: Memory) -> None:
    await mem.take(
        prompt("older", 0, "p1", session="a"),
        prompt("newer", 30, "p2", session="b"),
        event("tool.failed", {"tool": "Bash", "input": {}, "error": "no"}, at=59, session="a"),
    )
    await mem.forget_last()
    assert await mem.said() == ["older"]


REQUEST = "Please forget the last turn, that was confidential"


async def test_who_asks_to_forget_the_last_turn_means_the_one_before(mem: Memory) -> None:
    await mem.take(
        prompt("keep", 0, "p0"),
        prompt(WORD, 10, "p1"),
        reply(f"{WORD}, noted", 12, "p1", message_id="m1"),
        edit(13, "p1"),
        prompt(REQUEST, 20, "p2"),
        edit(21, "p2", "toolu_2"),
        event("context.compacted", {"summary": WORD}, at=22),
    )
    await mem.forget_turn_before("s1")
    assert await mem.said() == ["keep", REQUEST]
    assert await mem.counts() == [2, 1, 1, 0]
    assert await mem.tables_with(WORD) == []
    await mem.take(
        reply(WORD, 14, "p1", message_id="m3"),
        reply(WORD, 15),
        reply(f"{WORD} late", 90, "p1", message_id="m4"),
        prompt(REQUEST, 20, "p2"),
        edit(19, use="toolu_late"),
        edit(22, "p2", "toolu_3"),
        edit(23, use="toolu_4"),
        reply("Forgotten.", 60, "p2", message_id="m5"),
        reply("It is gone.", 61),
    )
    assert await mem.said() == ["keep", REQUEST, "Forgotten.", "It is gone."]
    assert await mem.counts() == [4, 3, 3, 0]
    await mem.forget_turn_before("s1")
    assert (await mem.said())[0] == REQUEST
    with pytest.raises(NotFound, match="no turn before"):
        await mem.forget_turn_before("s1")


async def test_what_was_typed_while_the_agent_works_is_of_the_running_turn(mem: Memory) -> None:
    more = {"content": REQUEST, "prompt_id": "p1", "source": "follow-up"}
    await mem.take(prompt(WORD, 0, "p0"), prompt("go", 10, "p1"))
    await mem.take(event("prompt.submitted", more, at=20))
    await mem.forget_turn_before("s1")
    assert WORD not in await mem.said()
    assert "go" in await mem.said()


async def test_which_turn_is_meant_is_never_guessed(mem: Memory) -> None:
    await mem.take(prompt("keep", 0, "p0"), prompt("ask", 10, "p1"))
    await mem.take(prompt("elsewhere", 20, "p2", session="s2"))
    with pytest.raises(Invalid, match="another session"):
        await mem.forget_turn_before("s1")
    with pytest.raises(NotFound, match="no turn before"):
        await mem.forget_turn_before("s2")
    assert await mem.said() == ["keep", "ask", "elsewhere"]
    await mem.forget_turn_before("unheard-of")
    assert await mem.said() == ["keep", "ask"]


async def test_a_subagents_task_is_no_prompt_of_the_person(mem: Memory) -> None:
    task = event("prompt.submitted", {"content": "look", "prompt_id": "p1", "agent_id": "x"}, at=9)
    await mem.take(prompt("go", 0, "p1"), task)
    await mem.forget_last()
    assert await mem.said() == []


LATE = [
    prompt(WORD, 10, "p1"),
    reply(f"{WORD} first", 12, "p1", message_id="m1"),
    reply(f"{WORD} done", 900, "p1", message_id="m2"),
    edit(901, "p1", "toolu_late"),
    event("context.compacted", {"summary": WORD, "prompt_id": "p1"}, at=902),
    event("subagent.stopped", {"content": WORD, "agent_id": "x", "prompt_id": "p1"}, at=903),
    event("session.started", {"title": f"About {WORD}"}, at=904),
    event("session.ended", {"reason": "other"}, at=905),
]


async def test_what_a_forgotten_turn_says_later_makes_no_row(mem: Memory) -> None:
    await mem.take(prompt("keep", 0, "p0"), prompt(WORD, 10, "p1"))
    await mem.forget_last()
    before = await mem.counts()
    await mem.take(*LATE)
    assert await mem.counts() == before
    assert await mem.tables_with(WORD) == []
    assert await mem.rows("SELECT title, ended_at FROM sessions") == [("keep", T0 + 905)]


async def test_turns_before_and_after_a_forgotten_one_are_recorded(mem: Memory) -> None:
    await mem.take(prompt("keep", 0, "p0"), prompt(WORD, 10, "p1"))
    await mem.forget_last()
    await mem.take(
        reply("late word of the first", 5, "p0", message_id="m0"),
        *LATE,
        prompt("again", 950, "p2"),
        edit(951, "p2", "toolu_2"),
        reply("sure", 952, "p2", message_id="m3"),
    )
    assert await mem.said() == ["keep", "late word of the first", "again", "sure"]
    assert await mem.counts() == [4, 1, 1, 0]


async def test_events_that_name_no_prompt_go_by_their_moment(mem: Memory) -> None:
    await mem.take(prompt("keep", 0), prompt(WORD, 10), edit(12))
    await mem.forget_last()
    note = {"observation_type": "info", "content": "a note"}
    await mem.take(
        prompt(WORD, 10),
        reply(WORD, 11),
        event("observation.added", note, at=11),
        edit(40, use="toolu_late"),
        reply(WORD, 41),
    )
    assert await mem.counts() == [1, 0, 0, 0]
    await mem.take(event("observation.added", note, at=50))
    await mem.take(prompt("again", 60), edit(61, use="toolu_2"))
    await mem.take(reply("sure", 62))
    assert await mem.said() == ["keep", "again", "sure"]
    assert await mem.counts() == [3, 2, 1, 0]


async def test_a_second_text_of_a_turn_is_forgotten_without_the_first(mem: Memory) -> None:
    more = {"content": WORD, "prompt_id": "p1", "source": "follow-up"}
    await mem.take(prompt("first", 0, "p1"), event("prompt.submitted", more, at=10))
    await mem.forget_last()
    await mem.take(
        reply("before", 5, "p1", message_id="m1"), reply(WORD, 20, "p1", message_id="m2")
    )
    assert await mem.said() == ["first", "before"]


async def test_turns_can_be_forgotten_one_after_the_other(mem: Memory) -> None:
    await mem.take(prompt("keep", 0, "p0"), prompt("one", 10, "p1"), prompt("two", 20, "p2"))
    await mem.forget_last()
    await mem.forget_last()
    await mem.take(reply("one", 15, "p1"), reply("two", 25, "p2"), reply("yes", 5, "p0"))
    assert await mem.said() == ["keep", "yes"]
    await mem.forget_last()
    with pytest.raises(NotFound):
        await mem.forget_last()


async def test_nothing_of_a_forgotten_session_is_recorded_any_more(mem: Memory) -> None:
    started = event("session.started", {"cwd": f"/{WORD}", "title": WORD, "model": WORD})
    await mem.take(started, prompt(WORD, 1, "p1"), edit(2, "p1"))
    await mem.forget_session("s1")
    assert await mem.counts() == [0, 0, 0, 0]
    left = "status, title, summary, metadata_json, model_used, token_count, prompt_count, observation_count"
    [row] = await mem.rows(f"SELECT {left} FROM sessions")
    assert row == ("deleted", "Untitled session", None, "{}", None, 0, 0, 0)
    await mem.take(*LATE, prompt("even a new one", 2_000, "p9"), started | {"id": new_id()})
    assert await mem.counts() == [0, 0, 0, 0]
    assert await mem.rows(f"SELECT {left} FROM sessions") == [row]
    assert await mem.tables_with(WORD) == []
    with pytest.raises(NotFound):
        await mem.forget_session("s1")
    await mem.take(prompt("another session", 3_000, "p9", session="s2"))
    assert await mem.said() == ["another session"]


async def test_a_forgotten_prompt_leaves_the_changes_it_led_to_without_reason(mem: Memory) -> None:
    told = edit(2, "p1", reason=f"{WORD} wants it")
    await mem.take(prompt(WORD, 1, "p1"), told, prompt("other", 5, "p2"), edit(6, "p2", "t2"))
    [(prompt_id,)] = await mem.rows(f"SELECT id FROM prompts WHERE content = '{WORD}'")
    await mem.forget("prompt", prompt_id)
    reasons = await mem.rows(
        "SELECT reason_text, reason_prompt_id IS NULL FROM code_changes ORDER BY occurred_at"
    )
    assert reasons == [(None, 1), (None, 0)]
    links = await mem.rows("SELECT prompt_id IS NULL FROM observations ORDER BY occurred_at")
    assert links == [(1,), (0,)]
    assert await mem.tables_with(WORD) == []
    await mem.take(told | {"id": new_id()})
    assert await mem.tables_with(WORD) == [], "a transcript explains it again"
    assert await mem.counts() == [1, 2, 2, 0]


async def test_a_forgotten_reply_is_no_reason_any_more(mem: Memory) -> None:
    words = f"{WORD}  wants it, " * 80
    await mem.take(
        prompt("go", 0, "p1"),
        reply(words, 1, "p1", message_id="m1"),
        edit(2, "p1", reason=words[:600]),
        edit(3, "p1", "toolu_2", reason="it is wrong"),
    )
    [(reply_id,)] = await mem.rows("SELECT id FROM prompts WHERE prompt_type = 'assistant'")
    await mem.forget("prompt", reply_id)
    reasons = await mem.rows("SELECT reason_text FROM code_changes ORDER BY occurred_at")
    assert reasons == [(None,), ("it is wrong",)]
    assert await mem.tables_with(WORD) == []


async def test_a_forgotten_tool_call_takes_its_changes_with_it(mem: Memory) -> None:
    await mem.take(prompt("go", 0, "p1"), edit(1, "p1"), edit(2, "p1", "toolu_2"))
    [(first,), _] = await mem.rows("SELECT id FROM observations ORDER BY occurred_at")
    assert [ref.kind for ref in (await mem.forget("observation", first)).refs] == [
        "observation",
        "code_change",
    ]
    assert await mem.counts() == [1, 1, 1, 0]
