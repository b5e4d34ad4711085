"""The contract of the `Limiter` port, run on every implementation, and on every Redis that is here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from claude_mem.adapters.local.limits import LocalLimiter
from claude_mem.adapters.redis.connection import Connection
from claude_mem.adapters.redis.limits import RedisLimiter
from claude_mem.kernel.ids import new_id
from claude_mem.ports.limits import Allowance, Limiter
from redis_servers import RedisServer, binaries, redis_server, until

T0 = 1_790_000_000_000


class Clock:
    """A moment in ms that stands until it is moved."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> int:
        return self.now


@pytest.fixture(scope="module", params=["local", *binaries()], ids=lambda it: str(it)[-30:])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer | None]:
    if request.param == "local":
        yield None
        return
    with redis_server(request.param) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def limiter(server: RedisServer | None, clock: Clock) -> AsyncIterator[Limiter]:
    made: Limiter = LocalLimiter(clock)
    if server is not None:
        made = RedisLimiter(Connection(server.url, patience_s=10), clock)
    yield made
    await made.close()


async def test_a_limit_can_be_spent_at_once_and_then_runs_full_again_evenly(
    limiter: Limiter, clock: Clock
) -> None:
    owner = new_id()
    first = [await limiter.hit(owner, "key", 3, 60) for _ in range(3)]
    assert first == [
        Allowance(True, 3, 2, 20),
        Allowance(True, 3, 1, 40),
        Allowance(True, 3, 0, 60),
    ]
    refused = Allowance(False, 3, 0, 60, retry_s=20)
    assert await limiter.hit(owner, "key", 3, 60) == refused
    assert await limiter.hit(owner, "key", 3, 60) == refused, "a refused hit spends nothing"
    clock.now += 19_999
    assert not (await limiter.hit(owner, "key", 3, 60)).is_allowed
    clock.now += 1
    assert await limiter.hit(owner, "key", 3, 60) == Allowance(True, 3, 0, 60)
    clock.now += 60_000
    assert await limiter.hit(owner, "key", 3, 60) == Allowance(True, 3, 2, 20)


async def test_what_costs_more_than_is_left_is_refused_whole(limiter: Limiter) -> None:
    owner = new_id()
    assert (await limiter.hit(owner, "key", 10, 10, cost=8)).remaining == 2
    assert await limiter.hit(owner, "key", 10, 10, cost=4) == Allowance(False, 10, 2, 8, retry_s=2)
    assert (await limiter.hit(owner, "key", 10, 10, cost=2)).is_allowed


async def test_a_cost_above_the_limit_needs_all_of_it(limiter: Limiter, clock: Clock) -> None:
    owner = new_id()
    assert await limiter.hit(owner, "key", 10, 10, cost=500) == Allowance(True, 10, 0, 10)
    clock.now += 9_999
    assert not (await limiter.hit(owner, "key", 10, 10, cost=500)).is_allowed
    clock.now += 1
    assert (await limiter.hit(owner, "key", 10, 10, cost=500)).is_allowed


async def test_a_hit_that_costs_nothing_only_tells(limiter: Limiter) -> None:
    owner = new_id()
    await limiter.hit(owner, "key", 10, 10)
    assert await limiter.hit(owner, "key", 10, 10, cost=0) == Allowance(True, 10, 9, 1)
    assert await limiter.hit(owner, "key", 10, 10, cost=-3) == Allowance(True, 10, 9, 1)


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_of_none_allows_nothing(limiter: Limiter, limit: int) -> None:
    answer = await limiter.hit(new_id(), "key", limit, 60)
    assert (answer.is_allowed, answer.limit, answer.remaining) == (False, 0, 0)
    assert answer.retry_s > 0


async def test_a_changed_limit_holds_at_once(limiter: Limiter) -> None:
    owner = new_id()
    for _ in range(5):
        await limiter.hit(owner, "key", 10, 60)
    assert not (await limiter.hit(owner, "key", 5, 60)).is_allowed
    assert (await limiter.hit(owner, "key", 20, 60)).remaining == 14


