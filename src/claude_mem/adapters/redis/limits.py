"""The `Limiter` port on Redis: one script a hit, so that replicas that ask at once cannot spend the same rest.

While Redis gives no answer, whoever stands in for it counts: from nothing, and for this process alone.
"""

from __future__ import annotations

from collections.abc import Callable

from claude_mem.adapters.redis.connection import Connection, Script
from claude_mem.ports.limits import Allowance, Limiter, Meter

# The same steps as `adapters.local.limits.pour`; a test holds the two together. The time is the server's: replicas'
# clocks differ. A refused hit writes nothing. A key ends when its bucket is empty.
_POUR = Script("""
local window, limit, cost, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if now < 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local level = 0
local kept = redis.call('GET', KEYS[1])
if kept then
  local was, at = string.match(kept, '^(%d+) (%d+)$')
  level = math.max(0, tonumber(was) - math.max(0, now - tonumber(at)) * limit)
end
local after = level + cost * window
if after > window * limit then
  return {0, level}
end
if cost > 0 then
  local empty = math.max(1, math.ceil(after / limit))
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', after, now), 'PX', string.format('%.0f', empty))
end
return {1, after}
""")
_SERVER_TIME = -1


class RedisLimiter:
    """Implements `ports.limits.Limiter`. `clock` (Unix ms) stands in for the server's own.

    `meanwhile` counts while there is no answer; without one everything is allowed then.
    """

    def __init__(
        self,
        connection: Connection,
        clock: Callable[[], int] | None = None,
        meanwhile: Limiter | None = None,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._meanwhile = meanwhile

    async def hit(
        self, owner: str, name: str, limit: int, window_s: int, cost: int = 1
    ) -> Allowance:
        """See the port."""
        meter = Meter.of(limit, window_s, cost)
        now = _SERVER_TIME if self._clock is None else self._clock()
        key = self._connection.key("rate", owner, name)
        answer = await self._connection.run(_POUR, key, meter.window, meter.limit, meter.cost, now)
        if answer is None:
            if self._meanwhile is None:
                return Allowance(True, meter.limit, meter.limit, 0)
            return await self._meanwhile.hit(owner, name, limit, window_s, cost)
        return meter.allowance(bool(answer[0]), int(answer[1]))

    async def close(self) -> None:
        """See the port. The connection is closed for whoever else uses it, too."""
        if self._meanwhile is not None:
            await self._meanwhile.close()
        await self._connection.close()
