"""A data folder with everything real in it, to be treated badly: supervisor, worker, installed hook.

Shared by the tests under tests/durability and by `python -m bench.prove`. Owns starting these processes and the books
of what was promised (`Ledger`); `bench.audit` compares them with what is on disk. Ends only processes whose command
line names its own folder, and leaves none behind. Never touches the home or the data folder of whoever runs it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import sqlean

from bench.ports import free_port
from claude_mem.hook.home import ensure_token
from claude_mem.hook.installation import prepare_home
from claude_mem.sdk.client import Client
from claude_mem.sdk.local import connect
from claude_mem.worker import probe
from claude_mem.worker.launch import supervisor_argv
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import Holder, holder

PATIENCE = 90.0  # seconds for anything that must happen by itself; a bound, not a measurement
_POLL = 0.01
_HORIZON = 60.0  # seconds that background jobs may be put off, to come one after the other


def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait, within bounds, until `condition` gives something true; that is returned."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        time.sleep(_POLL)
    return found


def marker(rng: random.Random) -> str:
    """A word that is nowhere else: what is searched for and counted later."""
    return "mk" + "".join(rng.choices(string.ascii_lowercase, k=14))


@dataclass(slots=True)
class Ledger:
    """What was promised. Markers are unique words in the content of an event."""

    acknowledged: dict[str, str] = field(default_factory=dict)  # event id -> marker
    kept: set[str] = field(default_factory=set)  # of hooks that ended well, by themselves
    open: set[str] = field(default_factory=set)  # killed hooks, unanswered posts: there or not
    notes: list[str] = field(default_factory=list)  # what hooks wrote to stderr
    lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, events: Iterable[tuple[str, str]]) -> None:
        """The API answered for these (event id, marker)."""
        with self.lock:
            for event_id, word in events:
                self.acknowledged[event_id] = word

    def keep(self, word: str) -> None:
        """A hook ended with 0 and without a word."""
        with self.lock:
            self.kept.add(word)

    def leave_open(self, words: Iterable[str], note: str = "") -> None:
        """Nothing was promised for these."""
        with self.lock:
            self.open.update(words)
            if note:
                self.notes.append(note)

    @property
    def promised(self) -> set[str]:
        """Every marker that must be there exactly once."""
        with self.lock:
            return self.kept | set(self.acknowledged.values())


class Site:
    """One data folder, its port and its processes. Use as a context manager."""

    def __init__(self, parent: Path | None = None, **settings: object) -> None:
        """`parent` is where the folder is made (short: a Unix socket's path has 107 bytes); `settings` become
        `CLAUDE_MEM_*` variables of the worker.
        """
        self.root = Path(tempfile.mkdtemp(prefix="cmd-", dir=parent))
        self.home = self.root / "d"
        self.files = Layout(self.home)
        home = self.root / "home"
        home.mkdir()
        own = {f"CLAUDE_MEM_{name.upper()}": str(value) for name, value in settings.items()}
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / ".claude"),
            "CLAUDE_MEM_HOME": str(self.home),
            "CLAUDE_MEM_PORT": str(free_port()),
            **own,
        }
        prepare_home(self.home, supervisor_argv(self.home))
        self.token = ensure_token(self.home)

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def launch(self) -> None:
        """Start a supervisor, as `claude-mem start` and the hook do; harmless when one runs."""
        subprocess.run(
            supervisor_argv(self.home),
            env=self.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )

    def serve(self) -> subprocess.Popen[bytes]:
        """Start a worker that nobody supervises."""
        command = [sys.executable, "-P", "-m", "claude_mem.app.serve", "--home", str(self.home)]
        return subprocess.Popen(
            command, env=self.environment, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def start(self) -> Holder:
        """Start supervisor and worker and wait until the API answers."""
        self.launch()
        return self.ready()

    def ready(self, but: int | None = None, patience: float = PATIENCE) -> Holder:
        """The worker, once it answers; `but` is a pid that does not count."""

        def answering() -> Holder | None:
            found = holder(self.files.worker_lock)
            if found is None or found.pid in (None, but):
                return None
            report = self.health()
            return found if report is not None and report.get("pid") == found.pid else None

        found = eventually(answering, "a worker that answers", patience)
        assert isinstance(found, Holder)
        return found

    def supervised(self, but: int | None = None) -> int:
        """The supervisor's pid, once there is one; `but` does not count."""

        def there() -> int | None:
            found = holder(self.files.supervisor_lock)
            return None if found is None or found.pid == but else found.pid

        found = eventually(there, "a supervisor")
        assert isinstance(found, int)
        return found

    def health(self) -> dict[str, Any] | None:
        """The full report, None when nobody answers."""
        return probe.health(self.files, timeout=5.0)

    def client(self, timeout: float = 20.0) -> Client:
        """The SDK's client. Raises NotReachable."""
        return connect(self.home, timeout=timeout)

    def hook_command(self, event: str) -> list[str]:
        """What the agent runs for `event`."""
        return [sys.executable, "-I", "-S", str(self.home / "hook" / "hook.py"), event]

    def hook(self, event: str, payload: dict[str, Any]) -> subprocess.Popen[bytes]:
        """Start the installed hook with `payload` on its stdin."""
        process = subprocess.Popen(
            self.hook_command(event),
            env=self.environment,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it was killed before it read all
            process.stdin.write(json.dumps(payload).encode())
            process.stdin.close()
        process.stdin = None
        return process

    def settle(self, patience: float = PATIENCE) -> None:
        """Wait until everything that hooks and clients handed over has become rows."""

        last: dict[str, Any] = {}

        def nothing_waits() -> bool:
            last.update(self.health() or {})
            checks = last.get("checks")
            return checks is not None and not checks["inbox"]["pending"] + checks["spool"]["events"]

        try:
            eventually(nothing_waits, "an empty inbox and an empty spool", patience)
        except AssertionError as error:
            raise AssertionError(f"{error}; {last}") from error

    def rest(self, patience: float = PATIENCE) -> None:
        """Wait until everything is rows, and what is derived from them in the background is made."""
        self.settle(patience)
        until = time.time() + _HORIZON

        def all_done() -> bool:
            # A job that reads a transcript is done before what it read is rows, and those ask for a summary.
            if self._jobs_due(until):
                return False
            self.settle(patience)
            return not self._jobs_due(until)

        eventually(all_done, "the end of the background jobs", patience)

    def _jobs_due(self, until: float) -> int:
        """Background jobs that run, or should by then; not those put off for minutes."""
        with contextlib.closing(
            sqlean.connect(f"file:{self.files.database}?mode=ro", uri=True)
        ) as raw:
            due = "status = 'running' OR status = 'pending' AND run_at <= ?"
            count: int = raw.execute(
                f"SELECT count(*) FROM task_queue WHERE {due}", [until * 1000]
            ).fetchone()[0]
        return count

    def stop(self) -> None:
        """Ask supervisor and worker to stop, and wait for it."""
        for path in (self.files.supervisor_lock, self.files.worker_lock):
            found = holder(path)
            if found is not None and found.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found.pid, signal.SIGTERM)
            eventually(partial(_is_free, path), f"the end of {path.stem}")

    def processes(self) -> list[int]:
        """Every process whose command line names this folder."""
        wanted = str(self.root)
        return [pid for pid, command in _commands() if wanted in command and pid != os.getpid()]

    def close(self) -> None:
        """End whatever of this folder still runs, and remove it."""
        deadline = time.monotonic() + PATIENCE
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 0.3 and time.monotonic() < deadline:
            for pid in self.processes():
                quiet_since = time.monotonic()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        shutil.rmtree(self.root, ignore_errors=True)


def _is_free(path: Path) -> bool:
    return holder(path) is None


def _commands() -> list[tuple[int, str]]:
    if Path("/proc/self/cmdline").exists():
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):  # it ended meanwhile
                    raw = (folder / "cmdline").read_bytes()
                    found.append(
                        (int(folder.name), raw.replace(b"\0", b" ").decode("utf-8", "replace"))
                    )
        return found
    listed = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, check=True)
    rows = listed.stdout.decode("utf-8", "replace").splitlines()
    return [(int(row.split(None, 1)[0]), row) for row in rows if row.strip()]
