"""The supervisor as a real process: detached, small, surviving kills, alone per data folder."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_mem.worker.launch import LaunchError, keep_supervised, launch, supervisor_argv
from claude_mem.worker.locks import holder
from claude_mem.worker.processes import rss_bytes

Wait = Callable[[Callable[[], Any], str], Any]


def gone(pid: int) -> bool:
    """Ended, whether or not its parent has noticed."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(") ")[2][0] == "Z"


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_it_leaves_the_callers_session_and_pipes(folder: Any) -> None:
    # Reading to the end of file would hang here if any of the new processes kept the pipe.
    said = subprocess.run(
        supervisor_argv(folder.home, worker=folder.argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=True,
    )
    assert said.stdout == b""
    supervisor, worker = folder.supervisor().pid, folder.worker().pid
    assert os.getsid(supervisor) == supervisor
    assert os.getsid(worker) == supervisor
    assert os.getpgid(worker) == worker
    for number in (0, 1, 2):
        assert str(Path(f"/proc/{supervisor}/fd/{number}").readlink()) == os.devnull
    assert str(Path(f"/proc/{supervisor}/cwd").readlink()) == "/"


def test_a_project_folder_cannot_slip_code_into_it(folder: Any, tmp_path: Path) -> None:
    for name in ("json", "signal", "claude_mem"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the project')")
    argv = supervisor_argv(folder.home, worker=folder.argv)
    subprocess.run(argv, cwd=tmp_path, check=True, timeout=60)
    assert folder.worker().pid


def test_it_is_small(folder: Any) -> None:
    folder.launch()
    folder.worker()
    used = rss_bytes(folder.supervisor().pid)
    assert used is not None
    assert used < 20 * 1024 * 1024


def test_many_starters_at_once_make_one_worker(folder: Any, wait_for: Wait) -> None:
    starters = [
        subprocess.Popen(supervisor_argv(folder.home, worker=folder.argv)) for _ in range(6)
    ]
    assert [starter.wait(timeout=60) for starter in starters] == [0] * 6
    folder.worker()
    mine = str(folder.home)

    def supervisors() -> list[int]:
        every = [int(it.name) for it in Path("/proc").iterdir() if it.name.isdigit()]
        return [pid for pid in every if "resident.py" in (line := command_of(pid)) and mine in line]

    wait_for(lambda: supervisors() == [folder.supervisor().pid], "the others to leave")
    assert folder.runs() == [folder.worker().pid]


def test_a_killed_worker_comes_back(folder: Any, wait_for: Wait) -> None:
    folder.launch()
    first = folder.worker().pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(folder.runs()) == 2, "a second worker")
    wait_for(lambda: folder.worker().pid not in (None, first), "the second worker's lock")
    assert folder.event("worker.restarting")["exit_code"] == -9


def test_a_killed_supervisor_is_replaced_and_the_worker_lives_on(
    folder: Any, wait_for: Wait
) -> None:
    folder.launch()
    worker = folder.worker().pid
    for _ in range(2):  # the second time the worker has no pipe any more, only the lock to watch
        old = folder.supervisor().pid
        os.kill(old, signal.SIGKILL)
        wait_for(lambda old=old: (folder.supervisor().pid or old) != old, "a new supervisor")
    assert folder.worker().pid == worker
    assert folder.runs() == [worker]
    assert folder.event("worker.adopted")["worker_pid"] == worker


def test_an_adopted_worker_is_started_again_when_it_dies(folder: Any, wait_for: Wait) -> None:
    folder.launch()
    worker = folder.worker().pid
    os.kill(folder.supervisor().pid, signal.SIGKILL)
    folder.event("worker.adopted")
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: len(folder.runs()) == 2, "a second worker")
    assert folder.worker().pid != worker


def test_both_killed_at_once_can_be_started_again(folder: Any, wait_for: Wait) -> None:
    folder.launch()
    folder.worker()
    folder.kill_both()
    assert folder.files.door.exists()  # a door where nobody listens
    folder.launch()
    wait_for(lambda: len(folder.runs()) >= 2, "a second worker")


