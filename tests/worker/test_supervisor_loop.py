"""The supervising loop with real children and a clock that the test moves."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_mem.worker.backoff import RestartPolicy
from claude_mem.worker.child import Child
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import ProcessLock
from claude_mem.worker.supervision import Supervisor


class Hands:
    """Clock and waiter in one: the clock jumps over back-offs, children get real time to end."""

    def __init__(self) -> None:
        self.stop_requested = False
        self.now = 1_000.0
        self.pauses: list[float] = []
        self.on_wait: Callable[[], None] = lambda: None
        self.pausing: Callable[[], bool] = lambda: False

    def clock(self) -> float:
        return self.now

    def wait(self, timeout: float, pid_descriptor: int | None = None) -> None:
        if self.pausing():
            self.pauses.append(round(timeout, 3))
            self.now += timeout
        else:  # a child is waited for: real time must pass, not ours
            self.on_wait()
            time.sleep(0.002)


class Bench:
    """A supervisor in this process, around `python -c <code>`."""

    def __init__(self, home: Path) -> None:
        self.files = Layout(home)
        self.files.logs.mkdir()
        self.hands = Hands()
        self.lock = ProcessLock(self.files.supervisor_lock, "supervisor")
        assert self.lock.acquire()
        self.memory: Callable[[int], int | None] = lambda _pid: 1
        self.hands.pausing = lambda: self.events()[-1] == "worker.restarting"

    def run(self, code: str, **options: object) -> int:
        supervisor = Supervisor(
            self.files.home,
            [sys.executable, "-S", "-c", code, str(self.files.home)],
            self.lock,
            waiter=self.hands,
            clock=self.hands.clock,
            memory_of=lambda pid: self.memory(pid),
            **options,  # type: ignore[arg-type]
        )
        return supervisor.run()

    def events(self) -> list[str]:
        lines = self.files.supervisor_log.read_text().splitlines()
        return [json.loads(line)["event"] for line in lines]

    def failure(self) -> dict[str, object]:
        found = json.loads(self.files.worker_failed.read_text())
        assert isinstance(found, dict)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# A worker that notes its runs in the data folder and leaves with the n-th of these codes.
LEAVE = """
import sys
path = sys.argv[1] + "/runs"
open(path, "a").write("x")
codes = {codes}
run = len(open(path).read()) - 1
sys.stderr.write("bye %d\\n" % run)
sys.exit(codes[min(run, len(codes) - 1)])
"""


def leave(*codes: int) -> str:
    return LEAVE.format(codes=list(codes))


def test_a_worker_that_stopped_by_itself_is_not_started_again(bench: Bench) -> None:
    assert bench.run(leave(0)) == 0
    assert bench.events() == [
        "supervisor.started",
        "worker.spawned",
        "worker.stopped",
        "supervisor.stopped",
    ]
    assert not bench.files.worker_failed.exists()


def test_crashes_are_answered_with_growing_pauses(bench: Bench) -> None:
    assert bench.run(leave(3, 3, 3, 0)) == 0
    assert bench.hands.pauses == [0.2, 0.4, 0.8]
    assert bench.events().count("worker.spawned") == 4


def test_a_crash_loop_ends_with_a_clear_word(bench: Bench) -> None:
    assert bench.run(leave(3), policy=RestartPolicy(limit=4)) == 3
    assert bench.hands.pauses == [0.2, 0.4, 0.8, 1.6]
    failure = bench.failure()
    assert (failure["reason"], failure["exit_code"], failure["exits"]) == ("crash_loop", 3, 5)
    assert failure["stderr_tail"] == [f"bye {run}" for run in range(5)]
    assert "worker.failed" in bench.events()


def test_a_worker_ended_by_a_signal_is_a_crash(bench: Bench) -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    assert bench.run(code, policy=RestartPolicy(limit=1)) == 1
    assert bench.failure()["exit_code"] == -9


@pytest.mark.parametrize(("code", "reason"), [(76, "port_taken"), (78, "refused")])
def test_what_needs_a_person_is_not_tried_again(bench: Bench, code: int, reason: str) -> None:
    assert bench.run(leave(code)) == code
    assert bench.hands.pauses == []
    assert bench.events().count("worker.spawned") == 1
    assert bench.failure()["reason"] == reason


def test_a_locked_out_worker_is_tried_again_after_a_pause(bench: Bench) -> None:
    assert bench.run(leave(75, 0)) == 0
    assert bench.hands.pauses == [0.2]


def test_a_worker_that_somebody_told_to_stop_is_not_started_again(bench: Bench) -> None:
    assert bench.run("import os; os.kill(os.getpid(), 15)") == 0
    assert bench.events().count("worker.spawned") == 1


def test_an_interpreter_that_is_gone_is_a_crash(bench: Bench) -> None:
    supervisor = Supervisor(
        bench.files.home,
        ["/nowhere/python"],
        bench.lock,
        waiter=bench.hands,
        clock=bench.hands.clock,
        policy=RestartPolicy(limit=2),
    )
    assert supervisor.run() == 127
    assert bench.events().count("worker.unstartable") == 3


def test_an_old_failure_is_forgotten_by_a_new_start(bench: Bench) -> None:
    bench.files.worker_failed.write_text("{}")
    assert bench.run(leave(0)) == 0
    assert not bench.files.worker_failed.exists()


WAIT = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open(sys.argv[1] + "/ready", "a").write("x")
signal.pause()
"""


