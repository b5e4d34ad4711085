"""A live stream as server-sent events.

Owns the wire format, heartbeats, and the ends of a stream: the client left, was too slow, may not listen any more, or
the process stops. Never waits for a client without limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from fastapi.sse import EventSourceResponse, format_sse_event

from claude_mem.domains.ops.model import TRANSIENT
from claude_mem.domains.ops.stream import Stream
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.errors import MemError, Unavailable
from claude_mem.ports.bus import LiveEvent

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
# An extension of ASGI that the server offers: closes the connection without waiting for what was not taken.
ABORT = "claude_mem.abort"
_HEADERS = {
    "Cache-Control": "no-transform",  # beside the no-store of every answer
    "X-Accel-Buffering": "no",
}
_log = structlog.get_logger("live")


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """In seconds. `heartbeat`: of silence before a comment is sent; `retry`: before a client comes again; `send`: a
    client may take for what is sent; `recheck`: between two looks whether it may still listen; `doubt`: for how long
    it goes on when that cannot be found out.
    """

    heartbeat: float = 15.0
    retry: float = 3.0
    send: float = 20.0
    recheck: float = 10.0
    doubt: float = 30.0


def encode(event: LiveEvent) -> bytes:
    """An event on the wire; one that is nowhere kept has no `id:`, so that nobody resumes from it."""
    body = {"id": event.id, "type": event.type, "at": to_iso(event.at), "data": event.data}
    return format_sse_event(
        event=event.type,
        id=None if event.type in TRANSIENT else event.id,
        data_str=orjson.dumps(body).decode(),
    )


class LiveResponse(EventSourceResponse):
    """Streams until one of the ends; `may_listen` raises a MemError when the caller may not any more."""

    def __init__(
        self,
        stream: Stream,
        may_listen: Callable[[], Awaitable[None]],
        released: Callable[[], None],
        times: StreamTimes,
    ) -> None:
        super().__init__(iter(()), headers=_HEADERS)
        self._stream = stream
        self._may_listen = may_listen
        self._released = released
        self._times = times

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._released()
            for task in (writing, leaving):
                task.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
        if not writing.cancelled() and isinstance(writing.exception(), TimeoutError):
            _log.info("live.too_slow", user_id=self._stream.scope.user_id)
            abort = scope.get("extensions", {}).get(ABORT)
            if abort is not None:
                abort()
                await _until_gone(receive)
        elif not writing.cancelled() and writing.exception() is not None:
            with suppress(OSError):  # the client is gone
                writing.result()

    async def _write(self, send: Send) -> None:
        headers = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(headers)
        # The first id is where to resume from when nothing has happened before the connection is lost.
        retry = int(self._times.retry * 1000)
        await self._send(send, format_sse_event(comment="open", id=self._stream.began, retry=retry))
        with suppress(MemError):  # it may not listen any more: it is told when it comes again
            await self._pass_on(send)
        await self._send(send, b"", more=False)

    async def _pass_on(self, send: Send) -> None:
        now = asyncio.get_running_loop().time
        quiet_at, sure = now() + self._times.heartbeat, now()
        check_at = sure + self._times.recheck
        while True:
            events = await self._stream.next(max(min(quiet_at, check_at) - now(), 0.0))
            if now() >= check_at:
                sure = await self._checked(sure)
                check_at = now() + self._times.recheck
            if events is None:
                return
            if events:
                await self._send(send, b"".join(map(encode, events)))
            elif now() >= quiet_at:
                await self._send(send, format_sse_event(comment="still here"))
            else:
                continue
            quiet_at = now() + self._times.heartbeat

    async def _checked(self, sure: float) -> float:
        """When it was last sure that the caller may listen."""
        now = asyncio.get_running_loop().time
        try:
            await self._may_listen()
        except Unavailable:
            if now() - sure > self._times.doubt:
                raise
            return sure
        return now()

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._times.send):
            await send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
