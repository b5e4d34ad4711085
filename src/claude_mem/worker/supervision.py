"""Keeping one worker alive per data folder.

Owns the worker process it started, `logs/supervisor.jsonl` and `worker.failed`. Restarts the
worker after a crash, above its memory limit or when it hangs, with back-off; adopts a worker whose
supervisor died; replaces an older program's worker; gives up, visibly, when starting again does not
help. It never ends a process that it did not start, and asks only the holder of this folder's own locks to
stop. Standard library only, so that it stays small; what it leaves behind is files that `claude-mem
status` reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from claude_mem import __version__
from claude_mem.worker.backoff import RestartPolicy
from claude_mem.worker.child import Child
from claude_mem.worker.failure import record_failure
from claude_mem.worker.journal import Journal
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import Holder, ProcessLock, holder
from claude_mem.worker.processes import rss_bytes
from claude_mem.worker.pulse import Pulse
from claude_mem.worker.versions import is_older

EXIT_LOCKED = 75  # another worker holds the lock
EXIT_PORT = 76  # the port is taken and no other is allowed
EXIT_REFUSED = 78  # configuration or database: needs a person
EXIT_UNSTARTABLE = 127  # the interpreter is gone
DRAIN_SECONDS = 30.0
DEFAULT_MAX_RSS_MB = 1024
_TICK = 5.0  # memory, output and the lock file are looked at this often
_ORPHAN_POLL = 0.5  # where the system cannot tell about the end of somebody else's process
# Also by the signal itself: whoever sends it wants the worker to stop, not to come back.
_STOPPED = (0, -signal.SIGTERM)
_FOR_A_PERSON = {
    EXIT_PORT: "port_taken",
    EXIT_REFUSED: "refused",
}


class Waiter(Protocol):
    """What the supervisor sleeps on."""

    stop_requested: bool

    def wait(self, timeout: float, pid_descriptor: int | None = None) -> None:
        """Return after `timeout` seconds or earlier when something happened."""


class Supervisor:
    """The loop around one worker. Build it while holding `supervisor.lock`."""

    def __init__(
        self,
        home: Path,
        argv: Sequence[str],
        lock: ProcessLock,
        *,
        waiter: Waiter,
        policy: RestartPolicy | None = None,
        max_rss_mb: int = DEFAULT_MAX_RSS_MB,
        drain: float = DRAIN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        memory_of: Callable[[int], int | None] = rss_bytes,
        pulse: Pulse | None = None,
        version: str = __version__,
    ) -> None:
        self._files = Layout(home)
        self._argv = argv
        self._lock = lock
        self._waiter = waiter
        self._policy = policy or RestartPolicy()
        self._max_rss_mb = max_rss_mb
        self._drain = drain
        self._clock = clock
        self._memory_of = memory_of
        self._pulse = pulse or Pulse(self._files)
        self._version = version
        self._journal = Journal(self._files.supervisor_log)
        self._abandoned = False  # the data folder was removed under us

    def run(self) -> int:
        """Supervise until asked to stop, until the worker stopped by itself (both 0), or until
        starting it again is hopeless (the worker's exit code, or 1 when a signal ended it).
        """
        self._journal.write("info", "supervisor.started", "Supervising", version=self._version)
        # What is told about a failure is about this run; old words that stay are no reason not to.
        with contextlib.suppress(OSError):
            self._files.worker_failed.unlink(missing_ok=True)
            self._files.worker_stderr.unlink(missing_ok=True)
        code = self._supervise()
        self._journal.write("info", "supervisor.stopped", "No longer supervising", exit_code=code)
        return code

    def _supervise(self) -> int:
        while True:
            self._outlast_orphan()
            if self._done():
                return 0
            started = self._clock()
            code, wanted = self._run_worker()
            if self._done():
                return 0
            if code in _STOPPED and not wanted:
                self._journal.write("info", "worker.stopped", "The worker was asked to stop")
                return 0
            if code in _FOR_A_PERSON:
                return self._give_up(_FOR_A_PERSON[code], code)
            ended = self._clock()
            delay = self._policy.after_exit(ended, ended - started)
            if delay is None:
                return self._give_up("crash_loop", code)
            self._announce_restart(code, delay, wanted=wanted)
            self._pause(delay)

    # -- our own worker

    def _run_worker(self) -> tuple[int, bool]:
        """Start a worker and stay with it; its exit code, and whether we asked for its end."""
        try:
            child = Child(self._argv, self._files.home, self._files.worker_stderr)
        except OSError as error:
            self._journal.write("error", "worker.unstartable", f"Cannot start the worker: {error}")
            return EXIT_UNSTARTABLE, False
        self._journal.write("info", "worker.spawned", "Worker started", worker_pid=child.pid)
        kill_at: float | None = None
        next_look = self._clock() + _TICK
        while (code := child.poll()) is None:
            now = self._clock()
            if kill_at is None:
                must_go = now >= next_look and self._look_at(child)
                next_look = now + _TICK if now >= next_look else next_look
                if must_go or self._done():
                    child.terminate()
                    kill_at = now + self._drain
            elif now >= kill_at:
                self._journal.write(
                    "error", "worker.killed", "It did not stop in time", worker_pid=child.pid
                )
                child.kill()
                kill_at = now + self._drain
            self._waiter.wait((kill_at or next_look) - now)
        return code, kill_at is not None

    def _look_at(self, child: Child) -> bool:
        """What is done every five seconds; True when the worker must go for its memory, or is killed
        because it hangs: then it would not hear a request to stop.
        """
        child.trim_output()
        self._check_folder()
        if self._pulse.is_hung(child.pid, self._clock()):
            said = "The worker has not answered for a minute and is restarted"
            self._journal.write("error", "worker.hung", said, worker_pid=child.pid)
            child.kill()
            return True
        return self._too_large(child.pid)

    def _too_large(self, pid: int) -> bool:
        used = self._memory_of(pid)
        limit = self._memory_limit()
        if used is None or used <= limit:
            return False
        self._journal.write(
            "warning",
            "worker.memory_limit",
            "The worker holds more memory than allowed and is restarted",
            worker_pid=pid,
            rss_bytes=used,
            limit_bytes=limit,
        )
        return True

    def _memory_limit(self) -> int:
        """Bytes; the worker knows the settings and says what it was given in `worker.json`."""
        try:
            told = int(json.loads(self._files.worker_json.read_bytes())["max_rss_mb"])
        except (OSError, ValueError, KeyError, TypeError):  # not ready yet, or it does not say
            told = self._max_rss_mb
        return told * 1024 * 1024

    # -- somebody else's worker

    def _outlast_orphan(self) -> None:
        """Watch over a worker that is not our child until it ends, or until we must stop."""
        asked_at: float | None = None
        known: int | None = None
        while (found := holder(self._files.worker_lock)) is not None:
            if found.pid != known:
                known, asked_at = found.pid, None
                self._journal.write(
                    "info", "worker.adopted", "Watching over a running worker", worker_pid=known
                )
            self._check_folder()
            now = self._clock()
            if asked_at is None and self._must_go(found):
                self._ask_to_stop(found)
                asked_at = now
            if self._done() and asked_at is not None and now - asked_at >= self._drain:
                self._journal.write(
                    "error",
                    "worker.left",
                    "A worker that this supervisor did not start does not stop; it is left alone",
                    worker_pid=found.pid,
                )
                return
            self._await_end(found.pid)

    def _must_go(self, found: Holder) -> bool:
        return (
            self._done()
            or is_older(found.version, self._version)
            or (found.pid is not None and self._too_large(found.pid))
        )

    def _ask_to_stop(self, found: Holder) -> None:
        self._journal.write(
            "info",
            "worker.asked_to_stop",
            "Asking a worker to stop",
            worker_pid=found.pid,
            worker_version=found.version,
        )
        terminate(found)

    def _await_end(self, pid: int | None) -> None:
        """Sleep until the process ends, a signal comes, or it is time to look again."""
        descriptor = _watch_process(pid)
        try:
            timeout = _ORPHAN_POLL if descriptor is None else _TICK
            self._waiter.wait(timeout, descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    # -- both

    def _done(self) -> bool:
        return self._waiter.stop_requested or self._abandoned

    def _check_folder(self) -> None:
        if not self._lock.intact():
            self._abandoned = True

    def _pause(self, delay: float) -> None:
        until = self._clock() + delay
        while not self._done() and (left := until - self._clock()) > 0:
            self._waiter.wait(left)

    def _announce_restart(self, code: int, delay: float, *, wanted: bool) -> None:
        self._journal.write(
            "info" if wanted else "error",
            "worker.restarting",
            "Restarting the worker" if wanted else f"The worker ended unexpectedly ({code})",
            exit_code=code,
            delay_seconds=delay,
            recent_exits=self._policy.recent_exits,
        )

    def _give_up(self, reason: str, code: int) -> int:
        record_failure(self._files, reason, code, self._policy.recent_exits)
        self._journal.write(
            "error",
            "worker.failed",
            f"The worker stays down ({reason}); `claude-mem status` says why",
            reason=reason,
            exit_code=code,
        )
        return code if code > 0 else 1


def terminate(found: Holder) -> bool:
    """Ask the verified holder of a lock to stop; False when it has no name or is gone."""
    if found.pid is None:
        return False
    try:
        os.kill(found.pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True


def _watch_process(pid: int | None) -> int | None:
    if pid is None or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or it has just ended
        return None
