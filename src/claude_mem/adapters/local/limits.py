"""The `Limiter` port in this process, and the meter as a pure function: what Redis does in a script."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from claude_mem.ports.limits import Allowance, Meter

_BOUND = 65_536  # buckets
_Bucket = tuple[int, int]  # level, and when it was that (ms)


def pour(kept: _Bucket | None, meter: Meter, now: int) -> tuple[bool, int]:
    """Whether a hit at `now` (ms) is allowed, and the level: after it, or, where it is refused, before it."""
    level = 0
    if kept is not None:
        level = max(0, kept[0] - max(0, now - kept[1]) * meter.limit)
    after = level + meter.cost * meter.window
    return (False, level) if after > meter.brim else (True, after)


class LocalLimiter:
    """Implements `ports.limits.Limiter` for one process. `clock` is in ms."""

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock or _monotonic_ms
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._is_closed = False

    async def hit(
        self, owner: str, name: str, limit: int, window_s: int, cost: int = 1
    ) -> Allowance:
        """See the port."""
        meter = Meter.of(limit, window_s, cost)
        if self._is_closed:
            return Allowance(True, meter.limit, meter.limit, 0)
        now = self._clock()
        is_allowed, level = pour(self._buckets.get((owner, name)), meter, now)
        if is_allowed and meter.cost:
            self._keep((owner, name), (level, now))
        return meter.allowance(is_allowed, level)

    async def close(self) -> None:
        """See the port."""
        self._is_closed = True
        self._buckets.clear()

    def _keep(self, place: tuple[str, str], bucket: _Bucket) -> None:
        """When there are too many, the one that was poured into longest ago goes: it has run out the most."""
        self._buckets[place] = bucket
        self._buckets.move_to_end(place)
        if len(self._buckets) > _BOUND:
            self._buckets.popitem(last=False)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
