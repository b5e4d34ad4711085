"""Search results on the wire."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from claude_mem.domains.memory.model import preview
from claude_mem.domains.retrieval.model import Hit
from claude_mem.kernel.clock import to_iso


class Reason(BaseModel):
    """A word of the query that matched, and its share of the relevance."""

    term: str
    share: float


class Terms(BaseModel):
    """What was looked for, and what was left out: stop-words and what went over the bounds."""

    used: list[str]
    dropped: list[str]


class FoundItem(BaseModel):
    """A result. `highlights` are safe HTML whose only tag is `<mark>`; `why` explains the score.

    `subtype` is the kind's own: user, assistant or system of a prompt, error or tool_result of an observation.
    """

    id: str
    type: str
    subtype: str | None
    title: str
    content_preview: str
    relevance_score: float
    source_session: str | None
    project: str | None
    role: str | None
    tool: str | None
    occurred_at: str | None
    event_id: str | None
    matched_fields: list[str]
    highlights: list[str]
    why: list[Reason]


class SearchResponse(BaseModel):
    """`total_results` is exact, or a number reached at least when `total_is_estimate`."""

    query: str
    total_results: int
    total_is_estimate: bool
    took_ms: float
    results: list[FoundItem]
    terms: Terms


def found_item(hit: Hit, title: str, text: str) -> FoundItem:
    """A hit as JSON."""
    row: dict[str, Any] = dict(hit.row)
    moment = row.get("occurred_at") or row.get("created_at") or row.get("started_at")
    return FoundItem(
        id=hit.ref.id,
        type=hit.ref.kind,
        subtype=row.get("prompt_type") or row.get("observation_type"),
        title=title,
        content_preview=preview(text),
        relevance_score=round(hit.relevance, 4),
        source_session=row.get("session_id"),
        project=hit.project,
        role=row.get("role"),
        tool=row.get("source_tool"),
        occurred_at=None if moment is None else to_iso(moment),
        event_id=row.get("event_id"),
        matched_fields=list(hit.matched_fields),
        highlights=list(hit.highlights),
        why=[Reason(term=word, share=round(share, 4)) for word, share in hit.shares],
    )
