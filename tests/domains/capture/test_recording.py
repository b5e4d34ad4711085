"""Events become rows: what each type makes, exactly once, with its journal, in one transaction."""

from __future__ import annotations

from typing import Any

import pytest

from claude_mem.app.build import System
from claude_mem.domains.capture import forget, reindex
from claude_mem.domains.capture.jobs import RebuildIndex
from claude_mem.domains.capture.service import CaptureService
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.model import Filters, Query
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.errors import Invalid, NotFound, StoreFull
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import Job

SCOPE = local_scope()
T0 = 1_791_000_000_000


def event(
    kind: str, data: dict[str, Any], *, at: int = T0, session: str = "s1", **more: Any
) -> dict[str, Any]:
    made = {
        "id": new_id(at),
        "type": kind,
        "occurred_at": to_iso(at),
        "agent": "claude-code",
        "session": session,
        "project": "/nowhere/ledger",
        "data": data,
    }
    return made | more


class Memory:
    """The system under test, with short ways in and out."""

    def __init__(self, system: System) -> None:
        self.capture: CaptureService = system.parts.state["capture"]
        self.database = system.parts.state["database"]
        self.indexing = system.parts.state["indexing"]
        self.system = system

    async def take(self, *events: dict[str, Any]) -> None:
        await self.capture.accept(SCOPE, list(events))
        await self.capture.drain_all()

    async def rows(self, sql: str) -> list[Any]:
        return await self.database.read(SCOPE, lambda tx: tx.exec_driver_sql(sql).all())

    async def one(self, sql: str) -> Any:
        [row] = await self.rows(sql)
        return row


@pytest.fixture
def mem(system: System) -> Memory:
    return Memory(system)


EDIT = {
    "tool": "Edit",
    "tool_use_id": "toolu_e",
    "prompt_id": "p1",
    "input": {"file_path": "/nowhere/ledger/a.py", "old_string": "1", "new_string": "2"},
    "response": {
        "originalFile": "the whole file " * 50,
        "structuredPatch": [
            {"oldStart": 1, "oldLines": 1, "newStart": 1, "newLines": 1, "lines": ["-1", "+2"]}
        ],
    },
}


async def test_a_turn_becomes_prompt_observations_change_and_reply(mem: Memory) -> None:
    await mem.take(
        event("session.started", {"source": "startup", "model": "m1"}),
        event("prompt.submitted", {"content": "Make it two", "prompt_id": "p1"}, at=T0 + 1),
        event("tool.used", EDIT, at=T0 + 2),
        event(
            "tool.failed",
            {
                "tool": "Bash",
                "input": {"command": "make"},
                "error": "Exit code 2\nno",
                "prompt_id": "p1",
            },
            at=T0 + 3,
        ),
        event(
            "assistant.replied",
            {
                "content": "Done.",
                "prompt_id": "p1",
                "message_id": "m",
                "usage": {"input_tokens": 10, "output_tokens": 5},
            },
            at=T0 + 4,
        ),
        event("session.ended", {"reason": "other"}, at=T0 + 5),
    )
    session = await mem.one(
        "SELECT title, model_used, token_count, prompt_count, observation_count, started_at, ended_at, last_activity_at FROM sessions"
    )
    assert tuple(session) == ("Make it two", "m1", 15, 2, 2, T0, T0 + 5, T0 + 5)
    assert [
        tuple(r)
        for r in await mem.rows(
            "SELECT prompt_type, content, sequence_num FROM prompts ORDER BY occurred_at"
        )
    ] == [
        ("user", "Make it two", 1),
        ("assistant", "Done.", 2),
    ]
    assert [
        tuple(r)
        for r in await mem.rows(
            "SELECT observation_type, exit_status FROM observations ORDER BY occurred_at"
        )
    ] == [
        ("tool_result", None),
        ("error", 2),
    ]
    change = await mem.one(
        "SELECT c.file_path, c.lines_added, c.lines_removed, p.content FROM code_changes c JOIN prompts p ON p.id = c.reason_prompt_id"
    )
    assert tuple(change) == ("/nowhere/ledger/a.py", 1, 1, "Make it two")
    assert (
        await mem.one("SELECT count(*) FROM observations WHERE content LIKE '%the whole file%'")
    )[0] == 0


