"""What becomes of live events when the broker is killed, stalls, is not there, or tells what is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from nats.aio.client import Client

from claude_mem.adapters.nats.bus import NatsBus
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.bus import LiveEvent
from nats_servers import NatsServer, nats_server

SCOPE = local_scope()
_KILLS = 3


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with nats_server() as made:
        yield made


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[NatsBus]:
    made = NatsBus([server.url], patience=5)
    yield made
    await made.close()


def event(number: int = 0) -> LiveEvent:
    return LiveEvent(new_id(), "observation.added", now_ms(), {"n": number})


async def until_ended(listener: AsyncIterator[LiveEvent]) -> None:
    async with asyncio.timeout(60):
        async for _ in listener:
            pass


async def told_again(speaker: NatsBus, listener_of: NatsBus) -> None:
    """Return when what one says the other hears, subscribing anew whenever it is told to."""

    async def talk() -> None:
        while True:
            await speaker.publish(SCOPE, [event()])
            await asyncio.sleep(0.02)

    talking = asyncio.create_task(talk())
    try:
        async with asyncio.timeout(60):
            while not await _hears_one(listener_of):
                pass
    finally:
        talking.cancel()


async def _hears_one(bus: NatsBus) -> bool:
    async with bus.subscribe(SCOPE) as listener:
        return await anext(listener, None) is not None


async def test_listeners_are_ended_by_each_kill_and_hear_again_afterwards(
    server: NatsServer, bus: NatsBus
) -> None:
    other = NatsBus([server.url], patience=5)
    await told_again(other, bus)
    for _ in range(_KILLS):
        async with bus.subscribe(SCOPE) as one, bus.subscribe(SCOPE) as two:
            server.kill()
            await asyncio.to_thread(server.start)
            await until_ended(one)  # nobody does anything: it comes back by itself
            await until_ended(two)
        await told_again(other, bus)
    await other.close()


async def test_without_a_broker_nobody_waits_and_everything_is_counted(
    server: NatsServer, bus: NatsBus
) -> None:
    server.kill()
    async with asyncio.timeout(30):
        for _ in range(25):
            await bus.publish(SCOPE, [event(), event()])
        while bus.dropped < 50:  # noqa: ASYNC110 - a counter, looked at from outside
            await asyncio.sleep(0.01)
    assert bus.dropped == 50


async def test_who_came_while_the_broker_was_away_is_told_to_come_again(
    server: NatsServer, bus: NatsBus
) -> None:
    server.kill()
    async with bus.subscribe(SCOPE) as listener:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(listener), 0.05)
        await asyncio.to_thread(server.start)
        await until_ended(listener)
    await told_again(bus, bus)


async def test_a_broker_that_stalls_holds_up_nobody(server: NatsServer) -> None:
    bus = NatsBus([server.url], patience=0.5)
    await told_again(bus, bus)
    async with bus.subscribe(SCOPE) as listener:
        server.pause()
        async with asyncio.timeout(30):
            for number in range(20_000):  # more than may wait to be sent
                await bus.publish(SCOPE, [event(number)])
            async with bus.subscribe(SCOPE) as late:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(late), 0.05)
        assert bus.dropped > 0
        server.resume()
        await until_ended(listener)
    await told_again(bus, bus)
    server.pause()
    await asyncio.wait_for(bus.close(), 30)
    server.resume()


async def test_messages_that_are_none_of_ours_are_passed_over(
    server: NatsServer, bus: NatsBus
) -> None:
    stranger = Client()
    await stranger.connect(server.url)
    sound = f'{{"id":"{new_id()}","type":"x","at":1,"data":{{"n":1}}}}'
    async with bus.subscribe(SCOPE) as listener:
        for body in (
            b"",
            b"\xff\xfe",
            b"[]",
            b"1",
            b"null",
            b'{"id":1,"type":"x","at":1,"data":{}}',
            sound.replace('"at":1', '"at":true').encode(),
            sound.replace('"at":1', '"at":"1"').encode(),
            sound.replace('{"n":1}', "[]").encode(),
            sound.replace('"x"', "null").encode(),
            b'{"id":"../../x","type":"x","at":1,"data":{}}',
            sound.encode(),
        ):
            await stranger.publish(f"claude-mem.live.{SCOPE.enterprise_id}", body)
        async with asyncio.timeout(30):
            assert (await anext(listener)).data == {"n": 1}
    await stranger.close()


async def test_what_cannot_be_sent_is_counted_and_hinders_nothing(bus: NatsBus) -> None:
    now = now_ms()
    async with bus.subscribe(SCOPE) as listener:
        await bus.publish(
            SCOPE,
            [
                LiveEvent(new_id(), "x", now, {"half": "\ud800"}),
                LiveEvent(new_id(), "x", now, {"huge": "x" * 2_000_000}),
                event(3),
            ],
        )
        async with asyncio.timeout(30):
            assert (await anext(listener)).data == {"n": 3}
    assert bus.dropped == 2
