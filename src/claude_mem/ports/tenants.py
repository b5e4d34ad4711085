"""Which enterprises there are: for what the installation does for each of them in turn."""

from __future__ import annotations

from typing import Protocol


class Tenants(Protocol):
    """Ids and nothing else: whatever is done for an enterprise is done in its own scope."""

    async def ids(self, after: str | None, limit: int) -> list[str]:
        """The next ids in their order, up to `limit` (1 to 1000); an empty list ends it."""
        ...
