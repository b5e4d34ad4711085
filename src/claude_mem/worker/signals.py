"""Sleeping until something happens: a signal, the end of a process, or a deadline.

Owns the supervisor's signal handlers and its one wake-up pipe. Nothing is done inside a handler.
"""

from __future__ import annotations

import os
import select
import signal

_STOP = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Install in the main thread, once per process."""

    def __init__(self) -> None:
        self.stop_requested = False
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (*_STOP, signal.SIGCHLD):
            signal.signal(number, _noticed)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def wait(self, timeout: float, pid_descriptor: int | None = None) -> None:
        """Return after `timeout` seconds, on a signal, or when the process of `pid_descriptor`
        ended.
        """
        watched = [self._reader] if pid_descriptor is None else [self._reader, pid_descriptor]
        ready, _, _ = select.select(watched, [], [], max(timeout, 0.0))
        if self._reader in ready:
            numbers = os.read(self._reader, 512)
            if any(number in _STOP for number in numbers):
                self.stop_requested = True


def _noticed(_number: int, _frame: object) -> None:
    """The wake-up pipe has carried the number already; a handler must exist for that."""
