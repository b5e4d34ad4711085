"""The `Inbox` port on NATS JetStream: any number of replicas append, and share what is to be taken.

Streams (`<name>` is the deployment's): `<name>-inbox` is a work queue with the subjects
`<name>.inbox.<enterprise>.<event>`, `<name>-dead` keeps the dead letters under `<name>.dead.<enterprise>.<event>`.

The subject is the event's identity, and the stream keeps one message a subject: the broker itself refuses an event that
waits already, for as long as it waits, and takes it again afterwards. A `Nats-Msg-Id` would do neither: its window ends
while an event may still wait, and it goes on when an event was put aside, so that a repaired one could not come back.
Doubles for good are kept out by the database (`ingested_events`).

What an acknowledgement promises: the broker has written the event to its file. That outlives a crash or a kill of the
broker. A power loss of its machine it outlives if the broker runs with `jetstream { sync_interval: always }`, or if the
streams have three replicas on machines that do not fail together.

Never holds what the broker does not: messages given out are remembered here, but are the broker's until acknowledged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

from nats.aio.msg import Msg

from claude_mem.adapters.nats.connection import Connection, Link, Refused, translate
from claude_mem.adapters.nats.letters import DeadLetters
from claude_mem.kernel.errors import StoreFull, TooLarge, Unavailable
from claude_mem.kernel.scope import Scope
from claude_mem.ports.inbox import DeadLetter, Entry, LetterPage, Pending, Place

_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
_CONSUMER = "writers"
_NOT_FOUND, _NAME_TAKEN, _NOT_STORED = 10059, 10058, 10077  # JetStream's error codes
# Messages of an atomic batch. The broker stages each batch in a file it syncs: 15 ms, one after the other, which small
# ones are not worth. More than 1,000 it does not take unless told so.
_BATCH_FROM, _BATCH_TO = 100, 1_000
_BATCHES_AT_ONCE = 8  # the broker has room for 50 begun ones in a stream, of all replicas together
_NEARLY = 0.9  # of the bound: from there on every append looks how many wait
_LOOK_EVERY_S = 1.0
_RETRY_AFTER_S = 2
_IN_FLIGHT = 20_000  # given out and not acknowledged, to all replicas together
_PULL_BYTES = 64 * 1024 * 1024
_MOMENT_NS = 250_000_000
_MARGIN = 0.8  # of the broker's wait: what was given out longer ago may be somebody else's by now


@dataclass(slots=True)
class _Held:
    """A message given to this replica: how to answer, until when it is surely ours, whether `take` returned it."""

    pending: Pending
    reply: str
    until: float
    returned: bool = False


class NatsInbox:
    """Implements `ports.inbox.Inbox`; `bound` and `max_bytes` limit what may wait, `letters_bound` what an
    enterprise may have put aside and still hand in events.

    `ack_wait` is how many seconds a replica may keep what it took before others get it; `patience` how many any call
    waits for the broker before it raises Unavailable. `bound`, `max_bytes` and `replicas` are set on the streams when
    a connection is made; whatever else an operator sets on them stays.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        name: str = "claude-mem",
        bound: int = 500_000,
        max_bytes: int | None = None,
        letters_bound: int = 100_000,
        replicas: int = 1,
        ack_wait: float = 30.0,
        patience: float = 5.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not _NAME.match(name):
            raise ValueError("a deployment's name has letters, digits, - and _ only")
        self._connection = Connection(servers, self._set_up, patience=patience, options=options)
        self._name = name
        self._inbox, self._dead = f"{name}-inbox", f"{name}-dead"
        self._letters = DeadLetters(
            self._connection, self._dead, partial(self._subject, "dead"), letters_bound
        )
        self._bound = bound
        self._max_bytes = max_bytes or -1
        self._replicas = replicas
        self._ack_wait = ack_wait
        self._atomic = False
        self._batches = asyncio.Semaphore(_BATCHES_AT_ONCE)
        self._guess, self._look_at = 0, 0.0  # how many wait at most, and when to look again
        self._held: dict[int, _Held] = {}

    @property
    def letters_bound(self) -> int:
        """How many dead letters an enterprise may have and still hand in events."""
        return self._letters.bound

    async def append(self, scope: Scope, entries: Sequence[Entry]) -> int:
        """See the port.

        All or none for 100 to 1,000 entries of which none waits already, from NATS 2.12 on (an atomic batch). Others
        are sent one by one, without waiting in between: when the broker refuses some or is lost meanwhile, the call
        raises and the rest stays. Sending all again is harmless: what is there counts as known.
        """
        async with self._connection.used() as link:
            await self._letters.check_room(link, scope)
            return await self._append(link, scope, entries)

    async def take(self, limit: int) -> list[Pending]:
        """See the port. Replicas get different entries; those of one that died come to others after `ack_wait`."""
        async with self._connection.used() as link:
            self._forget_expired()
            for held in self._oldest(limit):
                if held.returned:  # it is still being worked on: ours for another while
                    await link.tell(held.reply, b"+WPI")
                    held.until = self._now() + self._ack_wait * _MARGIN
            missing = limit - len(self._held)
            if missing > 0:
                await self._fetch(link, missing)
        taken = self._oldest(limit)
        for held in taken:
            held.returned = True
        return [held.pending for held in taken]

    async def ack(self, positions: Sequence[int]) -> None:
        """See the port. When it raises they are still ours, and `take` gives them again: their rows are known then."""
        replies = [held.reply for position in positions if (held := self._held.get(position))]
        if not replies:
            return
        async with self._connection.used() as link:
            for reply in replies[:-1]:
                await link.tell(reply, b"+ACK")
            # The broker works them off in order: its answer to the last one is its answer to all.
            await link.ask(replies[-1], b"+ACK")
        for position in positions:
            self._held.pop(position, None)

    async def bury(self, pending: Pending, reason: str, at: int) -> None:
        """See the port. The letter is stored before the entry is let go: a crash between leaves both, never neither."""
        await self._letters.keep(pending, reason, at)
        await self.ack([pending.position])

    async def dead_letters(
        self, scope: Scope, limit: int, before: Place | None = None
    ) -> LetterPage:
        """See the port."""
        return await self._letters.page(scope, limit, before)

    async def dead_letter(self, scope: Scope, event_id: str) -> DeadLetter | None:
        """See the port."""
        return await self._letters.find(scope, event_id)

    def every_dead_letter(self, scope: Scope) -> AsyncIterator[DeadLetter]:
        """See the port."""
        return self._letters.every(scope)

    async def return_dead_letter(self, letter: DeadLetter, body: bytes) -> None:
        """See the port."""
        scope = Scope(letter.enterprise_id, "", frozenset())
        async with self._connection.used() as link:
            await self._append(link, scope, [Entry(letter.event_id, body)])
        await self._letters.let_go(letter)

    async def count_dead_letters(self, scope: Scope) -> int:
        """See the port."""
        return await self._letters.count(scope)

    async def waiting(self, scope: Scope) -> int:
        """See the port. Counts those given out to any replica too."""
        subjects = f"{self._subject('inbox', scope)}.>"
        count, total = 0, 1
        async with self._connection.used() as link:
            while count < total:
                asked = {"subjects_filter": subjects, "offset": count}
                info = await link.api(f"STREAM.INFO.{self._inbox}", asked)
                page = info["state"].get("subjects") or {}
                if not page:
                    break
                count += len(page)  # a message each
                total = int(info.get("total") or count)
        return count

    async def drop_dead_letters(self, scope: Scope, event_ids: Sequence[str]) -> int:
        """See the port."""
        return await self._letters.drop(scope, event_ids)

    async def pending(self) -> int:
        """See the port. Counts those given out to any replica too."""
        async with self._connection.used() as link:
            return await self._count(link)

    async def wait(self, seconds: float) -> None:
        """See the port. Wakes the replica that is to take the entry; while the broker is away it looks again soon."""
        until = self._now() + seconds
        if any(not held.returned for held in self._held.values()):
            return
        request = {"batch": 1, "expires": max(1_000_000, int(seconds * 1e9))}
        try:
            async with self._connection.used(extra_s=seconds) as link:
                await link.pull(f"{self._inbox}.{_CONSUMER}", request, self._hold)
        except Unavailable:
            # What came before the broker went may wait there: not for as long as nothing would have come.
            await asyncio.sleep(min(_LOOK_EVERY_S, max(0.0, until - self._now())))

    async def maintain(self) -> None:
        """See the port: the broker removes a file of its store when nothing in it waits any more, and makes it anew."""

    async def close(self) -> None:
        """See the port. What was taken and not acknowledged goes to other replicas at once."""
        replies = [held.reply for held in self._held.values()]
        self._held.clear()
        if replies:
            try:
                async with self._connection.used() as link:
                    for reply in replies:
                        await link.tell(reply, b"-NAK")
            except Unavailable:
                pass  # they go to others all the same, after `ack_wait`
        await self._connection.close()

    async def _count(self, link: Link) -> int:
        info = await link.api(f"STREAM.INFO.{self._inbox}")
        return int(info["state"]["messages"])

    async def _check_room(self, link: Link, coming: int) -> None:
        """Refuse what would not fit before a part of it is stored. Should others be faster, the broker refuses."""
        self._guess += coming
        if self._guess < self._bound * _NEARLY and self._now() < self._look_at:
            return
        waiting = await self._count(link)
        self._guess, self._look_at = waiting + coming, self._now() + _LOOK_EVERY_S
        if waiting + coming > self._bound:
            raise Unavailable(
                f"{waiting} events wait to be indexed: try again shortly",
                retry_after=_RETRY_AFTER_S,
            )

    async def _fetch(self, link: Link, limit: int) -> None:
        """Up to `limit` entries that are there now.

        The broker acknowledges an entry a moment before it tells the consumer: where nothing comes though there is
        something, it may be that moment, and the question is put again with a little patience.
        """
        consumer, before = f"{self._inbox}.{_CONSUMER}", len(self._held)
        at_once = {"batch": limit, "no_wait": True, "max_bytes": _PULL_BYTES}
        await link.pull(consumer, at_once, self._hold)
        if len(self._held) > before or await self._count(link) <= before:
            return
        await link.pull(consumer, {"batch": 1, "expires": _MOMENT_NS}, self._hold)
        if limit > 1 and len(self._held) > before:
            await link.pull(consumer, {**at_once, "batch": limit - 1}, self._hold)

    async def _append(self, link: Link, scope: Scope, entries: Sequence[Entry]) -> int:
        bodies = {self._subject("inbox", scope, entry.event_id): entry.body for entry in entries}
        _check_size(bodies.values(), link.room)
        await self._check_room(link, len(bodies))
        if self._atomic and _BATCH_FROM <= len(bodies) <= _BATCH_TO:
            try:
                return await self._append_together(link, bodies)
            except Refused as refused:
                if _is_full(refused):
                    raise
        return await _append_singly(link, bodies)

    async def _append_together(self, link: Link, bodies: Mapping[str, bytes]) -> int:
        batch, last = uuid4().hex, len(bodies)
        async with self._batches:
            for number, (subject, body) in enumerate(bodies.items(), 1):
                headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
                if number < last:
                    await link.tell(subject, body, headers=headers)
                else:
                    headers["Nats-Batch-Commit"] = "1"
                    await link.ask(subject, body, headers)
        return last

    def _subject(self, kind: str, scope: Scope, *event_id: str) -> str:
        return ".".join((self._name, kind, *map(_token, (scope.enterprise_id, *event_id))))

    def _hold(self, message: Msg) -> None:
        enterprise_id, event_id = _ids(message)
        position = message.metadata.sequence.stream
        pending = Pending(position, enterprise_id, event_id, message.data)
        until = self._now() + self._ack_wait * _MARGIN
        self._held[position] = _Held(pending, message.reply, until)

    def _oldest(self, limit: int) -> list[_Held]:
        return [self._held[position] for position in sorted(self._held)[:limit]]

    def _forget_expired(self) -> None:
        now = self._now()
        self._held = {key: held for key, held in self._held.items() if held.until > now}

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _set_up(self, link: Link) -> None:
        """Make streams and consumer where they are missing, and bring their limits up to date."""
        one_a_subject = {"max_msgs_per_subject": 1, "num_replicas": self._replicas}
        inbox = await _ensure(
            link,
            {
                "name": self._inbox,
                "subjects": [f"{self._name}.inbox.*.*"],
                "retention": "workqueue",
                "storage": "file",
                "discard": "new",
                "discard_new_per_subject": True,
                "allow_atomic": True,
                **one_a_subject,
                "max_msgs": self._bound,
                "max_bytes": self._max_bytes,
            },
        )
        self._atomic = bool(inbox["config"].get("allow_atomic"))  # unknown before NATS 2.12
        await _ensure(
            link,
            {
                "name": self._dead,
                "subjects": [f"{self._name}.dead.*.*"],
                "retention": "limits",
                "storage": "file",
                "discard": "old",  # of the same event only: the stream gives no letter up by itself
                **one_a_subject,
            },
        )
        consumer = {
            "durable_name": _CONSUMER,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(self._ack_wait * 1e9),
            "max_deliver": -1,
            "max_ack_pending": _IN_FLIGHT,
        }
        await link.api(
            f"CONSUMER.DURABLE.CREATE.{self._inbox}.{_CONSUMER}",
            {"stream_name": self._inbox, "config": consumer},
        )


