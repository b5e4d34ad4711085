"""One worker process started by the supervisor: spawn, ask to stop, kill, reap.

Owns exactly the process it started and that process's own group. Never touches any other process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

# The worker holds the read end of a pipe whose write end lives and dies with the supervisor.
SUPERVISOR_FD = "CLAUDE_MEM_SUPERVISOR_FD"
# One heap for all threads (glibc): Python lets one of them run at a time, and heaps of their own only fragment.
MEMORY = {"MALLOC_ARENA_MAX": "1"}
_MAX_STDERR_BYTES = 1_000_000
_OURS_TO_RESET = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE)


class Child:
    """A running or ended, unreaped worker. `pid` stays ours until `poll` has returned a code."""

    def __init__(self, argv: Sequence[str], home: Path, stderr: Path) -> None:
        """Start `argv`; its output goes to the file `stderr`. Raises OSError when it cannot be
        started.
        """
        self._stderr = stderr
        self._code: int | None = None
        read_end, self._write_end = os.pipe()
        os.set_inheritable(read_end, True)
        output = _open_output(stderr)
        null = os.open(os.devnull, os.O_RDONLY)
        own = {SUPERVISOR_FD: str(read_end), "CLAUDE_MEM_HOME": str(home)}
        environment = {**MEMORY, **os.environ, **own}
        try:
            self.pid = os.posix_spawnp(
                argv[0],
                list(argv),
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, null, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setpgroup=0,
                setsigmask=(),
                setsigdef=_OURS_TO_RESET,
            )
        except OSError:
            os.close(self._write_end)
            raise
        finally:
            for descriptor in (read_end, output, null):
                os.close(descriptor)

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs.

        Reaps every ended child of this process, so orphans handed to a supervisor that is a
        container's first process do not stay as zombies.
        """
        if self._code is None and self._ended():
            self._end_group()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.pid:
                self._code = os.waitstatus_to_exitcode(status)
                os.close(self._write_end)
        return self._code

    def terminate(self) -> None:
        """Ask it to drain and stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def trim_output(self) -> None:
        """Keep the file of its standard error bounded while it runs: it is appended to."""
        with contextlib.suppress(OSError):  # a missing file needs no trimming
            if self._stderr.stat().st_size > _MAX_STDERR_BYTES:
                os.truncate(self._stderr, 0)

    def _signal(self, number: int) -> None:
        if self._code is None:  # an unreaped child keeps its pid, so this can hit nobody else
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _ended(self) -> bool:
        """Whether it has ended but is still unreaped."""
        if sys.platform == "darwin":  # Python 3.11 and 3.12 have no waitid there
            return False
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.pid, options) is not None
        except ChildProcessError:
            return False

    def _end_group(self) -> None:
        """End what the worker started and left behind. Its unreaped leader keeps the group's number
        ours.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(self.pid, signal.SIGTERM)


def _open_output(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        if path.exists() and path.stat().st_size > _MAX_STDERR_BYTES:
            flags |= os.O_TRUNC
        return os.open(path, flags, 0o600)
    except OSError:  # a full disk must not keep the worker down: it only loses its last words
        return os.open(os.devnull, os.O_WRONLY)
