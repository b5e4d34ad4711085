"""The `Tenants` port on SQLite."""

from __future__ import annotations

from claude_mem.kernel.scope import operator_scope
from claude_mem.ports.database import Database, Tx

_IDS = "SELECT id FROM enterprises WHERE id > ? ORDER BY id LIMIT ?"


class SqliteTenants:
    """Implements `ports.tenants.Tenants`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ids(self, after: str | None, limit: int) -> list[str]:
        """See the port."""

        def work(tx: Tx) -> list[str]:
            return [str(row[0]) for row in tx.exec_driver_sql(_IDS, (after or "", limit))]

        return await self._database.read(operator_scope(), work)
