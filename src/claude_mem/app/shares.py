"""Shares: a database of which no enterprise has more than a part, however much it asks at once.

Owns how many units of work of an enterprise run in this process. A turn is had by what holds a connection, as long as
it does: not by a request, which may hold none, or several, and whose client may be slow, or gone. For what is asked;
what records, leads and checks goes to the database itself and waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from claude_mem.kernel.scope import NOBODY, Scope
from claude_mem.kernel.turns import Turns
from claude_mem.ports.database import Database, Tx

T = TypeVar("T")


class Shared:
    """Implements `ports.database.Database` by another one: at most `most` units of work of an enterprise at once.

    Raises Unavailable where the turn of one does not come in time; nothing of it was begun then.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._turns = Turns(most)
        self._running: set[asyncio.Task[Any]] = set()

    async def read(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        """See the port."""
        return await self._in_turn(scope, lambda: self._database.read(scope, work))

    async def write(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        """See the port."""
        return await self._in_turn(scope, lambda: self._database.write(scope, work))

    async def close(self) -> None:
        """Wait for what runs; the other database is its owner's to close."""
        while self._running:
            await asyncio.wait(self._running)

    async def _in_turn(self, scope: Scope, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        tenant = scope.enterprise_id
        if tenant == NOBODY:
            return await begin()
        await self._turns.take(tenant)
        task = asyncio.create_task(begin())
        self._running.add(task)
        task.add_done_callback(lambda ended: self._ended(tenant, ended))
        # Who hangs up leaves a thread that works on, and has its turn until that ends.
        return await asyncio.shield(task)

    def _ended(self, tenant: str, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._turns.give_back(tenant)
        if not task.cancelled():
            task.exception()  # told to who waits for it, if anybody still does
