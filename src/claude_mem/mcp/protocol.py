"""Streamable HTTP by the official SDK: stateless, answered as JSON, the same tools as on stdio.

Loaded when the first client comes (`door`); must not be imported at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError

from claude_mem.mcp.stdio import INSTRUCTIONS, NAME, NAMES, TITLE, TOOLS, VERSION

Scope = MutableMapping[str, Any]
Call = Callable[[Scope, str, Any], Awaitable[dict[str, Any]]]
MAX_BODY = 8 << 20  # bytes of one message


class Protocol:
    """The SDK's server and its session manager; `call` runs a tool for a request."""

    def __init__(self, call: Call) -> None:
        self._call = call
        server: Server[Any] = Server(
            NAME,
            version=VERSION,
            title=TITLE,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        self._manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=MAX_BODY
        )
        self._started, self._closing = asyncio.Event(), asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Be ready for requests. The manager lives in one task: it must end where it began."""
        self._running = asyncio.create_task(self._run())
        await self._started.wait()

    async def close(self) -> None:
        """End every request under way."""
        self._closing.set()
        if self._running is not None:
            await self._running

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """ASGI."""
        await self._manager.handle_request(scope, receive, send)

    async def _run(self) -> None:
        async with self._manager.run():
            self._started.set()
            await self._closing.wait()

    async def _list_tools(
        self, _context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool.model_validate(tool) for tool in TOOLS])

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        if params.name not in NAMES:
            raise MCPError(types.INVALID_PARAMS, f"unknown tool: {params.name[:100]}")
        request: Any = context.request
        result = await self._call(request.scope, params.name, params.arguments or {})
        return types.CallToolResult.model_validate(result)
