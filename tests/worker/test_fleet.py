"""The processes of `claude-mem serve`: replaced when they crash, stopped together, given up on when it is hopeless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_FLEET = """
import sys
from claude_mem.worker.backoff import RestartPolicy
from claude_mem.worker.fleet import Fleet
from claude_mem.worker.signals import Signals
fleet = Fleet(
    [[sys.executable, "-c", sys.argv[2]]] * int(sys.argv[1]), waiter=Signals(),
    note=lambda level, text: print(text, flush=True),
    policy=lambda: RestartPolicy(first=0.01, ceiling=0.02, limit=5), stop_s=float(sys.argv[3]),
    max_rss_mb=int(sys.argv[4]) if len(sys.argv) > 4 else None,
)
sys.exit(fleet.run())
"""
# Says that it is there, and stays.
_STAYS = """
import os, pathlib, time
pathlib.Path("here", str(os.getpid())).touch()
time.sleep(600)
"""


class Place:
    """A folder in which children leave a file each, named for their process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "here").mkdir()
        self.process: subprocess.Popen[str] | None = None

    def start(self, count: int, child: str, *more: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", _FLEET, str(count), child, *(more or ("20",))]
        self.process = subprocess.Popen(argv, cwd=self.folder, text=True, stdout=subprocess.PIPE)
        return self.process

    def seen(self) -> set[int]:
        return {int(path.name) for path in (self.folder / "here").iterdir()}

    def wait_for(self, count: int) -> set[int]:
        until = time.monotonic() + 60
        while len(found := self.seen()) < count:
            assert time.monotonic() < until, found
            time.sleep(0.02)
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    if made.process is None:
        return
    made.process.kill()
    made.process.wait()
    for pid in made.seen():
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    made.process.communicate()  # ends with the last one that could write


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_crashed_one_is_replaced_and_the_others_go_on(place: Place) -> None:
    fleet = place.start(2, _STAYS)
    first = place.wait_for(2)
    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    place.wait_for(3)
    assert is_alive(max(first))
    fleet.send_signal(signal.SIGTERM)
    assert fleet.wait(30) == 0
    assert not any(is_alive(pid) for pid in place.seen())


def test_one_that_refuses_ends_all(place: Place) -> None:
    child = """
import os, pathlib, sys, time
pathlib.Path("here", str(os.getpid())).touch()
if len(list(pathlib.Path("here").iterdir())) > 1:
    sys.exit(78)
time.sleep(600)
"""
    assert place.start(2, child).wait(30) == 78
    assert not any(is_alive(pid) for pid in place.seen())


def test_one_that_ends_again_and_again_is_given_up(place: Place) -> None:
    fleet = place.start(1, "import sys; sys.exit(3)")
    said, _ = fleet.communicate(timeout=60)
    assert fleet.returncode == 3
    assert said.count("started") == 6
    assert "again and again" in said


def test_one_that_does_not_stop_is_ended(place: Place) -> None:
    child = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _STAYS
    fleet = place.start(1, child, "0.2")
    place.wait_for(1)
    fleet.send_signal(signal.SIGTERM)
    assert fleet.wait(30) == 0
    assert not any(is_alive(pid) for pid in place.seen())


def test_one_that_holds_too_much_is_replaced(place: Place) -> None:
    hoard = """
import pathlib
hoard = bytearray(200 << 20) if not list(pathlib.Path("here").iterdir()) else b""
"""
    place.start(1, hoard + _STAYS, "20", "100")
    [first] = place.wait_for(1)
    place.wait_for(2)
    until = time.monotonic() + 30
    while is_alive(first):
        assert time.monotonic() < until
        time.sleep(0.02)
