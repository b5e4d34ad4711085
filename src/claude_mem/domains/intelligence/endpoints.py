"""Reading what was distilled, and asking for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.access.following import Follows
from claude_mem.domains.intelligence import service
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.endpoints import find_project
from claude_mem.domains.memory.schemas import Page, page_of, wire
from claude_mem.domains.retrieval.model import Filters
from claude_mem.domains.retrieval.model import Query as Search
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

router = APIRouter(tags=["Intelligence"])
Reader = Annotated[Scope, require("sessions:read")]
Category = Literal["pattern", "solution", "error", "config", "best_practice", "general"]


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


@router.get("/sessions/{session_id}/summary", summary="The summary of a session")
async def get_summary(request: Request, scope: Reader, session_id: str) -> dict[str, Any]:
    """As it was last made; 404 when there is none yet."""

    def work(tx: Tx) -> dict[str, Any]:
        session = memory.get_session(scope, tx, session_id)
        row = memory.summary_of(scope, tx, session["id"])
        if row is None:
            raise NotFound(f"session {session_id} has no summary: POST .../summaries makes one")
        return row | {"is_stale": service.is_stale(scope, tx, session["id"])}

    return wire(await _database(request).read(scope, work))


@router.post("/sessions/{session_id}/summaries", summary="Summarise a session now")
async def post_summary(
    request: Request, scope: Annotated[Scope, require("events:write")], session_id: str
) -> dict[str, Any]:
    """The summary, made anew if anything happened since; 404 when there is nothing to tell."""

    def work(tx: Tx) -> dict[str, Any]:
        session = memory.get_session(scope, tx, session_id)
        if service.is_stale(scope, tx, session["id"]):
            service.distil(scope, tx, request.app.state.indexing, session["id"])
        row = memory.summary_of(scope, tx, session["id"])
        if row is None:
            raise NotFound(f"session {session_id} holds nothing to summarise")
        return row

    since = now_ms()
    row = await _database(request).write(scope, work)
    await request.app.state.changed(scope, since)
    return wire(row)


@router.get("/summaries/{summary_id}/versions", summary="What a summary said before")
async def get_versions(request: Request, scope: Reader, summary_id: str) -> Page:
    """Newest first; versions that told something forgotten are gone."""

    def work(tx: Tx) -> list[dict[str, Any]]:
        memory.get_entity(scope, tx, "summary", summary_id)
        return memory.summary_versions(scope, tx, summary_id)

    rows = await _database(request).read(scope, work)
    return Page(data=[wire(row) for row in rows], next_cursor=None)


@router.get("/learnings", summary="What sessions taught, newest first")
async def get_learnings(
    request: Request,
    scope: Reader,
    follows: Follows,
    project: Annotated[str | None, Query(max_length=4096)] = None,
    category: Category | None = None,
    q: Annotated[str | None, Query(min_length=1, max_length=10_000)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Page:
    """Of one project or all; with `q` those that match, the best first and on one page."""
    after = follows.after

    def work(tx: Tx) -> list[dict[str, Any]]:
        project_id = find_project(scope, tx, project)
        if q is not None:
            return _matching(
                scope, tx, request.app.state.search, _search(q, project_id, category, limit)
            )
        return memory.learnings(
            scope, tx, project_id, category=category, after=after, limit=limit + 1
        )

    rows = await _database(request).read(scope, work)
    return page_of(rows, limit, "occurred_at", follows.seal)


def _search(text: str, project_id: str | None, category: str | None, limit: int) -> Search:
    filters = Filters(kind="learning", type=category)
    return Search(text, filters=filters, project=project_id, limit=limit)


def _matching(scope: Scope, tx: Tx, search: SearchService, query: Search) -> list[dict[str, Any]]:
    refs = [hit.ref for hit in search.find(scope, tx, query, now_ms()).hits]
    rows = memory.get_many(scope, tx, refs)
    return [rows[ref] for ref in refs if ref in rows]
