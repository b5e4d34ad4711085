"""Whose turn it is: of what one process can do at once, no tenant has more than its share.

Owns how many things of each tenant go on, and who waits for one to end. Of one process and one event loop. Must never
lose a turn: whoever was given one gives it back.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Final

from claude_mem.kernel.errors import Unavailable

PATIENCE_S: Final = 10.0  # of who waits for a turn; then it is told to come again
RETRY_AFTER_S: Final = 2


class Turns:
    """At most `most` at once of a tenant; the others of it wait in line, who came first is next."""

    def __init__(self, most: int, patience_s: float = PATIENCE_S) -> None:
        self._most = most
        self._patience_s = patience_s
        self._running: Counter[str] = Counter()
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, tenant: str) -> None:
        """A turn of the tenant's, until it is given back; raises Unavailable when none came in time."""
        if self._running[tenant] < self._most:
            self._running[tenant] += 1
        else:
            await self._wait(tenant)

    def give_back(self, tenant: str) -> None:
        """End a turn: it is the next one's in line, or nobody's."""
        line = self._lines.get(tenant, ())
        while line:
            following = line.popleft()
            if not following.done():  # who is leaving still stands in line, but needs none
                following.set_result(None)
                return
        self._lines.pop(tenant, None)
        self._running[tenant] -= 1
        if not self._running[tenant]:
            del self._running[tenant]

    async def _wait(self, tenant: str) -> None:
        """Until a turn is handed on to this one."""
        mine = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(tenant, deque())
        line.append(mine)
        try:
            async with asyncio.timeout(self._patience_s):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self.give_back(tenant)  # it came while we were leaving
            elif mine in line:
                line.remove(mine)
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    "too much is asked at once: try again soon", retry_after=RETRY_AFTER_S
                ) from None
            raise