async def test_a_clock_that_goes_back_gives_nothing_away_and_keeps_nobody_out_for_long(
    limiter: Limiter, clock: Clock
) -> None:
    owner = new_id()
    await limiter.hit(owner, "key", 2, 10)
    clock.now -= 3_600_000
    assert (await limiter.hit(owner, "key", 2, 10)).remaining == 0
    assert not (await limiter.hit(owner, "key", 2, 10)).is_allowed
    clock.now += 10_000
    assert (await limiter.hit(owner, "key", 2, 10)).remaining == 1


async def test_numbers_beyond_counting_are_brought_within(limiter: Limiter) -> None:
    assert (await limiter.hit(new_id(), "key", 10**30, 86_400, cost=10**29)).is_allowed


@pytest.mark.parametrize("one", ["", "a", "a:b", ":", "a\x00", "\ud800", "a\r\nFLUSHALL\r\n"])
async def test_owners_and_names_do_not_meet(limiter: Limiter, one: str) -> None:
    mark = new_id()
    for owner, name in ((mark, one), (mark + one, ""), (mark + ":", one), (one + mark, one)):
        if (owner, name) == (mark, ""):
            continue
        assert (await limiter.hit(owner, name + "x", 1, 1000)).is_allowed
        assert not (await limiter.hit(owner, name + "x", 1, 1000)).is_allowed


async def test_those_who_come_at_once_cannot_spend_the_same_rest(limiter: Limiter) -> None:
    owner = new_id()
    answers = await asyncio.gather(*(limiter.hit(owner, "key", 50, 3600) for _ in range(200)))
    assert sum(answer.is_allowed for answer in answers) == 50


async def test_a_closed_limiter_allows_and_raises_nothing(limiter: Limiter) -> None:
    owner = new_id()
    assert (await limiter.hit(owner, "key", 1, 1000)).is_allowed
    await limiter.close()
    await limiter.close()
    assert await limiter.hit(owner, "key", 1, 1000) == Allowance(True, 1, 1, 0)


async def test_both_meters_answer_the_same(limiter: Limiter, clock: Clock) -> None:
    twin = LocalLimiter(clock)
    chance = random.Random(11)
    owners = [new_id() for _ in range(3)]
    seen: set[bool] = set()
    for _ in range(600):
        clock.now += chance.choice((0, 0, 1, 7, 250, 3_000, 120_000, -40))
        # Buckets that take long to run out: a key's end goes by the server's clock, whatever ours says.
        limit, window = chance.choice(
            ((1, 900), (7, 900), (7, 3_600), (60, 86_400), (1_000, 86_400))
        )
        asked = (
            chance.choice(owners),
            str(window),
            limit,
            window,
            chance.choice((0, 1, 1, 2, 500, 10**7)),
        )
        answer = await limiter.hit(*asked)
        assert answer == await twin.hit(*asked), asked
        seen.add(answer.is_allowed)
    assert seen == {True, False}


async def test_replicas_count_together_by_the_servers_clock() -> None:
    with redis_server() as server:
        replicas = [RedisLimiter(Connection(server.url, patience_s=10)) for _ in range(2)]
        owner = new_id()
        answers = [await replicas[n % 2].hit(owner, "key", 6, 86_400) for n in range(8)]
        assert [answer.is_allowed for answer in answers] == [True] * 6 + [False] * 2
        assert answers[0].remaining == 5
        assert 0 < answers[-1].retry_s <= 86_400 / 6
        for replica in replicas:
            await replica.close()


async def test_a_bucket_that_has_run_out_takes_no_room() -> None:
    with redis_server() as server:
        limiter = RedisLimiter(Connection(server.url, patience_s=10))
        await limiter.hit(new_id(), "key", 1000, 1)  # empty after a millisecond
        await limiter.hit(new_id(), "key", 1, 1000)

        async def is_one() -> bool:
            return server.say("DBSIZE") == ":1\r\n"

        await until(is_one)
        await limiter.close()
