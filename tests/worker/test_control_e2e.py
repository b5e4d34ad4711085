"""The real worker under the real supervisor: what was acknowledged is there, whatever is killed or
replaced.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.ports import free_port

from claude_mem import __version__
from claude_mem.hook.home import ensure_token
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.sdk.client import ApiError, NotReachable
from claude_mem.sdk.local import connect
from claude_mem.worker.control import Started, restart, start, stop
from claude_mem.worker.locks import holder
from claude_mem.worker.status import status

Wait = Callable[[Callable[[], Any], str], Any]

pytestmark = pytest.mark.slow

# The real worker and supervisor, believing that they are of an older program.
OLD = """
import sys
from pathlib import Path
import claude_mem
from claude_mem.worker import locks, supervisor
supervisor.supervise(Path(sys.argv[1]), 1024, [sys.executable, "-c", sys.argv[2], sys.argv[1]],
version="0.0.1")
"""
OLD_WORKER = """
import sys
import claude_mem
claude_mem.__version__ = "0.0.1"
from claude_mem.app.serve import main
sys.exit(main(["--home", sys.argv[1]]))
"""
HOLD_PORT = """
import socket, sys, time
held = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def port(folder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """A port of our own, and a home that is nobody's."""
    port = free_port()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(folder.home))
    monkeypatch.setenv("CLAUDE_MEM_PORT", str(port))
    return port


def begin(folder: Any, port: int) -> Started:
    return start(folder.home, timeout=60, port=port)


def prompt(session: str, text: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "type": "prompt.submitted",
        "occurred_at": to_iso(now_ms()),
        "agent": "test",
        "session": session,
        "project": "/tmp/project",
        "data": {"content": text},
    }


def recorded(folder: Any) -> list[str]:
    """The contents of all prompts that became rows."""
    with connect(folder.home) as client:
        assert client.wait_until_indexed(60)
        rows = [json.loads(line) for line in client.export_lines()]
    return [row["content"] for row in rows if row["kind"] == "prompt"]


class Writer:
    """Posts one event after the other, again until it is acknowledged, while things go wrong."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged: list[str] = []
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            event = prompt("session-1", f"event {number:05d}")
            while not self._stop.is_set():
                try:
                    with connect(self._home, timeout=5) as client:
                        client.post_events([event])
                except (NotReachable, ApiError):
                    self._stop.wait(0.02)
                    continue
                self.acknowledged.append(event["data"]["content"])
                number += 1
                break

    def finish(self) -> list[str]:
        self._stop.set()
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()
        return self.acknowledged


@pytest.fixture
def writer(folder: Any, port: int) -> Iterator[Callable[[], Writer]]:
    made: list[Writer] = []

    def make() -> Writer:
        made.append(Writer(folder.home))
        return made[-1]

    yield make
    for one in made:
        one.finish()


def test_start_status_stop(folder: Any, port: int) -> None:
    started = begin(folder, port)
    assert (started.state, started.port, started.version) == ("started", port, __version__)
    found = status(folder.home)
    assert found.state == "running"
    assert found.inbox_pending == 0
    assert begin(folder, port).state == "already_running"
    assert stop(folder.home).state == "stopped"
    assert not folder.files.door.exists()
    assert not folder.files.worker_json.exists()
    assert status(folder.home).state == "stopped"


def test_acknowledged_events_survive_kills_of_worker_and_supervisor(
    folder: Any, port: int, writer: Callable[[], Writer], wait_for: Wait
) -> None:
    begin(folder, port)
    posting = writer()
    wait_for(lambda: len(posting.acknowledged) > 20, "some events")
    for victim in ("worker", "supervisor", "worker"):
        before = len(posting.acknowledged)
        old = getattr(folder, victim)().pid
        os.kill(old, signal.SIGKILL)

        def replaced(victim: str = victim, old: int = old) -> bool:
            return getattr(folder, victim)().pid not in (None, old)

        wait_for(replaced, f"another {victim}")
        wait_for(lambda before=before: len(posting.acknowledged) > before + 20, "more events")
    acknowledged = posting.finish()
    assert len(set(acknowledged)) == len(acknowledged)
    stored = recorded(folder)
    assert len(set(stored)) == len(stored)
    assert set(acknowledged) <= set(stored)


def test_an_upgrade_under_load_loses_nothing(
    folder: Any, port: int, writer: Callable[[], Writer], wait_for: Wait
) -> None:
    old = subprocess.Popen(
        [sys.executable, "-c", OLD, str(folder.home), OLD_WORKER], start_new_session=True
    )
    assert folder.worker().version == "0.0.1"
    posting = writer()
    wait_for(lambda: len(posting.acknowledged) > 20, "some events")
    started = begin(folder, port)
    assert (started.state, started.replaced, started.version) == ("upgraded", "0.0.1", __version__)
    before = len(posting.acknowledged)
    wait_for(lambda: len(posting.acknowledged) > before + 20, "more events")
    assert old.wait(timeout=60) == 0
    acknowledged = posting.finish()
    stored = recorded(folder)
    assert len(set(stored)) == len(stored)
    assert set(acknowledged) <= set(stored)


def test_stop_drains_what_was_acknowledged(folder: Any, port: int) -> None:
    begin(folder, port)
    with connect(folder.home) as client:
        for batch in range(5):
            client.post_events([prompt("s", f"{batch}-{n}") for n in range(200)])
    assert stop(folder.home).state == "stopped"
    assert status(folder.home).state == "stopped"
    begin(folder, port)
    assert len(recorded(folder)) == 1000


def test_restart(folder: Any, port: int) -> None:
    first = begin(folder, port)
    second = restart(folder.home, 60, port=port)
    assert second.state == "started"
    assert second.pid != first.pid


@pytest.fixture
def decoy(port: int) -> Iterator["subprocess.Popen[str]"]:
    """Some other program on our port."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_PORT, str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    assert process.poll() is None, "whoever holds our port must not be ended"
    process.kill()
    process.communicate()


