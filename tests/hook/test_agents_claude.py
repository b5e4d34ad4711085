"""Claude Code's payloads, as its integration contract shapes them, and the events they become."""

from typing import Any

import pytest
from hook_support import payload

from claude_mem.hook.agents.claude import (
    EVENTS,
    MalformedPayload,
    clipped,
    derived_id,
    is_own_tool,
    strip_injected,
    to_events,
)
from claude_mem.kernel.ids import id_epoch_ms, is_id, new_id

MS = 1_795_082_400_123
ID = new_id(MS)
PROMPT_ID = "b3f1c6f8-9a55-4e0c-8a6e-0c7d0c9b1a11"
TRANSCRIPT = payload("x")["transcript_path"]

EDIT_RESPONSE = {
    "filePath": "/home/dev/ledger/total.py",
    "oldString": "round(x)",
    "newString": "quantize(x)",
    "originalFile": "the whole file " * 1000,
    "structuredPatch": [
        {"oldStart": 1, "oldLines": 1, "newStart": 1, "newLines": 1, "lines": ["-a", "+b"]}
    ],
    "userModified": False,
    "replaceAll": False,
}
BASH_INPUT = {"command": "pytest -q", "description": "Run the tests"}
BASH_RESPONSE = {
    "stdout": "2 passed",
    "stderr": "",
    "interrupted": False,
    "isImage": False,
    "noOutputExpected": False,
}

