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
from nats.aio.subscription import Subscription

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


class _Client(Client):
    """The library's, but for two things, both of which would leave somebody waiting for ever.

    Bytes that a lost connection did not take cannot be flushed into it: it tries to, and when that fails its own
    closing ends half way and nobody is told of the loss. And who waits for room to write can be cancelled.
    """

    async def _process_op_err(self, e: Exception) -> None:
        self._pending = []
        self._pending_data_size = 0
        await super()._process_op_err(e)

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        flushed = await super()._flush_pending(force_flush)
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        return flushed


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

    async def hear(self, subject: str, receive: Callable[[Msg], None]) -> Hearing:
        """Give `receive` every message of a subject from soon on (see `Hearing.stands`), until told to end."""

        async def on_message(message: Msg) -> None:
            receive(message)

        return Hearing(self, await self._client.subscribe(subject, cb=on_message))

    async def flush(self) -> None:
        """Return when the server has seen all that was sent before.

        The client's ping goes past what it still holds back, so that the first one only brings that on its way.
        """
        seconds = max(1, int(self._patience))
        await self._client.flush(seconds)
        while self._client.pending_data_size:
            await self._client.flush(seconds)
        await self._client.flush(seconds)

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


class Hearing:
    """A subscription; it lives no longer than its link."""

    def __init__(self, link: Link, subscription: Subscription) -> None:
        self.link = link
        self._subscription = subscription

    async def stands(self) -> None:
        """Return when the server knows of it: what is published from then on is heard."""
        await self.link.flush()

    async def end(self) -> None:
        """Hear no more."""
        with contextlib.suppress(nats.errors.Error):
            await self._subscription.unsubscribe()


class Connection:
    """A lazy connection. `set_up` runs on every new one before it is used; `patience` limits each call, in seconds.

    `options` go to the NATS client as they are: TLS context, credentials, name. `on_lost` is told when a connection
    has ended, whoever ended it.
    """

    def __init__(
        self,
        servers: Sequence[str],
        set_up: Callable[[Link], Awaitable[None]],
        *,
        patience: float,
        options: Mapping[str, Any] | None = None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._servers = list(servers)
        self._set_up = set_up
        self._patience = patience
        self._options = dict(options or {})
        self._told_of_loss = on_lost
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
        client = _Client()
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
        self._told_of_loss()


def _parse(answer: Msg) -> Any:
    said = orjson.loads(answer.data) if answer.data else {}
    if error := said.get("error"):
        raise Refused(int(error.get("err_code", 0)), str(error.get("description", "")))
    return said


def _away(what: str) -> Unavailable:
    return Unavailable(f"the event broker {what}: try again shortly", retry_after=_RETRY_AFTER_S)


async def _on_error(error: Exception) -> None:
    _log.debug("nats.trouble", reason=str(error))
