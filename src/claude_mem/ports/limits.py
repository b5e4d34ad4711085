"""Rate limits: how much somebody may still do within a window of time.

Every engine keeps the same meter: a bucket that `limit` pours fill, and that runs empty evenly within `window_s`. So a
burst up to the limit passes, in the long run no more than the limit a window does, and there is no moment at which
everybody's limit is whole again at once. The level is counted in pours times the window's milliseconds, which keeps
every number whole and a changed limit in force at once.

Source: the leaky bucket as a meter, the same as GCRA: ITU-T Recommendation I.371, Annex A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

_MOST = 2**53  # the largest number up to which every engine counts exactly


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a hit was answered: allowed or not, of which limit, and what is left of that.

    `reset_s`: seconds until the limit is whole again; `retry_s`: until what was refused fits in (0: it was allowed).
    """

    is_allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_s: int = 0


@dataclass(frozen=True, slots=True)
class Meter:
    """The numbers of a hit, brought within what can be counted: window in ms, limit, cost (at most the limit)."""

    window: int
    limit: int
    cost: int

    @classmethod
    def of(cls, limit: int, window_s: int, cost: int) -> Meter:
        """Whatever is asked; a limit below one allows nothing but hits that cost nothing."""
        window = max(window_s, 1) * 1000
        limit = min(max(limit, 0), _MOST // window - 1)
        # What costs more than a whole limit would never pass: it waits for an empty bucket instead. A limit of none
        # must still refuse it, so that it costs one there.
        return cls(window, limit, min(max(cost, 0), max(limit, 1)))

    @property
    def brim(self) -> int:
        """The level that nothing may go above."""
        return self.window * self.limit

    def allowance(self, is_allowed: bool, level: int) -> Allowance:
        """The answer, from the level after a hit that was allowed, or before one that was not."""
        pace = max(self.limit, 1) * 1000  # what runs out a second
        over = level + self.cost * self.window - self.brim
        return Allowance(
            is_allowed=is_allowed,
            limit=self.limit,
            remaining=max(self.brim - level, 0) // self.window,
            reset_s=-(-level // pace),
            retry_s=0 if is_allowed else max(-(-over // pace), 1),
        )


class Limiter(Protocol):
    """Counts over all replicas; when what they share is away each counts by itself, or allows everything."""

    async def hit(
        self, owner: str, name: str, limit: int, window_s: int, cost: int = 1
    ) -> Allowance:
        """Spend `cost` of a limit, if that much is left; a refused hit spends nothing. Never raises.

        `owner` is an enterprise's id, or what stands for callers that nobody knows yet; `name` is what is counted for
        it. Both are any text. A cost above the limit counts as the whole of it.
        """
        ...

    async def close(self) -> None:
        """Release connections. Afterwards everything is allowed."""
        ...
