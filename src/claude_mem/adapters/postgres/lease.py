"""A lease in the database: which one of all replicas does the scheduled work. Its clock is the database's."""

from __future__ import annotations

from typing import Final

from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import nobody
from claude_mem.ports.database import Database

LEASE_S: Final = 12  # so long after its holder's last word another replica has it
RENEW_S: Final = 4.0


class Lease:
    """One named lease, held for this process as long as `take` goes on being called every `RENEW_S`."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._holder = new_id()

    async def take(self) -> bool:
        """Whether this process holds it for the next `LEASE_S` seconds. Raises Unavailable."""
        return await self._ask(LEASE_S)

    async def give_back(self) -> None:
        """Let another replica have it at once, if it is ours."""
        await self._ask(0)

    async def _ask(self, seconds: int) -> bool:
        question = "SELECT take_lease(%s, %s::uuid, %s)"
        values = (self._name, self._holder, seconds)
        return await self._database.write(
            nobody(), lambda tx: bool(tx.exec_driver_sql(question, values).scalar())
        )
