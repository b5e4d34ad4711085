"""The search index made from what is remembered: the same entries that recording made, read back from the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.model import IndexEntry
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

INDEXED_KINDS = ("prompt", "observation", "summary")


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
                yield _entry(kind, row)


def _entry(kind: str, row: dict[str, Any]) -> IndexEntry:
    metadata = row.get("metadata_json") or {}
    return IndexEntry(
        kind=kind,
        entity_id=row["id"],
        title=row["session_title"] if kind == "prompt" else row["title"],
        body=row["content"],
        project_id=row["project_id"],
        session_id=row["session_id"],
        type=row.get("observation_type") or row.get("prompt_type") or row.get("summary_type"),
        tool=row.get("source_tool"),
        role=row["role"],
        tags=tuple(row.get("tags_json") or ()),
        files=tuple(metadata.get("files") or ()),
        occurred_at=row["occurred_at"],
    )
