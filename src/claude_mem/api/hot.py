"""The two requests an agent's every step makes, answered without the framework's machinery.

`POST /events` and `POST /hooks/{agent}` cost a third of what they cost through the router. They are declared there too
(for the OpenAPI document) and both ways call the same functions, so they cannot differ. The gatekeeper stands before
this.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from claude_mem.api.middleware import Application, Receive, Send
from claude_mem.domains.capture.door import Doors, project_dir, take_hook
from claude_mem.domains.capture.endpoints import take_events
from claude_mem.kernel.errors import AuthMissing, Detail, Forbidden, Invalid
from claude_mem.kernel.scope import Scope

_HOOKS = "/api/v1/hooks/"
_EVENTS = "/api/v1/events"
_TIME_DIGITS = 16
_PERMISSION = "events:write"


class HotPaths:
    """An ASGI application around `app`, which gets every other request."""

    def __init__(self, app: Application, doors: Doors) -> None:
        self._app = app
        self._doors = doors

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path, is_plain = scope["path"], not scope["query_string"]
            if path == _EVENTS and is_plain:
                caller, spend = _caller(scope), scope["state"].get("spend")
                answer = await take_events(self._doors.capture, caller, await _body(receive), spend)
                await _send(send, 202, b"application/json", answer)
                return
            if path.startswith(_HOOKS) and is_plain and self._is_whole(scope):
                await self._hook(scope, path.removeprefix(_HOOKS), receive, send)
                return
        await self._app(scope, receive, send)

    @staticmethod
    def _is_whole(scope: MutableMapping[str, Any]) -> bool:
        """Whether the headers are as our own hook sends them; the router explains what is wrong with others."""
        headers = dict(scope["headers"])
        return b"x-event-id" in headers and headers.get(b"x-event-time", b"").isdigit()

    async def _hook(
        self, scope: MutableMapping[str, Any], agent: str, receive: Receive, send: Send
    ) -> None:
        headers = dict(scope["headers"])
        event_id = headers[b"x-event-id"].decode("latin-1")
        moment = _moment(headers[b"x-event-time"])
        project = project_dir(headers.get(b"x-project-dir", b"").decode("latin-1"))
        answer = await take_hook(
            self._doors, _caller(scope), agent, await _body(receive), event_id, moment, project
        )
        await _send(send, 200, b"application/json", answer)


def _moment(digits: bytes) -> int:
    if len(digits) > _TIME_DIGITS:  # the language itself refuses to read thousands of them
        message = "expected Unix milliseconds"
        raise Invalid(f"X-Event-Time: {message}", details=(Detail("X-Event-Time", message),))
    return int(digits)


def _caller(scope: MutableMapping[str, Any]) -> Scope:
    caller: Scope | None = scope["state"].get("caller")
    if caller is None:
        raise AuthMissing("this needs the token: send 'Authorization: Bearer <token>'")
    if not caller.allows(_PERMISSION):
        raise Forbidden(f"this needs the permission {_PERMISSION}")
    return caller


async def _body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("the caller went away in the middle of the body: nothing was taken")
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _send(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
