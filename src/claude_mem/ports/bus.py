"""Live events: what was committed, told to whoever listens now, on any replica. Nothing rests on its arrival."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from claude_mem.kernel.scope import Scope


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One thing that happened. `id` is time-ordered (UUIDv7); `data` is small and plain: ids and names, no content."""

    id: str
    type: str
    at: int  # Unix ms
    data: dict[str, Any]


class Bus(Protocol):
    """Published after the commit; at most once, in no order that is promised. Enterprises never meet."""

    async def publish(self, scope: Scope, events: Sequence[LiveEvent]) -> None:
        """Tell everybody of the enterprise who listens, on whatever replica.

        Waits for nobody and never raises: whoever missed an event reads the tables. What could not be handed on is
        counted (`dropped`).
        """
        ...

    def subscribe(self, scope: Scope) -> AbstractAsyncContextManager[AsyncIterator[LiveEvent]]:
        """Events of the enterprise that are published after this is entered; each listener gets every one.

        One that was published just before may be among them. Who stops waiting for the next loses none.
        The iteration ends when something may have been missed: the listener was too slow, or the bus was away and is
        back. Whoever wants more reads what was missed and subscribes again. Raises Invalid when the enterprise is no
        UUID. Entering never fails because the bus is away: that listener ends when it is back.
        """
        ...

    @property
    def dropped(self) -> int:
        """Events that were handed on to nobody because the bus was away or full, since this was made."""
        ...

    async def close(self) -> None:
        """End every listener, hand on what waits if that takes no time, and release what is held."""
        ...
