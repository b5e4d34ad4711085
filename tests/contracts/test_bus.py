"""The contract of the `Bus` port, run on every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from claude_mem.adapters.local.bus import LocalBus
from claude_mem.adapters.nats.bus import NatsBus
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Invalid
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_USER, Scope, local_scope
from claude_mem.ports.bus import Bus, LiveEvent
from nats_servers import NatsServer, nats_server

OURS = local_scope()
THEIRS = Scope(new_id(), LOCAL_USER, frozenset())
BOUND = 50
_HOSTILE = {
    "": "",
    "subject": "*.>\r\nPUB claude-mem.live.x 3\r\nabc",
    "nul\0": "\0",
    "script": "</script><script>alert(1)</script>",
    "sse": "x\n\nevent: system.alert\ndata: {}\n\n",
    "other": "发票 🦆 \ufeff\u202e",
    "nested": {"enterprise_id": THEIRS.enterprise_id, "list": [1, 2.5, None, True, ["deep"]]},
    "long": "x" * 20_000,
}


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@pytest.fixture(params=["local", "nats"])
def replicas(request: pytest.FixtureRequest) -> Callable[[], Bus]:
    """Opens another replica of one deployment, which no other test sees; in process all are the same one."""
    if request.param == "local":
        only = LocalBus(BOUND)
        return lambda: only
    server: NatsServer = request.getfixturevalue("nats")
    name = f"test-{new_id()}"
    return lambda: NatsBus([server.url], name=name, bound=BOUND, patience=10)


@pytest.fixture
async def pair(replicas: Callable[[], Bus]) -> AsyncIterator[tuple[Bus, Bus]]:
    """Two replicas."""
    made = replicas(), replicas()
    yield made
    for bus in made:
        await bus.close()


def event(number: int = 0, **data: object) -> LiveEvent:
    return LiveEvent(new_id(), "observation.added", now_ms(), {"n": number, **data})


async def heard(listener: AsyncIterator[LiveEvent], count: int) -> list[LiveEvent]:
    """The next `count` events."""
    async with asyncio.timeout(30):
        return [await anext(listener) for _ in range(count)]


async def until_ended(listener: AsyncIterator[LiveEvent]) -> int:
    """How many events came before the end."""
    async with asyncio.timeout(30):
        return len([it async for it in listener])


async def test_every_listener_on_every_replica_hears_everything_as_it_was_said(
    pair: tuple[Bus, Bus],
) -> None:
    here, there = pair
    said = [event(1), event(2, hostile=_HOSTILE), event(3)]
    async with (
        here.subscribe(OURS) as one,
        here.subscribe(OURS) as two,
        there.subscribe(OURS) as far,
    ):
        await here.publish(OURS, said[:1])
        await there.publish(OURS, said[1:])
        for listener in (one, two, far):
            found = {it.id: it for it in await heard(listener, 3)}
            assert found == {it.id: it for it in said}
    assert here.dropped == there.dropped == 0


async def test_a_listener_hears_what_is_said_while_it_listens(pair: tuple[Bus, Bus]) -> None:
    here, there = pair
    for number in range(5):
        async with there.subscribe(OURS) as listener:
            await here.publish(OURS, [event(number)])
            async with asyncio.timeout(30):
                while (await anext(listener)).data["n"] != number:
                    pass  # said between two subscriptions, and still on its way
        await here.publish(OURS, [event(-1)])


async def test_tenants_never_hear_each_other(pair: tuple[Bus, Bus]) -> None:
    here, there = pair
    async with there.subscribe(OURS) as ours, there.subscribe(THEIRS) as theirs:
        for number in range(20):
            await here.publish(OURS, [event(number, enterprise_id=THEIRS.enterprise_id)])
            await here.publish(THEIRS, [event(100 + number, hostile=_HOSTILE)])
        assert {it.data["n"] for it in await heard(ours, 20)} == set(range(20))
        assert {it.data["n"] for it in await heard(theirs, 20)} == set(range(100, 120))


@pytest.mark.parametrize(
    "name", ["*", ">", "", ".", "a b", f"{OURS.enterprise_id}.x", OURS.enterprise_id + "\r\n"]
)
async def test_an_enterprise_that_is_no_uuid_hears_nothing_and_reaches_nobody(
    pair: tuple[Bus, Bus], name: str
) -> None:
    here, there = pair
    hostile = Scope(name, LOCAL_USER, frozenset())
    with pytest.raises(Invalid):
        async with here.subscribe(hostile):
            pass
    async with there.subscribe(OURS) as listener:
        await here.publish(hostile, [event(1)])
        await here.publish(OURS, [event(2)])
        assert [it.data["n"] for it in await heard(listener, 1)] == [2]


async def test_who_is_too_slow_is_ended_and_nobody_waits_for_it(pair: tuple[Bus, Bus]) -> None:
    here, there = pair
    async with there.subscribe(OURS) as slow, there.subscribe(OURS) as quick:
        for number in range(BOUND * 2):
            await here.publish(OURS, [event(number)])
            assert [it.data["n"] for it in await heard(quick, 1)] == [number]
        assert await until_ended(slow) == 0
        await here.publish(OURS, [event(1_000)])
        assert [it.data["n"] for it in await heard(quick, 1)] == [1_000]
    async with there.subscribe(OURS) as again:
        await here.publish(OURS, [event(2_000)])
        assert [it.data["n"] for it in await heard(again, 1)] == [2_000]


async def test_who_stops_waiting_for_an_event_loses_none(pair: tuple[Bus, Bus]) -> None:
    here, there = pair
    async with there.subscribe(OURS) as listener:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(listener), 0.01)
        await here.publish(OURS, [event(1), event(2)])
        assert [it.data["n"] for it in await heard(listener, 2)] == [1, 2]


async def test_many_come_and_go_while_others_listen(pair: tuple[Bus, Bus]) -> None:
    here, there = pair

    async def come_and_go(number: int) -> None:
        for _ in range(5):
            async with there.subscribe(OURS if number % 2 else THEIRS):
                await asyncio.sleep(0)

    async with there.subscribe(OURS) as listener, AsyncExitStack() as stack:
        others = [await stack.enter_async_context(here.subscribe(OURS)) for _ in range(20)]
        await asyncio.gather(*map(come_and_go, range(20)))
        await here.publish(OURS, [event(7)])
        for each in (listener, *others):
            assert [it.data["n"] for it in await heard(each, 1)] == [7]


async def test_closing_ends_every_listener_and_later_calls_are_harmless(
    replicas: Callable[[], Bus],
) -> None:
    bus = replicas()
    async with bus.subscribe(OURS) as listener, bus.subscribe(THEIRS) as other:
        await bus.close()
        assert await until_ended(listener) == 0
        assert await until_ended(other) == 0
    await bus.publish(OURS, [event(1)])
    async with bus.subscribe(OURS) as late:
        assert await until_ended(late) == 0
    await bus.close()
