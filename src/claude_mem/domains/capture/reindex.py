"""The search index made from what is remembered: the same entries that recording made, read back from the rows."""

from __future__ import annotations

from collections.abc import Iterator

from claude_mem.domains.intelligence.index import entry
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.model import IndexEntry
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

INDEXED_KINDS = ("prompt", "observation", "summary", "learning")


def entries(
    scope: Scope,
    tx: Tx,
    *,
    session_id: str | None = None,
    kinds: tuple[str, ...] = INDEXED_KINDS,
) -> Iterator[IndexEntry]:
    """Every entry of the enterprise (or of one session), in bounded pieces."""
    for kind in kinds:
        after: str | None = None
        while rows := memory.session_rows(scope, tx, kind, after, session_id):
            after = rows[-1]["id"]
            for row in rows:
                yield entry(kind, row)


def page(scope: Scope, tx: Tx, kind: str, after: str | None) -> tuple[list[IndexEntry], str | None]:
    """The next entries of a kind, and where to go on; None when there are no more."""
    rows = memory.session_rows(scope, tx, kind, after, None)
    return [entry(kind, row) for row in rows], rows[-1]["id"] if rows else None