def test_a_taken_port_is_gone_around(
    folder: Any, port: int, decoy: "subprocess.Popen[str]"
) -> None:
    started = begin(folder, port)
    assert started.ok
    assert started.port not in (None, port)
    assert stop(folder.home).ok


def test_a_strict_ports_conflict_is_told_with_the_holders_name(
    folder: Any, port: int, decoy: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MEM_STRICT_PORT", "true")
    problem = begin(folder, port).problem
    assert problem is not None
    assert problem.code == "port_conflict"
    assert f"port {port} is taken by process {decoy.pid}" in problem.message
    assert holder(folder.files.supervisor_lock) is None
    assert stop(folder.home).state == "not_running"


def test_another_programs_database_is_left_untouched(folder: Any, port: int) -> None:
    with contextlib.closing(sqlite3.connect(folder.files.database)) as raw:
        raw.execute("CREATE TABLE theirs (x)")
        raw.commit()
    before = folder.files.database.read_bytes()
    problem = begin(folder, port).problem
    assert problem is not None
    assert problem.code == "foreign_database"
    assert str(folder.files.database) in problem.message
    assert folder.files.database.read_bytes() == before


def test_a_newer_database_is_refused(folder: Any, port: int) -> None:
    begin(folder, port)
    stop(folder.home)
    with contextlib.closing(sqlite3.connect(folder.files.database)) as raw:
        raw.execute("UPDATE schema_info SET value = '999' WHERE key = 'min_reader_version'")
        raw.commit()
    problem = begin(folder, port).problem
    assert problem is not None
    assert problem.code == "newer_database"


def test_a_bad_setting_is_told(folder: Any, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_MEM_BATCH_SIZE", "many")
    problem = begin(folder, port).problem
    assert problem is not None
    assert problem.code == "bad_configuration"
    assert "batch_size" in problem.message


def test_the_token_alone_does_not_wake_a_stopped_worker(folder: Any, port: int) -> None:
    ensure_token(folder.home)
    with pytest.raises(NotReachable):
        connect(folder.home)
    assert status(folder.home).state == "stopped"
