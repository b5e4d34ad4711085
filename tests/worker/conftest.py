"""A data folder with stand-in workers, and the certainty that nothing of it outlives its test."""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_mem.worker.control import stop
from claude_mem.worker.launch import launch
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import Holder, holder

STANDIN = Path(__file__).with_name("standin.py")
PATIENCE = 30.0


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait, within bounds, until `condition` gives something true; that is returned."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.01)
    return found


class Folder:
    """One data folder and the stand-in workers in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.files = Layout(home)
        self.argv = [sys.executable, str(STANDIN), "--home", str(home)]

    def script(self, **orders: object) -> None:
        (self.home / "script.json").write_text(json.dumps(orders))

    def launch(self) -> None:
        launch(self.home, worker=self.argv)

    def runs(self) -> list[int]:
        """The pids of every worker that was ever started."""
        path = self.home / "runs"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def worker(self) -> Holder:
        """The worker, once it is ready."""
        eventually(self.files.door.exists, "the door")
        found = eventually(lambda: holder(self.files.worker_lock), "a worker")
        assert isinstance(found, Holder)
        assert found.pid is not None
        return found

    def supervisor(self) -> Holder:
        found = eventually(lambda: holder(self.files.supervisor_lock), "a supervisor")
        assert isinstance(found, Holder)
        assert found.pid is not None
        return found

    def events(self) -> list[dict[str, Any]]:
        """What the supervisor logged."""
        path = self.files.supervisor_log
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def event(self, name: str) -> dict[str, Any]:
        """The first logged event of that name, once it is there."""

        def find() -> dict[str, Any] | None:
            return next((it for it in self.events() if it["event"] == name), None)

        found = eventually(find, name)
        assert isinstance(found, dict)
        return found

    def kill_both(self) -> None:
        """The worker and then its supervisor, so that neither can bring the other back."""
        worker, supervisor = self.worker().pid, self.supervisor().pid
        assert worker is not None
        assert supervisor is not None
        os.kill(supervisor, signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        os.kill(supervisor, signal.SIGKILL)
        eventually(
            lambda: not any(map(holder, (self.files.worker_lock, self.files.supervisor_lock))),
            "both ends",
        )

    def tear_down(self) -> None:
        with contextlib.suppress(OSError):
            self.script()
        if not stop(self.home, timeout=3).ok:
            for path in (self.files.supervisor_lock, self.files.worker_lock):
                found = holder(path)
                if found is not None and found.pid is not None:
                    os.kill(found.pid, signal.SIGKILL)
        eventually(lambda: holder(self.files.worker_lock) is None, "the worker's end")


@pytest.fixture
def folder() -> Iterator[Folder]:
    """Short on purpose: a Unix socket's path has 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="cm-"))
    made = Folder(home)
    try:
        yield made
    finally:
        made.tear_down()
        shutil.rmtree(home)


@pytest.fixture
def wait_for() -> Callable[[Callable[[], Any], str], Any]:
    return eventually
