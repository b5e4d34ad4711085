"""`/mcp` in the worker: streamable HTTP for every MCP client, and the short way for our own forwarder.

`POST /mcp` is the protocol, spoken by the official SDK, which is only loaded when somebody speaks it: it costs the
worker half a second and some twenty megabytes. `POST /mcp/call` takes one call from `mcp/stdio.py`, which has spoken
the protocol already, and needs none of that. The gatekeeper stands before both (token, Host, Origin).
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from claude_mem.kernel.errors import Detail, Invalid, NotFound
from claude_mem.kernel.ids import is_id
from claude_mem.mcp.model import Place
from claude_mem.mcp.tools import Tools
from claude_mem.sdk.inprocess import Application, InProcess

if TYPE_CHECKING:
    from claude_mem.mcp.protocol import Protocol

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_PROTOCOL = "claude_mem.mcp.protocol"


class Door:
    """The ASGI application under `/mcp`; `attach` says which application its tools come through."""

    def __init__(self, tools: Tools) -> None:
        self._app: Application | None = None
        self._tools = tools
        self._protocol: Protocol | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI. Raises NotFound or Invalid."""
        path = scope["path"].rstrip("/")
        if path not in {"/mcp", "/mcp/call"}:
            raise NotFound(f"nothing is at {scope['path']}")
        if scope["method"] != "POST":
            # Also what the protocol wants of a server that opens no stream of its own and keeps no sessions.
            await _answer(send, 405, {"error": "POST only", "code": "VALIDATION_ERROR"})
        elif path == "/mcp/call":
            await self._short(scope, receive, send)
        else:
            protocol = self._protocol or await self._load()
            await protocol(scope, receive, send)

    def attach(self, app: Application) -> None:
        """Let tools come through `app`: the whole application, gatekeeper outermost."""
        self._app = app

    async def close(self) -> None:
        """End what runs; nothing is taken any more."""
        if self._protocol is not None:
            await self._protocol.close()

    async def call(self, scope: MutableMapping[str, Any], name: str, given: Any) -> dict[str, Any]:
        """A tool's result for a request: with its token, in its project and session."""
        headers = dict(scope["headers"])
        place = Place(
            _place(headers.get(b"x-project-dir")),
            _place(headers.get(b"x-agent-session")),
            scope.get("claude_mem.call_id"),
        )
        if self._app is None:
            raise RuntimeError("attach an application first")
        api = InProcess(self._app, headers.get(b"authorization", b""))
        return await self._tools.call(api, name, given, place)

    async def _short(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        name, given, call_id = _call_in(await _body(receive))
        try:
            result = await self.call({**scope, "claude_mem.call_id": call_id}, name, given)
        except KeyError as error:
            raise NotFound(f"no tool {name}") from error
        await _answer(send, 200, result)

    async def _load(self) -> Protocol:
        async with self._loading:
            if self._protocol is None:
                # On another thread: others are answered meanwhile.
                module = await asyncio.to_thread(importlib.import_module, _PROTOCOL)
                protocol: Protocol = module.Protocol(self.call)
                await protocol.start()
                self._protocol = protocol
        return self._protocol


def _call_in(raw: bytes) -> tuple[str, dict[str, Any], str | None]:
    """(tool, arguments, id of the call) of a body. Raises Invalid."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _invalid("body", "not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("name"), str):
        raise _invalid("name", "expected the name of a tool")
    if not isinstance(body.get("arguments", {}), dict):
        raise _invalid("arguments", "expected an object")
    call_id = body.get("id")
    if call_id is not None and not (isinstance(call_id, str) and is_id(call_id)):
        raise _invalid("id", "expected a UUIDv7")
    return body["name"], body.get("arguments", {}), call_id


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", details=(Detail(field, message),))


def _place(header: bytes | None) -> str | None:
    """What a header of ours says: percent-encoded where it is not plain."""
    return unquote(header.decode("latin-1"), errors="surrogateescape")[:4096] if header else None


async def _body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("the caller went away in the middle of the body")
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    raw = orjson.dumps(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(raw)).encode()),
    ]
    if status == 405:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})
