"""A bounded queue for one listener that is never waited for: what does not fit ends it.

Owns what waits for one listener in this process. Never waits when something is put in, and holds nothing back for who
was ended: such a one has missed something, and reads anew from where things are kept. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds up to `bound` items for the one who takes them; iterating over it waits for each, until it is ended."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._items: deque[T] = deque()
        self._stirred = asyncio.Event()
        self._ended = False

    @property
    def is_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._ended

    def put(self, items: Iterable[T]) -> bool:
        """Add items; False when it is ended, which it is from now on if they do not fit."""
        if self._ended:
            return False
        self._items.extend(items)
        if len(self._items) > self._bound:
            self.end()
            return False
        if self._items:
            self._stirred.set()
        return True

    def end(self) -> None:
        """Let nothing come any more; what waits is dropped."""
        self._ended = True
        self._items.clear()
        self._stirred.set()

    async def take(self, wait_s: float) -> list[T] | None:
        """Everything that is there; after `wait_s` seconds without anything []; None once it is ended."""
        if not self._items and not self._ended:
            try:
                async with asyncio.timeout(wait_s):
                    await self._until_stirred()
            except TimeoutError:
                return []
        if self._ended:
            return None
        taken = list(self._items)
        self._items.clear()
        return taken

    def __aiter__(self) -> Mailbox[T]:
        return self

    async def __anext__(self) -> T:
        """The next item; who stops waiting for it loses nothing."""
        if not self._items and not self._ended:
            await self._until_stirred()
        if self._ended:
            raise StopAsyncIteration
        return self._items.popleft()

    async def _until_stirred(self) -> None:
        self._stirred.clear()
        await self._stirred.wait()