# event, further fields of the payload -> type, data (without the fields that all share)
TABLE: list[tuple[str, str, dict[str, Any], str, dict[str, Any]]] = [
    (
        "start",
        "SessionStart",
        {"source": "startup"},
        "session.started",
        {"source": "startup", "transcript_path": TRANSCRIPT},
    ),
    (
        "resume with all there is",
        "SessionStart",
        {
            "source": "resume",
            "model": "claude-sonnet-4-5",
            "session_title": "Totals",
            "seconds_since_last_response": 12.5,
            "context_tokens": 100,
            "prompt_cache_likely_expired": True,
        },
        "session.started",
        {
            "source": "resume",
            "model": "claude-sonnet-4-5",
            "title": "Totals",
            "transcript_path": TRANSCRIPT,
        },
    ),
    (
        "prompt",
        "UserPromptSubmit",
        {"prompt": "fix the total", "permission_mode": "default"},
        "prompt.submitted",
        {"content": "fix the total"},
    ),
    (
        "prompt by a person",
        "UserPromptSubmit",
        {"prompt": "fix it", "source": "user"},
        "prompt.submitted",
        {"content": "fix it", "source": "user"},
    ),
    (
        "prompt by a machine",
        "UserPromptSubmit",
        {"prompt": "wake up", "source": "schedule_wakeup"},
        "prompt.submitted",
        {"content": "wake up", "source": "schedule_wakeup", "machine": True},
    ),
    (
        "slash command of a plugin",
        "UserPromptSubmit",
        {"prompt": "/memtest:remember apples"},
        "prompt.submitted",
        {"content": "/memtest:remember apples"},
    ),
    (
        "bash",
        "PostToolUse",
        {
            "tool_name": "Bash",
            "tool_input": BASH_INPUT,
            "tool_response": BASH_RESPONSE,
            "tool_use_id": "toolu_1",
            "duration_ms": 1234.5,
        },
        "tool.used",
        {
            "tool": "Bash",
            "input": BASH_INPUT,
            "response": BASH_RESPONSE,
            "tool_use_id": "toolu_1",
            "duration_ms": 1234,
        },
    ),
    (
        "edit, without the file as it was",
        "PostToolUse",
        {
            "tool_name": "Edit",
            "tool_input": {"file_path": "/home/dev/ledger/total.py"},
            "tool_response": EDIT_RESPONSE,
        },
        "tool.used",
        {
            "tool": "Edit",
            "input": {"file_path": "/home/dev/ledger/total.py"},
            "response": {k: v for k, v in EDIT_RESPONSE.items() if k != "originalFile"},
        },
    ),
    (
        "another server's tool",
        "PostToolUse",
        {
            "tool_name": "mcp__tickets__list",
            "tool_input": {},
            "tool_response": [{"type": "text", "text": "none"}],
            "mcp_server": {"name": "tickets", "source": "project"},
        },
        "tool.used",
        {
            "tool": "mcp__tickets__list",
            "input": {},
            "response": [{"type": "text", "text": "none"}],
            "mcp_server": "tickets",
        },
    ),
    (
        "in a subagent",
        "PostToolUse",
        {"tool_name": "Read", "tool_response": "x", "agent_id": "a1", "agent_type": "Explore"},
        "tool.used",
        {
            "tool": "Read",
            "input": {},
            "response": "x",
            "agent_id": "a1",
            "agent_type": "Explore",
        },
    ),
    (
        "failed command",
        "PostToolUseFailure",
        {
            "tool_name": "Bash",
            "tool_input": {"command": "false"},
            "tool_use_id": "toolu_2",
            "error": "Exit code 1",
            "is_interrupt": False,
            "duration_ms": 5,
        },
        "tool.failed",
        {
            "tool": "Bash",
            "input": {"command": "false"},
            "tool_use_id": "toolu_2",
            "error": "Exit code 1",
            "is_interrupt": False,
            "duration_ms": 5,
        },
    ),
    (
        "stop",
        "Stop",
        {"stop_hook_active": False, "last_assistant_message": "Done: one cent was lost."},
        "assistant.replied",
        {"content": "Done: one cent was lost.", "final": True, "transcript_path": TRANSCRIPT},
    ),
    (
        "stop without a message",
        "Stop",
        {"stop_hook_active": False},
        "assistant.replied",
        {"content": "", "final": True, "transcript_path": TRANSCRIPT},
    ),
    (
        "turn that died",
        "StopFailure",
        {"error": "rate_limit", "error_details": "try again in 5 minutes"},
        "observation.added",
        {
            "observation_type": "error",
            "title": "Turn ended by rate_limit",
            "content": "rate_limit\ntry again in 5 minutes",
        },
    ),
    (
        "subagent",
        "SubagentStop",
        {
            "agent_id": "a1",
            "agent_type": "Explore",
            "agent_transcript_path": "/t/agent-a1.jsonl",
            "last_assistant_message": "Found it.",
        },
        "subagent.stopped",
        {
            "agent_id": "a1",
            "agent_type": "Explore",
            "content": "Found it.",
            "transcript_path": "/t/agent-a1.jsonl",
        },
    ),
    (
        "before compaction",
        "PreCompact",
        {"trigger": "auto", "custom_instructions": None},
        "context.compacted",
        {"phase": "before", "trigger": "auto"},
    ),
    (
        "after compaction",
        "PostCompact",
        {"trigger": "manual", "compact_summary": "We fixed the total."},
        "context.compacted",
        {"phase": "after", "trigger": "manual", "summary": "We fixed the total."},
    ),
    (
        "end",
        "SessionEnd",
        {"reason": "other"},
        "session.ended",
        {"reason": "other", "transcript_path": TRANSCRIPT},
    ),
]


