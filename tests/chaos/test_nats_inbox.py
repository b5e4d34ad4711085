"""What becomes of the ingest log when the broker is killed, stalls, or is not there."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import nats.errors
import pytest

from claude_mem.adapters.nats.connection import Connection, Link
from claude_mem.adapters.nats.inbox import NatsInbox
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.inbox import Entry
from nats_servers import NatsServer, nats_server

SCOPE = local_scope()
_KILLS = 3
_APPENDERS = 8
_LARGE = 120  # sent as one


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with nats_server() as made:
        yield made


@pytest.fixture
async def inbox(server: NatsServer) -> AsyncIterator[NatsInbox]:
    made = NatsInbox([server.url], ack_wait=2)
    yield made
    await made.close()


class Load:
    """Appenders at work until told to end: what was acknowledged, and the batches that were given up."""

    def __init__(self, inbox: NatsInbox) -> None:
        self.acknowledged: set[str] = set()
        self.given_up: list[list[str]] = []
        self._inbox = inbox
        self._ending = False
        self._tasks = [asyncio.create_task(self._append(n)) for n in range(_APPENDERS)]

    async def more(self, count: int) -> None:
        """Return when `count` more events were acknowledged."""
        goal = len(self.acknowledged) + count
        async with asyncio.timeout(60):
            while len(self.acknowledged) < goal:
                await asyncio.sleep(0.01)
                for task in self._tasks:
                    assert not task.done(), task.exception()

    async def end(self) -> None:
        """Let the appenders finish what they have begun."""
        self._ending = True
        await asyncio.gather(*self._tasks)

    async def _append(self, number: int) -> None:
        chance = random.Random(number)
        while not self._ending:
            size = chance.choice((1, 1, 3, 20, _LARGE))
            batch = [Entry(new_id(), b'{"n": 1}' * 50) for _ in range(size)]
            ids = [entry.event_id for entry in batch]
            try:
                await self._until_acknowledged(batch, persistent=chance.random() < 0.5)
                self.acknowledged.update(ids)
            except Unavailable:
                self.given_up.append(ids)

    async def _until_acknowledged(self, batch: list[Entry], *, persistent: bool) -> None:
        while True:
            try:
                await self._inbox.append(SCOPE, batch)
            except Unavailable:
                await asyncio.sleep(0.05)
                if not persistent:
                    raise
            else:
                return


async def kill_and_restart(server: NatsServer) -> None:
    server.kill()
    await asyncio.to_thread(server.start)


async def test_what_was_acknowledged_before_a_kill_is_there_once(
    server: NatsServer, inbox: NatsInbox
) -> None:
    load = Load(inbox)
    for _ in range(_KILLS):
        await load.more(1_000)
        await kill_and_restart(server)
    await load.more(1_000)
    await load.end()

    count = await inbox.pending()
    stored = Counter(pending.event_id for pending in await inbox.take(count + 100))
    assert load.acknowledged <= set(stored)
    assert max(stored.values()) == 1
    assert sum(stored.values()) == count
    assert load.given_up, "no kill hit an append: the test has proven nothing"
    for batch in load.given_up:
        if len(batch) == _LARGE:  # all or none, even of what was never acknowledged
            assert len(stored.keys() & set(batch)) in (0, _LARGE)


async def test_a_taker_sees_everything_through_kills_and_leaves_nothing(
    server: NatsServer, inbox: NatsInbox
) -> None:
    taker = NatsInbox([server.url], ack_wait=2)
    load = Load(inbox)
    seen: set[str] = set()
    enough = asyncio.Event()

    async def take() -> None:
        while not (enough.is_set() and await pending_or_one(taker) == 0):
            try:
                taken = await taker.take(200)
                seen.update(pending.event_id for pending in taken)
                await taker.ack([pending.position for pending in taken])
                if not taken:
                    await taker.wait(0.2)
            except Unavailable:
                await asyncio.sleep(0.05)

    taking = asyncio.create_task(take())
    for _ in range(_KILLS):
        await load.more(500)
        await kill_and_restart(server)
    await load.more(500)
    await load.end()
    enough.set()
    await asyncio.wait_for(taking, 120)
    assert load.acknowledged <= seen
    await taker.close()


async def pending_or_one(inbox: NatsInbox) -> int:
    try:
        return await inbox.pending()
    except Unavailable:
        return 1


async def test_without_a_broker_every_call_says_so_and_it_is_found_when_it_comes(
    server: NatsServer, inbox: NatsInbox
) -> None:
    server.kill()
    batch = [Entry(new_id(), b"{}")]
    for call in (
        inbox.append(SCOPE, batch),
        inbox.take(5),
        inbox.pending(),
        inbox.dead_letters(SCOPE, 5),
        inbox.drop_dead_letters(SCOPE, [new_id()]),
    ):
        with pytest.raises(Unavailable) as refusal:
            await asyncio.wait_for(call, 30)
        assert refusal.value.retry_after
    await asyncio.wait_for(inbox.wait(0.01), 30)
    # What came before the broker went is to be looked for soon, not when nothing would have come.
    await asyncio.wait_for(inbox.wait(3_600), 30)
    await asyncio.to_thread(server.start)
    assert await until_available(inbox, batch) == 1
    assert await inbox.pending() == 1


async def test_a_broker_that_stalls_makes_nobody_hang(server: NatsServer) -> None:
    inbox = NatsInbox([server.url], patience=0.5)
    assert await inbox.append(SCOPE, [Entry(new_id(), b"{}")]) == 1
    server.pause()
    late = [Entry(new_id(), b"{}") for _ in range(3)]
    for call in (inbox.append(SCOPE, late), inbox.take(5), inbox.pending()):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(call, 30)
    server.resume()
    await until_available(inbox, late)  # the stalled ones may have arrived meanwhile
    assert await inbox.pending() == 4
    await inbox.close()


async def test_who_waits_for_a_broker_that_dies_is_told_at_once(server: NatsServer) -> None:
    inbox = NatsInbox([server.url], patience=3_600)
    assert await inbox.pending() == 0
    server.pause()
    calls = [asyncio.create_task(call) for call in (inbox.take(5), inbox.pending())]
    await asyncio.sleep(0.1)
    server.kill()
    for call in calls:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(call, 30)
    await inbox.close()


async def test_closing_without_a_broker_ends(server: NatsServer, inbox: NatsInbox) -> None:
    await inbox.append(SCOPE, [Entry(new_id(), b"{}")])
    assert len(await inbox.take(1)) == 1
    server.kill()
    await asyncio.wait_for(inbox.close(), 30)


async def test_streams_somebody_removed_are_made_again(
    server: NatsServer, inbox: NatsInbox
) -> None:
    await inbox.append(SCOPE, [Entry(new_id(), b"{}")])
    async with inbox._connection.used() as link:
        for stream in ("claude-mem-inbox", "claude-mem-dead"):
            await link.api(f"STREAM.DELETE.{stream}")
    assert await until_available(inbox, [Entry(new_id(), b"{}")]) == 1
    assert await inbox.pending() == 1
    assert len(await inbox.take(5)) == 1


async def until_available(inbox: NatsInbox, batch: list[Entry]) -> int:
    """What `append` returns once the broker answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await inbox.append(SCOPE, batch)
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_a_loss_is_told_even_with_unsent_bytes(server: NatsServer) -> None:
    """The broker stands still until a connection takes no more, and is killed then."""
    lost = asyncio.Event()

    async def nothing(link: Link) -> None:
        del link

    connection = Connection([server.url], nothing, patience=20, on_lost=lost.set)
    async with connection.used() as link:
        server.pause()
        with contextlib.suppress(TimeoutError, nats.errors.OutboundBufferLimitError):
            async with asyncio.timeout(1):
                while True:
                    await link.tell("somewhere", b"x" * 100_000)
    server.kill()
    async with asyncio.timeout(5):
        await lost.wait()
    await connection.close()
