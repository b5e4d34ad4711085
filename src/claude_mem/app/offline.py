"""A data folder to oneself: the worker stopped, and its locks held, while its files are worked on.

Hooks spool meanwhile, so nothing is lost. Must never begin while a worker runs, and never leave it down that it found
running.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claude_mem.kernel.errors import MemError
from claude_mem.worker import control
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import ProcessLock, holder

_WAIT_S = 10.0


class WorkerRuns(MemError):  # noqa: N818 - named for what is the case
    """The files are a running worker's."""

    code = "WORKER_RUNS"


def is_running(home: Path) -> bool:
    """Whether a worker, or a supervisor about to start one, holds the data folder."""
    files = Layout(home)
    return holder(files.worker_lock) is not None or holder(files.supervisor_lock) is not None


@contextmanager
def alone(home: Path, *, stop: bool, port: int | None = None) -> Iterator[bool]:
    """Hold the folder's locks; with `stop` a running worker is stopped first and started again at the end.

    Yields whether it ran. Raises WorkerRuns when it may not, or does not, stop.
    """
    files = Layout(home)
    ran = is_running(home)
    if ran and not stop:
        raise WorkerRuns("the worker runs and works on these files")
    if ran and not control.stop(home).ok:
        raise WorkerRuns("the worker does not stop")
    # The supervisor's too: a hook that would start a worker finds that somebody is at it.
    locks = [
        ProcessLock(files.supervisor_lock, "maintenance"),
        ProcessLock(files.worker_lock, "maintenance"),
    ]
    try:
        for lock in locks:
            if not lock.acquire(_WAIT_S):
                raise WorkerRuns("another process took over the data folder: try again")
        yield ran
    finally:
        for lock in reversed(locks):
            lock.release()
        if ran:
            control.start(home, port=port)
