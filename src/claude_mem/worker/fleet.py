"""Several processes of the server profile on one machine: started, watched over, restarted, stopped together.

Owns the processes it started and no others. One that crashes, or holds more memory than it may, is replaced with
back-off while the others go on; when it is asked to stop, all are, each with its time to finish. Standard library only.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from claude_mem.worker.backoff import RestartPolicy
from claude_mem.worker.child import MEMORY, SUPERVISOR_FD
from claude_mem.worker.processes import rss_bytes
from claude_mem.worker.supervision import EXIT_REFUSED, Waiter

_TICK_S: Final = 1.0
STOP_S: Final = 30.0  # for a process to end by itself, when it is asked to
Note = Callable[[str, str], None]  # (level, message)


@dataclass(slots=True)
class _Place:
    """One of the processes: the one that runs, or when the next is started."""

    number: int
    argv: list[str]
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    pid: int | None = None
    since: float = 0.0
    start_at: float = 0.0
    kill_at: float | None = None


class Fleet:
    """A process for each of `commands`, which inherit `descriptors`. `note` is told what happens."""

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        *,
        waiter: Waiter,
        note: Note,
        descriptors: Sequence[int] = (),
        max_rss_mb: int | None = None,
        policy: Callable[[], RestartPolicy] = RestartPolicy,
        stop_s: float = STOP_S,
    ) -> None:
        self._places = [
            _Place(number, list(argv), policy()) for number, argv in enumerate(commands, 1)
        ]
        self._waiter = waiter
        self._note = note
        self._descriptors = tuple(descriptors)
        self._max_rss = None if max_rss_mb is None else max_rss_mb * 1024 * 1024
        self._stop_s = stop_s
        self._look_at = 0.0
        self._code = 0
        # Whoever holds the read end learns of our own end, however that comes about.
        self._alive, self._ours = os.pipe()

    def run(self) -> int:
        """Until asked to stop (0), or until starting again is hopeless (the exit code of the process that ended)."""
        while not self._waiter.stop_requested and not self._code:
            self._reap()
            self._start_due()
            self._look()
            self._waiter.wait(_TICK_S)
        self._stop_all()
        return self._code

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.pid is None and now >= place.start_at and not self._code:
                place.pid, place.since, place.kill_at = self._spawn(place.argv), now, None
                self._note("info", f"process {place.number} started (pid {place.pid})")

    def _spawn(self, argv: list[str]) -> int:
        for descriptor in (*self._descriptors, self._alive):
            os.set_inheritable(descriptor, True)
        return os.posix_spawnp(
            argv[0],
            argv,
            {**MEMORY, **os.environ, SUPERVISOR_FD: str(self._alive)},
            setpgroup=0,
            setsigmask=(),
            setsigdef=(
                signal.SIGTERM,
                signal.SIGINT,
                signal.SIGCHLD,
                signal.SIGHUP,
                signal.SIGPIPE,
            ),
        )

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            place = next((it for it in self._places if it.pid == pid), None)
            if place is not None:
                self._ended(place, os.waitstatus_to_exitcode(status))

    def _ended(self, place: _Place, code: int) -> None:
        now = time.monotonic()
        ran_for, place.pid = now - place.since, None
        if self._waiter.stop_requested or self._code:
            return
        if code == EXIT_REFUSED:
            self._note("error", f"process {place.number} refused to start: see above")
            self._code = code
            return
        delay = place.policy.after_exit(now, ran_for)
        if delay is None:
            self._note("error", f"process {place.number} ends again and again (exit code {code})")
            self._code = code if code > 0 else 1
            return
        place.start_at = now + delay
        self._note(
            "warning", f"process {place.number} ended (exit code {code}): again in {delay:g} s"
        )

    def _look(self) -> None:
        """Once in a while: whoever holds too much memory goes, and its successor comes."""
        now = time.monotonic()
        for place in self._places:
            if place.pid is not None and place.kill_at is not None and now >= place.kill_at:
                self._signal(place.pid, signal.SIGKILL)
        if self._max_rss is None or now < self._look_at:
            return
        self._look_at = now + 5 * _TICK_S
        for place in self._places:
            used = rss_bytes(place.pid) if place.pid is not None else None
            if place.pid is not None and used is not None and used > self._max_rss:
                if place.kill_at is None:
                    self._note("warning", f"process {place.number} holds {used} bytes: replaced")
                    self._signal(place.pid, signal.SIGTERM)
                    place.kill_at = now + self._stop_s
                return  # one at a time: the others go on serving

    def _stop_all(self) -> None:
        for place in self._places:
            if place.pid is not None:
                self._signal(place.pid, signal.SIGTERM)
        until = time.monotonic() + self._stop_s
        while any(place.pid is not None for place in self._places):
            self._reap()
            if time.monotonic() >= until:
                for place in self._places:
                    if place.pid is not None:
                        self._note("error", f"process {place.number} did not stop in time")
                        self._signal(place.pid, signal.SIGKILL)
                until += self._stop_s
            self._waiter.wait(0.1)

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        """To a child that was not reaped yet, so that the pid can be nobody else's."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it ended just now
            return


def replica_argv(descriptor: int | None, config: str | None, *more: str) -> list[str]:
    """The command of one process, with this interpreter and nothing imported from the current folder.

    With a `descriptor` it answers on that socket, without one it records and runs jobs.
    """
    argv = [sys.executable, "-P", "-m", "claude_mem.app.replica", *more]
    if descriptor is not None:
        argv += ["--listen-fd", str(descriptor)]
    return [*argv, "--config", config] if config is not None else argv
