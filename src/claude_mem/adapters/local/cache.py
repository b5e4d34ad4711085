"""The `Cache` port in this process: the least recently used goes first when there is no more room."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from claude_mem.kernel.scope import Scope

_LARGEST = 1 << 20  # bytes of a value
_AROUND = 256  # bytes that an entry takes besides its name and value
_Place = tuple[str, str]


class LocalCache:
    """Implements `ports.cache.Cache`; holds at most `bound` bytes. `clock` is in seconds."""

    def __init__(self, bound: int = 16 << 20, clock: Callable[[], float] = time.monotonic) -> None:
        self._bound = bound
        self._clock = clock
        self._kept: OrderedDict[_Place, tuple[float, bytes]] = OrderedDict()
        self._size = 0
        self._is_closed = False

    async def get(self, scope: Scope, name: str) -> bytes | None:
        """See the port."""
        place = (scope.enterprise_id, name)
        found = self._kept.get(place)
        if found is None:
            return None
        if found[0] <= self._clock():
            self._drop(place)
            return None
        self._kept.move_to_end(place)
        return found[1]

    async def put(self, scope: Scope, name: str, value: bytes, ttl_s: int) -> None:
        """See the port."""
        place = (scope.enterprise_id, name)
        self._drop(place)
        if ttl_s <= 0 or len(value) > _LARGEST or self._is_closed:
            return
        self._kept[place] = (self._clock() + ttl_s, value)
        self._size += _size(place, value)
        while self._size > self._bound:
            self._drop(next(iter(self._kept)))

    async def drop(self, scope: Scope, names: Sequence[str]) -> None:
        """See the port."""
        for name in names:
            self._drop((scope.enterprise_id, name))

    async def close(self) -> None:
        """See the port."""
        self._is_closed = True
        self._kept.clear()
        self._size = 0

    def _drop(self, place: _Place) -> None:
        found = self._kept.pop(place, None)
        if found is not None:
            self._size -= _size(place, found[1])


def _size(place: _Place, value: bytes) -> int:
    return _AROUND + 4 * (len(place[0]) + len(place[1])) + len(value)
