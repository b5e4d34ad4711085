"""How long to wait before a crashed worker is started again, and when to stop trying.

Owns the arithmetic alone: no clock, no sleep, no process.
"""

from __future__ import annotations


class RestartPolicy:
    """Exponential back-off that forgets after a healthy run, with a budget of restarts per window.

    Times are seconds. `first` doubles up to `ceiling`; a run of `healthy_after` or more starts the
    doubling anew; more than `limit` exits within `window` mean that starting again does not help.
    """

    def __init__(
        self,
        *,
        first: float = 0.2,
        ceiling: float = 30.0,
        healthy_after: float = 60.0,
        limit: int = 20,
        window: float = 600.0,
    ) -> None:
        self._first = first
        self._ceiling = ceiling
        self._healthy_after = healthy_after
        self._limit = limit
        self._window = window
        self._next = first
        self._exits: list[float] = []

    @property
    def recent_exits(self) -> int:
        """How many unwanted exits the window holds."""
        return len(self._exits)

    def after_exit(self, now: float, ran_for: float) -> float | None:
        """Seconds to wait after an exit at `now`, of a worker up for `ran_for`; None: give up."""
        self._exits = [at for at in self._exits if now - at < self._window]
        self._exits.append(now)
        if len(self._exits) > self._limit:
            return None
        if ran_for >= self._healthy_after:
            self._next = self._first
        delay = self._next
        self._next = min(self._next * 2, self._ceiling)
        return delay
