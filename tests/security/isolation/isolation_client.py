"""A client of the application in process: any header, any path, any body, and streams that never end by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from structlog.testing import capture_logs

from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id

HOST = "127.0.0.1"
STREAM = "text/event-stream"
_PATIENCE_S = 20.0
# Makes something happen while a stream is open; is given what the stream said, which grows.
Stir = Callable[[bytearray], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """Everything that came back, and what was logged and asked of the database meanwhile."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    logs: str
    statements: int

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def told(self) -> str:
        """All that a caller can look at."""
        return "\n".join([f"{name}: {value}" for name, value in self.headers]) + "\n" + self.text


class Client:
    """`statements` counts what the database was asked so far; `stir` makes things happen while a stream is open."""

    def __init__(self, app: Any, statements: Callable[[], int]) -> None:
        self._app = app
        self._statements = statements
        self.stir: Stir | None = None

    async def hook(self, token: str, payload: dict[str, Any], folder: str) -> Answer:
        """As the agent's hook sends it."""
        headers = {
            "x-event-id": new_id(),
            "x-event-time": str(now_ms()),
            "x-project-dir": quote(folder),
        }
        return await self.call(
            "POST", "/api/v1/hooks/claude-code", token=token, body=payload, headers=headers
        )

    async def call(
        self,
        method: str,
        target: str,
        *,
        token: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. `target` is sent as it is, percent signs and all; a `body` of bytes too."""
        path, _, query = target.partition("?")
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        sent = {"host": HOST, "content-length": str(len(raw))}
        if body is not None:
            sent["content-type"] = "application/json"
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (name.encode(), value.encode("utf-8", "replace")) for name, value in sent.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": (HOST, 80),
            "state": {},
        }
        before = self._statements()
        with capture_logs() as logs:
            exchange = _Exchange(raw)
            await exchange.run(self._app, scope, self.stir)
        told = "\n".join([*(_line(entry) for entry in logs), exchange.raised])
        return Answer(
            exchange.status,
            exchange.headers,
            bytes(exchange.body),
            told,
            self._statements() - before,
        )


def _line(entry: Mapping[str, Any]) -> str:
    parts = []
    for name, value in entry.items():
        parts.append(f"{name}={value!r}")
        if isinstance(value, BaseException):
            parts.append(f"{value} {value.__cause__} {getattr(value, 'orig', '')}")
    return " ".join(parts)


class _Exchange:
    """One request under way."""

    def __init__(self, raw: bytes) -> None:
        self._raw: bytes | None = raw
        self._gone = asyncio.Event()
        self._began = asyncio.Event()
        self.status = 0
        self.raised = ""
        self.headers: tuple[tuple[str, str], ...] = ()
        self.body = bytearray()

    async def run(self, app: Any, scope: dict[str, Any], stir: Stir | None) -> None:
        task = asyncio.create_task(app(scope, self._receive, self._send))
        began = asyncio.create_task(self._began.wait())
        await asyncio.wait({task, began}, timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and STREAM in dict(self.headers).get("content-type", ""):
            if stir is not None:
                await stir(self.body)
            self._gone.set()
        began.cancel()
        try:
            await asyncio.wait_for(task, _PATIENCE_S)
        except Exception as error:  # noqa: BLE001 - a server would log it: it is looked through with the rest
            self.raised = f"{type(error).__name__}: {error} {getattr(error, 'orig', '')}"

    async def _receive(self) -> dict[str, Any]:
        if self._raw is not None:
            body, self._raw = self._raw, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1"))
                for name, value in message.get("headers", [])
            )
            if STREAM in dict(self.headers).get("content-type", ""):
                self._began.set()
        else:
            self.body += message.get("body", b"")
