"""Dead letters in a JetStream stream of their own, one an event: found by their subject, listed the newest first.

Owns what is read of that stream. Never reads an enterprise's letters as a whole to find one or to show a page: a stream
is read forwards only, so where a page begins is found by asking how many letters there are from a place on (a consumer
says so when it is made), then the headers of that stretch are read, and the bodies of what is shown.

A letter's place is its sequence number in the stream, which no later letter gets: a page goes on rightly when others
were let go, or came, meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote

import orjson
from nats.aio.msg import Msg

from claude_mem.adapters.nats.connection import Connection, Link, Refused
from claude_mem.kernel.errors import StoreFull
from claude_mem.kernel.scope import Scope
from claude_mem.ports.inbox import PAGE_BYTES, DeadLetter, LetterPage, Pending, Place

_NO_MESSAGE = 10037  # JetStream's error code
_REASON_CHARS = 1_000
_LETTER = "Dead-Letter"  # header: JSON of why and when
_SIZE = "Nats-Msg-Size"  # header, the broker's: bytes of a body that was left out
_AT_ONCE = 200
_MANY_AT_ONCE = 1_000
_PULL_BYTES = 64 * 1024 * 1024  # at most what one message may have, so that none is passed over
_MOMENT_NS = 500_000_000
_LOOK_EVERY_S = 5.0
_FULL_RETRY_AFTER_S = 60


class DeadLetters:
    """Those of one deployment. `subject` names what an enterprise's letters, or one of them, are kept under.

    `bound` is how many an enterprise may have and still hand in events: see `check_room`.
    """

    def __init__(
        self, connection: Connection, stream: str, subject: Callable[..., str], bound: int
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._subject = subject
        self.bound = bound
        self._look_at = 0.0
        self._total = 0  # of all enterprises, when it was last looked
        self._counts: dict[str, int] = {}

    async def keep(self, pending: Pending, reason: str, at: int) -> None:
        """Store one; on return it is on the broker's disk."""
        scope = Scope(pending.enterprise_id, "", frozenset())
        # ASCII without line breaks, as a header has to be.
        said = {"at": at, "reason": quote(reason[:_REASON_CHARS], errors="replace")}
        headers = {_LETTER: orjson.dumps(said).decode()}
        async with self._connection.used() as link:
            await link.ask(self._subject(scope, pending.event_id), pending.body, headers)

    async def page(self, scope: Scope, limit: int, before: Place | None) -> LetterPage:
        """See the port. The cost is that of the page, and of some twenty questions where letters lie unevenly."""
        async with self._connection.used() as link:
            found = await self._newest(link, scope, before[0] if before else None, limit + 1)
            shown = _within(found[:limit])
            read = await asyncio.gather(*(self._get(link, {"seq": seq}) for seq in shown))
        letters = [letter for letter in read if letter is not None]  # others went meanwhile
        return LetterPage(letters, (shown[-1], "") if len(shown) < len(found) else None)

    async def find(self, scope: Scope, event_id: str) -> DeadLetter | None:
        """See the port."""
        async with self._connection.used() as link:
            return await self._get(link, {"last_by_subj": self._subject(scope, event_id)})

    async def every(self, scope: Scope) -> AsyncIterator[DeadLetter]:
        """See the port. The oldest first."""
        place = 0
        while True:
            async with self._connection.used() as link:
                messages = await self._from(link, scope, place + 1, _MANY_AT_ONCE)
            if not messages:
                return
            for message in messages:
                yield _letter(message)
            place = _place(messages[-1])

    async def count(self, scope: Scope) -> int:
        """See the port. Nothing of them is read."""
        async with self._connection.used() as link:
            return await self._count(link, scope)

    async def drop(self, scope: Scope, event_ids: Sequence[str]) -> int:
        """See the port."""
        dropped = 0
        for first in range(0, len(event_ids), _AT_ONCE):
            some = event_ids[first : first + _AT_ONCE]
            async with self._connection.used() as link:
                dropped += sum(await asyncio.gather(*(self._purge(link, scope, it) for it in some)))
        return dropped

    async def let_go(self, letter: DeadLetter) -> None:
        """Up to this letter and no further: its event may have been put aside again by now."""
        scope = Scope(letter.enterprise_id, "", frozenset())
        async with self._connection.used() as link:
            await self._purge(link, scope, letter.event_id, seq=letter.position + 1)

    async def check_room(self, link: Link, scope: Scope) -> None:
        """Raises StoreFull where an enterprise has as many letters as it may: it is to look at them first.

        New events are refused, for no letter is ever given up by itself, and what was accepted before is put aside
        beyond the bound. Looks every few seconds, so that many at once get a little further than that.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            info = await link.api(f"STREAM.INFO.{self._stream}")
            self._total, self._counts = int(info["state"]["messages"]), {}
        if self._total < self.bound:
            return
        count = self._counts.get(scope.enterprise_id)
        if count is None:
            count = self._counts[scope.enterprise_id] = await self._count(link, scope)
        if count >= self.bound:
            raise StoreFull(
                f"{count} events of this enterprise could not be recorded and are kept aside: an administrator is to"
                " hand them in again or to drop them (claude-mem dead-letters) before new ones are taken",
                retry_after=_FULL_RETRY_AFTER_S,
            )

    async def _purge(self, link: Link, scope: Scope, event_id: str, **upto: int) -> int:
        asked = {"filter": self._subject(scope, event_id), **upto}
        answer = await link.api(f"STREAM.PURGE.{self._stream}", asked)
        return int(answer["purged"])

    async def _get(self, link: Link, which: dict[str, Any]) -> DeadLetter | None:
        try:
            found = await link.api(f"STREAM.MSG.GET.{self._stream}", which)
        except Refused as refused:
            if refused.code != _NO_MESSAGE:
                raise
            return None
        message = found["message"]
        said = _header(b64decode(message.get("hdrs") or b""))
        body = b64decode(message.get("data") or b"")
        return _made(str(message["subject"]), said, body, int(message["seq"]))

    async def _newest(
        self, link: Link, scope: Scope, before: int | None, wanted: int
    ) -> list[tuple[int, int]]:
        """(place, bytes) of the newest `wanted` letters before a place, the newest first."""
        state = (await link.api(f"STREAM.INFO.{self._stream}"))["state"]
        first, end = max(1, int(state["first_seq"])), int(state["last_seq"]) + 1
        end = min(end, before or end)
        found: list[tuple[int, int]] = []
        while len(found) < wanted and first < end:  # again where some went or came in between
            start, count = await self._start(link, scope, first, end, wanted - len(found))
            found += await self._stretch(link, scope, start, end, count)
            end = start
        return found[:wanted]

    async def _start(
        self, link: Link, scope: Scope, first: int, end: int, wanted: int
    ) -> tuple[int, int]:
        """(a place, how many letters lie from there to `end`): `wanted` to twice as many, or all there are.

        Looks where they would be if they lay evenly, and halfway between what is known in every second turn.
        """
        beyond = await self._pending(link, scope, end)
        low, high, above, halve = first, end, 0, False
        count = await self._pending(link, scope, low) - beyond
        while count > 2 * wanted and high - low > 1:
            share = 0.5 if halve else (1.5 * wanted - above) / (count - above)
            guess = min(max(high - int((high - low) * share), low + 1), high - 1)
            halve = not halve
            there = await self._pending(link, scope, guess) - beyond
            if there >= wanted:
                low, count = guess, there
            else:
                high, above = guess, there
        return low, count

    async def _stretch(
        self, link: Link, scope: Scope, start: int, end: int, count: int
    ) -> list[tuple[int, int]]:
        """(place, bytes) of the letters from `start` to before `end`, which are about `count`; the newest first."""
        found: list[tuple[int, int]] = []
        while start < end:
            # One more than there should be: it lies beyond, and so tells that there are no others before it.
            messages = await self._from(link, scope, start, max(count, 0) + 1, headers_only=True)
            if not messages:
                break
            found += [(_place(it), _size(it)) for it in messages if _place(it) < end]
            start = _place(messages[-1]) + 1
        return found[::-1]

    async def _from(
        self, link: Link, scope: Scope, start: int, most: int, *, headers_only: bool = False
    ) -> list[Msg]:
        """Some letters from a place on, `most` at most; none when there are none.

        Where some go while they are read, a broker may wait for others to come instead (2.9 does even when it is told
        not to wait): after a moment it is asked anew, by what is there then.
        """
        messages: list[Msg] = []
        while not messages:
            async with self._reader(link, scope, start, headers_only=headers_only) as (name, left):
                if left <= 0:
                    break
                request = {
                    "batch": min(left, most),
                    "expires": _MOMENT_NS,
                    "max_bytes": _PULL_BYTES,
                }
                await link.pull(f"{self._stream}.{name}", request, messages.append)
        return messages

    async def _count(self, link: Link, scope: Scope) -> int:
        return await self._pending(link, scope, 1)

    async def _pending(self, link: Link, scope: Scope, start: int) -> int:
        """How many letters there are from a place on."""
        async with self._reader(link, scope, start) as (_, left):
            return left

    @contextlib.asynccontextmanager
    async def _reader(
        self, link: Link, scope: Scope, start: int, *, headers_only: bool = False
    ) -> AsyncIterator[tuple[str, int]]:
        """A consumer from a place on: its name, and how many letters it will give. It would go away by itself, too."""
        config = {
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "filter_subject": f"{self._subject(scope)}.*",
            "headers_only": headers_only,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(60e9),
        }
        made = await link.api(
            f"CONSUMER.CREATE.{self._stream}", {"stream_name": self._stream, "config": config}
        )
        yield str(made["name"]), int(made["num_pending"])
        await link.api(f"CONSUMER.DELETE.{self._stream}.{made['name']}")


def _within(found: Sequence[tuple[int, int]]) -> list[int]:
    """Places of as many as have room on a page; of one always."""
    shown: list[int] = []
    size = 0
    for place, its_size in found:
        size += its_size
        if shown and size > PAGE_BYTES:
            break
        shown.append(place)
    return shown


def _letter(message: Msg) -> DeadLetter:
    said = (message.headers or {}).get(_LETTER, "{}")
    return _made(message.subject, said, message.data, _place(message))


def _made(subject: str, said: str, body: bytes, place: int) -> DeadLetter:
    enterprise_id, event_id = map(unquote, subject.split(".")[-2:])
    why = orjson.loads(said)
    reason, at = unquote(why.get("reason", "")), why.get("at", 0)
    return DeadLetter(event_id, enterprise_id, reason, at, body, place)


def _header(raw: bytes) -> str:
    """What a letter's header says, of all headers as they are stored."""
    for line in raw.decode(errors="replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name == _LETTER:
            return value.strip()
    return "{}"


def _place(message: Msg) -> int:
    return message.metadata.sequence.stream


def _size(message: Msg) -> int:
    return int((message.headers or {}).get(_SIZE, 0))
