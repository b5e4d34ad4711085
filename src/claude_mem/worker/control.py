"""Start, stop, restart: what a person's command does to the data folder's worker.

Owns the waiting and the explanations; the processes themselves belong to the supervisor. Asks only
the verified holders of this folder's locks to stop, with SIGTERM, and never kills: not the holder
of a port, not a newer program's worker. While no worker runs, hooks spool, so nothing is lost
between the old one and the new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from claude_mem import __version__
from claude_mem.worker.diagnosis import Problem, diagnose, no_folder, obstacle
from claude_mem.worker.launch import LaunchError, launch
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import Holder, holder
from claude_mem.worker.probe import health, read_worker_json
from claude_mem.worker.supervision import DRAIN_SECONDS, terminate
from claude_mem.worker.versions import is_older

_POLL = 0.02
_SETTLE = 3.0  # nobody holds a lock for so long: nobody will
_STOP_TIMEOUT = DRAIN_SECONDS + 5.0


@dataclass(frozen=True, slots=True)
class Started:
    """What `start` found or did.

    `state`: started, already_running, upgraded (an older worker was replaced), newer_running (left
    alone) or failed (then `problem` says why and what to do).
    """

    state: str
    pid: int | None = None
    port: int | None = None
    version: str | None = None
    replaced: str | None = None
    problem: Problem | None = None

    @property
    def ok(self) -> bool:
        """Whether a worker serves this data folder now."""
        return self.problem is None


@dataclass(frozen=True, slots=True)
class Stopped:
    """What `stop` found or did: `state` is stopped, not_running or still_running (`pid` does not
    stop).
    """

    state: str
    pid: int | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing runs any more."""
        return self.state != "still_running"


def start(
    home: Path,
    timeout: float = 10.0,
    *,
    port: int | None = None,
    version: str = __version__,
    worker: Sequence[str] = (),
) -> Started:
    """Bring the worker up and wait until it answers; says so when it runs already.

    `port` is the configured one, to name its holder in a conflict; `worker` replaces the command to
    supervise. An older program's worker drains and is replaced (which may take 30 s more than
    `timeout`).
    """
    files = Layout(home)
    if (problem := obstacle(files)) is not None:
        return Started("failed", problem=problem)
    running, supervisor = holder(files.worker_lock), holder(files.supervisor_lock)
    for found in (running, supervisor):
        if found is not None and is_older(version, found.version):
            return _described("newer_running", files, found)
    old = next((it for it in (running, supervisor) if it and is_older(it.version, version)), None)
    if running is not None and old is None and health(files) is not None:
        return _described("already_running", files, running)
    earlier_failure = _stamp(files.worker_failed)
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        launch(home, worker=worker)
    except OSError as error:
        return Started("failed", problem=no_folder(home, error))
    except LaunchError as error:
        return Started("failed", problem=diagnose(files, port, said=str(error)))
    deadline = time.monotonic() + timeout + (_STOP_TIMEOUT if old else 0.0)
    new = _await_ready(files, version, earlier_failure, deadline)
    if new is None:
        return Started("failed", problem=diagnose(files, port))
    if old is not None:
        return _described("upgraded", files, new, replaced=old.version)
    return _described("already_running" if running else "started", files, new)


def stop(home: Path, timeout: float = _STOP_TIMEOUT) -> Stopped:
    """Ask the supervisor (or a worker without one) to drain and stop; wait until both are gone."""
    files = Layout(home)
    if not any(_running(files)):
        return Stopped("not_running")
    asked: set[int] = set()

    def gone() -> bool:
        worker, supervisor = _running(files)
        # A supervisor stops its worker; a worker is asked directly only when nobody supervises it.
        found = supervisor or worker
        if found is not None and found.pid is not None and found.pid not in asked:
            terminate(found)
            asked.add(found.pid)
        return found is None

    if _wait(gone, time.monotonic() + timeout):
        return Stopped("stopped")
    worker, supervisor = _running(files)
    left = worker or supervisor
    return Stopped("still_running", left.pid) if left else Stopped("stopped")


def restart(
    home: Path, timeout: float = 10.0, *, port: int | None = None, worker: Sequence[str] = ()
) -> Started:
    """`stop`, then `start`; failed when the old worker does not stop in time."""
    stopped = stop(home)
    if not stopped.ok:
        step = f"see `claude-mem logs`; the process is {stopped.pid}"
        return Started("failed", problem=Problem("still_running", "the worker does not stop", step))
    return start(home, timeout, port=port, worker=worker)


def _running(files: Layout) -> tuple[Holder | None, Holder | None]:
    return holder(files.worker_lock), holder(files.supervisor_lock)


def _await_ready(
    files: Layout, version: str, earlier_failure: int | None, deadline: float
) -> Holder | None:
    """The worker that holds the lock, is not an older program's, and answers; None when that is not
    to be.
    """
    last_seen = time.monotonic()
    ready: Holder | None = None

    def over() -> bool:
        nonlocal ready, last_seen
        found, supervisor = _running(files)
        if found is not None and not is_older(found.version, version):
            last_seen = time.monotonic()
            ready = found if health(files) is not None else None
            return ready is not None
        if found or supervisor:
            last_seen = time.monotonic()
            return False
        if _stamp(files.worker_failed) not in (None, earlier_failure):
            return True
        # For a moment nobody may be there: between an old supervisor's end and the new one's lock.
        return time.monotonic() - last_seen > _SETTLE

    _wait(over, deadline)
    return ready


def _described(state: str, files: Layout, found: Holder, replaced: str | None = None) -> Started:
    told = read_worker_json(files)
    port = told.get("port")
    return Started(
        state,
        pid=found.pid,
        port=port if isinstance(port, int) else None,
        version=found.version,
        replaced=replaced,
    )


def _stamp(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # there is none
        return None


def _wait(condition: Callable[[], bool], deadline: float) -> bool:
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True
