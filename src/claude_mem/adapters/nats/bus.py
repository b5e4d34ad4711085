"""The `Bus` port on NATS: events go to `<name>.live.<enterprise>`, and every replica hears those it has listeners for.

Core NATS, not JetStream: an event is told to who listens now and kept nowhere. Publishing hands over to a task that
sends, so that nobody who records waits for a broker. While the broker is away what is published is dropped and counted.
Listeners of the time before a new connection are ended by it: they have missed something, and cannot know what.

Must never let a subject be made of anything but the deployment's name and a UUID.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
import structlog
from nats.aio.msg import Msg

from claude_mem.adapters.nats.connection import Connection, Hearing, Link
from claude_mem.kernel.errors import Invalid, Unavailable
from claude_mem.kernel.ids import is_id, is_uuid
from claude_mem.kernel.mailbox import Mailbox
from claude_mem.kernel.scope import Scope
from claude_mem.ports.bus import LiveEvent

_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
_WAITING = 10_000  # events to be sent
_AGAIN_S = 0.5  # after a failed attempt to reach the broker
_LAST_WORDS_S = 1.0  # for what is to be sent when this is closed
_log = structlog.get_logger("bus")


class NatsBus:
    """Implements `ports.bus.Bus`; `bound` is how many events may wait for a listener.

    `patience` is how many seconds a subscription waits for the broker before it goes on without it; `options` go to
    the NATS client as they are.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str = "claude-mem",
        bound: int = 1_000,
        patience: float = 2.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not _NAME.match(name):
            raise ValueError("a deployment's name has letters, digits, - and _ only")
        self._connection = Connection(
            servers, self._set_up, patience=patience, options=options, on_lost=self._stir
        )
        self._name = name
        self._bound = bound
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._dropped = 0
        self._listeners: dict[str, set[Mailbox[LiveEvent]]] = {}  # by subject
        self._deaf: set[Mailbox[LiveEvent]] = set()  # of those, who came while the broker was away
        self._hearing: dict[str, Hearing] = {}  # by subject
        self._asking = asyncio.Lock()
        self._stirred = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def dropped(self) -> int:
        """See the port."""
        return self._dropped

    async def publish(self, scope: Scope, events: Sequence[LiveEvent]) -> None:
        """See the port."""
        if self._closed or not is_uuid(scope.enterprise_id):
            self._dropped += len(events)
            return
        subject = self._subject(scope)
        for event in events:
            body = _body(event)
            if body is None or len(self._waiting) >= _WAITING:
                self._dropped += 1
            else:
                self._waiting.append((subject, body))
        self._keep()
        self._stir()

    @asynccontextmanager
    async def subscribe(self, scope: Scope) -> AsyncIterator[AsyncIterator[LiveEvent]]:
        """See the port."""
        if not is_uuid(scope.enterprise_id):
            raise Invalid("an enterprise is known by its UUID")
        subject = self._subject(scope)
        listener = Mailbox[LiveEvent](self._bound)
        if self._closed:
            listener.end()
        try:
            await self._admit(subject, listener)
            yield listener
        finally:
            self._dismiss(subject, listener)

    async def close(self) -> None:
        """See the port."""
        self._closed = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.end()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._waiting:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S), self._connection.used() as link:
                    await self._send(link)
        self._dropped += len(self._waiting)
        self._waiting.clear()
        await self._connection.close()

    def _subject(self, scope: Scope) -> str:
        return f"{self._name}.live.{scope.enterprise_id}"

    async def _admit(self, subject: str, listener: Mailbox[LiveEvent]) -> None:
        """Let a listener hear, and return when the broker knows of it."""
        if self._closed:
            return
        try:
            async with self._connection.used() as link:
                hearing = await self._heard(link, subject)
                self._listeners.setdefault(subject, set()).add(listener)
                await hearing.stands()
        except Unavailable:
            # Deaf until the broker is back, which ends it: better than refusing who can read the tables meanwhile.
            self._listeners.setdefault(subject, set()).add(listener)
            self._deaf.add(listener)
        self._keep()
        self._stir()

    def _dismiss(self, subject: str, listener: Mailbox[LiveEvent]) -> None:
        listeners = self._listeners.get(subject, set())
        listeners.discard(listener)
        self._deaf.discard(listener)
        if not listeners:
            self._listeners.pop(subject, None)
            self._stir()

    async def _set_up(self, _link: Link) -> None:
        """End whoever listened before this connection, and by that let them subscribe on it."""
        self._hearing.clear()
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.end()

    async def _heard(self, link: Link, subject: str) -> Hearing:
        """The one subscription to a subject on a connection, made if it is not there."""
        async with self._asking:
            found = self._hearing.get(subject)
            if found is None or found.link is not link:
                found = await link.hear(subject, lambda message: self._tell(subject, message))
                self._hearing[subject] = found
            return found

    def _tell(self, subject: str, message: Msg) -> None:
        event = _parsed(message.data)
        if event is None:
            _log.warning("live.not_understood", bytes=len(message.data))
            return
        for listener in list(self._listeners.get(subject, ())):
            listener.put((event,))

    def _keep(self) -> None:
        if self._keeper is None and not self._closed:
            self._keeper = asyncio.create_task(self._keep_on(), name="live-bus")

    def _stir(self) -> None:
        self._stirred.set()

    async def _keep_on(self) -> None:
        """Send what waits, and see to it that there is a connection while somebody listens."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            if not (self._waiting or self._listeners or self._hearing):
                continue
            try:
                async with self._connection.used() as link:
                    if self._deaf:
                        await link.flush()  # it is back when it answers
                        self._end_deaf()
                    await self._forget_unheard()
                    await self._send(link)
            except Unavailable as error:
                self._drop(error)
                await asyncio.sleep(_AGAIN_S)
                self._stir()

    def _end_deaf(self) -> None:
        for listener in self._deaf:
            listener.end()
        self._deaf.clear()

    async def _forget_unheard(self) -> None:
        for subject in [it for it in self._hearing if it not in self._listeners]:
            await self._hearing.pop(subject).end()

    async def _send(self, link: Link) -> None:
        while self._waiting:
            subject, body = self._waiting.popleft()
            if len(body) > link.room:
                self._dropped += 1
                continue
            try:
                await link.tell(subject, body)
            except BaseException:
                self._dropped += 1
                raise

    def _drop(self, reason: Exception) -> None:
        if self._waiting:
            _log.debug("live.dropped", events=len(self._waiting), reason=str(reason))
        self._dropped += len(self._waiting)
        self._waiting.clear()


def _body(event: LiveEvent) -> bytes | None:
    """An event as it is sent; None for what JSON cannot hold."""
    said = {"id": event.id, "type": event.type, "at": event.at, "data": event.data}
    try:
        return orjson.dumps(said)
    except TypeError:
        return None


def _parsed(body: bytes) -> LiveEvent | None:
    """The event of a message; None for what nobody of ours has sent."""
    try:
        said = orjson.loads(body)
        event = LiveEvent(said["id"], said["type"], said["at"], said["data"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    sound = (
        isinstance(event.id, str)
        and is_id(event.id)
        and isinstance(event.type, str)
        and type(event.at) is int
        and isinstance(event.data, dict)
    )
    return event if sound else None