async def test_the_same_event_twice_makes_one_row(mem: Memory) -> None:
    first = event("prompt.submitted", {"content": "once"})
    await mem.take(first)
    await mem.take(first)
    receipt = await mem.capture.accept(
        SCOPE, [first, event("prompt.submitted", {"content": "new"})]
    )
    assert (receipt.accepted, receipt.duplicates) == (1, 1)
    await mem.capture.drain_all()
    assert (await mem.one("SELECT count(*) FROM prompts"))[0] == 2


async def test_an_old_id_is_known_to_the_tables_after_a_restart(mem: Memory) -> None:
    first = event("prompt.submitted", {"content": "once"})
    await mem.take(first)
    mem.capture._recent.clear()
    mem.capture._horizon = T0 + 10_000_000_000_000
    receipt = await mem.capture.accept(SCOPE, [first])
    assert (receipt.accepted, receipt.duplicates) == (0, 1)


async def test_live_and_imported_meet_by_their_natural_key(mem: Memory) -> None:
    await mem.take(
        event("prompt.submitted", {"content": "Q", "prompt_id": "p1"}),
        event("tool.used", EDIT, at=T0 + 2),
        event("assistant.replied", {"content": "Answer  one", "prompt_id": "p1"}, at=T0 + 3),
    )
    again = [
        event("prompt.submitted", {"content": "Q", "prompt_id": "p1"}, at=T0 + 1),
        event("tool.used", EDIT | {"reason": "Because two is better"}, at=T0 + 3),
        event(
            "assistant.replied",
            {
                "content": "Answer one",
                "prompt_id": "p1",
                "message_id": "msg_1",
                "final": True,
                "usage": {"input_tokens": 1, "output_tokens": 2},
            },
            at=T0 + 4,
        ),
    ]
    await mem.take(*again)
    await mem.take(event("assistant.replied", again[2]["data"], at=T0 + 9))
    assert [
        (await mem.one(f"SELECT count(*) FROM {t}"))[0]
        for t in ("prompts", "observations", "code_changes")
    ] == [2, 1, 1]
    assert (await mem.one("SELECT token_count FROM sessions"))[0] == 3
    change = await mem.one("SELECT id, reason_text, version FROM code_changes")
    assert tuple(change)[1:] == ("Because two is better", 2)
    journal = await mem.database.read(
        SCOPE, lambda tx: list(memory.history(SCOPE, tx, "code_change", change[0]))
    )
    assert [entry["version"] for entry in journal] == [1, 2]


async def test_every_row_has_its_journal(mem: Memory) -> None:
    await mem.take(
        event("prompt.submitted", {"content": "Q", "prompt_id": "p1"}),
        event("tool.used", EDIT, at=T0 + 2),
        event("context.compacted", {"phase": "after", "summary": "All of it"}, at=T0 + 3),
    )
    for kind, table in (
        ("session", "sessions"),
        ("prompt", "prompts"),
        ("observation", "observations"),
        ("code_change", "code_changes"),
        ("summary", "summaries"),
    ):
        missing = await mem.one(
            f"SELECT count(*) FROM {table} x WHERE NOT EXISTS (SELECT 1 FROM change_journal j WHERE j.kind = '{kind}' AND j.entity_id = x.id AND j.version = 1)"
        )
        assert missing[0] == 0, kind
    assert (await mem.one("SELECT count(*) FROM change_journal WHERE state LIKE '%All of it%'"))[
        0
    ] == 0


@pytest.mark.parametrize(
    ("data", "made"),
    [
        ({"phase": "before", "trigger": "auto"}, 0),
        ({"phase": "after", "summary": "  "}, 0),
        ({"phase": "after", "summary": "What was done", "trigger": "auto"}, 1),
    ],
)
async def test_a_compaction_summary_is_kept(mem: Memory, data: dict[str, Any], made: int) -> None:
    await mem.take(event("context.compacted", data))
    assert (await mem.one("SELECT count(*) FROM summaries"))[0] == made
    assert (await mem.one("SELECT count(*) FROM ingested_events"))[0] == 1


