"""The contract of the `Cache` port, run on every implementation, and on every Redis that is here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from claude_mem.adapters.local.cache import LocalCache
from claude_mem.adapters.redis.cache import RedisCache
from claude_mem.adapters.redis.connection import Connection
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_USER, Scope
from claude_mem.ports.cache import Cache
from redis_servers import RedisServer, binaries, redis_server, until

# What a name may be, and an enterprise of a caller that lies: each once, and all of them different.
HOSTILE = [
    "",
    "a",
    "a:b",
    ":a",
    "a:",
    "a\nb",
    "a\r\nFLUSHALL\r\n",
    "a\x00b",
    "a b",
    "*",
    "{a}",
    "\ud800",
    "\u4f60\u597d",
    "x" * 100_000,
    "x" * 100_001,
]


def scope(enterprise: str) -> Scope:
    return Scope(enterprise, LOCAL_USER, frozenset())


@pytest.fixture(scope="module", params=["local", *binaries()], ids=lambda it: str(it)[-30:])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer | None]:
    if request.param == "local":
        yield None
        return
    with redis_server(request.param) as made:
        yield made


@pytest.fixture
async def cache(server: RedisServer | None) -> AsyncIterator[Cache]:
    made: Cache
    if server is None:
        made = LocalCache(bound=1 << 30)
    else:
        server.say("FLUSHALL")
        made = RedisCache(Connection(server.url, patience_s=10))
    yield made
    await made.close()


async def test_a_value_is_given_back_byte_for_byte_until_it_is_dropped(cache: Cache) -> None:
    mine = scope(new_id())
    values = {"empty": b"", "text": b"words", "bytes": bytes(range(256)), "long": b"x" * 1_000_000}
    for name, value in values.items():
        await cache.put(mine, name, value, 100)
    assert {name: await cache.get(mine, name) for name in values} == values
    await cache.drop(mine, ["text", "bytes", "never there"])
    assert await cache.get(mine, "text") is None
    assert await cache.get(mine, "bytes") is None
    assert await cache.get(mine, "empty") == b""
    await cache.drop(mine, [])


async def test_a_later_value_takes_the_place_of_an_earlier_one(cache: Cache) -> None:
    mine = scope(new_id())
    await cache.put(mine, "name", b"one", 100)
    await cache.put(mine, "name", b"two", 100)
    assert await cache.get(mine, "name") == b"two"


@pytest.mark.parametrize(("value", "ttl_s"), [(b"two", 0), (b"two", -5), (b"x" * 2_000_000, 100)])
async def test_what_is_not_kept_leaves_no_earlier_value_behind(
    cache: Cache, value: bytes, ttl_s: int
) -> None:
    mine = scope(new_id())
    await cache.put(mine, "name", b"one", 100)
    await cache.put(mine, "name", value, ttl_s)
    assert await cache.get(mine, "name") is None


async def test_a_value_ends_with_its_time(cache: Cache) -> None:
    mine = scope(new_id())
    await cache.put(mine, "short", b"value", 1)
    await cache.put(mine, "long", b"value", 1000)

    async def has_ended() -> bool:
        return await cache.get(mine, "short") is None

    await until(has_ended)
    assert await cache.get(mine, "long") == b"value"


async def test_no_two_names_and_no_two_enterprises_meet(cache: Cache) -> None:
    places = [(owner, name) for owner in HOSTILE for name in HOSTILE]
    for number, (owner, name) in enumerate(places):
        await cache.put(scope(owner), name, str(number).encode(), 100)
    found = [await cache.get(scope(owner), name) for owner, name in places]
    assert found == [str(number).encode() for number in range(len(places))]
    await cache.drop(scope(HOSTILE[3]), HOSTILE)
    left = [place for place in places if await cache.get(scope(place[0]), place[1]) is not None]
    assert left == [place for place in places if place[0] != HOSTILE[3]]


async def test_a_closed_cache_is_empty_and_raises_nothing(cache: Cache) -> None:
    mine = scope(new_id())
    await cache.put(mine, "name", b"value", 100)
    await cache.close()
    await cache.close()
    await cache.put(mine, "name", b"value", 100)
    assert await cache.get(mine, "name") is None
    await cache.drop(mine, ["name"])


async def test_deployments_that_share_a_server_do_not_meet() -> None:
    with redis_server() as server:
        one, two = (RedisCache(Connection(server.url, prefix=it, patience_s=10)) for it in "ab")
        mine = scope(new_id())
        await one.put(mine, "name", b"value", 100)
        assert await two.get(mine, "name") is None
        assert await one.get(mine, "name") == b"value"
        await one.close()
        await two.close()


async def test_the_local_cache_is_bounded_and_lets_the_least_used_go_first() -> None:
    clock = [0.0]
    cache = LocalCache(bound=10_000, clock=lambda: clock[0])
    mine = scope(new_id())
    for number in range(3):
        await cache.put(mine, str(number), b"x" * 2_500, 100)
    assert await cache.get(mine, "0") is not None  # used last now
    await cache.put(mine, "3", b"x" * 2_500, 100)
    kept = [number for number in range(4) if await cache.get(mine, str(number)) is not None]
    assert kept == [0, 2, 3]
    clock[0] = 100.0
    assert [await cache.get(mine, str(number)) for number in kept] == [None, None, None]
    for number in range(3):  # what has ended takes no room
        await cache.put(mine, f"new {number}", b"x" * 2_500, 100)
    assert all([await cache.get(mine, f"new {number}") for number in range(3)])
