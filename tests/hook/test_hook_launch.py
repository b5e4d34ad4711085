"""Who starts the worker: a new session when none answers, any event after a crash, else nobody."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hook_support import Door, Installed, answering, payload, reply, resetting

MARK = """
import json, os, sys
open(sys.argv[1], "a").write(json.dumps({
    "sid": os.getsid(0) == os.getpid(), "cwd": os.getcwd(), "env": dict(os.environ),
}) + "\\n")
"""


@pytest.fixture
def mark(hook: Installed, folder: Path) -> Path:
    """A launch plan whose program leaves a mark, and where."""
    script = folder / "mark.py"
    script.write_text(MARK)
    path = folder / "marks"
    plan = {"argv": [sys.executable, "-I", "-S", str(script), str(path)], "env": {"ADDED": "yes"}}
    (hook.home / "hook" / "launch.json").write_text(json.dumps(plan))
    return path


def marks(path: Path, expected: int) -> list[dict[str, object]]:
    """What the launched programs left, waiting until `expected` of them did."""
    deadline = time.monotonic() + 20
    while True:
        rows = path.read_text().splitlines() if path.exists() else []
        if len(rows) >= expected or time.monotonic() > deadline:
            return [json.loads(row) for row in rows]
        time.sleep(0.01)


def settle(hook: Installed, path: Path, expected: int) -> None:
    """Prove an absence: what one more SessionStart starts comes after what should not have been."""
    (hook.home / "door").unlink(missing_ok=True)
    hook.run("SessionStart", payload("SessionStart"))
    assert len(marks(path, expected + 1)) == expected + 1


def test_session_start_starts_it_detached_and_spools(hook: Installed, mark: Path) -> None:
    secret = {"CLAUDE_CODE_MESSAGING_TOKEN": "s3cret", "HOME": "/home/dev", "CLAUDE_MEM_PORT": "1"}
    hook.run("SessionStart", payload("SessionStart"), **secret)
    [left] = marks(mark, 1)
    assert left["cwd"] == os.path.realpath(hook.home)
    environment = left["env"]
    assert isinstance(environment, dict)
    assert environment["ADDED"] == "yes"
    assert environment["HOME"] == "/home/dev"
    assert environment["CLAUDE_MEM_PORT"] == "1"
    assert "CLAUDE_CODE_MESSAGING_TOKEN" not in environment
    assert left["sid"] is False  # no session leader: it can never get a terminal
    assert len(hook.lines()) == 1


def test_other_events_leave_a_stopped_worker_alone(hook: Installed, mark: Path) -> None:
    for event in ("UserPromptSubmit", "PostToolUse", "Stop"):
        hook.run(event, payload(event))
    settle(hook, mark, expected=0)


def test_after_a_crash_any_event_starts_it_but_once_in_a_while(hook: Installed, mark: Path) -> None:
    (hook.home / "door").write_text(f"unix:{hook.home}/gone.sock\nt\n")
    for _ in range(5):
        hook.run("PostToolUse", payload("PostToolUse"))
    assert len(marks(mark, 1)) == 1
    long_ago = time.time() - 31
    os.utime(hook.home / "hook" / ".launched", (long_ago, long_ago))
    hook.run("PostToolUse", payload("PostToolUse"))
    assert len(marks(mark, 2)) == 2
    settle(hook, mark, expected=2)


def test_a_worker_that_refuses_is_not_started_again(
    hook: Installed, mark: Path, open_door: Callable[..., Door]
) -> None:
    open_door(answering(reply("503 Service Unavailable")))
    hook.run("SessionStart", payload("SessionStart"))
    assert len(hook.lines()) == 1
    settle(hook, mark, expected=0)


def test_a_worker_that_dies_while_it_is_spoken_to_is_started_again(
    hook: Installed, mark: Path, open_door: Callable[..., Door]
) -> None:
    open_door(resetting(b""), tcp=True)  # what a killed process does to its connections
    hook.run("SessionStart", payload("SessionStart"))
    assert len(marks(mark, 1)) == 1
    assert len(hook.lines()) == 1


@pytest.mark.parametrize("plan", [None, "{", "[]", '{"argv": []}', '{"argv": ["/nowhere/python"]}'])
def test_a_worker_that_cannot_be_started_costs_nothing(hook: Installed, plan: str | None) -> None:
    if plan is not None:
        (hook.home / "hook" / "launch.json").write_text(plan)
    done = hook.run("SessionStart", payload("SessionStart"))
    assert done.stdout == b""
    assert done.stderr.startswith(b"claude-mem: the worker could not be started")
    assert len(hook.lines()) == 1
