"""The `Bus` port within one process. Never knows more listeners than those of this process: for the local profile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from claude_mem.kernel.errors import Invalid
from claude_mem.kernel.ids import is_uuid
from claude_mem.kernel.mailbox import Mailbox
from claude_mem.kernel.scope import Scope
from claude_mem.ports.bus import LiveEvent


class LocalBus:
    """Implements `ports.bus.Bus`; `bound` is how many events may wait for a listener."""

    def __init__(self, bound: int = 1_000) -> None:
        self._bound = bound
        self._listeners: dict[str, set[Mailbox[LiveEvent]]] = {}
        self._closed = False

    @property
    def dropped(self) -> int:
        """See the port: nothing is ever between two of one process."""
        return 0

    async def publish(self, scope: Scope, events: Sequence[LiveEvent]) -> None:
        """See the port."""
        for listener in self._listeners.get(scope.enterprise_id, ()):
            listener.put(events)

    @asynccontextmanager
    async def subscribe(self, scope: Scope) -> AsyncIterator[AsyncIterator[LiveEvent]]:
        """See the port."""
        if not is_uuid(scope.enterprise_id):
            raise Invalid("an enterprise is known by its UUID")
        listener = Mailbox[LiveEvent](self._bound)
        if self._closed:
            listener.end()
        mine = self._listeners.setdefault(scope.enterprise_id, set())
        mine.add(listener)
        try:
            yield listener
        finally:
            mine.discard(listener)
            if not mine and self._listeners.get(scope.enterprise_id) is mine:
                del self._listeners[scope.enterprise_id]

    async def close(self) -> None:
        """See the port."""
        self._closed = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.end()
