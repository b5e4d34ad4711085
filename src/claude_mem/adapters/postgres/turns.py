"""Whose turn it is: one tenant's work never holds every connection of a process, nor do all tenants' together.

Owns how many units of work of each tenant run, and who waits. Of one process, as connections are, and of one event
loop. Must never lose a turn: whoever was given one gives it back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from claude_mem.kernel.errors import Unavailable

PATIENCE_S: Final = 10.0  # of who waits for a turn; then it is told to come again
RETRY_AFTER_S: Final = 2

_Waiting = tuple[str, "asyncio.Future[None]"]


class Turns:
    """At most `each` at once of a tenant and `together` of all; the others wait in line.

    Of those who may, whose tenant has the fewest turns is next, of equals who came first.
    """

    def __init__(self, each: int, together: int, patience_s: float = PATIENCE_S) -> None:
        self._each, self._together = each, together
        self._patience_s = patience_s
        self._running: Counter[str] = Counter()
        self._all = 0
        self._line: list[_Waiting] = []
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def take(self, tenant: str, *, first: bool = False) -> None:
        """A turn of the tenant's, until it is given back; raises Unavailable when none came in time.

        `first`: before those of the tenant who wait already, and however long that takes.
        """
        if self._is_free(tenant):
            self._count(tenant)
        else:
            await self._wait(tenant, first=first)

    def give_back(self, tenant: str) -> None:
        """End a turn: the next one begins."""
        self._all -= 1
        self._running[tenant] -= 1
        if not self._running[tenant]:
            del self._running[tenant]
        # Who is leaving still stands in line, but needs none.
        able = [it for it in self._line if not it[1].done() and self._is_free(it[0])]
        if able:
            following = min(able, key=lambda it: self._running[it[0]])
            self._line.remove(following)
            self._count(following[0])
            following[1].set_result(None)
        if not self._all:
            self._quiet.set()

    async def ended(self) -> None:
        """Return when nobody has a turn, nor waits for one."""
        await self._quiet.wait()

    def _is_free(self, tenant: str) -> bool:
        return self._all < self._together and self._running[tenant] < self._each

    def _count(self, tenant: str) -> None:
        self._running[tenant] += 1
        self._all += 1
        self._quiet.clear()

    async def _wait(self, tenant: str, *, first: bool) -> None:
        """Until a turn is taken for this one by who gave it back."""
        mine = tenant, asyncio.get_running_loop().create_future()
        self._line.insert(0 if first else len(self._line), mine)
        try:
            async with asyncio.timeout(None if first else self._patience_s):
                await mine[1]
        except BaseException as error:
            if mine in self._line:
                self._line.remove(mine)
            else:
                self.give_back(tenant)  # it came while we were leaving
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    "too much is asked of the database at once: try again soon",
                    retry_after=RETRY_AFTER_S,
                ) from None
            raise
