"""The endpoint that finds cases like a problem."""

from __future__ import annotations

import time
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.cases import SOURCES, Case
from claude_mem.domains.retrieval.hits import text_of, title_of
from claude_mem.domains.retrieval.model import MAX_QUERY_CHARS
from claude_mem.domains.retrieval.schemas import FoundItem, Kind, Path, found_item
from claude_mem.domains.retrieval.similar import SimilarService
from claude_mem.kernel.scope import Scope

router = APIRouter(tags=["Search"])
CaseName = Literal["learning", "decision", "session"]
Text = Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARS)]


class SimilarBody(BaseModel):
    """A problem in words, or something that is remembered (`type` and `id`) which cases are to be like."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[Text | None, Field(description="The problem, as long as it takes")] = None
    type: Annotated[Kind | None, Field(description="With `id`: what it is")] = None
    id: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    context: Annotated[Text | None, Field(description="What matters besides")] = None
    project: Path = None
    cases: Annotated[list[CaseName], Field(max_length=10)] = []
    limit: Annotated[int, Field(ge=1, le=50)] = 10

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.id is None) or (self.id is None) != (self.type is None):
            raise ValueError("give `text`, or `type` and `id`")
        return self


class CaseFeedback(BaseModel):
    """What was seen of a case's worth; null where nothing is known. `sessions`: in how many it was learned."""

    used: int = 0
    confidence: float | None = None
    is_verified: bool | None = None
    sessions: int | None = None
    support: float | None = None


class CaseItem(BaseModel):
    """A case. `outcome`: solved, decided, known, done or open; `score` orders cases: likeness and what speaks for it.

    `problem` and `resolution` are an error and what ended it, `lessons` a session's failures, decisions and what it
    left open. `found` is the result as a search shows it, with why it matches.
    """

    case: CaseName
    score: float
    outcome: str
    problem: str | None
    resolution: str | None
    lessons: dict[str, list[str]]
    feedback: CaseFeedback
    found: FoundItem


class SimilarResponse(BaseModel):
    """Cases, the best first. `degraded` says why nothing was looked for by its meaning; null where it was."""

    took_ms: float
    results: list[CaseItem]
    degraded: str | None = None


@router.post("/search/similar", summary="Find cases like a problem")
async def post_similar(
    request: Request, scope: Annotated[Scope, require("search:read")], asked: SimilarBody
) -> SimilarResponse:
    """What was learned, decided and done before, with how it came out and what was seen of it since."""
    started = time.perf_counter()
    service: SimilarService = request.app.state.similar
    names = asked.cases or tuple(SOURCES)
    context = asked.context or ""
    if asked.type is not None and asked.id is not None:
        cases = await service.like_entity(
            scope,
            EntityRef(asked.type, asked.id),
            context=context,
            project=asked.project,
            names=names,
            limit=asked.limit,
        )
    else:
        text = f"{asked.text}\n{context}" if context else str(asked.text)
        cases = await service.like_text(
            scope, text, project=asked.project, names=names, limit=asked.limit
        )
    return SimilarResponse(
        took_ms=round((time.perf_counter() - started) * 1000, 2),
        results=list(map(_item, cases.best)),
        degraded=cases.degraded or None,
    )


def _item(case: Case) -> CaseItem:
    row = case.hit.row
    return CaseItem.model_validate(
        {
            "case": case.name,
            "score": round(case.score, 4),
            "outcome": case.outcome,
            "problem": case.problem,
            "resolution": case.resolution,
            "lessons": {name: list(texts) for name, texts in case.lessons.items()},
            "feedback": dict(case.feedback),
            "found": found_item(case.hit, title_of(row), text_of(row)),
        }
    )
