"""One connection to NATS for an adapter: opened when needed, opened anew when lost, never waited for without limit.

Owns connecting, time limits and the translation of errors. Never knows what is sent. The client's own reconnecting is
off: it would hold back what was sent meanwhile and send it later, when the sender has long been told that it failed.
Nothing outlives a connection here but the address.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import nats.errors
import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from claude_mem.kernel.errors import MemError, StoreFull, Unavailable

_RETRY_AFTER_S = 2
_FULL_RETRY_AFTER_S = 30
_HEADROOM = 16_384  # bytes: the server counts headers too, and a dead letter's carries the reason
_CONNECT_S = 2
_PING_S = 5  # so that a connection to a machine that is gone ends after three of them
_QUIET_S = 0.25  # after a failed attempt, so that a burst of callers makes one attempt
_NO_ROOM = frozenset({10002, 10023, 10047})  # JetStream: of the account, the server, the storage
_log = structlog.get_logger("nats")


class Refused(Exception):  # noqa: N818 - an answer, handled by who asked
    """JetStream said no: `code` is its own error code, the text its description."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def translate(refused: Refused) -> MemError:
    """What a refusal nobody handled is to the product."""
    text = str(refused)
    if refused.code in _NO_ROOM or "no space left" in text:
        return StoreFull(f"the event broker has no room: {text}", retry_after=_FULL_RETRY_AFTER_S)
    return Unavailable(f"the event broker refuses: {text}", retry_after=_RETRY_AFTER_S)


class Link:
    """A connection for the time of one `Connection.used`; `sound` turns false when a stream it needs is gone."""

    def __init__(self, client: Client, patience: float) -> None:
        self._client = client
        self._patience = patience
        self.sound = True

    @property
    def is_up(self) -> bool:
        """Whether the server can be asked something."""
        return self._client.is_connected

    @property
    def room(self) -> int:
        """Bytes a message's body may have."""
        return self._client.max_payload - _HEADROOM

    async def ask(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> Any:
        """The JSON answer to one request. Raises Refused."""
        try:
            answer = await self._client.request(
                subject, body, timeout=self._patience, headers=headers
            )
        except nats.errors.NoRespondersError:
            self.sound = False  # a stream is gone, or JetStream is not up yet
            raise
        return _parse(answer)

    async def api(self, call: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer of JetStream's own interface, as `ask`."""
        return await self.ask(f"$JS.API.{call}", orjson.dumps(body) if body else b"")

    async def tell(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send without an answer."""
        await self._client.publish(subject, body, headers=headers)

    async def pull(
        self, consumer: str, request: Mapping[str, Any], receive: Callable[[Msg], None]
    ) -> None:
        """Give `receive` what a pull request to `<stream>.<consumer>` brings; ends with the request.

        A message that is on its way when the caller is cancelled comes again after the consumer's wait.
        """
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        left = int(request["batch"])

        async def on_message(message: Msg) -> None:
            nonlocal left
            status = "" if message.reply else str((message.headers or {}).get("Status", ""))
            if not status:
                left -= 1
                receive(message)
            if not ended.done() and (left == 0 or status not in ("", "100")):  # 100: a heartbeat
                ended.set_result(status)

        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=on_message)
        try:
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{consumer}"
            await self._client.publish(subject, orjson.dumps(request), reply=inbox)
            status = await ended
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
        if status == "503":
            self.sound = False
            raise nats.errors.NoRespondersError

    async def close(self) -> None:
        """For good; what was sent before is on its way."""
        await self._client.flush(_CONNECT_S)
        await self._client.close()


class Connection:
    """A lazy connection. `set_up` runs on every new one before it is used; `patience` limits each call, in seconds.

    `options` go to the NATS client as they are: TLS context, credentials, name.
    """

    def __init__(
        self,
        servers: Sequence[str],
        set_up: Callable[[Link], Awaitable[None]],
        *,
        patience: float,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._servers = list(servers)
        self._set_up = set_up
        self._patience = patience
        self._options = dict(options or {})
        self._link: Link | None = None
        self._closed = False
        self._opening = asyncio.Lock()
        self._quiet_until = 0.0
        self._running: set[asyncio.Timeout] = set()

    @contextlib.asynccontextmanager
    async def used(self, extra_s: float = 0.0) -> AsyncIterator[Link]:
        """The connection, set up, for work that may take `patience` + `extra_s` seconds.

        Raises Unavailable when the server is away, gets lost meanwhile, or does not answer in time.
        """
        try:
            async with self._limited(self._patience + extra_s):
                yield await self._ready_link()
        except Refused as refused:
            raise translate(refused) from refused
        except TimeoutError as error:
            raise _away("does not answer") from error
        except (nats.errors.Error, OSError) as error:
            raise _away("is away") from error

    async def close(self) -> None:
        """For good."""
        self._closed = True
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                async with self._limited(self._patience):
                    await link.close()

    @contextlib.asynccontextmanager
    async def _limited(self, seconds: float) -> AsyncIterator[None]:
        async with asyncio.timeout(seconds) as limit:
            self._running.add(limit)
            try:
                yield
            finally:
                self._running.discard(limit)

    async def _ready_link(self) -> Link:
        async with self._opening:
            if self._closed:
                raise nats.errors.ConnectionClosedError
            if self._link is not None and self._link.is_up and self._link.sound:
                return self._link
            link = self._link if self._link is not None and self._link.is_up else await self._open()
            self._link = link
            link.sound = False  # until it is set up
            await self._set_up(link)
            link.sound = True
            return link

    async def _open(self) -> Link:
        loop = asyncio.get_running_loop()
        if loop.time() < self._quiet_until:
            raise nats.errors.NoServersError
        client = Client()
        try:
            await client.connect(
                self._servers,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_S,
                ping_interval=_PING_S,
                error_cb=_on_error,
                closed_cb=self._on_lost,
                **self._options,
            )
        except BaseException as error:
            self._quiet_until = loop.time() + _QUIET_S
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.close()
            _log.debug("nats.not_connected", reason=str(error))
            raise
        return Link(client, self._patience)

    async def _on_lost(self) -> None:
        """Nothing that waits for an answer over this connection will get one: let it wait no longer."""
        now = asyncio.get_running_loop().time()
        for limit in self._running:
            if not limit.expired():
                limit.reschedule(now)


def _parse(answer: Msg) -> Any:
    said = orjson.loads(answer.data) if answer.data else {}
    if error := said.get("error"):
        raise Refused(int(error.get("err_code", 0)), str(error.get("description", "")))
    return said


def _away(what: str) -> Unavailable:
    return Unavailable(f"the event broker {what}: try again shortly", retry_after=_RETRY_AFTER_S)


async def _on_error(error: Exception) -> None:
    _log.debug("nats.trouble", reason=str(error))