@pytest.mark.parametrize(
    ("event", "fields", "kind", "data"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_each_event_becomes_what_the_wire_says(
    event: str, fields: dict[str, Any], kind: str, data: dict[str, Any]
) -> None:
    [made] = to_events(payload(event, prompt_id=PROMPT_ID, **fields), ID, MS)
    shared = {"prompt_id": PROMPT_ID, "cwd": "/home/dev/ledger", "origin": "live"}
    assert made == {
        "id": ID,
        "type": kind,
        "occurred_at": "2026-11-19T10:00:00.123Z",
        "agent": "claude-code",
        "session": "0d9b5f0e-5a3e-4a77-9a55-b0b0a6c3e1f2",
        "project": "/home/dev/ledger",
        "data": shared | data,
    }


def test_the_table_covers_every_event_that_is_recorded() -> None:
    assert {row[1] for row in TABLE} == set(EVENTS)


@pytest.mark.parametrize("event", ["PreToolUse", "Notification", "MessageDisplay", "New", None])
def test_other_events_are_ignored(event: str | None) -> None:
    assert to_events({"session_id": "s", "hook_event_name": event}, ID, MS) == []


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        ({"hook_event_name": "Stop"}, "session_id"),
        ({"hook_event_name": "Stop", "session_id": ""}, "session_id"),
        ({"hook_event_name": "Stop", "session_id": 7}, "session_id"),
        ({"hook_event_name": "PostToolUse", "session_id": "s"}, "tool_name"),
        ({"hook_event_name": "PostToolUseFailure", "session_id": "s"}, "tool_name"),
        ({"hook_event_name": "SubagentStop", "session_id": "s"}, "agent_id"),
    ],
)
def test_what_an_event_cannot_do_without_is_named(broken: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedPayload) as caught:
        to_events(broken, ID, MS)
    assert caught.value.field == field


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("odd", [None, 5, [], {}, "", True])
def test_fields_of_an_unexpected_type_are_left_out(event: str, odd: object) -> None:
    names = ["prompt_id", "cwd", "source", "prompt", "tool_input", "tool_response", "mcp_server"]
    names += ["duration_ms", "error", "is_interrupt", "last_assistant_message", "trigger"]
    names += ["transcript_path", "reason", "compact_summary", "custom_instructions"]
    fields = dict.fromkeys(names, odd) | {"tool_name": "Bash", "agent_id": "a"}
    for made in to_events(payload(event) | fields, ID, MS):
        data = made["data"]
        assert all(value not in (None, [], "") or key in {"response", "content", "error"}
                   for key, value in data.items() if key != "input")  # fmt: skip
        assert made["project"] == "unknown"
        assert isinstance(data.get("input", {}), dict)


def test_texts_longer_than_the_wire_allows_are_cut_not_lost() -> None:
    long = "word " * 300_000
    fields = {"prompt": long, "source": "user", "agent_type": "x " * 400, "cwd": "/" + "d" * 5000}
    [made] = to_events(payload("UserPromptSubmit", **fields), ID, MS)
    assert 990_000 < len(made["data"]["content"]) <= 1_000_000
    assert len(made["data"]["agent_type"]) <= 512
    assert "cwd" not in made["data"]
    assert made["project"] == "unknown"


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("short", 10, "short"), ("two words", 6, "two"), ("oneword", 3, "one"), ("a\nbcd", 4, "a")],
)
def test_clipping_spares_words(text: str, limit: int, expected: str) -> None:
    assert clipped(text, limit) == expected


def test_derived_ids_are_ids_of_the_same_moment_and_repeatable() -> None:
    made = [derived_id(ID, index) for index in range(1, 20)]
    assert all(is_id(one) and id_epoch_ms(one) == MS for one in made)
    assert len({ID, *made}) == 20
    assert made[0] == derived_id(ID, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("  spaces stay  ", "  spaces stay  "),
        ("a <b>tag</b> of mine", "a <b>tag</b> of mine"),
        ("go\n<system-reminder>be nice</system-reminder>", "go"),
        ("<system-reminder>\nmany\nlines\n</system-reminder>go on", "go on"),
        ("<task-notification id='1'>x</task-notification> <b>", "<b>"),
        ("<local-command-stdout>out</local-command-stdout>", ""),
        ("<claude-mem-context>a<system-reminder>b</system-reminder></claude-mem-context>c", "c"),
        ("<system-reminder><system-reminder>a</system-reminder>b", "b"),
        ("what does <system-reminder> mean?", "what does <system-reminder> mean?"),
        ("</system-reminder> alone", "</system-reminder> alone"),
        ("<system-reminder> <task-notification>x</task-notification> y", "<system-reminder>  y"),
        ("<system-reminders>no</system-reminders>", "<system-reminders>no</system-reminders>"),
        ("<command-message>x</command-message>\n<command-name>/x</command-name>", ""),
        ("前<system-reminder>中</system-reminder>后", "前后"),
    ],
)
def test_injected_blocks_are_taken_out(text: str, expected: str) -> None:
    assert strip_injected(text) == expected