def test_sigterm_drains_the_worker_and_ends_both(folder: Any, wait_for: Wait) -> None:
    folder.launch()
    worker, supervisor = folder.worker().pid, folder.supervisor().pid
    os.kill(supervisor, signal.SIGTERM)
    wait_for(lambda: gone(worker) and gone(supervisor), "both ends")
    assert not folder.files.door.exists()
    assert holder(folder.files.supervisor_lock) is None


def test_sigterm_of_an_adopting_supervisor_stops_the_adopted_worker(
    folder: Any, wait_for: Wait
) -> None:
    folder.launch()
    worker = folder.worker().pid
    os.kill(folder.supervisor().pid, signal.SIGKILL)
    folder.event("worker.adopted")
    supervisor = folder.supervisor().pid
    os.kill(supervisor, signal.SIGTERM)
    wait_for(lambda: gone(worker) and gone(supervisor), "both ends")
    assert folder.runs() == [worker]


def test_a_foreground_supervisor_reports_the_workers_code(folder: Any) -> None:
    folder.script(exits=[78])
    argv = [*supervisor_argv(folder.home)[:-2], "--home", str(folder.home), "--foreground", "--"]
    done = subprocess.run([*argv, *folder.argv], timeout=60, check=False)
    assert done.returncode == 78
    assert folder.files.worker_failed.exists()


def test_a_removed_data_folder_leaves_no_process(
    folder: Any, wait_for: Wait, tmp_path: Path
) -> None:
    folder.launch()
    worker, supervisor = folder.worker().pid, folder.supervisor().pid
    folder.home.rename(tmp_path / "elsewhere")
    wait_for(lambda: gone(worker) and gone(supervisor), "both ends")
    folder.home.mkdir()


def test_a_worker_without_supervisor_ends_with_its_data_folder(
    folder: Any, wait_for: Wait, tmp_path: Path
) -> None:
    folder.launch()
    worker, supervisor = folder.worker().pid, folder.supervisor().pid
    os.kill(supervisor, signal.SIGSTOP)  # it must not be the one that notices
    folder.home.rename(tmp_path / "elsewhere")
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: gone(worker) and gone(supervisor), "both ends")
    assert not folder.home.exists()
    folder.home.mkdir()


def test_a_supervisor_does_not_bring_a_removed_folder_back(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="there is no data folder"):
        launch(tmp_path / "removed")
    assert not (tmp_path / "removed").exists()


def test_logs_are_private_json_lines(folder: Any) -> None:
    folder.launch()
    folder.worker()
    started = folder.event("supervisor.started")
    assert {"level", "message", "timestamp", "pid", "event"} <= set(started)
    assert started["timestamp"].endswith("Z")
    assert len(started["timestamp"]) == len("2026-11-20T10:00:00.123456789Z")
    for path in (folder.files.supervisor_log, folder.files.worker_stderr):
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_interpreter_that_is_gone_is_said(folder: Any) -> None:
    with pytest.raises(LaunchError, match="No such file"):
        launch(folder.home, python="/nowhere/python")


def test_an_interpreter_without_the_package_is_said(folder: Any, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho 'No module named claude_mem' >&2\nexit 1\n")
    bare.chmod(0o755)
    with pytest.raises(LaunchError, match="No module named claude_mem"):
        launch(folder.home, python=str(bare))


def test_an_unsupervised_worker_stays_unsupervised(folder: Any) -> None:
    started: list[Path] = []
    keep_supervised(folder.home, threading.Event(), supervisor_fd=None, start=started.append)
    assert started == []


def test_a_failing_relaunch_is_tried_until_the_worker_stops(folder: Any, wait_for: Wait) -> None:
    attempts: list[Path] = []
    stopping = threading.Event()

    def fail(home: Path) -> None:
        attempts.append(home)
        raise LaunchError("in the middle of an upgrade")

    reader, writer = os.pipe()
    os.close(writer)
    thread = threading.Thread(
        target=keep_supervised,
        args=(folder.home, stopping),
        kwargs={"supervisor_fd": reader, "start": fail},
    )
    thread.start()
    wait_for(lambda: attempts, "an attempt")
    stopping.set()
    thread.join(timeout=30)
    assert not thread.is_alive()
    os.close(reader)


def test_the_command_names_this_interpreter() -> None:
    argv = supervisor_argv(Path("/data"))
    assert argv[0] == sys.executable
    assert argv[1:] == ["-P", "-m", "claude_mem.worker.supervisor", "--home", "/data"]
