"""When a worker is called hung, and what the supervisor does about it."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_supervisor_loop import WAIT, Bench, ready

from claude_mem.worker.layout import Layout
from claude_mem.worker.pulse import EVERY, HUNG_AFTER, Pulse

ME = 4711


@pytest.fixture
def files(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    announce(layout, ME)
    return layout


def announce(files: Layout, pid: int) -> None:
    files.worker_json.write_text(json.dumps({"pid": pid, "socket": str(files.home / "s")}))


def looks(pulse: Pulse, start: float, seconds: float) -> list[bool]:
    """What is seen when the supervisor looks every five seconds."""
    return [pulse.is_hung(ME, start + 5.0 * step) for step in range(int(seconds / 5) + 1)]


def test_silence_for_a_minute_is_a_hang(files: Layout) -> None:
    asked: list[str] = []
    pulse = Pulse(files, answers=lambda where: bool(asked.append(where)))
    seen = looks(pulse, 1_000.0, 120.0)
    first = seen.index(True) * 5.0
    assert HUNG_AFTER <= first <= HUNG_AFTER + 2 * EVERY
    assert set(asked) == {str(files.home / "s")}
    assert len(asked) <= 120 / EVERY + 1, "the worker is not asked at every look"


def test_one_answer_starts_the_count_anew(files: Layout) -> None:
    said = iter([False, False, False, True] * 100)
    pulse = Pulse(files, answers=lambda _where: next(said))
    assert not any(looks(pulse, 1_000.0, 600.0))


def test_a_sleeping_machine_is_no_hang(files: Layout) -> None:
    """Two questions an hour apart went unanswered: that is not a minute of silence that was watched."""
    pulse = Pulse(files, answers=lambda _where: False)
    assert not pulse.is_hung(ME, 1_000.0)
    assert not pulse.is_hung(ME, 1_015.0)
    assert not pulse.is_hung(ME, 5_000.0)


@pytest.mark.parametrize("told", [None, "", "[]", "{}", '{"pid": 1, "socket": "/s"}'])
def test_a_worker_that_is_not_ready_is_not_asked(files: Layout, told: str | None) -> None:
    """It migrates, or drains; or the file is another worker's."""
    files.worker_json.unlink()
    if told is not None:
        files.worker_json.write_text(told)

    def never(_where: str) -> bool:
        raise AssertionError("it was asked")

    assert not any(looks(Pulse(files, answers=never), 1_000.0, 600.0))


def test_the_next_worker_has_a_count_of_its_own(files: Layout) -> None:
    pulse = Pulse(files, answers=lambda _where: False)
    assert any(looks(pulse, 1_000.0, 120.0))
    announce(files, ME + 1)
    assert not pulse.is_hung(ME + 1, 1_200.0)


def test_nobody_behind_the_socket_is_silence(files: Layout) -> None:
    assert any(looks(Pulse(files), 1_000.0, 120.0))


# The first run says nothing on its socket; later runs answer.
MUTE = """
import json, os, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN if not os.path.exists(sys.argv[1] + "/ready") else lambda *_: sys.exit(0))
line = socket.socket(socket.AF_UNIX)
path = sys.argv[1] + "/s%d" % os.getpid()
line.bind(path)
line.listen(64)
mute = not os.path.exists(sys.argv[1] + "/ready")
open(sys.argv[1] + "/worker.json", "w").write(json.dumps({"pid": os.getpid(), "socket": path}))
open(sys.argv[1] + "/ready", "a").write("x")
while mute:
    signal.pause()
while True:
    one, _ = line.accept()
    one.recv(4096)
    one.sendall(b"HTTP/1.1 200 OK")
    one.close()
"""


def drive(bench: Bench, code: str, until: Callable[[], Any], **options: object) -> int:
    def pass_time() -> None:
        bench.hands.stop_requested = bool(until())
        if ready(bench) and not bench.hands.stop_requested:
            bench.hands.now += 5.0

    bench.hands.on_wait = pass_time
    return bench.run(code, **options)


def test_a_hung_worker_is_killed_and_started_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_mem.worker.pulse._TIMEOUT", 0.05)
    assert drive(bench, MUTE, lambda: ready(bench, runs=2)) == 0
    assert bench.events().count("worker.hung") == 1
    assert bench.events().count("worker.spawned") == 2


def test_a_worker_that_answers_is_left_alone(bench: Bench) -> None:
    (bench.files.home / "ready").write_text("x")  # the worker is one that answers
    assert drive(bench, MUTE, lambda: bench.hands.now > 1_400.0) == 0
    assert "worker.hung" not in bench.events()
    assert bench.events().count("worker.spawned") == 1


def test_a_worker_that_never_said_it_is_ready_is_left_alone(bench: Bench) -> None:
    assert drive(bench, WAIT, lambda: bench.hands.now > 2_000.0) == 0
    assert "worker.hung" not in bench.events()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_stopped_process_does_not_answer(folder: Any) -> None:
    """The real request, over a real socket, to a process that was stopped in its tracks."""
    folder.launch()
    pid = folder.worker().pid
    pulse = Pulse(folder.files)
    assert not pulse.is_hung(pid, 1_000.0)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert any(pulse.is_hung(pid, 1_015.0 + 15.0 * step) for step in range(8))
    finally:
        os.kill(pid, signal.SIGCONT)
