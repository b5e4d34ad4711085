"""The API called from inside the worker: the same requests through the same door, without a socket.

Owns no rules: every call goes through the whole application, gatekeeper included, with the caller's own token. It does
without an HTTP library, which would cost the worker megabytes.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote, urlencode

from claude_mem.sdk.errors import API, ApiError

Message = MutableMapping[str, Any]
Application = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[Message]],
        Callable[[Message], Awaitable[None]],
    ],
    Awaitable[None],
]


class InProcess:
    """A client of an ASGI application; `authorization` is the header of the request this is done for."""

    def __init__(self, app: Application, authorization: bytes) -> None:
        self._app = app
        self._authorization = authorization

    async def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> dict[str, Any]:
        """One call below the API root; parameters that are None are left out. Raises ApiError."""
        raw = b"" if body is None else json.dumps(body).encode()
        sent = False
        status, chunks = 500, []

        async def receive() -> Message:
            nonlocal sent
            if sent:
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                chunks.append(message.get("body", b""))

        await self._app(self._scope(method, path, params, len(raw)), receive, send)
        answer = _parsed(b"".join(chunks))
        if status >= 400:
            raise ApiError(status, answer, None)
        return answer

    def _scope(
        self, method: str, path: str, params: Mapping[str, Any] | None, length: int
    ) -> dict[str, Any]:
        wanted = {name: value for name, value in (params or {}).items() if value is not None}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": f"{API}{path}",
            "raw_path": quote(f"{API}{path}").encode(),
            "query_string": urlencode(wanted).encode(),
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                (b"authorization", self._authorization),
                (b"content-type", b"application/json"),
                (b"content-length", str(length).encode()),
            ],
            "client": None,
            "server": None,
        }


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw) if raw else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
