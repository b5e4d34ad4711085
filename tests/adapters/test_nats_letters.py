"""Dead letters on JetStream: what is read of many to show a page or to find one, and what their bound does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest
from nats.aio.msg import Msg

from claude_mem.adapters.nats.connection import Link
from claude_mem.adapters.nats.inbox import NatsInbox
from claude_mem.kernel.errors import StoreFull, Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_USER, Scope
from claude_mem.ports.inbox import Entry, Pending, Place
from nats_servers import NatsServer, nats_server

LARGE, SMALL = (Scope(new_id(), LOCAL_USER, frozenset()) for _ in range(2))
_PAGE = 50
_QUESTIONS = 60  # that a page may cost, however unevenly the letters lie


class Reads:
    """Counts what the adapter has the broker send: messages of the stream, and answers of its interface."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages = self.questions = 0
        pull, api = Link.pull, Link.api

        async def counted_pull(
            link: Link, consumer: str, request: Mapping[str, Any], receive: Callable[[Msg], None]
        ) -> None:
            def received(message: Msg) -> None:
                self.messages += 1
                receive(message)

            await pull(link, consumer, request, received)

        async def counted_api(link: Link, call: str, body: Mapping[str, Any] | None = None) -> Any:
            if call.startswith("STREAM.MSG.GET"):
                self.messages += 1
            else:
                self.questions += 1
            return await api(link, call, body)

        monkeypatch.setattr(Link, "pull", counted_pull)
        monkeypatch.setattr(Link, "api", counted_api)

    def reset(self) -> None:
        """Count from here on."""
        self.messages = self.questions = 0


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with nats_server() as made:
        yield made


@pytest.fixture
async def inbox(server: NatsServer) -> AsyncIterator[NatsInbox]:
    made = NatsInbox([server.url])
    assert await made.pending() == 0
    yield made
    await made.close()


@pytest.fixture
def reads(inbox: NatsInbox, monkeypatch: pytest.MonkeyPatch) -> Reads:
    del inbox  # its connection is made: that does not count
    return Reads(monkeypatch)


async def bury(inbox: NatsInbox, scope: Scope, count: int) -> list[str]:
    """Put aside many at once, in whatever order they arrive."""
    ids = [new_id() for _ in range(count)]
    for first in range(0, count, 250):
        await asyncio.gather(
            *(
                inbox.bury(Pending(0, scope.enterprise_id, it, b"{}"), "poison", 1)
                for it in ids[first : first + 250]
            )
        )
    return ids


async def fill(inbox: NatsInbox) -> tuple[list[str], list[str]]:
    """5,000 of two enterprises, as unevenly as may be: the small one's at both ends and in two heaps."""
    small = await bury(inbox, SMALL, 1)
    large = await bury(inbox, LARGE, 1_900)
    small += await bury(inbox, SMALL, 120)
    large += await bury(inbox, LARGE, 2_500)
    small += await bury(inbox, SMALL, 79)
    large += await bury(inbox, LARGE, 400)
    return large, small


async def walk(inbox: NatsInbox, scope: Scope, reads: Reads) -> list[str]:
    """The ids on all pages; no page may cost more than it should."""
    seen: list[str] = []
    place: Place | None = None
    while True:
        reads.reset()
        page = await inbox.dead_letters(scope, _PAGE, place)
        # Headers of up to twice a page and one more, bodies of a page.
        assert reads.messages <= 2 * (_PAGE + 1) + 2 + _PAGE
        assert reads.questions <= _QUESTIONS
        assert {letter.enterprise_id for letter in page.letters} <= {scope.enterprise_id}
        seen += [letter.event_id for letter in page.letters]
        place = page.before
        if place is None:
            return seen


async def test_a_page_and_one_letter_cost_the_same_of_however_many(
    server: NatsServer, inbox: NatsInbox, reads: Reads
) -> None:
    large, small = await fill(inbox)
    for scope, ids in ((LARGE, large), (SMALL, small)):
        seen = await walk(inbox, scope, reads)
        assert len(seen) == len(ids)
        assert set(seen) == set(ids)
        for wanted in (ids[0], ids[len(ids) // 2], ids[-1]):
            reads.reset()
            letter = await inbox.dead_letter(scope, wanted)
            assert letter is not None
            assert letter.event_id == wanted
            assert (reads.messages, reads.questions) == (1, 0)
    assert await inbox.dead_letter(SMALL, large[0]) is None
    reads.reset()
    assert await inbox.count_dead_letters(LARGE) == len(large)
    assert (reads.messages, reads.questions) == (0, 2)

    place = (await inbox.dead_letters(SMALL, 90)).before
    server.kill()
    await asyncio.to_thread(server.start)
    rest = await until_there(inbox, place)
    assert set(rest) | {it.event_id for it in (await inbox.dead_letters(SMALL, 90)).letters} == set(
        small
    )


async def until_there(inbox: NatsInbox, place: Place | None) -> list[str]:
    """The small enterprise's from a place on, once the broker answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                return [it.event_id for it in (await inbox.dead_letters(SMALL, 500, place)).letters]
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_pages_miss_nothing_that_stays_while_others_go(inbox: NatsInbox) -> None:
    ids = await bury(inbox, LARGE, 1_500)
    await bury(inbox, SMALL, 100)
    going = random.Random(4).sample(ids, 700)
    staying = set(ids) - set(going)

    async def let_go() -> None:
        for first in range(0, len(going), 10):
            assert await inbox.drop_dead_letters(LARGE, going[first : first + 10]) == 10
            await asyncio.sleep(0)

    async def come() -> None:
        for _ in range(20):
            await bury(inbox, LARGE, 5)
            await bury(inbox, SMALL, 5)

    changes = asyncio.gather(let_go(), come())
    seen: list[str] = []
    place: Place | None = None
    while True:
        page = await inbox.dead_letters(LARGE, 20, place)
        seen += [letter.event_id for letter in page.letters]
        place = page.before
        if place is None:
            break
    await changes
    assert staying <= set(seen)
    assert len(seen) == len(set(seen))
    assert await inbox.count_dead_letters(LARGE) == 800 + 100


async def test_whoever_has_too_many_hands_in_no_more_until_they_are_looked_at(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_mem.adapters.nats.letters._LOOK_EVERY_S", 0)
    inbox = NatsInbox([server.url], letters_bound=5)
    event = Entry(new_id(), b"{}")
    await inbox.append(LARGE, [event])
    [accepted] = await inbox.take(1)
    ids = await bury(inbox, LARGE, 5)
    with pytest.raises(StoreFull, match="dead-letters") as refusal:
        await inbox.append(LARGE, [Entry(new_id(), b"{}")])
    assert refusal.value.retry_after
    assert await inbox.append(SMALL, [Entry(new_id(), b"{}")]) == 1, "it is no one else's matter"
    await inbox.bury(accepted, "poison", 2)  # what was accepted has room all the same
    assert await inbox.count_dead_letters(LARGE) == 6
    letter = await inbox.dead_letter(LARGE, ids[0])
    assert letter is not None
    await inbox.return_dead_letter(letter, letter.body)  # the way out is not barred
    with pytest.raises(StoreFull):
        await inbox.append(LARGE, [Entry(new_id(), b"{}")])
    assert await inbox.drop_dead_letters(LARGE, ids[1:2]) == 1
    assert await inbox.append(LARGE, [Entry(new_id(), b"{}")]) == 1
    await inbox.close()
