"""The `Cache` port on Redis."""

from __future__ import annotations

from collections.abc import Sequence

from claude_mem.adapters.redis.connection import Connection
from claude_mem.kernel.scope import Scope

_LARGEST = 1 << 20  # bytes of a value


class RedisCache:
    """Implements `ports.cache.Cache`. Every value has an end, so that a server may be told to evict as it likes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, scope: Scope, name: str) -> bytes | None:
        """See the port."""
        found: bytes | None = await self._connection.ask("GET", self._key(scope, name))
        return found

    async def put(self, scope: Scope, name: str, value: bytes, ttl_s: int) -> None:
        """See the port."""
        key = self._key(scope, name)
        if ttl_s <= 0 or len(value) > _LARGEST:
            await self._connection.ask("UNLINK", key)
        else:
            await self._connection.ask("SET", key, value, "EX", ttl_s)

    async def drop(self, scope: Scope, names: Sequence[str]) -> None:
        """See the port."""
        if names:
            await self._connection.ask("UNLINK", *(self._key(scope, name) for name in names))

    async def close(self) -> None:
        """See the port. The connection is closed for whoever else uses it, too."""
        await self._connection.close()

    def _key(self, scope: Scope, name: str) -> bytes:
        return self._connection.key("cache", scope.enterprise_id, name)
