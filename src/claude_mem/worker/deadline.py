"""The server's HTTP protocol with a deadline for a request's head, and a way to cut a connection off.

Owns that one timer: a connection that is opened and says nothing, or half a head, is closed instead
of being kept for good. Never cuts a body short: a slow sender of one is known, and has been let in.
An application that sends without end may cut off who does not take it (the ASGI extension
`claude_mem.abort`); closing would wait until all was taken.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class DeadlineProtocol(HttpToolsProtocol):
    """One connection. The time runs from its opening, and from the first byte of each later request."""

    head_seconds: ClassVar[float] = 10.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """What comes after an answered request begins another."""
        if self._head_due is None and self.cycle is not None and self.cycle.response_complete:
            self._await_head()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_waiting()
        self.scope["extensions"] = {"claude_mem.abort": self.transport.abort}  # type: ignore[dict-item]
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head_due = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _give_up(self) -> None:
        self._head_due = None
        if not self.transport.is_closing():
            self.transport.close()
