"""The hook with a worker behind the door: what goes in, what comes out, what makes it spool."""

import time
from collections.abc import Callable

import pytest
from hook_support import LOCAL_TOKEN, Door, Installed, answering, payload, reply, resetting

from claude_mem import __version__
from claude_mem.domains.capture.door import project_dir
from claude_mem.kernel.ids import is_id

OpenDoor = Callable[..., Door]
PROMPT = payload("UserPromptSubmit", prompt="why is the total off by one cent? 为什么")


@pytest.mark.parametrize("tcp", [False, True])
def test_it_forwards_the_raw_bytes_with_its_headers(
    hook: Installed, open_door: OpenDoor, tcp: bool
) -> None:
    door = open_door(tcp=tcp)
    before = int(time.time() * 1000)
    raw = b'{"session_id": "s",  "prompt": "kept as it is, spaces too", "n": 1.50}'
    hook.run("UserPromptSubmit", raw)
    [(fields, body)] = door.requests
    assert body == raw
    assert fields[":request"] == "POST /api/v1/hooks/claude-code HTTP/1.1"
    assert fields["Authorization"] == f"Bearer {LOCAL_TOKEN}"
    assert fields["X-Hook-Event"] == "UserPromptSubmit"
    assert fields["X-Hook-Version"] == __version__
    assert is_id(fields["X-Event-Id"])
    assert before <= int(fields["X-Event-Time"]) <= int(time.time() * 1000)
    assert int(fields["X-Event-Id"].replace("-", "")[:12], 16) == int(fields["X-Event-Time"])
    assert hook.lines() == []


@pytest.mark.parametrize(
    ("place", "header"),
    [
        ("/home/dev/ledger", "/home/dev/ledger"),
        ("/a b\r\nX-Evil: 1/100%", "/a%20b%0D%0AX-Evil:%201/100%25"),
        ("/账", "/%E8%B4%A6"),
        ("", None),
        ("/" + "x" * 5000, None),
    ],
)
def test_it_names_the_sessions_project(
    hook: Installed, open_door: OpenDoor, place: str, header: str | None
) -> None:
    door = open_door()
    hook.run("UserPromptSubmit", PROMPT, CLAUDE_PROJECT_DIR=place)
    assert door.requests[0][0].get("X-Project-Dir") == header
    assert "X-Evil" not in door.requests[0][0]
    assert project_dir(header or "") == (place if header else "")


def test_every_event_has_an_id_of_its_own(hook: Installed, open_door: OpenDoor) -> None:
    door = open_door()
    for _ in range(8):
        hook.run("PostToolUse", PROMPT)
    assert len({fields["X-Event-Id"] for fields, _ in door.requests}) == 8


def test_a_payload_larger_than_the_pipe_arrives_whole(hook: Installed, open_door: OpenDoor) -> None:
    door = open_door()
    big = payload("PostToolUse", tool_response={"stdout": "line\n" * 400_000})
    hook.run("PostToolUse", big)
    assert len(door.requests[0][1]) > 2_000_000
    assert hook.lines() == []


def test_what_the_worker_answers_is_printed(hook: Installed, open_door: OpenDoor) -> None:
    text = '{"hookSpecificOutput": {"additionalContext": "上下文"}}'.encode()
    open_door(answering(reply(body=text)))
    assert hook.run("SessionStart", payload("SessionStart")).stdout == text


def test_what_the_plugin_adds_names_the_plugins_tools(hook: Installed, open_door: OpenDoor) -> None:
    """The client lists the same tools under another name when they come with a plugin."""
    text = b'{"hookSpecificOutput": {"additionalContext": "In full: mcp__claude-mem__get"}}'
    open_door(answering(reply(body=text)))
    event = ("SessionStart", payload("SessionStart"))
    assert hook.run(*event).stdout == text
    plugins = hook.run(*event, CLAUDE_PLUGIN_ROOT="/plugins/memory").stdout
    assert plugins == text.replace(b"mcp__", b"mcp__plugin_memory_")


