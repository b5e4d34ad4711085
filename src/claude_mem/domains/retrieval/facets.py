"""Facets: how what matches a query spreads over projects, tools, tags, files, days.

Counted over at most `MOST` of the documents that match, the most promising first, so that the cost does not grow with
how many there are; the answer says which of both it is. Owns no order of results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import repository
from claude_mem.domains.retrieval.model import DescribedDocument, Filters, Query
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.domains.retrieval.translating import joined
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.lexical import LexicalIndex

NAMES: Final = (
    "project",
    "role",
    "type",
    "observation_type",
    "tool",
    "tag",
    "file",
    "day",
    "month",
)
MOST: Final = 500
VALUES: Final = (
    20  # of a facet that are told; of days and months the newest, else the most frequent
)
_IN_ROWS = frozenset({"tag", "file"})
_DAY_MS = 86_400_000

Pairs = Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Facets:
    """`values`: of each facet that was asked for, (value, documents). `counted` documents were looked at.

    `is_all`: those are all that match; else there are more, and the counts are shares of what was looked at.
    Projects are ids; `projects` are their names.
    """

    values: Mapping[str, Pairs]
    counted: int
    is_all: bool
    projects: Mapping[str, str]


class FacetService:
    """Counts for the scope's enterprise."""

    def __init__(self, database: Database, lexical: LexicalIndex, search: SearchService) -> None:
        self._database = database
        self._lexical = lexical
        self._search = search

    async def count(
        self, scope: Scope, query: Query, names: Collection[str], now: int | None = None
    ) -> Facets:
        """Facets by name (of `NAMES`) of what the query matches; its page does not matter."""
        moment = now_ms() if now is None else now
        return await self._database.read(
            scope, lambda tx: self._count(scope, tx, query, names, moment)
        )

    def _count(
        self, scope: Scope, tx: Tx, query: Query, names: Collection[str], now: int
    ) -> Facets:
        planned = self._search.plans(scope, tx, query, now)
        if planned is None:
            return Facets(dict.fromkeys(names, ()), 0, is_all=True, projects={})
        plans, filters = planned
        candidates = joined(
            *(self._lexical.candidates(scope, tx, replace(plan, limit=MOST)) for plan in plans)
        )
        found = repository.describe(scope, tx, candidates.numbers[:MOST])
        documents = [it for it in found if _in_time(it, filters)]
        marks: Mapping[EntityRef, memory.Row] = {}
        if _IN_ROWS & set(names):
            marks = memory.marks(scope, tx, [it.ref for it in documents])
        values = {name: _counted(name, documents, marks) for name in names}
        known: dict[str, str] = {}
        if "project" in values:
            known = {row["id"]: row["name"] for row in access.projects(scope, tx)}
        is_all = not candidates.total_is_estimate and candidates.total <= len(candidates.numbers)
        return Facets(values, len(documents), is_all, known)


def _in_time(document: DescribedDocument, filters: Filters) -> bool:
    since, until = filters.since, filters.until
    at = document.occurred_at
    return (since is None or at >= since) and (until is None or at <= until)


def _counted(
    name: str, documents: Sequence[DescribedDocument], marks: Mapping[EntityRef, memory.Row]
) -> Pairs:
    if name in ("day", "month"):
        return _by_time(name, documents)
    counts: Counter[str] = Counter()
    if name in _IN_ROWS:
        for document in documents:
            counts.update({str(it) for it in marks.get(document.ref, {}).get(f"{name}s", ()) if it})
    else:
        counts.update(filter(None, map(_VALUES[name], documents)))
    return sorted(counts.items(), key=lambda it: (-it[1], it[0]))[:VALUES]


def _by_time(name: str, documents: Sequence[DescribedDocument]) -> Pairs:
    """Days or months of UTC, newest first."""
    days = Counter([document.occurred_at // _DAY_MS for document in documents])
    counts: Counter[str] = Counter()
    for day, count in days.items():
        counts[to_iso(day * _DAY_MS)[: 10 if name == "day" else 7]] += count
    return sorted(counts.items(), reverse=True)[:VALUES]


_VALUES: Final[Mapping[str, Callable[[DescribedDocument], str | None]]] = {
    "project": lambda it: it.project_id,
    "role": lambda it: it.role,
    "type": lambda it: it.kind,
    "observation_type": lambda it: it.type if it.kind == "observation" else None,
    "tool": lambda it: it.tool,
}
