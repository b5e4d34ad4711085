"""start, stop, restart, and the replacement of an older program, against stand-in workers."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench.ports import free_port

from claude_mem import __version__
from claude_mem.worker import diagnosis
from claude_mem.worker.control import Started, restart, start, stop
from claude_mem.worker.diagnosis import diagnose
from claude_mem.worker.journal import Journal
from claude_mem.worker.launch import supervisor_argv
from claude_mem.worker.locks import ProcessLock, holder
from claude_mem.worker.processes import birth_mark

Wait = Callable[[Callable[[], Any], str], Any]

# A supervisor of an older program: the same code with another version.
OLD_SUPERVISOR = """
import sys
from pathlib import Path
from claude_mem.worker.supervisor import supervise
sys.exit(supervise(Path(sys.argv[1]), 1024, sys.argv[3:], version=sys.argv[2]))
"""


def begin(folder: Any, **options: Any) -> Started:
    return start(folder.home, timeout=30, worker=folder.argv, **options)


def run_version(folder: Any, version: str) -> "subprocess.Popen[bytes]":
    """A supervisor and a worker of that version."""
    folder.script(version=version)
    argv = [sys.executable, "-c", OLD_SUPERVISOR, str(folder.home), version, *folder.argv]
    process = subprocess.Popen(argv, start_new_session=True)
    assert folder.worker().version == version
    folder.script(version=__version__)  # what is started from now on is this program's
    return process


def test_start_brings_a_worker_up_that_answers(folder: Any) -> None:
    folder.script(port=37701)
    started = begin(folder)
    assert (started.state, started.ok, started.port) == ("started", True, 37701)
    assert started.pid == folder.worker().pid
    assert started.version == __version__


def test_start_twice_is_start_once(folder: Any) -> None:
    first, second = begin(folder), begin(folder)
    assert (first.state, second.state) == ("started", "already_running")
    assert first.pid == second.pid
    assert len(folder.runs()) == 1


def test_start_makes_a_missing_data_folder_private(folder: Any) -> None:
    folder.home.rmdir()
    folder.argv = [sys.executable, "-c", "import sys; sys.exit(78)"]
    assert begin(folder).state == "failed"
    assert folder.home.stat().st_mode & 0o777 == 0o700


def test_a_data_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        problem = start(home).problem
        assert problem is not None
        assert problem.code == "no_data_folder"
        assert "CLAUDE_MEM_HOME" in problem.advice


def test_two_starts_at_once_share_one_worker(folder: Any) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom claude_mem.worker.control import start\n"
        "made = start(Path(sys.argv[1]), 30, worker=sys.argv[2:])\nprint(made.pid, made.ok)"
    )
    argv = [sys.executable, "-c", code, str(folder.home), *folder.argv]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=60)[0] for process in both}
    assert said == {f"{folder.worker().pid} True\n"}
    assert len(folder.runs()) == 1


def test_stop_ends_worker_and_supervisor(folder: Any, wait_for: Wait) -> None:
    begin(folder)
    pids = folder.worker().pid, folder.supervisor().pid
    assert stop(folder.home).state == "stopped"
    wait_for(lambda: all(birth_mark(pid) is None for pid in pids), "the system to reap them")
    assert not folder.files.door.exists()
    assert stop(folder.home).state == "not_running"


def test_stop_of_a_folder_that_never_was(tmp_path: Path) -> None:
    assert stop(tmp_path / "nothing").state == "not_running"
    assert not (tmp_path / "nothing").exists()


def test_stop_says_who_does_not_stop_and_kills_nobody(folder: Any) -> None:
    folder.script(ignore_term=True)
    begin(folder)
    worker = folder.worker().pid
    stopped = stop(folder.home, timeout=0.3)
    assert (stopped.state, stopped.ok, stopped.pid) == ("still_running", False, worker)
    assert birth_mark(worker) is not None
    folder.kill_both()


def test_stop_asks_a_worker_without_supervisor_itself(folder: Any, wait_for: Wait) -> None:
    environment = {**os.environ}
    environment.pop("CLAUDE_MEM_SUPERVISOR_FD", None)
    process = subprocess.Popen(folder.argv, env=environment)
    folder.worker()
    assert holder(folder.files.supervisor_lock) is None
    assert stop(folder.home).state == "stopped"
    assert process.wait(timeout=30) == 0


def test_stop_while_the_worker_keeps_crashing(folder: Any, wait_for: Wait) -> None:
    folder.script(exits=[3] * 50)
    folder.launch()
    wait_for(lambda: len(folder.runs()) >= 3, "some crashes")
    assert stop(folder.home).state == "stopped"


def test_restart_makes_a_new_worker(folder: Any) -> None:
    first = begin(folder)
    second = restart(folder.home, 30, worker=folder.argv)
    assert second.state == "started"
    assert second.pid not in (None, first.pid)


# -- versions


def test_an_older_worker_is_replaced(folder: Any) -> None:
    old = run_version(folder, "0.0.1")
    before = folder.worker().pid
    started = begin(folder)
    assert (started.state, started.replaced, started.version) == ("upgraded", "0.0.1", __version__)
    assert started.pid != before
    assert old.wait(timeout=30) == 0
    assert folder.supervisor().version == __version__


def test_an_older_worker_whose_supervisor_died_is_replaced(folder: Any) -> None:
    folder.script(version="0.0.1")
    environment = {**os.environ}
    environment.pop("CLAUDE_MEM_SUPERVISOR_FD", None)
    old = subprocess.Popen(folder.argv, env=environment)
    assert folder.worker().version == "0.0.1"
    folder.script(version=__version__)
    started = begin(folder)
    assert (started.state, started.version) == ("upgraded", __version__)
    assert old.wait(timeout=30) == 0


def test_a_hooks_launch_alone_replaces_an_older_program(folder: Any, wait_for: Wait) -> None:
    old = run_version(folder, "0.0.1")
    folder.launch()
    assert old.wait(timeout=30) == 0
    wait_for(lambda: folder.worker().version == __version__, "the new worker")


def test_a_newer_worker_is_left_alone(folder: Any) -> None:
    newer = run_version(folder, "99.0")
    started = begin(folder)
    assert (started.state, started.ok, started.version) == ("newer_running", True, "99.0")
    folder.launch()  # what a hook of this program does
    assert newer.poll() is None
    assert len(folder.runs()) == 1
    stop(folder.home)
    newer.wait(timeout=30)


# -- failures


def refusing(folder: Any, code: str, message: str, exit_code: int) -> None:
    folder.files.logs.mkdir(exist_ok=True)
    folder.script(fail={"code": code, "message": message, "exit": exit_code})


@pytest.mark.parametrize(
    ("logged", "code"),
    [
        ("VERSION_REQUIRED", "newer_database"),
        ("FOREIGN_DATABASE", "foreign_database"),
        ("VALIDATION_ERROR", "bad_configuration"),
        ("SOMETHING", "refused"),
    ],
)
def test_a_refusal_is_told_in_the_workers_words(folder: Any, logged: str, code: str) -> None:
    refusing(folder, logged, "why it was refused", 78)
    started = begin(folder)
    assert started.problem is not None
    assert (started.state, started.ok, started.problem.code) == ("failed", False, code)
    assert started.problem.message == "why it was refused"
    assert started.problem.advice
    assert holder(folder.files.supervisor_lock) is None


def test_a_failure_of_before_does_not_spoil_a_start(folder: Any) -> None:
    refusing(folder, "VALIDATION_ERROR", "bad", 78)
    assert begin(folder).state == "failed"
    folder.script()
    assert begin(folder).state == "started"
    assert not folder.files.worker_failed.exists()


@pytest.fixture
def foreign(folder: Any) -> bytes:
    """A database that another program made, where ours would be."""
    with contextlib.closing(sqlite3.connect(folder.files.database)) as raw:
        raw.execute("CREATE TABLE theirs (x)")
        raw.commit()
    made: bytes = folder.files.database.read_bytes()
    return made


def untouched(folder: Any, foreign: bytes) -> bool:
    names = [it.name for it in folder.home.iterdir()]
    return names == [folder.files.database.name] and folder.files.database.read_bytes() == foreign


def test_nothing_is_made_beside_another_programs_database(folder: Any, foreign: bytes) -> None:
    problem = begin(folder).problem
    assert problem is not None
    assert problem.code == "foreign_database"
    assert str(folder.files.database) in problem.message
    assert "claude-mem install" in problem.advice
    assert str(folder.home / "v2") in problem.advice
    assert untouched(folder, foreign)


def test_a_supervisor_makes_nothing_beside_another_programs_database(
    folder: Any, foreign: bytes
) -> None:
    argv = supervisor_argv(folder.home, worker=folder.argv)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "made by another program" in done.stderr
    assert untouched(folder, foreign)


AS_SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
from claude_mem.worker.control import start
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print(start(Path(sys.argv[1])).problem.message)
"""