async def test_a_summary_is_kept_without_the_models_scratch_pad_and_tags(mem: Memory) -> None:
    summary = "<analysis>Let me think.</analysis>\n<summary>What was done</summary>"
    await mem.take(event("context.compacted", {"phase": "after", "summary": summary}))
    assert (await mem.one("SELECT content FROM summaries"))[0] == "What was done"


async def test_a_machine_made_prompt_is_no_persons_and_entitles_nothing(mem: Memory) -> None:
    await mem.take(event("prompt.submitted", {"content": "wake up", "machine": True}))
    assert tuple(
        await mem.one(
            "SELECT p.prompt_type, s.title FROM prompts p JOIN sessions s ON s.id = p.session_id"
        )
    ) == ("system", "Untitled session")


async def test_events_that_come_late_are_read_in_the_order_they_happened(mem: Memory) -> None:
    await mem.take(event("prompt.submitted", {"content": "second"}, at=T0 + 100))
    await mem.take(event("prompt.submitted", {"content": "first"}, at=T0))
    session = await mem.one("SELECT id, started_at, last_activity_at FROM sessions")
    assert tuple(session)[1:] == (T0, T0 + 100)

    def read(tx: Tx) -> list[str]:
        rows = memory.list_of_session(SCOPE, tx, "prompts", session[0], after=None, limit=10)
        return [row["content"] for row in rows]

    assert await mem.database.read(SCOPE, read) == ["first", "second"]


async def test_long_outputs_keep_head_tail_and_size(mem: Memory) -> None:
    output = "head " + "x" * 50_000 + " tail"
    await mem.take(
        event(
            "tool.used",
            {
                "tool": "Bash",
                "input": {"command": "c"},
                "response": {"stdout": output, "stderr": ""},
            },
        )
    )
    [content] = await mem.one("SELECT content FROM observations")
    assert len(content) < 17_000
    assert "head xxx" in content
    assert content.endswith("xxx tail")
    assert "of 50010 characters left out" in content


async def test_one_poisoned_event_is_buried_and_holds_up_no_other(mem: Memory) -> None:
    good = [event("prompt.submitted", {"content": f"good {n}"}) for n in range(7)]
    from claude_mem.ports.inbox import Entry

    await mem.capture.accept(SCOPE, good[:4])
    await mem.system.inbox.append(SCOPE, [Entry(new_id(), b'{"type": "no.such"}')])
    await mem.capture.accept(SCOPE, good[4:])
    report = await mem.capture.drain_all()
    assert (report.events, len(report.buried)) == (8, 1)
    assert (await mem.one("SELECT count(*) FROM prompts"))[0] == 7
    assert await mem.system.inbox.pending() == 0
    assert len((await mem.system.inbox.dead_letters(SCOPE, 5)).letters) == 1


async def test_a_bad_event_names_index_and_field_and_none_is_taken(mem: Memory) -> None:
    bad = event("prompt.submitted", {"content": 5})
    with pytest.raises(Invalid) as refusal:
        await mem.capture.accept(SCOPE, [event("prompt.submitted", {"content": "ok"}), bad])
    assert refusal.value.details[0].field == "events[1].data.content"
    assert await mem.system.inbox.pending() == 0


