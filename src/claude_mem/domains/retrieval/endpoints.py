"""The search endpoint, asked by parameters or by a body: all parsing of what is asked ends here."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi import Query as Parameters

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.retrieval.facets import NAMES, FacetService
from claude_mem.domains.retrieval.hits import text_of, title_of
from claude_mem.domains.retrieval.model import Filters, Query, SearchResult
from claude_mem.domains.retrieval.schemas import (
    FacetValue,
    SearchBody,
    SearchParameters,
    SearchResponse,
    Terms,
    facet_values,
    found_item,
)
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.kernel.clock import parse_moment
from claude_mem.kernel.errors import Detail, Invalid, Unavailable
from claude_mem.kernel.scope import Scope

router = APIRouter(tags=["Search"])
Searcher = Annotated[Scope, require("search:read")]


@router.get("/search", summary="Find what was done")
async def get_search(
    request: Request, scope: Searcher, asked: Annotated[SearchParameters, Parameters()]
) -> SearchResponse:
    """Ranked; any word may match. What a person types is never an error, only a longer or shorter
    list.
    """
    return await _answer(request, scope, asked)


@router.post("/search", summary="Find what was done, by a query too long for an address")
async def post_search(request: Request, scope: Searcher, asked: SearchBody) -> SearchResponse:
    """The same search; the parameters are the fields of the body."""
    return await _answer(request, scope, asked)


@router.post("/search/semantic", summary="Find what means the same, whatever its words")
async def post_semantic(request: Request, scope: Searcher, asked: SearchBody) -> SearchResponse:
    """By meaning alone, the nearest first; `fusion` and `facets` are of no account. 503 while there is no model."""
    started = time.perf_counter()
    service: SearchService = request.app.state.search
    if not service.understanding.is_there:
        raise Unavailable("nothing makes vectors here: set embedding_provider", retry_after=60)
    query = replace(query_of(asked), fusion="meaning")
    found = await service.search(scope, query, moment_of(asked))
    if found.degraded:
        raise Unavailable(found.degraded, retry_after=10)
    return response_of(asked, found, started)


async def _answer(request: Request, scope: Scope, asked: SearchParameters) -> SearchResponse:
    started = time.perf_counter()
    service: SearchService = request.app.state.search
    query = query_of(asked)
    found = await service.search(scope, query, moment_of(asked))
    told = await _facets(request, scope, query, asked)
    answer = response_of(asked, found, started)
    if told is None:
        return answer
    return answer.model_copy(update={"facets": told[0], "facets_are_of": told[1]})


def response_of(asked: SearchParameters, found: SearchResult, started: float) -> SearchResponse:
    """What was found, as JSON; `started` is of `time.perf_counter`."""
    return SearchResponse(
        query=asked.q,
        total_results=found.total,
        total_is_estimate=found.total_is_estimate,
        took_ms=round((time.perf_counter() - started) * 1000, 2),
        results=[found_item(hit, title_of(hit.row), text_of(hit.row)) for hit in found.hits],
        terms=Terms(used=list(found.used), dropped=list(found.dropped)),
        degraded=found.degraded or found.not_reranked or None,
    )


async def _facets(
    request: Request, scope: Scope, query: Query, asked: SearchParameters
) -> tuple[dict[str, list[FacetValue]], Literal["all", "candidates"]] | None:
    if not asked.facets:
        return None
    names = NAMES if "all" in asked.facets else asked.facets
    service: FacetService = request.app.state.facets
    found = await service.count(scope, query, names, moment_of(asked))
    values = {
        name: facet_values(pairs, found.projects if name == "project" else {})
        for name, pairs in found.values.items()
    }
    return values, "all" if found.is_all else "candidates"


def query_of(asked: SearchParameters) -> Query:
    """What was asked, as values. Raises Invalid for what is no moment."""
    filters = Filters(
        kind=asked.type or ("observation" if asked.observation_type else None),
        type=asked.observation_type,
        tool=asked.tool,
        role=asked.role,
        tag=asked.tag,
        file=asked.file,
        since=_moment("since", asked.since),
        until=_moment("until", asked.until),
    )
    return Query(
        text=asked.q,
        filters=filters,
        project=asked.project,
        session=asked.session,
        limit=asked.limit,
        offset=asked.offset,
        fusion=asked.fusion,
    )


def moment_of(asked: SearchParameters) -> int | None:
    """What "now" is to the question, Unix ms; None where it does not say. Raises Invalid."""
    return _moment("now", asked.now)


def _moment(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        message = "not a moment: write 2026-11-20, 2026-11-20T10:00:00Z, or a span ago such as 7d"
        raise Invalid(f"{name}: {message}", details=(Detail(name, message),)) from error
