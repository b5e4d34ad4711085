"""The endpoint that completes what is being typed."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.retrieval.model import MAX_QUERY_CHARS
from claude_mem.domains.retrieval.schemas import Path, SuggestedItem, SuggestResponse
from claude_mem.domains.retrieval.suggesting import SuggestService
from claude_mem.kernel.scope import Scope

router = APIRouter(tags=["Search"])


@router.get("/search/suggest", summary="Complete what is being typed")
async def get_suggestions(
    request: Request,
    scope: Annotated[Scope, require("search:read")],
    q: Annotated[
        str, Query(max_length=MAX_QUERY_CHARS, description="What has been typed so far")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
    project: Annotated[Path, Query()] = None,
) -> SuggestResponse:
    """Words, identifiers, files, tags, tools and titles of what is remembered, those first that begin so. The last word
    is completed, from two letters on, or one character of a script without spaces. No text is an error.
    """
    started = time.perf_counter()
    service: SuggestService = request.app.state.suggest
    found = await service.suggest(scope, q, project=project, limit=limit)
    return SuggestResponse(
        query=q,
        took_ms=round((time.perf_counter() - started) * 1000, 2),
        suggestions=[
            SuggestedItem(text=it.text, kind=it.kind, match=it.match, seen=it.seen) for it in found
        ],
    )
