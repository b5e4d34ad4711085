"""Context on request: for a prompt, for a new session, and where a running one stands."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from claude_mem.domains.access import service as access
from claude_mem.domains.access.endpoints import require
from claude_mem.domains.context import repository
from claude_mem.domains.context.answer import HookContext
from claude_mem.domains.context.model import MAX_BUDGET, MIN_BUDGET, Ask, Context
from claude_mem.domains.context.schemas import (
    ContextBody,
    WorkingBody,
    context_body,
    working_body,
)
from claude_mem.domains.context.service import ContextService
from claude_mem.domains.memory.endpoints import find_project
from claude_mem.domains.retrieval.hybrid import EMBED_S, NO_MEANING, Meant
from claude_mem.domains.retrieval.model import MAX_QUERY_CHARS
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

router = APIRouter(tags=["Context"])


@router.get("/context", summary="What to know of a project, or for a prompt, within a budget")
async def get_context(
    request: Request,
    scope: Annotated[Scope, require("search:read")],
    project: Annotated[str, Query(min_length=1, max_length=4096, description="Id, path or name")],
    q: Annotated[
        str | None,
        Query(
            max_length=MAX_QUERY_CHARS,
            description="What is to be done; left out: the state of things",
        ),
    ] = None,
    budget: Annotated[int, Query(ge=MIN_BUDGET, le=MAX_BUDGET, description="Tokens")] = 1500,
    session: Annotated[
        str | None,
        Query(max_length=200, description="The agent's session: what it was given is left out"),
    ] = None,
) -> ContextBody:
    """Markdown with ids, never over the budget (nor 9,500 characters). Asking notes nothing as given."""
    service: ContextService = request.app.state.assembling
    database: Database = request.app.state.database

    query, now = q if q and q.strip() else None, now_ms()
    meaning: Meant = await service.meaning(query, now, EMBED_S) if query else NO_MEANING

    def work(tx: Tx) -> Context:
        project_id = find_project(scope, tx, project)
        names = {row["id"]: row["name"] for row in access.projects(scope, tx)}
        given, since = frozenset[str](), 0
        if session is not None:
            given, since = repository.given_units(scope, tx, session)
        ask = Ask(
            project_id=project_id,
            project=str(names.get(project_id, "")),
            query=query,
            budget=budget,
            session=session,
            own_since=since,
            now=now,
            meaning=meaning,
        )
        return service.assemble(scope, tx, ask, given)

    try:
        return context_body(await database.read(scope, work))
    finally:
        meaning.drop()


@router.get("/sessions/{session_id}/working", summary="Where a session stands")
async def get_working(
    request: Request, scope: Annotated[Scope, require("sessions:read")], session_id: str
) -> WorkingBody:
    """Working memory: its last twenty messages, current task, files in hand, what failed since."""
    context: HookContext = request.app.state.context
    return working_body(await context.working.get(scope, session_id))