async def _append_singly(link: Link, bodies: Mapping[str, bytes]) -> int:
    answers = await asyncio.gather(
        *(_store(link, subject, body) for subject, body in bodies.items()), return_exceptions=True
    )
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return sum(answer for answer in answers if isinstance(answer, int))


async def _store(link: Link, subject: str, body: bytes) -> int:
    """1, or 0 when the event waits already."""
    try:
        await link.ask(subject, body)
    except Refused as refused:
        if _waits_already(refused):
            return 0
        raise
    return 1


def _check_size(bodies: Iterable[bytes], room: int) -> None:
    largest = max((len(body) for body in bodies), default=0)
    if largest > room:
        raise TooLarge(
            f"an event of {largest} bytes is more than the event broker takes ({room}):"
            " raise max_payload in its configuration"
        )


async def _ensure(link: Link, wanted: dict[str, Any]) -> Any:
    """What JetStream says of the stream, made or changed to be as `wanted`."""
    name = wanted["name"]
    try:
        info = await link.api(f"STREAM.INFO.{name}")
    except Refused as refused:
        if refused.code != _NOT_FOUND:
            raise
        try:
            return await link.api(f"STREAM.CREATE.{name}", wanted)
        except Refused as late:
            if late.code != _NAME_TAKEN:
                raise
            info = await link.api(f"STREAM.INFO.{name}")  # another replica was first
    current = info["config"]
    if all(current.get(key) == value for key, value in wanted.items()):
        return info
    return await link.api(f"STREAM.UPDATE.{name}", {**current, **wanted})


def _is_full(refused: Refused) -> bool:
    """Whether there is no room, rather than a fault of the batch such as an event in it that waits already."""
    if refused.code == _NOT_STORED:
        return not _waits_already(refused)
    return isinstance(translate(refused), StoreFull)


def _waits_already(refused: Refused) -> bool:
    return refused.code == _NOT_STORED and "per subject" in str(refused)


def _token(text: str) -> str:
    """One token of a subject, in which `.`, `*`, `>` and space would mean something."""
    return quote(text, safe="").replace(".", "%2E") or "%"  # a token is never empty


def _ids(message: Msg) -> tuple[str, str]:
    enterprise_id, event_id = message.subject.split(".")[-2:]
    return unquote(enterprise_id), unquote(event_id)