def test_a_prompt_of_injected_text_only_is_no_prompt() -> None:
    text = "<task-notification>done</task-notification>"
    assert to_events(payload("UserPromptSubmit", prompt=text), ID, MS) == []


def test_a_fork_of_the_clients_own_is_no_subagent() -> None:
    """A compaction is written by one; a real subagent has a type, and older clients name none."""
    said = {"agent_id": "a1", "last_assistant_message": "<summary>All.</summary>"}
    assert to_events(payload("SubagentStop", agent_type="", **said), ID, MS) == []
    assert len(to_events(payload("SubagentStop", agent_type="Explore", **said), ID, MS)) == 1
    assert len(to_events(payload("SubagentStop", **said), ID, MS)) == 1


def test_many_open_tags_are_no_burden() -> None:
    assert strip_injected("<system-reminder>" * 50_000).startswith("<system-reminder>")


OWN = [
    "claude-mem search cents",
    "claude-mem",
    "/home/dev/.local/bin/claude-mem status --json",
    "cd /home/dev/ledger && claude-mem search 'one && two'",
    "CLAUDE_MEM_HOME=/tmp/x claude-mem search a 2>&1 | head -20",
    "python3 -m claude_mem search a",
    "uvx claude-mem export > out.jsonl",
    "timeout 5 claude-mem search x; echo done",
    "claude-mem search a\nclaude-mem search b",
    "(claude-mem search x | jq .)",
]
OTHERS = [
    "pytest -q",
    "cd claude-mem && make test",
    "git clone https://example.org/claude-mem.git",
    "grep -rn claude-mem .",
    "ls ~/.claude-mem",
    "make test && claude-mem search x",
    "pip install claude-mem",
    "cat > notes.md <<EOF\nclaude-mem search x\nrun it\nEOF",
    "python3 -m pytest tests/claude_mem",
    "echo 'claude-mem search",
    "claude-mem-extras run",
    "",
]


@pytest.mark.parametrize("command", OWN)
def test_our_own_command_is_known(command: str) -> None:
    assert is_own_tool("Bash", None, {"command": command})


@pytest.mark.parametrize("command", OTHERS)
def test_other_commands_are_recorded(command: str) -> None:
    assert not is_own_tool("Bash", None, {"command": command})


@pytest.mark.parametrize(
    ("tool", "server", "own"),
    [
        ("mcp__claude-mem__search", None, True),
        ("mcp__plugin_claude-mem_memory__search", None, True),
        ("mcp__plugin_claude-mem_mcp-search__timeline", None, True),
        ("mcp__plugin_memory_claude-mem__search", None, True),
        ("mcp__plugin_memory_other__search", "plugin:memory:other", False),
        ("search", "claude-mem", True),
        ("search", "plugin:claude-mem:memory", True),
        ("mcp__other__search", "other", False),
        ("mcp__claude-memory__search", "claude-memory", False),
        ("Read", None, False),
    ],
)
def test_our_own_tools_are_known_by_name_and_server(
    tool: str, server: str | None, own: bool
) -> None:
    assert is_own_tool(tool, server, {}) is own
    fields = {"tool_name": tool, "mcp_server": server and {"name": server, "source": "user"}}
    for event in ("PostToolUse", "PostToolUseFailure"):
        assert (to_events(payload(event, **fields), ID, MS) == []) is own
