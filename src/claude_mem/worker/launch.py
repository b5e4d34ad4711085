"""Starting the supervisor from another process, and keeping one there from inside the worker.

Owns the command line of the supervisor. Leaves no child behind: the supervisor detaches itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from claude_mem.worker.child import SUPERVISOR_FD
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import holder, wait_until_free

_DETACH_TIMEOUT = 20.0
_RETRY_AFTER = 5.0


class LaunchError(Exception):
    """The supervisor could not even be started; the text says what the interpreter said."""


def supervisor_argv(
    home: Path, *, python: str | None = None, worker: Sequence[str] = ()
) -> list[str]:
    """The command that brings the data folder's worker up; harmless when one runs already.

    `-P` keeps the current folder (some project with a `json.py`) off the import path. `worker` is a
    command to supervise instead of the real worker.
    """
    argv = [
        python or sys.executable,
        "-P",
        "-m",
        "claude_mem.worker.supervisor",
        "--home",
        str(home),
    ]
    return [*argv, "--", *worker] if worker else argv


def launch(home: Path, *, python: str | None = None, worker: Sequence[str] = ()) -> None:
    """Start a supervisor for `home`; returns once one holds the lock. Raises LaunchError."""
    environment = {key: text for key, text in os.environ.items() if key != SUPERVISOR_FD}
    try:
        done = subprocess.run(
            supervisor_argv(home, python=python, worker=worker),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=environment,
            timeout=_DETACH_TIMEOUT,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(str(error)) from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise LaunchError(said[-1] if said else f"exit code {done.returncode}")


def keep_supervised(
    home: Path,
    stopping: threading.Event,
    *,
    supervisor_fd: int | None,
    start: Callable[[Path], None] = launch,
) -> None:
    """For a worker's own daemon thread: whenever its supervisor dies, start another. Returns after
    `stopping`.

    When the data folder is gone, the worker is told to stop instead. `supervisor_fd` is the
    inherited read end of the supervisor's pipe (None: nobody supervises this worker, and nobody
    shall). Waiting costs nothing: first on the pipe's end of file, later on the supervisor's lock.
    """
    if supervisor_fd is None:
        return
    while os.read(supervisor_fd, 64):
        pass
    lock = Layout(home).supervisor_lock
    in_vain = 0
    while not stopping.is_set():
        if not home.is_dir():  # removed under us: there is nothing left to serve
            os.kill(os.getpid(), signal.SIGTERM)
            return
        if _relaunched(home, start) and holder(lock) is not None:
            in_vain = 0
            wait_until_free(lock)
            continue
        # One that died while it came up is replaced at once; what keeps failing is tried slowly.
        in_vain += 1
        if in_vain > 1:
            stopping.wait(_RETRY_AFTER)


def _relaunched(home: Path, start: Callable[[Path], None]) -> bool:
    try:
        start(home)
    except LaunchError:
        # The interpreter may be in the middle of an upgrade; the worker itself is well and goes on.
        return False
    return True
