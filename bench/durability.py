"""A data folder with everything real in it, to be treated badly: supervisor, worker, installed hook.

Shared by the tests under tests/durability and by `python -m bench.prove`. Owns starting these processes, the books of
what was promised (`Ledger`), and the comparison with what is on disk (`audit`). Ends only processes whose command line
names its own folder, and leaves none behind. Never touches the home or the data folder of whoever runs it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import sqlean

from claude_mem.hook.home import ensure_token
from claude_mem.hook.installation import prepare_home
from claude_mem.sdk.client import Client
from claude_mem.sdk.local import connect
from claude_mem.worker import probe
from claude_mem.worker.launch import supervisor_argv
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import Holder, holder

PATIENCE = 90.0  # seconds for anything that must happen by itself; a bound, not a measurement
_MARKER = re.compile(r"\bmk[a-z]{14}\b")
_POLL = 0.01


def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait, within bounds, until `condition` gives something true; that is returned."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        time.sleep(_POLL)
    return found


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


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


# -- the books compared with the disk -------------------------------------------------------------


@dataclass(slots=True)
class Audit:
    """What was found wrong, by kind; `problems` is empty when every promise was kept."""

    promised: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)

    def expect(self, what: str, wrong: object) -> None:
        """Note a problem when `wrong` is anything but empty, zero or None."""
        if wrong:
            shown = sorted(wrong)[:5] if isinstance(wrong, set | dict) else wrong
            count = f" ({len(wrong)})" if isinstance(wrong, set | dict | list) else ""
            self.problems.append(f"{what}{count}: {shown}")


def audit(site: Site, ledger: Ledger) -> Audit:
    """Compare the books with the files of a stopped site."""
    found = Audit(promised=len(ledger.promised))
    with contextlib.closing(_open(site.files.database)) as raw:
        _audit_rows(raw, ledger, found)
        _audit_whole(raw, found)
    with contextlib.closing(_open(site.files.inbox)) as raw:
        check = raw.execute("PRAGMA integrity_check").fetchone()[0]
        found.expect("the inbox file is damaged", check if check != "ok" else None)
        found.expect("left in the inbox", raw.execute("SELECT count(*) FROM inbox").fetchone()[0])
        buried = raw.execute("SELECT reason FROM dead_letters").fetchall()
        found.expect("buried events", [row[0] for row in buried])
    left = [path for path in site.files.spool.glob("*.jsonl") if path.stat().st_size]
    rejected = [path for path in left if path.name == "rejected.jsonl"]
    found.expect("left in the spool", [path.name for path in left if path not in rejected])
    # A torn line of a killed hook may be set aside; a whole event may not.
    for path in rejected:
        promised = ledger.promised.intersection(_MARKER.findall(path.read_text(encoding="utf-8")))
        found.expect("promised events among the rejected", promised)
    return found


def _open(path: Path) -> Any:
    return sqlean.connect(str(path))


def _audit_rows(raw: Any, ledger: Ledger, found: Audit) -> None:
    known = {row[0] for row in raw.execute("SELECT event_id FROM ingested_events")}
    found.expect("acknowledged events that are not there", set(ledger.acknowledged) - known)
    rows: Counter[str] = Counter()
    for table in ("prompts", "observations"):
        for (content,) in raw.execute(f"SELECT content FROM {table}"):
            found.rows += 1
            rows.update(set(_MARKER.findall(content)))
    promised = ledger.promised
    found.expect("promised events without a row", {word for word in promised if not rows[word]})
    expected = promised | ledger.open
    found.expect("events with more than one row", {w for w in rows if rows[w] > 1})
    found.expect("rows that nobody sent", {word for word in rows if word not in expected})


_WHOLE = {
    "rows that the text index does not hold": (
        "SELECT count(*) FROM (SELECT id FROM prompts UNION ALL SELECT id FROM observations)"
        " WHERE id NOT IN (SELECT entity_id FROM search_documents)"
    ),
    "index entries without a row": (
        "SELECT count(*) FROM search_documents WHERE kind IN ('prompt', 'observation') AND entity_id NOT IN"
        " (SELECT id FROM prompts UNION ALL SELECT id FROM observations)"
    ),
    "rows that the journal does not know": (
        "SELECT count(*) FROM (SELECT id FROM prompts UNION ALL SELECT id FROM observations)"
        " WHERE id NOT IN (SELECT entity_id FROM change_journal)"
    ),
    "sessions that miscount their prompts": (
        "SELECT count(*) FROM sessions s WHERE prompt_count !="
        " (SELECT count(*) FROM prompts p WHERE p.session_id = s.id)"
    ),
    "sessions that miscount their observations": (
        "SELECT count(*) FROM sessions s WHERE observation_count !="
        " (SELECT count(*) FROM observations o WHERE o.session_id = s.id)"
    ),
}


def _audit_whole(raw: Any, found: Audit) -> None:
    check = raw.execute("PRAGMA integrity_check").fetchone()[0]
    found.expect("the database is damaged", check if check != "ok" else None)
    found.expect("broken references", raw.execute("PRAGMA foreign_key_check").fetchall())
    for what, query in _WHOLE.items():
        found.expect(what, raw.execute(query).fetchone()[0])


def find_by_search(site: Site, words: Iterable[str]) -> list[str]:
    """The markers that a search does not find. (A session's first prompt is its title too: found more than once.)"""
    with site.client() as client:
        return [word for word in words if client.search(word)["total_results"] < 1]
