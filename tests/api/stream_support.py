"""A client of a live stream in process: what is sent is read as a browser reads it, and can be left untaken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import httpx
from api_support import BASE, Api

from claude_mem.adapters.local.bus import LocalBus
from claude_mem.api.application import make_app
from claude_mem.domains.ops.model import LiveOptions
from claude_mem.domains.ops.service import LiveService
from claude_mem.domains.ops.sse import StreamTimes
from claude_mem.kernel.errors import AuthInvalid, Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_USER, Scope, local_scope

PATIENCE = 30.0


@dataclass
class Event:
    """One message of the stream; `id` None when it had none."""

    id: str | None
    type: str
    body: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["data"]
        return found


@dataclass
class Listening:
    """One open stream."""

    app: Any
    path: str = "/api/v1/stream/events"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.status = 0
        self.answer_headers: dict[str, str] = {}
        self.comments: list[str] = []
        self.retry = 0
        self.last_id = ""  # as a browser would send it
        self.taking = asyncio.Event()
        self.taking.set()
        self.aborted = False
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._left = asyncio.Event()
        self._raw = b""
        self._started = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def started(self) -> None:
        """Return when the answer's head is there."""
        async with asyncio.timeout(PATIENCE):
            await self._started.wait()

    async def opened(self) -> None:
        """Return when the stream has said its first word."""
        await self.started()
        while not self.last_id:
            assert await self._more(), self.answer()

    async def event(self) -> Event:
        """The next event."""
        while True:
            head, found, rest = self._raw.partition(b"\n\n")
            if not found:
                assert await self._more(), "the stream has ended"
                continue
            self._raw = rest
            event = self._parse(head.decode())
            if event is not None:
                return event

    async def events(self, count: int) -> list[Event]:
        """The next events."""
        return [await self.event() for _ in range(count)]

    async def quiet(self) -> None:
        """Return at the next comment, having seen that no event came before it."""
        seen = len(self.comments)
        while len(self.comments) == seen:
            head, found, rest = self._raw.partition(b"\n\n")
            if not found:
                assert await self._more(), "the stream has ended"
                continue
            self._raw = rest
            event = self._parse(head.decode())
            assert event is None, event

    async def ended(self) -> list[Event]:
        """Return when the stream ends; what came before."""
        while await self._more():
            pass
        blocks = self._raw.decode().split("\n\n")
        self._raw = b""
        return [event for block in blocks if (event := self._parse(block)) is not None]

    async def ended_refused(self) -> None:
        """Return when an answer that is no stream is there."""
        await self.started()
        while self.status != 200 and await self._more():
            pass
        if self.status == 200:
            await self.leave()

    def answer(self) -> dict[str, Any]:
        """What was answered instead of a stream."""
        found: dict[str, Any] = json.loads(self._raw)
        return found

    async def leave(self) -> None:
        """Close the connection."""
        self._left.set()
        self.taking.set()
        async with asyncio.timeout(PATIENCE):
            await self._task

    async def _more(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            chunk = await self._chunks.get()
        if chunk is None:
            self._chunks.put_nowait(None)
            return False
        self._raw += chunk
        if not self.last_id and b"\n\n" in self._raw and self.status == 200:
            head, _, self._raw = self._raw.partition(b"\n\n")
            self._parse(head.decode())
        return True

    def _parse(self, block: str) -> Event | None:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line.startswith(":"):
                self.comments.append(value)
            elif line:
                fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        self.last_id = fields.get("id", self.last_id)
        self.retry = int(fields.get("retry", self.retry))
        if "data" not in fields:
            return None
        return Event(fields.get("id"), fields["event"], json.loads(fields["data"]))

    async def _run(self) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": urlencode(self.query).encode(),
            "root_path": "",
            "headers": [
                (b"host", b"127.0.0.1:37700"),
                *((name.lower().encode(), value.encode()) for name, value in self.headers.items()),
            ],
            "client": None,
            "server": None,
            "extensions": {"claude_mem.abort": self._abort},
        }
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await self.taking.wait()
            if message["type"] == "http.response.start":
                self.status = message["status"]
                for name, value in message["headers"]:
                    known = self.answer_headers.get(name.decode())
                    text = value.decode()
                    self.answer_headers[name.decode()] = f"{known}, {text}" if known else text
                self._started.set()
            elif message.get("body"):
                self._chunks.put_nowait(message["body"])

        try:
            await self.app(scope, receive, send)
        finally:
            self._started.set()
            self._chunks.put_nowait(None)

    def _abort(self) -> None:
        self.aborted = True
        self._left.set()


@asynccontextmanager
async def listening(app: Any, token: str, **options: Any) -> AsyncIterator[Listening]:
    """An open stream, left at the end."""
    headers = {"authorization": f"Bearer {token}", **options.pop("headers", {})}
    made = Listening(app, headers=headers, **options)
    try:
        await made.opened()
        yield made
    finally:
        await made.leave()


OPTIONS = LiveOptions(pace=0.01, sweep=600, overlap_ms=1_000)
TIMES = StreamTimes(heartbeat=600, recheck=600)


@dataclass
class Stage:
    """A running system whose bounds and keys a test chooses before it listens."""

    api: Api

    def __post_init__(self) -> None:
        self.scopes = {"theirs": _other_tenant(), "blind": without_permission()}
        self.revoked: set[str] = set()
        self.away = False
        self.options(OPTIONS)
        self.times(TIMES)

    def options(self, options: LiveOptions) -> None:
        """Take another live service, on a bus of its own."""
        state = self.api.system.parts.state
        self.bus = LocalBus()
        state["live"] = live = LiveService(state["database"], self.bus, options)
        state["changed"] = live.changed
        state["capture"]._changed = live.changed
        self.live = live
        self._app: Any = None

    def times(self, times: StreamTimes) -> None:
        self.api.system.parts.state["stream_times"] = times
        self._app = None

    def app(self) -> Any:
        """The application as it is to be now."""
        if self._app is None:
            parts = replace(self.api.system.parts, authenticate=self._authenticate)
            self._app = make_app(parts)
        return self._app

    def listen(self, token: str | None = None, **options: Any) -> Any:
        return listening(self.app(), token or self.api.token, **options)

    def client(self) -> httpx.AsyncClient:
        """Of the application as it is now."""
        transport = httpx.ASGITransport(self.app())
        headers = {"authorization": f"Bearer {self.api.token}"}
        return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)

    def _authenticate(self, authorization: str | None) -> Scope:
        if self.away:
            raise Unavailable("the database is away", retry_after=1)
        token = (authorization or "").removeprefix("Bearer ")
        if token in self.revoked:
            raise AuthInvalid("revoked")
        return self.scopes.get(token) or self.api.system.parts.authenticate(authorization)  # type: ignore[return-value]


def _other_tenant() -> Scope:
    return Scope(new_id(), LOCAL_USER, local_scope().permissions)


def without_permission() -> Scope:
    return Scope(local_scope().enterprise_id, LOCAL_USER, frozenset({"events:write"}))


def prompts(api: Api, count: int, **changes: Any) -> list[dict[str, Any]]:
    return [
        api.event(data={"content": f"Ask {number}", "prompt_id": new_id()}, **changes)
        for number in range(count)
    ]
