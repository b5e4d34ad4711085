"""Applications of others beside the API: each under its own path, behind the same gatekeeper."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

from claude_mem.api.middleware import Application, Receive, Send


class Mounted(Protocol):
    """An ASGI application that is told which whole application it stands in."""

    def attach(self, app: Application) -> None:
        """`app` is what a caller from outside meets, gatekeeper outermost."""
        ...

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        ...


class Mounts:
    """An ASGI application around `app`, which gets every request that no mounted one is named for.

    `mounted`: by the first part of the path (`/mcp`), which each gets with all below it.
    """

    def __init__(self, app: Application, mounted: Mapping[str, Mounted]) -> None:
        self._app = app
        self._mounted = mounted

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            first = "/" + scope["path"].split("/", 2)[1]
            await self._mounted.get(first, self._app)(scope, receive, send)
            return
        await self._app(scope, receive, send)
