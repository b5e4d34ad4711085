"""How a data folder's worker is, whether it runs or not.

Owns gathering the facts: locks, the worker's own health report, files and their sizes. Reads only;
what needs settings or another package's knowledge (size cap, installed hooks) is handed in by the
caller.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from claude_mem.hook import spool
from claude_mem.kernel.clock import from_iso, now_ms
from claude_mem.worker.diagnosis import last_error
from claude_mem.worker.failure import read_failure
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import Holder, holder
from claude_mem.worker.probe import health, read_worker_json
from claude_mem.worker.processes import rss_bytes

WARN_FROM = 0.8  # of the size cap
_DATABASE_PARTS = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Worker:
    """The worker that holds the lock; `healthy` is false while it starts or does not answer."""

    pid: int | None
    version: str
    healthy: bool
    port: int | None
    socket: str | None
    started_at: str
    uptime_seconds: int | None
    rss_bytes: int | None


@dataclass(frozen=True, slots=True)
class Spool:
    """What hooks left for the worker: bytes and events waiting, and what was lost.

    `refused`: events that did not fit; `rejected`: lines that were no event, set aside in `spool/rejected.jsonl`.
    """

    bytes: int
    events: int
    refused: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Database:
    """The main database with its log, in bytes. `warning` is set from 80 % of `cap_bytes`."""

    path: str
    bytes: int
    cap_bytes: int | None
    warning: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """`state`: running, starting (or not answering), restarting, failed, stopped."""

    home: str
    state: str
    worker: Worker | None
    supervisor_pid: int | None
    inbox_pending: int | None
    spool: Spool
    paused: bool
    paused_until: int | None  # Unix milliseconds; None: until resumed
    database: Database
    last_error: dict[str, Any] | None
    failure: dict[str, Any] | None
    health: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for `--json`."""
        return asdict(self)


def status(home: Path, *, cap_bytes: int | None = None) -> Status:
    """Gather everything about `home`; waits at most two seconds for a silent worker."""
    files = Layout(home)
    worker, supervisor = holder(files.worker_lock), holder(files.supervisor_lock)
    report = health(files) if worker is not None else None
    failure = read_failure(files)
    paused, until = pause_state(files.paused)
    return Status(
        home=str(home),
        state=_state(worker, supervisor, report, failure),
        worker=_worker(files, worker, healthy=report is not None) if worker else None,
        supervisor_pid=supervisor.pid if supervisor else None,
        inbox_pending=_pending(report),
        spool=_spool(files),
        paused=paused,
        paused_until=until,
        database=_database(files, cap_bytes),
        last_error=last_error(files),
        failure=failure if worker is None else None,
        health=report,
    )


def pause_state(path: Path, now: int | None = None) -> tuple[bool, int | None]:
    """Whether the pause file at `path` holds, and until when (Unix ms; None: until resumed)."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:  # there is none
        return False, None
    if not text.isdigit():
        return True, None
    until = int(text)
    return (now_ms() if now is None else now) < until, until


def _state(
    worker: Holder | None,
    supervisor: Holder | None,
    report: dict[str, Any] | None,
    failure: dict[str, Any] | None,
) -> str:
    if worker is not None:
        return "running" if report is not None else "starting"
    if supervisor is not None:
        return "restarting"
    return "failed" if failure is not None else "stopped"


def _worker(files: Layout, found: Holder, *, healthy: bool) -> Worker:
    told = read_worker_json(files)
    if told.get("pid") != found.pid:  # left by an earlier one
        told = {}
    return Worker(
        pid=found.pid,
        version=found.version,
        healthy=healthy,
        port=told.get("port"),
        socket=told.get("socket"),
        started_at=found.started_at,
        uptime_seconds=_uptime(found.started_at),
        rss_bytes=rss_bytes(found.pid) if found.pid is not None else None,
    )


def _uptime(started_at: str) -> int | None:
    try:
        return max(0, int(time.time()) - from_iso(started_at) // 1000)
    except ValueError:  # a holder that could not be named
        return None


def _pending(report: dict[str, Any] | None) -> int | None:
    checks = report.get("checks") if report else None
    inbox = checks.get("inbox") if isinstance(checks, dict) else None
    pending = inbox.get("pending") if isinstance(inbox, dict) else None
    return pending if isinstance(pending, int) else None


def _spool(files: Layout) -> Spool:
    found = spool.status(files.spool)
    return Spool(found.bytes, found.events, sum(found.refused.values()), found.rejected)


def _database(files: Layout, cap_bytes: int | None) -> Database:
    size = 0
    for part in _DATABASE_PARTS:
        try:
            size += files.database.with_name(files.database.name + part).stat().st_size
        except OSError:  # not made yet, or no log beside it
            continue
    warning = None
    if cap_bytes and size >= WARN_FROM * cap_bytes:
        warning = f"the database uses {size * 100 // cap_bytes} % of its cap (max_store_mb)"
    return Database(str(files.database), size, cap_bytes, warning)
