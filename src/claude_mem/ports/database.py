"""The database: transactions around plain functions.

A unit of work is a function of the open transaction. The engine decides where it runs (SQLite: the one writer thread,
or one of a few readers) and when it is committed; the function never commits. What it raises rolls back its own work
only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from claude_mem.kernel.scope import Scope

T = TypeVar("T")

# The engine's connection inside a transaction. Only repositories and adapters look inside; everyone else hands it on.
Tx: TypeAlias = Any


class Database(Protocol):
    """One database, already migrated."""

    async def read(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        """Run `work` on a consistent snapshot; writing in it is an error."""
        ...

    async def write(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction; returns after it is durable (on disk).

        Raises StoreFull when the disk is; whatever `work` raises otherwise. Nothing of a failed `work` stays.
        """
        ...

    async def close(self) -> None:
        """Finish what was handed in, then release files and threads."""
        ...
