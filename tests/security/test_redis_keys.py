"""What lies in Redis is one tenant's, under its own name, for a time; and no key tells what somebody looked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from claude_mem.adapters.redis.cache import RedisCache
from claude_mem.adapters.redis.connection import Connection
from claude_mem.adapters.redis.limits import RedisLimiter
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_USER, Scope
from redis_servers import RedisServer, redis_server

_SECRET = "the merger with Initech"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as made:
        yield made


def keys(server: RedisServer) -> list[str]:
    return [line for line in server.say("KEYS", "*").split("\r\n") if line and line[0] not in "*$"]


async def test_every_key_says_its_deployment_and_its_tenant_and_none_says_more(
    server: RedisServer,
) -> None:
    connection = Connection(server.url, prefix="acme", patience_s=10)
    tenants = [new_id(), new_id()]
    for tenant in tenants:
        await RedisCache(connection).put(
            Scope(tenant, LOCAL_USER, frozenset()), _SECRET, b"value", 1000
        )
        await RedisLimiter(connection).hit(tenant, _SECRET, 10, 1000)
    found = keys(server)
    assert len(found) == 4
    for tenant in tenants:
        for kind in ("cache", "rate"):
            (own,) = [key for key in found if key.startswith(f"acme:{kind}:{tenant}:")]
            assert len(own.rsplit(":", 1)[1]) == 40
    assert not any(word in key for key in found for word in _SECRET.split())
    await connection.close()


async def test_everything_ends_by_itself(server: RedisServer) -> None:
    connection = Connection(server.url, patience_s=10)
    await RedisCache(connection).put(Scope(new_id(), LOCAL_USER, frozenset()), "a", b"value", 1000)
    await RedisLimiter(connection).hit(new_id(), "a", 10, 1000)
    assert len(keys(server)) == 2
    for key in keys(server):
        assert 0 < int(server.say("TTL", key).strip(":\r\n")) <= 1000
    await connection.close()


async def test_a_tenant_whose_name_ends_in_anothers_key_does_not_reach_it(
    server: RedisServer,
) -> None:
    connection = Connection(server.url, prefix="a", patience_s=10)
    cache = RedisCache(connection)
    tenant = new_id()
    await cache.put(Scope(tenant, LOCAL_USER, frozenset()), "name", b"value", 1000)
    (key,) = keys(server)
    for liar in (key, key.removeprefix("a:cache:"), f"{tenant}:", f"{tenant}\r\n", tenant.upper()):
        assert await cache.get(Scope(liar, LOCAL_USER, frozenset()), "name") is None
        await cache.drop(Scope(liar, LOCAL_USER, frozenset()), ["name", key, ""])
    assert await cache.get(Scope(tenant, LOCAL_USER, frozenset()), "name") == b"value"
    await connection.close()
