"""Whether a worker that said it is ready still answers.

Owns the small request that asks, and the patience: a worker is called hung only after several
questions in a row went unanswered for a minute. One that is starting, migrating or stopping has no
`worker.json` and is never asked. Never signals anyone. Standard library only, and little of it: the
supervisor lives on it.
"""

from __future__ import annotations

import _socket  # the C half alone: the supervisor should stay small
import json
from collections.abc import Callable

from claude_mem.worker.layout import Layout

EVERY = 15.0  # seconds between two questions
HUNG_AFTER = 60.0
LEAST_QUESTIONS = 4
_TIMEOUT = 2.0
_QUESTION = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Pulse:
    """Remembers since when one worker has not answered. Times are seconds of the caller's clock."""

    def __init__(self, files: Layout, *, answers: Callable[[str], bool] | None = None) -> None:
        self._files = files
        self._answers = answers or _answers
        self._next = 0.0
        self._pid: int | None = None
        self._silent_since: float | None = None
        self._unanswered = 0

    def is_hung(self, pid: int, now: float) -> bool:
        """Ask, if it is time to, the worker `pid`; True when it has been silent for too long."""
        if now < self._next:
            return False
        self._next = now + EVERY
        where = self._door_of(pid)
        if pid != self._pid or where is None or self._answers(where):
            self._pid, self._silent_since, self._unanswered = pid, None, 0
            return False
        if self._silent_since is None:
            self._silent_since = now
        self._unanswered += 1
        return self._unanswered >= LEAST_QUESTIONS and now - self._silent_since >= HUNG_AFTER

    def _door_of(self, pid: int) -> str | None:
        """The socket of the worker `pid`; None while it is not ready, or is on its way out."""
        try:
            told = json.loads(self._files.worker_json.read_bytes())
            return str(told["socket"]) if told["pid"] == pid else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _answers(where: str) -> bool:
    """Whether anything comes back from the socket at `where`."""
    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        line.settimeout(_TIMEOUT)
        line.connect(where)
        line.send(_QUESTION)
        return bool(line.recv(64))
    except OSError:
        return False
    finally:
        line.close()