def test_a_folder_that_may_not_be_entered_is_told(folder: Any) -> None:
    folder.home.chmod(0)
    argv = [sys.executable, "-c", AS_SOMEBODY_ELSE, str(folder.home)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    folder.home.chmod(0o700)
    assert f"{folder.home} may not be read and written" in done.stdout, done.stderr
    assert list(folder.home.iterdir()) == []


HOLD_PORT = """
import socket, sys, time
held = socket.create_server(("127.0.0.1", 0))
print(held.getsockname()[1], flush=True)
time.sleep(600)
"""


def test_a_port_conflict_names_the_holder_who_survives(folder: Any) -> None:
    decoy = subprocess.Popen(
        [sys.executable, "-c", HOLD_PORT, "--password=geheim"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert decoy.stdout is not None
        port = int(decoy.stdout.readline())
        refusing(folder, "PORT_TAKEN", "taken", 76)
        started = begin(folder, port=port)
        assert started.problem is not None
        assert started.problem.code == "port_conflict"
        assert f"port {port} is taken by process {decoy.pid}" in started.problem.message
        assert "python" in started.problem.message
        assert "geheim" not in started.problem.message
        assert "CLAUDE_MEM_PORT" in started.problem.advice
        stop(folder.home)
        restart(folder.home, 30, port=port, worker=folder.argv)
        assert decoy.poll() is None
    finally:
        decoy.kill()
        decoy.communicate()


def test_a_port_conflict_whose_holder_left_is_still_told(folder: Any) -> None:
    refusing(folder, "PORT_TAKEN", "taken", 76)
    port = free_port()
    problem = begin(folder, port=port).problem
    assert problem is not None
    assert problem.message == f"port {port} is taken"


def test_a_full_disk_is_recognised_by_the_workers_last_words(folder: Any) -> None:
    code = "import sys; sys.exit('OSError: [Errno 28] No space left on device')"
    folder.argv = [sys.executable, "-c", code]
    started = start(folder.home, timeout=1.0, worker=folder.argv)
    assert started.problem is not None
    assert started.problem.code == "disk_full"
    assert "spool" in started.problem.advice


def test_a_full_disk_is_recognised_by_the_space_left(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "_LEAST_FREE_BYTES", 1 << 62)
    assert diagnose(folder.files, None).code == "disk_full"


def test_a_crashing_worker_is_told_with_its_last_words(folder: Any) -> None:
    folder.script(exits=[3] * 50)
    started = start(folder.home, timeout=1.0, worker=folder.argv)
    assert started.problem is not None
    assert started.problem.code == "crashing"
    assert "leaving with 3" in started.problem.log_tail


def test_a_worker_that_has_not_come_up_yet_is_not_called_crashing(folder: Any) -> None:
    folder.files.logs.mkdir()
    journal = Journal(folder.files.supervisor_log)
    journal.write("error", "worker.restarting", "of an earlier day")
    lock = ProcessLock(folder.files.supervisor_lock, "supervisor", __version__)
    assert lock.acquire()
    try:
        journal.write("info", "supervisor.started", "Supervising")
        assert diagnose(folder.files, None).code == "not_ready"
        journal.write("error", "worker.restarting", "The worker ended unexpectedly (3)")
        journal.write("info", "worker.spawned", "Worker started")
        assert diagnose(folder.files, None).code == "crashing"
    finally:
        lock.release()


def test_a_crash_loop_is_told_with_its_count(folder: Any) -> None:
    failure = {"reason": "crash_loop", "exit_code": 3, "exits": 21}
    folder.files.worker_failed.write_text(json.dumps(failure))
    problem = diagnose(folder.files, None)
    assert problem.code == "crash_loop"
    assert "21 times" in problem.message


def test_a_worker_that_is_slow_to_answer_is_told_so(folder: Any) -> None:
    begin(folder)
    folder.worker()
    folder.files.door.rename(folder.home / "door.away")
    problem = diagnose(folder.files, None)
    (folder.home / "door.away").rename(folder.files.door)
    assert problem.code == "not_ready"


def test_a_start_that_cannot_launch_is_told(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    problem = begin(folder).problem
    assert problem is not None
    assert problem.code == "not_launched"
    assert "/nowhere/python" in problem.message
