"""One holder at a time, named only when it is certain, free as soon as it is dead."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_mem.worker.locks import ProcessLock, holder, wait_until_free

HOLD = """
import sys
from pathlib import Path
from claude_mem.worker.locks import ProcessLock
lock = ProcessLock(Path(sys.argv[1]), "worker", "1.2.3")
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.lock"


def hold(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


def test_nobody_holds_a_lock_that_was_never_taken(path: Path) -> None:
    assert holder(path) is None
    assert not path.exists()


def test_the_holder_is_named(path: Path) -> None:
    process = hold(path)
    try:
        found = holder(path)
        assert found is not None
        assert (found.pid, found.version, found.role) == (process.pid, "1.2.3", "worker")
        assert found.started_at.endswith("Z")
    finally:
        end(process)


def test_only_one_gets_it_and_the_next_after_a_kill(path: Path) -> None:
    process = hold(path)
    mine = ProcessLock(path, "worker")
    try:
        assert not mine.acquire()
        process.send_signal(signal.SIGKILL)
        assert mine.acquire(timeout=10)
        found = holder(path)
        assert found is not None
        assert found.pid == os.getpid()
    finally:
        mine.release()
        end(process)
    assert holder(path) is None


def test_waiting_ends_at_its_timeout_by_the_given_clock(path: Path) -> None:
    process = hold(path)
    now = [0.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    try:
        taken = ProcessLock(path, "worker").acquire(5.0, clock=lambda: now[0], sleep=sleep)
        assert not taken
        assert sum(slept) == pytest.approx(5.0, abs=0.1)
    finally:
        end(process)


def test_taking_it_twice_is_taking_it_once(path: Path) -> None:
    lock = ProcessLock(path, "worker")
    assert lock.acquire()
    assert lock.acquire()
    lock.release()
    lock.release()
    assert holder(path) is None
    assert path.read_bytes() == b""  # nobody is named to whoever meets the next holder unsigned


def test_the_file_is_private_whatever_it_was(path: Path) -> None:
    path.touch(mode=0o644)
    lock = ProcessLock(path, "worker")
    assert lock.acquire()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lock.release()


def test_stale_content_names_nobody(path: Path) -> None:
    alive = {"pid": os.getpid(), "version": "1", "started_at": "x", "role": "worker"}
    path.write_text(json.dumps({**alive, "birth": "1"}))
    assert holder(path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": "x"}', "\x00" * 64])
def test_a_held_lock_with_unreadable_content_has_a_nameless_holder(
    path: Path, content: str
) -> None:
    lock = ProcessLock(path, "worker")
    assert lock.acquire()
    path.write_text(content)
    found = holder(path)
    assert found is not None
    assert found.pid is None
    lock.release()


def test_a_pid_given_out_again_is_not_taken_for_the_holder(path: Path) -> None:
    lock = ProcessLock(path, "worker")
    assert lock.acquire()
    record = json.loads(path.read_text())
    record["birth"] = "12345"  # somebody else had our pid when this was written
    path.write_text(json.dumps(record))
    found = holder(path)
    assert found is not None
    assert found.pid is None
    lock.release()


def test_a_forked_child_does_not_keep_the_lock(
    path: Path, wait_for: Callable[[Callable[[], Any], str], Any]
) -> None:
    script = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from claude_mem.worker.locks import ProcessLock\n"
        "ProcessLock(Path(sys.argv[1]), 'worker').acquire()\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(600)\n"
        "print(child, flush=True)\n"
        "os._exit(0)\n"
    )
    out = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert out.stdout is not None
    child = int(out.stdout.readline())
    try:
        wait_for(lambda: holder(path) is None, "the lock to be free while the child lives")
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        out.communicate()


def test_a_program_started_by_the_holder_does_not_keep_the_lock(path: Path) -> None:
    lock = ProcessLock(path, "worker")
    assert lock.acquire()
    child = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        lock.release()
        assert holder(path) is None
    finally:
        child.kill()
        child.wait()


def test_a_removed_file_makes_the_lock_not_intact(path: Path) -> None:
    lock = ProcessLock(path, "worker")
    assert not lock.intact()
    assert lock.acquire()
    assert lock.intact()
    path.unlink()
    assert not lock.intact()
    other = ProcessLock(path, "worker")
    assert other.acquire()
    assert not lock.intact()
    other.release()
    lock.release()


def test_looking_never_makes_an_attempt_fail(path: Path) -> None:
    looker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom pathlib import Path\nfrom claude_mem.worker.locks import holder\n"
            "print('looking', flush=True)\nwhile True: holder(Path(sys.argv[1]))",
            str(path),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert looker.stdout is not None
        looker.stdout.readline()
        for _ in range(300):
            lock = ProcessLock(path, "worker")
            assert lock.acquire()
            lock.release()
    finally:
        looker.kill()
        looker.communicate()


def test_waiting_for_release_returns_when_the_holder_dies(path: Path) -> None:
    wait_until_free(path)  # nobody ever took it
    process = hold(path)
    waiter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom pathlib import Path\n"
            "from claude_mem.worker.locks import wait_until_free\n"
            "print('waiting', flush=True)\nwait_until_free(Path(sys.argv[1]))",
            str(path),
        ],
        stdout=subprocess.PIPE,
    )
    assert waiter.stdout is not None
    waiter.stdout.readline()
    assert waiter.poll() is None
    end(process)
    assert waiter.wait(timeout=30) == 0
    waiter.communicate()
