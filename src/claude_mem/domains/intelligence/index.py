"""What the search index holds of a remembered row, whatever its kind. Pure."""

from __future__ import annotations

from typing import Any

from claude_mem.domains.retrieval.model import IndexEntry

Row = dict[str, Any]
_TYPES = ("observation_type", "prompt_type", "summary_type", "category")


def entry(kind: str, row: Row) -> IndexEntry:
    """The entry of a row that came with its session's project, role and title."""
    metadata = row.get("metadata_json") or {}
    return IndexEntry(
        kind=kind,
        entity_id=row["id"],
        title=row["session_title"] if kind == "prompt" else row["title"],
        body=row["description"] if kind == "learning" else row["content"],
        project_id=row["project_id"],
        session_id=row["session_id"],
        type=next((row[name] for name in _TYPES if row.get(name)), None),
        tool=row.get("source_tool"),
        role=row["role"],
        tags=tuple(row.get("tags_json") or ()),
        files=tuple(metadata.get("files") or ()),
        occurred_at=row["occurred_at"],
        speaker=metadata.get("speaker"),
        place=row.get("sequence_num"),
        before=row.get("before") or "",
        importance=0.5 if row.get("importance_score") is None else row["importance_score"],
    )