async def test_at_the_cap_tools_are_refused_before_prompts(
    mem: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = 1.01
    monkeypatch.setattr(mem.capture._gate, "fill", lambda: fill)
    with pytest.raises(StoreFull, match="max_store_mb"):
        await mem.capture.accept(SCOPE, [event("tool.used", EDIT)])
    assert (
        await mem.capture.accept(SCOPE, [event("prompt.submitted", {"content": "still"})])
    ).accepted == 1
    fill = 1.06
    with pytest.raises(StoreFull):
        await mem.capture.accept(SCOPE, [event("prompt.submitted", {"content": "no more"})])


async def test_a_very_long_output_is_cut_masked_and_trimmed(mem: Memory) -> None:
    token = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
    output = "start " + f"{token} " * 20_000 + " end"
    await mem.take(event("tool.used", {"tool": "Bash", "input": {}, "response": output}))
    [content] = await mem.one("SELECT content FROM observations")
    assert token[4:] not in content
    assert f"of {len(output)} characters left out" in content
    assert len(content) < 20_000


async def test_pausing_and_opting_out_ignore_without_an_error(mem: Memory, tmp_path: Any) -> None:
    (mem.system.settings.home / "paused").touch()
    assert (
        await mem.capture.accept(SCOPE, [event("prompt.submitted", {"content": "x"})])
    ).ignored == 1
    (mem.system.settings.home / "paused").unlink()
    (tmp_path / ".claude-mem-off").touch()
    receipt = await mem.capture.accept(
        SCOPE, [event("prompt.submitted", {"content": "x"}, project=str(tmp_path / "sub"))]
    )
    assert (receipt.accepted, receipt.ignored) == (0, 1)


async def test_a_batch_asks_once_whether_capture_is_paused(
    mem: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def paused() -> bool:
        asked.append(1)
        return False

    monkeypatch.setattr(mem.capture._gate, "paused", paused)
    await mem.take(*(event("prompt.submitted", {"content": str(n)}) for n in range(50)))
    assert len(asked) == 1


async def test_what_is_told_later_is_judged_by_when_it_happened(mem: Memory) -> None:
    """A spool or a transcript tells of before, during and after a pause; only a pause's own time is not kept."""
    home = mem.system.settings.home
    (home / "pauses.jsonl").write_text(f"[{T0 + 10}, {T0 + 20}]\n")
    (home / "paused").touch()  # and it is paused right now
    told = [
        event("prompt.submitted", {"content": f"at {at}"}, at=T0 + at) for at in (9, 10, 20, 21)
    ]
    taken, faults = await mem.capture.accept_valid(SCOPE, told)
    assert (taken, faults) == (2, [])
    live = await mem.capture.accept(SCOPE, [event("prompt.submitted", {"content": "x"})])
    assert (live.accepted, live.ignored) == (0, 1)
    (home / "paused").unlink()
    sent = await mem.capture.accept(SCOPE, told[1:3])
    assert (sent.accepted, sent.ignored) == (0, 2)
    await mem.capture.drain_all()
    rows = await mem.rows("SELECT content FROM prompts ORDER BY occurred_at")
    assert [row[0] for row in rows] == ["at 9", "at 21"]


async def test_forgetting_the_last_turn_leaves_no_word_of_it(mem: Memory) -> None:
    await mem.take(
        event("prompt.submitted", {"content": "keepthis", "prompt_id": "p0"}, at=T0),
        event(
            "prompt.submitted", {"content": "zanzibar secret plan", "prompt_id": "p1"}, at=T0 + 10
        ),
        event(
            "tool.used",
            EDIT | {"input": {"file_path": "/zanzibar.py", "old_string": "", "new_string": "z"}},
            at=T0 + 11,
        ),
        event("assistant.replied", {"content": "zanzibar done", "prompt_id": "p1"}, at=T0 + 12),
    )
    gone = await mem.database.write(
        SCOPE, lambda tx: forget.forget_last(SCOPE, tx, mem.indexing, None)
    )
    assert len(gone.refs) == 4
    assert [r[0] for r in await mem.rows("SELECT content FROM prompts")] == ["keepthis"]
    for table, column in (
        ("change_journal", "state"),
        ("search_documents", "terms_body"),
        ("observations", "content"),
        ("code_changes", "diff"),
    ):
        hits = await mem.one(f"SELECT count(*) FROM {table} WHERE {column} LIKE '%zanzibar%'")
        assert hits[0] == 0, table
    again = event(
        "prompt.submitted", {"content": "zanzibar secret plan", "prompt_id": "p1"}, at=T0 + 10
    )
    await mem.take(again)
    assert (await mem.one("SELECT count(*) FROM prompts"))[0] == 1


async def test_forgetting_what_is_not_there_says_so(mem: Memory) -> None:
    with pytest.raises(NotFound):
        await mem.database.write(
            SCOPE, lambda tx: forget.forget_last(SCOPE, tx, mem.indexing, None)
        )
    with pytest.raises(NotFound):
        await mem.database.write(
            SCOPE,
            lambda tx: forget.forget_entity(SCOPE, tx, mem.indexing, EntityRef("prompt", new_id())),
        )


async def test_a_forgotten_prompt_takes_the_title_it_gave_with_it(mem: Memory) -> None:
    await mem.take(
        event("prompt.submitted", {"content": "zanzibar plan", "prompt_id": "p0"}, at=T0),
        event("prompt.submitted", {"content": "harmless", "prompt_id": "p1"}, at=T0 + 5),
    )
    [prompt_id] = await mem.one("SELECT id FROM prompts WHERE content = 'zanzibar plan'")
    ref = EntityRef("prompt", prompt_id)
    await mem.database.write(SCOPE, lambda tx: forget.forget_entity(SCOPE, tx, mem.indexing, ref))
    assert (await mem.one("SELECT title FROM sessions"))[0] == "harmless"
    for table, column in (("change_journal", "state"), ("search_documents", "terms_title")):
        hits = await mem.one(f"SELECT count(*) FROM {table} WHERE {column} LIKE '%zanzibar%'")
        assert hits[0] == 0, table
    found = await mem.system.parts.state["search"].search(SCOPE, Query("zanzibar"))
    assert found.hits == ()
    left = await mem.system.parts.state["search"].search(SCOPE, Query("harmless"))
    assert {hit.ref.kind for hit in left.hits} == {"prompt", "summary"}, (
        "what is left is summed up anew"
    )


async def test_an_index_made_anew_finds_the_same(mem: Memory) -> None:
    await mem.take(
        event("prompt.submitted", {"content": "Make the invoice total right", "prompt_id": "p1"}),
        event("tool.used", EDIT, at=T0 + 2),
        event("context.compacted", {"summary": "The invoice total is right"}, at=T0 + 3),
        event(
            "observation.added",
            {"observation_type": "info", "content": "invoice note", "tags": ["money"]},
            at=T0 + 4,
        ),
    )
    search = mem.system.parts.state["search"]
    queries = [Query("invoice total"), Query("a.py"), Query("invoice", Filters(tag="money"))]
    before = [
        [(h.ref, round(h.relevance, 9)) for h in (await search.search(SCOPE, q, T0)).hits]
        for q in queries
    ]
    count = await mem.database.write(
        SCOPE, lambda tx: mem.indexing.rebuild(SCOPE, tx, reindex.entries(SCOPE, tx))
    )
    at_once = [
        [(h.ref, round(h.relevance, 9)) for h in (await search.search(SCOPE, q, T0)).hits]
        for q in queries
    ]
    assert count == 4
    assert all(before)
    assert before == at_once
    numbers = "SELECT id FROM search_documents ORDER BY id"
    old = await mem.rows(numbers)
    job = Job(SCOPE.enterprise_id, "j", "index.rebuild", "all", {}, 1, 3)
    await RebuildIndex(mem.database, mem.indexing).run(SCOPE, job)
    in_steps = [
        [(h.ref, round(h.relevance, 9)) for h in (await search.search(SCOPE, q, T0)).hits]
        for q in queries
    ]
    assert before == in_steps
    new = await mem.rows(numbers)
    assert len(new) == len(old)
    assert min(new) > max(old)


async def test_half_a_surrogate_pair_becomes_a_replacement_character(mem: Memory) -> None:
    await mem.take(
        event(
            "tool.used",
            {"tool": "Bash", "input": {"command": "c"}, "response": {"stdout": "a\ud800b"}},
        )
    )
    [content] = await mem.one("SELECT content FROM observations")
    assert content == "$ c\na\ufffdb"
