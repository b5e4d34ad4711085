"""The search endpoint: all parsing of parameters ends here."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi import Query as Parameter

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.retrieval.model import MAX_QUERY_CHARS, Filters, Query
from claude_mem.domains.retrieval.schemas import SearchResponse, Terms, found_item
from claude_mem.domains.retrieval.service import SearchService, text_of, title_of
from claude_mem.kernel.clock import parse_moment
from claude_mem.kernel.errors import Detail, Invalid
from claude_mem.kernel.scope import Scope

router = APIRouter(tags=["Search"])
Searcher = Annotated[Scope, require("search:read")]
Kind = Literal["prompt", "observation", "summary", "learning", "code_change", "session"]
ObservationType = Literal["tool_result", "error", "warning", "info"]
Name = Annotated[str | None, Parameter(min_length=1, max_length=200)]
Path = Annotated[str | None, Parameter(min_length=1, max_length=4096)]
Moment = Annotated[
    str | None, Parameter(max_length=40, description="ISO 8601, or a span ago such as 7d or 12h")
]


@router.get("/search", summary="Find what was done")
async def get_search(
    request: Request,
    scope: Searcher,
    q: Annotated[
        str,
        Parameter(
            min_length=1,
            max_length=MAX_QUERY_CHARS,
            description='Words, "phrases", prefix*, -exclusions, in any script',
        ),
    ],
    project: Path = None,
    role: Name = None,
    type: Annotated[  # noqa: A002 - the parameter's name on the wire
        Kind | None, Parameter(description="Kind of result")
    ] = None,
    observation_type: ObservationType | None = None,
    tool: Name = None,
    tag: Name = None,
    file: Path = None,
    session: Name = None,
    since: Moment = None,
    until: Moment = None,
    limit: Annotated[int, Parameter(ge=1, le=100)] = 20,
    offset: Annotated[int, Parameter(ge=0, le=1_000)] = 0,
) -> SearchResponse:
    """Ranked; any word may match. What a person types is never an error, only a longer or shorter
    list.
    """
    started = time.perf_counter()
    service: SearchService = request.app.state.search
    filters = Filters(
        kind=type or ("observation" if observation_type else None),
        type=observation_type,
        tool=tool,
        role=role,
        tag=tag,
        file=file,
        since=_moment("since", since),
        until=_moment("until", until),
    )
    query = Query(
        text=q, filters=filters, project=project, session=session, limit=limit, offset=offset
    )
    found = await service.search(scope, query)
    return SearchResponse(
        query=q,
        total_results=found.total,
        total_is_estimate=found.total_is_estimate,
        took_ms=round((time.perf_counter() - started) * 1000, 2),
        results=[found_item(hit, title_of(hit.row), text_of(hit.row)) for hit in found.hits],
        terms=Terms(used=list(found.used), dropped=list(found.dropped)),
    )


def _moment(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        message = "not a moment: write 2026-11-20, 2026-11-20T10:00:00Z, or a span ago such as 7d"
        raise Invalid(f"{name}: {message}", details=(Detail(name, message),)) from error
