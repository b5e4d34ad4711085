"""What a new session is told when no worker answers: by one on its way up, or as it was rendered last."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hook_support import LOCAL_TOKEN, Door, Installed, answering, payload, reply

from claude_mem.hook.recall import await_answer

OpenDoor = Callable[..., Door]
PLACE = "/home/dev/ledger"
START = payload("SessionStart", source="startup")
TEXT = "<memory>\n账本 rounds half to even.\n</memory>"
UNITS = [{"kind": "learning", "id": "l-1", "unit": "0"}]
# A worker that listens after a while, and answers each request with what it was given.
LATE = """
import socket, sys, time
home, seconds, answer = sys.argv[1], float(sys.argv[2]), sys.argv[3].encode()
time.sleep(seconds)
line = socket.socket(socket.AF_UNIX)
line.bind(home + "/late.sock")
line.listen(8)
open(home + "/door.new", "w").write("unix:" + home + "/late.sock\\nTOKEN\\n")
import os; os.rename(home + "/door.new", home + "/door")
line.settimeout(30)
while True:
    one, _ = line.accept()
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        data += one.recv(65536)
    with open(home + "/asked", "ab") as file:
        file.write(data + b"\\n\\n")
    one.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(answer) + answer)
    one.close()
"""


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def rendered(hook: Installed, place: str = PLACE, **fields: Any) -> Path:
    """Write a rendered context as the worker does; returns the file."""
    folder: Path = hook.home / "context"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{digest(place)}.json"
    record = {"v": 1, "place": place, "text": TEXT, "units": UNITS} | fields
    path.write_text(json.dumps(record), encoding="utf-8")
    path.chmod(0o600)
    return path


def told(stdout: bytes) -> str | None:
    """The context in a hook's answer, None for silence; anything else fails the test."""
    if not stdout:
        return None
    answer = json.loads(stdout)["hookSpecificOutput"]
    assert answer["hookEventName"] == "SessionStart"
    assert set(answer) == {"hookEventName", "additionalContext"}
    return str(answer["additionalContext"])


def launch_plan(hook: Installed, *argv: str) -> None:
    plan = {"argv": [sys.executable, "-I", "-S", *argv], "env": {}}
    (hook.home / "hook" / "launch.json").write_text(json.dumps(plan))


@pytest.fixture
def late_worker(hook: Installed, folder: Path) -> Callable[[float, str], None]:
    """Has the hook start a worker that is up after so many seconds and answers with this text."""

    def plan(seconds: float, answer: str) -> None:
        script = folder / "late.py"
        script.write_text(LATE.replace("TOKEN", LOCAL_TOKEN))
        launch_plan(hook, str(script), str(hook.home), str(seconds), answer)

    return plan


def test_a_worker_that_comes_up_in_time_is_asked_with_the_same_event(
    hook: Installed, late_worker: Callable[[float, str], None]
) -> None:
    rendered(hook)
    answer = (
        '{"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": "fresh"}}'
    )
    late_worker(0.5, answer)
    done = hook.run("SessionStart", START)
    assert told(done.stdout) == "fresh"
    [line] = hook.lines()
    assert f"X-Event-Id: {line.id}".encode() in (hook.home / "asked").read_bytes()
    assert list((hook.home / "context").glob("*.given")) == []


def test_a_worker_that_has_nothing_to_say_has_the_last_word(
    hook: Installed, late_worker: Callable[[float, str], None]
) -> None:
    rendered(hook)
    late_worker(0.1, "")
    assert told(hook.run("SessionStart", START).stdout) is None


def test_a_worker_that_takes_too_long_to_come_up_is_not_waited_for(
    hook: Installed, late_worker: Callable[[float, str], None]
) -> None:
    rendered(hook)
    late_worker(60, "")
    assert told(hook.run("SessionStart", START).stdout) == TEXT
    assert len(hook.lines()) == 1
    assert not (hook.home / "asked").exists()


