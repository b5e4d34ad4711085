"""A cache: values of a tenant that can be made anew at any time. Losing all of it costs time, never an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from claude_mem.kernel.scope import Scope


class Cache(Protocol):
    """One value a name and enterprise; enterprises never meet. Away, it behaves as if empty, and never raises.

    A name is any text. What must not outlive a change says in its name, or in its value, of which version it is: a
    value may be lost at any time, and one that was dropped while the cache was away may be there again.
    """

    async def get(self, scope: Scope, name: str) -> bytes | None:
        """The value; None when there is none, it is too old, or the cache is away."""
        ...

    async def put(self, scope: Scope, name: str, value: bytes, ttl_s: int) -> None:
        """Keep a value for at most `ttl_s` seconds (0: not at all), in the place of an earlier one.

        What is too large to be worth its room is not kept, and the earlier value is gone all the same.
        """
        ...

    async def drop(self, scope: Scope, names: Sequence[str]) -> None:
        """Forget values; names without one are passed over."""
        ...

    async def close(self) -> None:
        """Release connections. Afterwards it is empty for good."""
        ...