@pytest.mark.parametrize(
    "event", ["Stop", "SubagentStop", "SessionEnd", "PreCompact", "PostCompact"]
)
def test_nothing_is_ever_printed_where_output_would_do_harm(
    hook: Installed, open_door: OpenDoor, event: str
) -> None:
    open_door(answering(reply(body=b'{"systemMessage": "no"}')))
    done = hook.run(event, payload(event))
    assert (done.stdout, done.stderr) == (b"", b"")


REFUSALS = {
    "overloaded": answering(reply("503 Service Unavailable", b"{}")),
    "too many": answering(reply("429 Too Many Requests")),
    "wrong token": answering(reply("401 Unauthorized")),
    "error": answering(reply("500 Internal Server Error", b"oops")),
    "elsewhere": answering(reply("302 Found")),
    "not http": answering(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "no length": answering(b"HTTP/1.1 200 OK\r\n\r\n"),
    "length is no number": answering(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"),
    "empty": answering(b""),
    "cut in the head": answering(b"HTTP/1.1 200 OK\r\ncontent-le"),
    "cut in the body": answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
    "reset in the head": resetting(b"HTTP/1.1 200"),
    "reset in the body": resetting(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
}


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("event", ["UserPromptSubmit", "Stop"])
def test_anything_but_a_whole_200_spools_under_the_same_id(
    hook: Installed, open_door: OpenDoor, answer: object, event: str
) -> None:
    door = open_door(answer)
    done = hook.run(event, PROMPT)
    assert (done.stdout, done.stderr) == (b"", b"")
    [line] = hook.lines()
    assert line.payload == PROMPT
    assert line.event == event
    assert line.id == door.requests[0][0]["X-Event-Id"]
    assert str(line.ms) == door.requests[0][0]["X-Event-Time"]


def test_a_worker_that_does_not_answer_in_time_is_not_waited_for(
    hook: Installed, open_door: OpenDoor
) -> None:
    door = open_door()
    door.answer = lambda line, _: door.let_go.wait(60) and line.sendall(reply())  # type: ignore[func-returns-value]
    hook.run("PostToolUse", PROMPT)  # returns although the door is let go only after the test
    [line] = hook.lines()
    assert line.id == door.requests[0][0]["X-Event-Id"]


def test_a_worker_that_dribbles_does_not_stretch_the_budget(
    hook: Installed, open_door: OpenDoor
) -> None:
    def dribble(line: object, _request: bytes) -> None:
        for byte in reply(body=b"x" * 2000):
            line.send(bytes([byte]))  # type: ignore[attr-defined]
            if door.let_go.wait(0.02):
                return

    door = open_door(dribble)
    hook.run("PostToolUse", PROMPT)
    assert len(hook.lines()) == 1


def test_a_door_that_leads_nowhere_spools(hook: Installed) -> None:
    for text in ("", "unix", "tcp:127.0.0.1:none\nt\n", "unix:/nowhere/x.sock\nt\n", "\x00\n\n"):
        (hook.home / "door").write_text(text)
        hook.run("PostToolUse", PROMPT)
    assert len(hook.lines()) == 5


def test_it_exits_at_once_inside_our_own_model_calls(hook: Installed, open_door: OpenDoor) -> None:
    door = open_door()
    done = hook.run("UserPromptSubmit", PROMPT, CLAUDE_MEM_INTERNAL="1")
    assert (done.stdout, done.stderr) == (b"", b"")
    assert door.requests == []
    assert hook.lines() == []


@pytest.mark.parametrize(
    ("paused", "captured"),
    [("", False), ("32503680000000", False), ("1000", True), ("what?", False), (None, True)],
)
def test_a_pause_holds_until_its_end(
    hook: Installed, open_door: OpenDoor, paused: str | None, captured: bool
) -> None:
    door = open_door()
    if paused is not None:
        (hook.home / "paused").write_text(paused)
    hook.run("UserPromptSubmit", PROMPT)
    assert len(door.requests) == int(captured)
    assert hook.lines() == []