@pytest.mark.parametrize("plan", [None, "nothing.py"])
def test_where_no_worker_can_be_started_the_last_context_comes(
    hook: Installed, folder: Path, plan: str | None
) -> None:
    if plan is not None:
        (folder / plan).touch()
        launch_plan(hook, str(folder / plan))
    rendered(hook)
    assert told(hook.run("SessionStart", START).stdout) == TEXT


def test_a_supervisor_that_gives_up_ends_the_wait(hook: Installed) -> None:
    asked: list[float] = []

    def nobody_there(seconds: float) -> bytes:
        asked.append(seconds)
        (hook.home / "worker.failed").touch()
        raise ConnectionRefusedError

    began = int(time.time() * 1000) - 100  # files are dated by a clock that is some ms behind
    old = time.time() - 60
    (hook.home / "worker.failed").touch()
    os.utime(hook.home / "worker.failed", (old, old))  # of another time: it says nothing of today
    assert await_answer(str(hook.home), began, nobody_there) is None
    assert len(asked) == 1


def test_a_stale_door_is_no_worker(
    hook: Installed, late_worker: Callable[[float, str], None]
) -> None:
    (hook.home / "door").write_text(f"unix:{hook.home}/gone.sock\nt\n")
    rendered(hook)
    assert told(hook.run("SessionStart", START).stdout) == TEXT
    answer = (
        '{"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": "fresh"}}'
    )
    late_worker(0.2, answer)
    assert told(hook.run("SessionStart", START).stdout) == "fresh"


def test_a_slow_worker_is_left_alone_and_the_last_context_comes(
    hook: Installed, open_door: OpenDoor
) -> None:
    door = open_door()
    door.answer = lambda line, _: door.let_go.wait(60) and line.sendall(reply())
    rendered(hook)
    assert told(hook.run("SessionStart", START).stdout) == TEXT
    assert len(hook.lines()) == 1
    assert len(door.requests) == 1  # not asked again


def test_a_worker_that_refuses_is_not_asked_again(hook: Installed, open_door: OpenDoor) -> None:
    door = open_door(answering(reply("503 Service Unavailable", b"{}")))
    rendered(hook)
    assert told(hook.run("SessionStart", START).stdout) == TEXT
    assert len(door.requests) == 1


def test_the_project_folder_counts_before_the_current_one(hook: Installed) -> None:
    rendered(hook, "/home/dev/ledger/账", text="of the project")
    rendered(hook, PLACE, text="of the folder")
    done = hook.run("SessionStart", START, CLAUDE_PROJECT_DIR="/home/dev/ledger/账")
    assert told(done.stdout) == "of the project"
    assert told(hook.run("SessionStart", START).stdout) == "of the folder"


def test_what_the_plugin_tells_names_the_plugins_tools(hook: Installed) -> None:
    rendered(hook, text="In full: mcp__claude-mem__get")
    done = hook.run("SessionStart", START, CLAUDE_PROJECT_DIR=PLACE, CLAUDE_PLUGIN_ROOT="/plugin")
    assert told(done.stdout) == "In full: mcp__plugin_memory_claude-mem__get"


def test_what_was_given_is_noted_for_the_worker(hook: Installed) -> None:
    rendered(hook)
    before = int(time.time() * 1000)
    hook.run("SessionStart", START)
    [note] = (hook.home / "context").glob("*.given")
    assert note.stem == digest(START["session_id"])
    assert note.stat().st_mode & 0o777 == 0o600
    found = json.loads(note.read_text())
    assert found.pop("at") >= before
    assert found == {"v": 1, "session": START["session_id"], "units": UNITS}


@pytest.mark.parametrize("source", ["resume", "fork"])
def test_a_conversation_that_goes_on_is_not_told_again(hook: Installed, source: str) -> None:
    rendered(hook)
    assert told(hook.run("SessionStart", START | {"source": source}).stdout) is None
    assert told(hook.run("SessionStart", START | {"source": "compact"}).stdout) == TEXT


@pytest.mark.parametrize(
    "event", ["UserPromptSubmit", "PostToolUse", "PostToolUseFailure", "Stop", "SessionEnd"]
)
def test_no_other_event_is_told_anything(hook: Installed, event: str) -> None:
    rendered(hook)
    done = hook.run(event, payload(event, source="startup"))
    assert (done.stdout, done.stderr) == (b"", b"")
    assert len(hook.lines()) == 1


