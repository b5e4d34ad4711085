"""Fairness: no enterprise's requests hold all that a process has to answer with.

Owns which requests wait for a turn, and in which line: what is asked of the database, and apart from it exports, which
last. What is handed in waits for nobody (the log of events bounds it), nor does a stream of live events, which holds
nothing, nor a tool's call, whose own requests come through here again. Stands behind the throttle, which has counted.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from claude_mem.api.middleware import Application, Receive, Send
from claude_mem.kernel.scope import Scope
from claude_mem.kernel.turns import Turns

_API = "/api/v1"
_EXPORT = f"{_API}/export"
_WAIT_FOR_NOBODY = tuple(f"{_API}/{it}" for it in ("events", "hooks/", "stream/", "health"))
EXPORTS = 1  # at once of an enterprise, in a process


class Fairness:
    """An ASGI application around `app`: at most `most` requests of an enterprise are answered at once."""

    def __init__(self, app: Application, most: int) -> None:
        self._app = app
        self._asked, self._exports = Turns(most), Turns(EXPORTS)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI. Raises Unavailable, for the gatekeeper to render."""
        caller: Scope | None = scope["state"].get("caller") if scope["type"] == "http" else None
        turns = None if caller is None else self._turns(scope["path"])
        if caller is None or turns is None:
            await self._app(scope, receive, send)
            return
        async with turns.turn(caller.enterprise_id):
            await self._app(scope, receive, send)

    def _turns(self, path: str) -> Turns | None:
        if path == _EXPORT:
            return self._exports
        waits = path.startswith(f"{_API}/") and not path.startswith(_WAIT_FOR_NOBODY)
        return self._asked if waits else None
