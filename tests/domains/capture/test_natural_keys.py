"""Live capture and import must name the same thing alike."""

from __future__ import annotations

from typing import Any

import pytest

from claude_mem.domains.capture.keys import natural_keys, text_hash
from claude_mem.hook.agents.claude import to_events

EVENT_ID = "01a1fa0a-a8a6-713d-850f-ba97dd185d85"


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": data}


def live(hook: str, **payload: Any) -> dict[str, Any]:
    base = {"session_id": "s", "cwd": "/p", "hook_event_name": hook, "prompt_id": "p1"}
    (made,) = to_events(base | payload, EVENT_ID, 1_700_000_000_000)
    return made


def shared(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return set(natural_keys(one)) & set(natural_keys(other))


def test_a_prompt_is_known_by_its_id() -> None:
    seen = live("UserPromptSubmit", prompt="do it")
    assert shared(seen, event("prompt.submitted", content="do it", prompt_id="p1"))
    assert natural_keys(event("prompt.submitted", content="do it")) == []


def test_a_tool_call_is_known_by_its_id_whether_it_failed_or_not() -> None:
    used = live("PostToolUse", tool_name="Bash", tool_input={}, tool_response={}, tool_use_id="t1")
    assert shared(used, event("tool.used", tool="Bash", tool_use_id="t1", input={}))
    failed = live(
        "PostToolUseFailure", tool_name="Bash", tool_input={}, error="x", tool_use_id="t1"
    )
    assert shared(failed, event("tool.failed", tool="Bash", tool_use_id="t1", input={}, error="y"))
    assert natural_keys(event("tool.used", tool="Bash", input={})) == []


def test_the_last_words_of_a_turn_are_known_without_a_message_id() -> None:
    seen = live("Stop", last_assistant_message="It is done.\nAll of it.")
    told = {"content": "It is done.\n\nAll of it.", "prompt_id": "p1", "message_id": "msg_1"}
    assert shared(seen, event("assistant.replied", **told, final=True))
    assert not shared(seen, event("assistant.replied", **told, final=False))
    assert not shared(seen, event("assistant.replied", **told | {"prompt_id": "p2"}, final=True))


def test_words_said_twice_in_a_turn_are_two_messages() -> None:
    first = event("assistant.replied", content="Let me look.", message_id="m1", prompt_id="p1")
    second = event("assistant.replied", content="Let me look.", message_id="m2", prompt_id="p1")
    assert not shared(first, second)


def test_a_subagents_last_words_are_its_own() -> None:
    seen = live(
        "SubagentStop", agent_id="a1", agent_type="Explore", last_assistant_message="Found."
    )
    told = {"content": "Found.", "prompt_id": "p1", "message_id": "m1", "final": True}
    assert shared(seen, event("assistant.replied", **told, agent_id="a1"))
    assert not shared(seen, event("assistant.replied", **told, agent_id="a2"))
    assert not shared(seen, event("assistant.replied", **told))


def test_a_compaction_is_known_by_its_words_and_a_manual_one_by_its_turn() -> None:
    seen = live("PostCompact", trigger="auto", compact_summary="<summary>We did  it.</summary>")
    told = {"phase": "after", "trigger": "auto", "prompt_id": "p1"}
    assert shared(seen, event("context.compacted", **told, summary="Summary:\nWe did it."))
    assert not shared(seen, event("context.compacted", **told, summary="Something else."))
    manual = live("PostCompact", trigger="manual", compact_summary="as the hook has it")
    other = event("context.compacted", phase="after", trigger="manual", prompt_id="p1", summary="!")
    assert shared(manual, other)
    before = live("PreCompact", trigger="manual")
    assert not shared(before, manual)


@pytest.mark.parametrize(
    "kind", ["session.started", "session.ended", "observation.added", "message.sent"]
)
def test_what_nothing_identifies_has_no_key(kind: str) -> None:
    assert natural_keys(event(kind, content="x", prompt_id="p1")) == []


def test_white_space_does_not_tell_texts_apart() -> None:
    assert text_hash(" a\n\n b\t") == text_hash("a b")
    assert text_hash("a b") != text_hash("ab")
    assert text_hash("\ud83d") != text_hash("?")
