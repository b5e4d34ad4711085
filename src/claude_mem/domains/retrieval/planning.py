"""The plan of a search: what is asked of the index for a parsed query. Pure."""

from __future__ import annotations

from typing import Final

from claude_mem.domains.retrieval import labels
from claude_mem.domains.retrieval.model import Collection, Filters, Query
from claude_mem.domains.retrieval.query import ParsedQuery
from claude_mem.ports.lexical import LexicalPlan

# How many documents are scored: enough that a page is never cut short by the engine's first guess.
CANDIDATES: Final = 150
CANDIDATES_IN_HASTE: Final = 64
MAX_CANDIDATES: Final = 2_000
_SPARE, _SPARE_IN_HASTE = 60, 40


def plan_of(
    parsed: ParsedQuery, filters: Filters, collection: Collection, query: Query, now: int
) -> LexicalPlan:
    """For a page of a query of one enterprise; `now` (Unix ms) bounds an open end of time."""
    beginnings = [f"{prefix.text}*" for prefix in parsed.prefixes]
    stems = [stem for prefix in parsed.prefixes for stem in prefix.also]
    excluded_beginnings = tuple((f"{prefix}*",) for prefix in parsed.excluded_prefixes)
    fewest, spare = (
        (CANDIDATES_IN_HASTE, _SPARE_IN_HASTE) if query.in_haste else (CANDIDATES, _SPARE)
    )
    return LexicalPlan(
        words=tuple(dict.fromkeys((*parsed.terms, *beginnings, *stems))),
        phrases=parsed.phrases,
        excluded=(*parsed.excluded, *excluded_beginnings),
        labels=labels.of_filters(filters, now),
        documents=collection.documents,
        first=collection.first,
        last=collection.last,
        shared=collection.shared,
        limit=min(max(query.offset + query.limit + spare, fewest), MAX_CANDIDATES),
    )