def ready(bench: Bench, runs: int = 1) -> bool:
    path = bench.files.home / "ready"
    return path.exists() and len(path.read_text()) >= runs


def test_a_stop_lets_the_worker_drain(bench: Bench) -> None:
    def ask() -> None:
        bench.hands.stop_requested = ready(bench)

    bench.hands.on_wait = ask
    assert bench.run(WAIT) == 0
    assert "worker.killed" not in bench.events()


def test_a_worker_that_does_not_drain_in_time_is_killed(bench: Bench) -> None:
    def ask() -> None:
        if ready(bench):
            bench.hands.stop_requested = True
            bench.hands.now += 7.0  # the drain's thirty seconds pass

    bench.hands.on_wait = ask
    assert bench.run(WAIT.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")) == 0
    assert bench.events().count("worker.killed") == 1


def test_above_the_memory_limit_it_is_restarted_gracefully(bench: Bench) -> None:
    sizes = iter([2_000_000_000])
    bench.memory = lambda _pid: next(sizes, 1)

    def pass_time() -> None:
        if ready(bench, runs=2):
            bench.hands.stop_requested = True
        elif ready(bench) and "worker.memory_limit" not in bench.events():
            bench.hands.now += 5.0

    bench.hands.on_wait = pass_time
    assert bench.run(WAIT) == 0
    assert bench.events().count("worker.spawned") == 2
    assert bench.events().count("worker.memory_limit") == 1
    assert "worker.killed" not in bench.events()


def test_the_memory_limit_is_what_the_worker_was_given(bench: Bench) -> None:
    bench.files.worker_json.write_text('{"max_rss_mb": 3000}')
    bench.memory = lambda _pid: 2_000_000_000

    def pass_time() -> None:
        if ready(bench):
            bench.hands.now += 5.0
            bench.hands.stop_requested = bench.hands.now > 1_100

    bench.hands.on_wait = pass_time
    assert bench.run(WAIT) == 0
    assert "worker.memory_limit" not in bench.events()


def test_a_removed_data_folder_ends_everything(bench: Bench) -> None:
    def remove() -> None:
        if ready(bench):
            bench.files.supervisor_lock.unlink(missing_ok=True)
            bench.hands.now += 5.0

    bench.hands.on_wait = remove
    assert bench.run(WAIT) == 0
    assert bench.events().count("worker.spawned") == 1


def test_what_a_crashed_worker_left_running_is_ended(bench: Bench) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "open(sys.argv[1] + '/left', 'w').write(str(child.pid))\n"
        "sys.exit(3)\n"
    )
    assert bench.run(code, policy=RestartPolicy(limit=0)) == 3
    left = int((bench.files.home / "left").read_text())
    deadline = time.monotonic() + 30
    while running(left):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(b")") + 2 :][:1] != b"Z"


def test_zombies_of_others_are_reaped_too(tmp_path: Path) -> None:
    stray = os.posix_spawnp("true", ["true"], os.environ)
    child = Child([sys.executable, "-S", "-c", "pass"], tmp_path, tmp_path / "err")
    deadline = time.monotonic() + 30
    while child.poll() is None or Path(f"/proc/{stray}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.poll() == 0


def test_a_worker_sees_the_end_of_its_supervisors_pipe(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "held = int(os.environ['CLAUDE_MEM_SUPERVISOR_FD'])\n"
        "os.set_blocking(held, False)\n"
        "try: os.read(held, 1)\n"
        "except BlockingIOError: print('held', flush=True)\n"
        "os.set_blocking(held, True)\n"
        "print(os.read(held, 1), flush=True)\n"
    )
    starter = (
        "import os, sys\nfrom pathlib import Path\nfrom claude_mem.worker.child import Child\n"
        "folder = Path(sys.argv[1])\n"
        "child = Child([sys.executable, '-c', sys.argv[2]], folder, folder / 'said')\n"
        "while 'held' not in (folder / 'said').read_text(): pass\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", starter, str(tmp_path), code], check=False)
    deadline = time.monotonic() + 30
    while "b''" not in (tmp_path / "said").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_workers_words_stay_bounded(tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.write_bytes(b"x" * 1_000_001)
    child = Child([sys.executable, "-S", "-c", "input()"], tmp_path, said)
    try:
        assert said.stat().st_size < 1_000_000
        said.write_bytes(b"x" * 1_000_001)
        child.trim_output()
        assert said.stat().st_size < 1_000_000
    finally:
        child.kill()
        while child.poll() is None:
            time.sleep(0.01)
