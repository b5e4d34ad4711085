"""The durable ingest log: what was acknowledged but is not rows yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from claude_mem.kernel.scope import Scope

Place = tuple[
    int, str
]  # in the list of an enterprise's dead letters; what is in it is the adapter's
PAGE_BYTES: Final = 8 * 1024 * 1024  # of dead letters in one page: an event may have a megabyte


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted event: its id, and the masked event as UTF-8 JSON."""

    event_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Pending:
    """An entry waiting to become rows. `position` orders arrival and names it in `ack`."""

    position: int
    enterprise_id: str
    event_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not become rows: why, and when it was put aside (Unix ms)."""

    event_id: str
    enterprise_id: str
    reason: str
    at: int
    body: bytes
    position: int = 0  # tells it from one of the same event that was put aside later


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Dead letters, the newest first, and the place before which the others lie; None when there are none."""

    letters: list[DeadLetter]
    before: Place | None


class Inbox(Protocol):
    """Appending is durable and idempotent on the event id while an entry waits."""

    async def append(self, scope: Scope, entries: Sequence[Entry]) -> int:
        """Store all or none; returns how many were new. On return they are on disk.

        Raises Unavailable (with retry_after) at the bound, StoreFull when the disk is full.
        """
        ...

    async def take(self, limit: int) -> list[Pending]:
        """Up to `limit` of the oldest entries, in order of arrival; they stay until acknowledged."""
        ...

    async def ack(self, positions: Sequence[int]) -> None:
        """Forget entries whose rows are committed."""
        ...

    async def bury(self, pending: Pending, reason: str, at: int) -> None:
        """Move a poisoned entry to the dead letters."""
        ...

    async def dead_letters(
        self, scope: Scope, limit: int, before: Place | None = None
    ) -> LetterPage:
        """Up to `limit` of the newest dead letters of the scope's enterprise, or of those before a place.

        Fewer where they are large (`PAGE_BYTES`), or were let go meanwhile: `before` tells whether there are others. A
        place stays good whatever is let go, and comes to nothing twice of what stays.
        """
        ...

    async def dead_letter(self, scope: Scope, event_id: str) -> DeadLetter | None:
        """The dead letter of an event of the scope's enterprise."""
        ...

    def every_dead_letter(self, scope: Scope) -> AsyncIterator[DeadLetter]:
        """All dead letters of the scope's enterprise, in any order, a few at a time in memory."""
        ...

    async def return_dead_letter(self, letter: DeadLetter, body: bytes) -> None:
        """Put its event back among those that wait, as `body`, and let the letter go.

        A crash in between leaves both, never neither; what is put aside again meanwhile stays.
        """
        ...

    async def count_dead_letters(self, scope: Scope) -> int:
        """How many dead letters the scope's enterprise has."""
        ...

    async def waiting(self, scope: Scope) -> int:
        """How many entries of the scope's enterprise wait."""
        ...

    async def drop_dead_letters(self, scope: Scope, event_ids: Sequence[str]) -> int:
        """Delete dead letters of the scope's enterprise for good; returns how many there were."""
        ...

    async def pending(self) -> int:
        """How many entries wait."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return when something is appended, or after `seconds`."""
        ...

    async def maintain(self) -> None:
        """Leave nothing of what was taken out in what it keeps on disk."""
        ...

    async def close(self) -> None:
        """Release files and threads."""
        ...
