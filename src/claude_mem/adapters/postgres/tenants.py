"""The `Tenants` port on PostgreSQL: by one function that passes row-level security, and tells ids only."""

from __future__ import annotations

from claude_mem.kernel.scope import NOBODY, operator_scope
from claude_mem.ports.database import Database, Tx

_IDS = "SELECT t.id::text FROM public.tenant_ids(%s::uuid, %s::integer) AS t (id) ORDER BY t.id"


class PostgresTenants:
    """Implements `ports.tenants.Tenants`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ids(self, after: str | None, limit: int) -> list[str]:
        """See the port."""

        def work(tx: Tx) -> list[str]:
            rows = tx.exec_driver_sql(_IDS, (after or NOBODY, limit))
            return [str(row[0]) for row in rows]

        return await self._database.read(operator_scope(), work)