def _as_link(path: Path) -> None:
    path.rename(path.parent / "real")
    path.symlink_to("real")


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _in_linked_folder(path: Path) -> None:
    path.parent.rename(path.parent.parent / "elsewhere")
    path.parent.symlink_to("elsewhere")


def _saying(**fields: Any) -> Callable[[Path], object]:
    record = {"v": 1, "place": PLACE, "text": TEXT} | fields
    return lambda path: path.write_text(json.dumps(record))


UNTRUSTED: dict[str, Callable[[Path], object]] = {
    "of another place": _saying(place="/home/dev/other"),
    "of another version": _saying(v=2),
    "text of a wrong type": _saying(text=[TEXT]),
    "blank": _saying(text=" \n"),
    "too long": _saying(text="x" * 9_501),
    "without text": lambda path: path.write_text(json.dumps({"v": 1, "place": PLACE})),
    "cut": lambda path: os.truncate(path, 40),
    "empty": lambda path: path.write_text(""),
    "not json": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "nested too deep": lambda path: path.write_text("[" * 100_000),
    "a list": lambda path: path.write_text("[]"),
    "too large": lambda path: path.write_text(path.read_text() + " " * (256 << 10)),
    "writable by others": lambda path: path.chmod(0o602),
    "writable by the group": lambda path: path.chmod(0o620),
    "a link": _as_link,
    "a folder": _as_folder,
    "a pipe": _as_pipe,
    "in a linked folder": _in_linked_folder,
}


@pytest.mark.parametrize("spoil", UNTRUSTED.values(), ids=UNTRUSTED)
def test_a_file_that_is_not_to_be_trusted_is_silence(
    hook: Installed, spoil: Callable[[Path], object]
) -> None:
    path = rendered(hook)
    assert told(hook.run("SessionStart", START).stdout) == TEXT
    spoil(path)
    done = hook.run("SessionStart", START)
    assert done.stdout == b""
    assert len(hook.lines()) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file another user's")
def test_another_users_file_is_silence(hook: Installed) -> None:
    path = rendered(hook)
    os.chown(path, 65_534, 65_534)
    assert told(hook.run("SessionStart", START).stdout) is None


def test_the_longest_context_is_given_whole(hook: Installed) -> None:
    text = "\u3042" * 9_500
    rendered(hook, text=text)
    assert told(hook.run("SessionStart", START).stdout) == text


def test_a_project_that_opted_out_is_told_nothing(hook: Installed, folder: Path) -> None:
    (folder / "project" / ".git").mkdir(parents=True)
    place = str(folder / "project")
    rendered(hook, place)
    assert told(hook.run("SessionStart", START | {"cwd": place}).stdout) == TEXT
    (folder / "project" / ".claude-mem-off").touch()
    assert told(hook.run("SessionStart", START | {"cwd": place}).stdout) is None
    elsewhere = hook.run("SessionStart", START, CLAUDE_PROJECT_DIR=place)
    assert told(elsewhere.stdout) is None


def test_a_paused_capture_tells_nothing(hook: Installed) -> None:
    rendered(hook)
    (hook.home / "paused").touch()
    assert told(hook.run("SessionStart", START).stdout) is None
    assert hook.lines() == []


def test_a_warning_and_a_context_are_one_answer(hook: Installed) -> None:
    rendered(hook)
    (hook.home / "hook" / "limits").write_text("0 0 0")
    answer = json.loads(hook.run("SessionStart", START).stdout)
    assert "the spool is full" in answer["systemMessage"]
    assert answer["hookSpecificOutput"]["additionalContext"] == TEXT


def test_an_answer_that_is_no_object_is_not_printed(hook: Installed, open_door: OpenDoor) -> None:
    open_door(answering(reply(body=b"plain words")))
    for event in ("SessionStart", "UserPromptSubmit", "PostToolUse"):
        done = hook.run(event, payload(event))
        assert (done.stdout, done.stderr) == (b"", b"")
