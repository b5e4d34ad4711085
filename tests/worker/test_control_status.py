"""What is told about a data folder, in every state of its worker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_mem.worker.control import start, stop
from claude_mem.worker.layout import Layout
from claude_mem.worker.probe import Door, health, read_door, read_worker_json
from claude_mem.worker.status import pause_state, status

Wait = Callable[[Callable[[], Any], str], Any]


def test_a_folder_that_never_was(tmp_path: Path) -> None:
    found = status(tmp_path / "nothing")
    assert (found.state, found.worker, found.supervisor_pid) == ("stopped", None, None)
    assert (found.spool.bytes, found.spool.events, found.spool.refused) == (0, 0, 0)
    assert (found.database.bytes, found.database.warning) == (0, None)
    assert not found.paused
    assert found.last_error is None
    assert not (tmp_path / "nothing").exists()


def test_a_running_worker(folder: Any) -> None:
    folder.script(port=37702)
    start(folder.home, 30, worker=folder.argv)
    found = status(folder.home)
    assert found.state == "running"
    assert found.worker is not None
    assert found.worker.healthy
    assert (found.worker.pid, found.worker.port) == (folder.worker().pid, 37702)
    assert found.worker.rss_bytes is not None
    assert found.worker.rss_bytes > 1_000_000
    assert found.worker.uptime_seconds is not None
    assert found.worker.uptime_seconds < 120
    assert found.supervisor_pid == folder.supervisor().pid
    assert found.inbox_pending == 0
    assert json.loads(json.dumps(found.as_dict()))["worker"]["version"] == found.worker.version
    stop(folder.home)
    assert status(folder.home).state == "stopped"


def test_a_worker_that_does_not_answer(folder: Any) -> None:
    start(folder.home, 30, worker=folder.argv)
    door = folder.files.door
    door.rename(folder.home / "door.away")
    found = status(folder.home)
    (folder.home / "door.away").rename(door)
    assert found.state == "starting"
    assert found.worker is not None
    assert not found.worker.healthy


def test_a_worker_between_two_lives(folder: Any, wait_for: Wait) -> None:
    folder.script(exits=[3] * 50)
    folder.launch()
    wait_for(lambda: len(folder.runs()) >= 2, "crashes")
    assert status(folder.home).state == "restarting"
    found = status(folder.home)
    assert found.last_error is not None
    assert found.last_error["event"] == "worker.restarting"


def test_a_worker_that_was_given_up(folder: Any) -> None:
    folder.script(exits=[78])
    start(folder.home, 30, worker=folder.argv)
    found = status(folder.home)
    assert found.state == "failed"
    assert found.failure is not None
    assert (found.failure["reason"], found.failure["exit_code"]) == ("refused", 78)
    assert found.failure["stderr_tail"] == ["leaving with 78"]


def test_worker_json_of_an_earlier_worker_is_not_believed(folder: Any, wait_for: Wait) -> None:
    folder.script(port=37703)
    start(folder.home, 30, worker=folder.argv)
    (folder.files.worker_json).write_text(json.dumps({"pid": 1, "port": 9}))
    found = status(folder.home)
    assert found.worker is not None
    assert found.worker.port is None


def test_the_spool_is_counted(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "active.jsonl").write_text("{}\n{}\n")
    (spool / "ready-1-1.jsonl").write_text("{}\n")
    (spool / "refused").write_text("PostToolUse\nPostToolUse\nStop\n")
    (spool / "rejected.jsonl").write_text("{}\n")
    (spool / "rejected.dropped").write_text("41")
    found = status(tmp_path).spool
    assert (found.bytes, found.events, found.refused, found.rejected) == (9, 3, 3, 42)


@pytest.mark.parametrize(("used", "warned"), [(799, False), (800, True), (1200, True)])
def test_the_size_cap_is_warned_about_from_eighty_percent(
    tmp_path: Path, used: int, warned: bool
) -> None:
    (tmp_path / "claude-mem.db").write_bytes(b"x" * (used - 100))
    (tmp_path / "claude-mem.db-wal").write_bytes(b"x" * 100)
    found = status(tmp_path, cap_bytes=1000).database
    assert found.bytes == used
    assert (found.warning is not None) is warned
    assert status(tmp_path).database.warning is None


def test_pause(tmp_path: Path) -> None:
    path = tmp_path / "paused"
    assert pause_state(path) == (False, None)
    path.touch()
    assert pause_state(path) == (True, None)
    path.write_text("1000\n")
    assert pause_state(path, now=999) == (True, 1000)
    assert pause_state(path, now=1000) == (False, 1000)
    path.write_text("someone typed here")
    assert pause_state(path) == (True, None)
    assert status(tmp_path).paused


def test_the_last_error_is_the_newest_of_level_error(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "worker.jsonl"
    log.parent.mkdir()
    lines = [
        {"level": "error", "message": "first"},
        {"level": "error", "message": "second"},
        {"level": "info", "message": "fine"},
    ]
    log.write_text("\n".join(map(json.dumps, lines)) + '\n[]\n{"level": "err')
    found = status(tmp_path).last_error
    assert found is not None
    assert found["message"] == "second"


# -- the door


def test_doors(tmp_path: Path) -> None:
    files = Layout(tmp_path)
    assert read_door(files) is None
    files.door.write_text("unix:/tmp/x.sock\nsecret\n")
    assert read_door(files) == Door("/tmp/x.sock", "127.0.0.1", 0, "secret")
    files.door.write_text("tcp:127.0.0.1:37700\nsecret")
    assert read_door(files) == Door(None, "127.0.0.1", 37700, "secret")


@pytest.mark.parametrize("content", ["", "unix:/tmp/x.sock", "tcp:127.0.0.1:port\nx\n", "\xff"])
def test_half_a_door_is_none(tmp_path: Path, content: str) -> None:
    files = Layout(tmp_path)
    files.door.write_text(content, encoding="latin-1")
    assert read_door(files) is None
    assert health(files) is None


def test_a_door_where_nobody_listens(folder: Any, wait_for: Wait) -> None:
    start(folder.home, 30, worker=folder.argv)
    folder.kill_both()
    door = folder.files.door
    door.write_text(f"unix:{folder.home}/nobody.sock\ntoken\n")
    assert health(folder.files) is None
    door.write_text("tcp:127.0.0.1:1\ntoken\n")
    assert health(folder.files) is None


def test_half_a_worker_json(tmp_path: Path) -> None:
    files = Layout(tmp_path)
    files.worker_json.write_text('{"pid": 1')
    assert read_worker_json(files) == {}
    files.worker_json.write_text("[1]")
    assert read_worker_json(files) == {}
