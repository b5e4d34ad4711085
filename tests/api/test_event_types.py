"""What each type of event makes."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from api_support import Api

from claude_mem.domains.capture.schemas import EVENT_MODELS
from claude_mem.domains.intelligence.service import ENGINE
from claude_mem.ports.database import Tx

pytestmark = pytest.mark.anyio

# type -> (data, what it makes by table; the session itself is always there)
MADE: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "session.started": ({"source": "startup", "model": "m-1", "title": "Invoices"}, {}),
    "prompt.submitted": ({"content": "Mend the rounding"}, {"prompts": 1}),
    "assistant.replied": (
        {"content": "Done.", "usage": {"input_tokens": 10, "output_tokens": 5}},
        {"prompts": 1},
    ),
    "tool.used": (
        {
            "tool": "Write",
            "input": {"file_path": "/repo/a.py", "content": "x = 1\n"},
            "response": {"type": "create", "filePath": "/repo/a.py"},
        },
        {"observations": 1, "code_changes": 1},
    ),
    "tool.failed": (
        {"tool": "Bash", "input": {"command": "make"}, "error": "exit 2"},
        {"observations": 1},
    ),
    "context.compacted": ({"phase": "after", "summary": "We mended it."}, {"summaries": 1}),
    "subagent.stopped": ({"agent_id": "a1", "content": "I looked."}, {"prompts": 1}),
    "session.ended": ({"reason": "exit"}, {}),
    "observation.added": (
        {"observation_type": "warning", "content": "The rate limit is 10."},
        {"observations": 1},
    ),
    "message.sent": ({"content": "Please review", "to_role": "tester"}, {"observations": 1}),
}


def test_every_type_is_here() -> None:
    assert set(MADE) == {
        model.model_fields["type"].annotation.__args__[0] for model in EVENT_MODELS
    }


async def recorded_summaries(api: Api) -> int:
    """Those that events made; what a job sums up of the session comes in its own time."""

    def work(tx: Tx) -> int:
        count = "SELECT count(*) FROM summaries WHERE model_used <> :ours"
        return int(tx.execute(sa.text(count), {"ours": ENGINE}).scalar_one())

    return await api.system.parts.state["database"].read(api.scope, work)


MADE_OF = ("prompts", "observations", "code_changes", "summaries", "learnings")


@pytest.mark.parametrize("kind", sorted(MADE))
async def test_a_type_makes_its_rows(kind: str, api: Api) -> None:
    data, rows = MADE[kind]
    await api.take(api.event(kind, data=data))
    expected = dict.fromkeys(MADE_OF, 0)
    counts = await api.counts() | {"summaries": await recorded_summaries(api)}
    assert counts == {"sessions": 1} | expected | rows
    assert await api.dead_letters() == 0


async def only(api: Api, part: str) -> dict[str, Any]:
    page = await api.get(f"/sessions/session-one/{part}")
    (row,) = page["data"]
    found: dict[str, Any] = row
    return found


async def test_a_start_names_model_and_title(api: Api) -> None:
    await api.take(api.event("session.started", data=MADE["session.started"][0]))
    session = await api.get("/sessions/session-one")
    assert (session["model_used"], session["title"]) == ("m-1", "Invoices")
    assert session["status"] == "active"


async def test_a_session_is_called_by_its_first_prompt(api: Api) -> None:
    await api.take(api.event(), api.event(data={"content": "And now tax"}))
    session = await api.get("/sessions/session-one")
    assert session["title"] == "Mend the rounding of invoices"
    assert session["prompt_count"] == 2


async def test_an_end_is_noted(api: Api) -> None:
    ended = api.event("session.ended", data={})
    await api.take(api.event(), ended)
    assert (await api.get("/sessions/session-one"))["ended_at"] == ended["occurred_at"]


async def test_a_machines_prompt_is_marked(api: Api) -> None:
    await api.take(api.event(data={"content": "Continue.", "machine": True}))
    assert (await only(api, "prompts"))["prompt_type"] == "system"


async def test_a_reply_counts_tokens_once(api: Api) -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1000}
    one = api.event("assistant.replied", data={"content": "a", "message_id": "m", "usage": usage})
    two = api.event("assistant.replied", data={"content": "a", "message_id": "m", "usage": usage})
    await api.take(one)
    await api.take(two)
    row = await only(api, "prompts")
    assert (row["prompt_type"], row["token_count"]) == ("assistant", 5)
    assert (await api.get("/sessions/session-one"))["token_count"] == 15


async def test_a_reply_of_usage_only_makes_no_row_but_counts(api: Api) -> None:
    data = {"content": "", "message_id": "m", "usage": {"output_tokens": 7}}
    await api.take(api.event("assistant.replied", data=data))
    assert (await api.counts())["prompts"] == 0
    assert (await api.get("/sessions/session-one"))["token_count"] == 7


async def test_a_written_file_is_a_code_change_with_its_prompt(api: Api) -> None:
    await api.take(api.event(), api.event("tool.used", data=MADE["tool.used"][0]))
    change = await only(api, "changes")
    assert (change["file_path"], change["operation"]) == ("/repo/a.py", "create")
    assert (change["lines_added"], change["lines_removed"]) == (1, 0)
    assert change["reason_prompt_id"] == (await only(api, "prompts"))["id"]
    assert change["observation_id"] == (await only(api, "observations"))["id"]


async def test_a_failed_command_is_an_error_with_its_command(api: Api) -> None:
    await api.take(api.event("tool.failed", data=MADE["tool.failed"][0]))
    row = await only(api, "observations")
    assert (row["observation_type"], row["source_tool"]) == ("error", "Bash")
    assert row["command"] == "make"
    assert "exit 2" in row["content"]


async def test_before_a_compaction_nothing_is_made(api: Api) -> None:
    await api.take(api.event("context.compacted", data={"phase": "before", "trigger": "auto"}))
    assert await recorded_summaries(api) == 0


async def test_a_compaction_is_a_summary(api: Api) -> None:
    await api.take(api.event("context.compacted", data=MADE["context.compacted"][0]))
    row = await only(api, "summaries")
    assert (row["content"], row["summary_type"]) == ("We mended it.", "session")


async def test_a_subagents_words_are_under_its_session(api: Api) -> None:
    await api.take(api.event("subagent.stopped", data=MADE["subagent.stopped"][0]))
    row = await only(api, "prompts")
    assert (row["subagent_id"], row["prompt_type"]) == ("a1", "assistant")


async def test_an_observation_keeps_what_was_said_of_it(api: Api) -> None:
    data = {
        "observation_type": "warning",
        "content": "The rate limit is 10.",
        "title": "Rate limit",
        "source_tool": "review",
        "tags": ["api", "limits"],
        "files": ["src/api.py"],
        "importance": 0.9,
    }
    await api.take(api.event("observation.added", data=data))
    row = await only(api, "observations")
    assert (row["title"], row["source_tool"], row["tags"]) == (
        "Rate limit",
        "review",
        ["api", "limits"],
    )
    assert row["importance_score"] == 0.9
    assert row["metadata"]["files"] == ["src/api.py"]
    found = await api.get("/search", q="limit", tag="api", file="src/api.py")
    assert [hit["id"] for hit in found["results"]] == [row["id"]]


async def test_a_message_is_kept_with_whom_it_is_for(api: Api) -> None:
    await api.take(api.event("message.sent", data=MADE["message.sent"][0]))
    row = await only(api, "observations")
    assert row["content"] == "Please review"
    assert set(row["tags"]) == {"to:tester", "visibility:shared"}


async def test_one_prompt_id_is_one_prompt(api: Api) -> None:
    """The natural key: the same prompt, told by a hook and by a transcript."""
    data = {"content": "Mend it", "prompt_id": "p-1"}
    await api.take(api.event(data=data))
    await api.take(api.event(data=data))
    assert (await api.counts())["prompts"] == 1


async def test_the_same_words_twice_are_two_prompts(api: Api) -> None:
    await api.take(api.event(), api.event())
    page = await api.get("/sessions/session-one/prompts")
    assert [row["sequence_num"] for row in page["data"]] == [1, 2]
    assert len({row["content_hash"] for row in page["data"]}) == 1


async def test_order_is_when_it_happened_not_when_it_came(api: Api) -> None:
    first, second, third = (api.event(data={"content": text}) for text in ("one", "two", "three"))
    await api.take(third)
    await api.take(first)
    await api.take(second)
    page = await api.get("/sessions/session-one/prompts")
    assert [row["content"] for row in page["data"]] == ["one", "two", "three"]


async def test_two_agents_may_use_the_same_session_id(api: Api) -> None:
    await api.take(api.event(), api.event(agent="other-agent"))
    assert (await api.counts())["sessions"] == 2
