"""What becomes of requests when Redis is killed, stalls, refuses, or was never there: nothing that they notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from claude_mem.adapters.local.limits import LocalLimiter
from claude_mem.adapters.redis.cache import RedisCache
from claude_mem.adapters.redis.connection import Connection
from claude_mem.adapters.redis.limits import RedisLimiter
from claude_mem.kernel.errors import MemError
from claude_mem.kernel.scope import local_scope
from redis_servers import RedisServer, redis_server, until

SCOPE = local_scope()
_STALL_S = 2
_CALLERS = 40


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as made:
        yield made


@pytest.fixture
async def connection(server: RedisServer) -> AsyncIterator[Connection]:
    made = Connection(server.url, pause_s=0.2, patience_s=_STALL_S)  # no slow machine takes so long
    yield made
    await made.close()


async def until_mended(connection: Connection) -> None:
    async def is_mended() -> bool:
        return connection.degraded is None

    await until(is_mended)


async def until_asked(connection: Connection) -> None:
    """A first command may meet a slow machine: whatever becomes of it, this one is answered."""

    async def is_answered() -> bool:
        return await connection.ask("PING") is not None

    await until(is_answered)


async def test_a_killed_server_costs_one_command_and_comes_back_empty(
    server: RedisServer, connection: Connection
) -> None:
    cache, limiter = RedisCache(connection), RedisLimiter(connection, meanwhile=LocalLimiter())
    await until_asked(connection)
    await cache.put(SCOPE, "name", b"value", 1000)
    assert (await limiter.hit("me", "key", 2, 1000)).remaining == 1
    before = connection.tally.failed

    server.kill()
    allowed = 0
    for _ in range(100):
        assert await cache.get(SCOPE, "name") is None
        await cache.put(SCOPE, "name", b"other", 1000)
        await cache.drop(SCOPE, ["name"])
        allowed += (await limiter.hit("me", "key", 2, 1000)).is_allowed
    assert allowed == 2, "this process counts by itself, from nothing"
    assert connection.tally.failed == before + 1, "only the first command was sent"
    assert connection.tally.skipped == 399
    assert connection.health()["status"] == "degraded"
    assert "away" in str(connection.degraded)

    await asyncio.to_thread(server.start)
    await until_mended(connection)
    assert connection.health()["status"] == "healthy"
    assert await cache.get(SCOPE, "name") is None
    await cache.put(SCOPE, "name", b"new", 1000)
    assert await cache.get(SCOPE, "name") == b"new"
    # Its scripts are gone too.
    assert [(await limiter.hit("me", "key", 2, 1000)).is_allowed for _ in range(3)] == [
        True,
        True,
        False,
    ]


async def test_a_stalled_server_holds_up_those_who_wait_once_and_nobody_after_them(
    server: RedisServer, connection: Connection
) -> None:
    await until_asked(connection)
    cache = RedisCache(connection)
    names = [str(number) for number in range(_CALLERS)]
    for name in names:
        await cache.put(SCOPE, name, name.encode(), 1000)
    before = connection.tally.failed, connection.tally.skipped

    server.pause()
    try:
        assert (
            await asyncio.gather(*(cache.get(SCOPE, name) for name in names)) == [None] * _CALLERS
        )
        sent = connection.tally.failed - before[0]
        assert 1 <= sent <= _CALLERS
        for name in names * 5:
            assert await cache.get(SCOPE, name) is None
        assert connection.tally.failed - before[0] == sent, "nobody after them waited"
        assert connection.tally.skipped - before[1] >= 5 * _CALLERS
        assert connection.degraded is not None
    finally:
        server.resume()

    await until_mended(connection)
    # What was asked before the stall was answered meanwhile, to nobody: no answer meets another question.
    for name in names * 3:
        assert await cache.get(SCOPE, name) == name.encode()


async def test_answers_are_right_or_none_through_kills_and_stalls(server: RedisServer) -> None:
    connection = Connection(server.url, pause_s=0.2)
    cache = RedisCache(connection)
    ending = False
    right = 0

    async def use(number: int) -> None:
        nonlocal right
        turn = 0
        while not ending:
            turn += 1
            value = f"{number} {turn}".encode()
            await cache.put(SCOPE, str(number), value, 1000)
            found = await cache.get(SCOPE, str(number))
            if found is not None:
                # A put that was lost leaves an earlier value of the same name, never another's.
                assert found.split()[0] == str(number).encode()
                right += 1
            await asyncio.sleep(0.001)

    async def more() -> None:
        goal = right + 200
        async with asyncio.timeout(60):
            while right < goal:
                await asyncio.sleep(0.01)
                for task in users:
                    assert not task.done(), task.exception()

    users = [asyncio.create_task(use(number)) for number in range(8)]
    for _ in range(3):
        await more()
        server.kill()
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start)
        await more()
        server.pause()
        await asyncio.sleep(0.4)
        server.resume()
    await more()
    ending = True
    await asyncio.gather(*users)
    assert connection.tally.failed >= 3
    await until_mended(connection)
    await connection.close()


async def test_callers_that_are_cancelled_use_nothing_up(server: RedisServer) -> None:
    """A caller that goes away in the middle of a command takes neither a connection nor an answer with it."""
    connection = Connection(server.url, connections=2, pause_s=0.1, patience_s=5)
    cache = RedisCache(connection)
    await until_asked(connection)
    await cache.put(SCOPE, "name", b"value", 1000)
    for turn in range(60):
        callers = [asyncio.create_task(cache.get(SCOPE, "name")) for _ in range(6)]
        for _ in range(turn % 12):
            await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        for caller in callers:
            with suppress(asyncio.CancelledError):
                await caller
    await until_mended(connection)
    assert [await cache.get(SCOPE, "name") for _ in range(4)] == [b"value"] * 4
    await connection.close()


async def test_a_full_server_is_told_and_what_is_there_is_still_read(
    server: RedisServer, connection: Connection
) -> None:
    cache = RedisCache(connection)
    await until_asked(connection)
    await cache.put(SCOPE, "name", b"value", 1000)
    server.say("CONFIG", "SET", "maxmemory", "1")
    for _ in range(3):
        await cache.put(SCOPE, "other", b"value", 1000)
    assert connection.tally.failed == 3
    assert "Redis refuses SET" in str(connection.degraded)
    assert await cache.get(SCOPE, "name") == b"value"
    assert connection.degraded is not None, "a read that succeeds says nothing of writes"
    server.say("CONFIG", "SET", "maxmemory", "0")
    await cache.put(SCOPE, "other", b"value", 1000)
    assert connection.degraded is None


async def test_a_wrong_password_is_told_and_never_shown(server: RedisServer) -> None:
    wrong = f"redis://:not-the-secret@127.0.0.1:{server.port}/0"
    connection = Connection(wrong, pause_s=0.1)
    assert await RedisCache(connection).get(SCOPE, "name") is None
    assert connection.health()["status"] == "degraded"
    assert "not-the-secret" not in str(connection.health())
    server.say("CONFIG", "SET", "requirepass", "not-the-secret")
    await until_mended(connection)
    await connection.close()


async def test_a_server_that_was_never_there_is_found_when_it_comes(server: RedisServer) -> None:
    server.kill()
    connection = Connection(server.url, pause_s=0.1, patience_s=_STALL_S)
    cache = RedisCache(connection)
    await cache.put(SCOPE, "name", b"value", 1000)
    assert connection.tally.failed == 1
    await asyncio.to_thread(server.start)
    await until_mended(connection)
    await cache.put(SCOPE, "name", b"value", 1000)
    assert await cache.get(SCOPE, "name") == b"value"
    await connection.close()


async def test_closing_ends_the_looking_out(server: RedisServer) -> None:
    connection = Connection(server.url, pause_s=0.1)
    server.kill()
    assert await connection.ask("PING") is None
    looking = [task for task in asyncio.all_tasks() if "_mend" in repr(task)]
    assert len(looking) == 1
    await connection.close()
    await connection.close()
    assert looking[0].done()
    assert await connection.ask("PING") is None


async def test_a_fault_of_the_clients_own_reaches_nobody(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until_asked(connection)

    def broken(*_: object) -> object:
        raise AttributeError("'NoneType' object has no attribute 'write'")

    with monkeypatch.context() as patch:
        patch.setattr("redis.asyncio.Redis.execute_command", broken)
        assert await RedisCache(connection).get(SCOPE, "name") is None
        assert (await RedisLimiter(connection).hit("me", "key", 1, 60)).is_allowed
        await asyncio.sleep(0.2)
        assert "NoneType" in str(connection.degraded)
    await until_mended(connection)


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("http://127.0.0.1", "a"),
        ("127.0.0.1:6379", "a"),
        ("redis://:secret@127.0.0.1:port/0", "a"),
        ("redis://127.0.0.1", ""),
        ("redis://127.0.0.1", "a:b"),
        ("redis://127.0.0.1", "a\n"),
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_it(url: str, prefix: str) -> None:
    with pytest.raises(MemError) as refusal:
        Connection(url, prefix=prefix)
    assert "secret" not in str(refusal.value)
