"""Similar cases: what was learned, decided and done before when there was a problem like this one.

Owns which cases there are and what is told with them; how like they are is the search's to say, so that a better search
is a better answer here. Never tells what the search would not show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.cases import SOURCES, Case, case_of
from claude_mem.domains.retrieval.hits import text_of, title_of
from claude_mem.domains.retrieval.model import Filters, Hit, Query
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

# What is known of some cases besides their rows, by reference: how often they were used; later, votes.
Feedback = Callable[[Scope, Tx, Sequence[EntityRef]], Mapping[EntityRef, Mapping[str, Any]]]
_LIKE_CHARS: Final = 2_000  # of an entity that others are to be like


def uses(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> Mapping[EntityRef, Mapping[str, Any]]:
    """How often each was shown to a model or opened by a person."""
    return {ref: {"used": count} for ref, count in memory.uses(scope, tx, refs).items()}


@dataclass(frozen=True, slots=True)
class Cases:
    """The best first; `degraded` says why nothing was looked for by its meaning, empty where it was."""

    best: list[Case]
    degraded: str = ""


class SimilarService:
    """Cases of the scope's enterprise. `feedback`: where what is known of them comes from, the later wins."""

    def __init__(
        self, database: Database, search: SearchService, feedback: Sequence[Feedback] = (uses,)
    ) -> None:
        self._database = database
        self._search = search
        self._feedback = feedback

    async def like_text(
        self,
        scope: Scope,
        text: str,
        *,
        project: str | None = None,
        names: Sequence[str] = tuple(SOURCES),
        limit: int = 10,
    ) -> Cases:
        """Cases like a problem, the best first."""
        return await self._find(scope, text, None, project, names, limit)

    async def like_entity(
        self,
        scope: Scope,
        ref: EntityRef,
        *,
        context: str = "",
        project: str | None = None,
        names: Sequence[str] = tuple(SOURCES),
        limit: int = 10,
    ) -> Cases:
        """Cases like something that is remembered, which is not one of them. Raises NotFound."""
        row = await self._database.read(
            scope, lambda tx: memory.get_entity(scope, tx, ref.kind, ref.id)
        )
        text = f"{title_of(row)}\n{text_of(row)[:_LIKE_CHARS]}\n{context}"
        itself = EntityRef(ref.kind, row["id"])
        return await self._find(scope, text, itself, project, names, limit)

    async def _find(
        self,
        scope: Scope,
        text: str,
        itself: EntityRef | None,
        project: str | None,
        names: Sequence[str],
        limit: int,
    ) -> Cases:
        wanted = list(dict.fromkeys(names))
        found = await asyncio.gather(
            *[
                self._search.search(scope, _query(text, SOURCES[name], project, limit + 1))
                for name in wanted
            ]
        )
        hits = [
            (name, hit)
            for name, result in zip(wanted, found, strict=True)
            for hit in result.hits
            if hit.ref != itself
        ]
        told = await self._database.read(
            scope, lambda tx: self._known(scope, tx, [hit.ref for _, hit in hits])
        )
        cases = [case_of(name, hit, told.get(hit.ref, {})) for name, hit in hits]
        cases.sort(key=lambda case: (-case.score, _moment(case.hit)))
        degraded = next((result.degraded for result in found if result.degraded), "")
        return Cases(cases[:limit], degraded)

    def _known(
        self, scope: Scope, tx: Tx, refs: Sequence[EntityRef]
    ) -> dict[EntityRef, dict[str, Any]]:
        found: dict[EntityRef, dict[str, Any]] = {}
        for feedback in self._feedback:
            for ref, said in feedback(scope, tx, refs).items():
                found.setdefault(ref, {}).update(said)
        return found


def _query(text: str, filters: Filters, project: str | None, limit: int) -> Query:
    return Query(text=text, filters=filters, project=project, limit=limit)


def _moment(hit: Hit) -> int:
    """The newer first among equals."""
    return -int(hit.row.get("occurred_at") or hit.row.get("created_at") or 0)
