"""The search endpoint, asked by parameters or by a body: all parsing of what is asked ends here."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Query as Parameters

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.retrieval.model import Filters, Query
from claude_mem.domains.retrieval.schemas import (
    SearchBody,
    SearchParameters,
    SearchResponse,
    Terms,
    found_item,
)
from claude_mem.domains.retrieval.service import SearchService, text_of, title_of
from claude_mem.kernel.clock import parse_moment
from claude_mem.kernel.errors import Detail, Invalid
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


async def _answer(request: Request, scope: Scope, asked: SearchParameters) -> SearchResponse:
    started = time.perf_counter()
    service: SearchService = request.app.state.search
    found = await service.search(scope, _query(asked))
    return SearchResponse(
        query=asked.q,
        total_results=found.total,
        total_is_estimate=found.total_is_estimate,
        took_ms=round((time.perf_counter() - started) * 1000, 2),
        results=[found_item(hit, title_of(hit.row), text_of(hit.row)) for hit in found.hits],
        terms=Terms(used=list(found.used), dropped=list(found.dropped)),
    )


def _query(asked: SearchParameters) -> Query:
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
    )


def _moment(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        message = "not a moment: write 2026-11-20, 2026-11-20T10:00:00Z, or a span ago such as 7d"
        raise Invalid(f"{name}: {message}", details=(Detail(name, message),)) from error
