"""Reading what is remembered, and taking it out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from claude_mem.domains.access import service as access
from claude_mem.domains.access.endpoints import require
from claude_mem.domains.access.following import Follows
from claude_mem.domains.memory import service
from claude_mem.domains.memory.schemas import Page, page_of, wire
from claude_mem.kernel.clock import parse_moment
from claude_mem.kernel.errors import Detail, Invalid, NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

router = APIRouter(tags=["Memory"])
Reader = Annotated[Scope, require("sessions:read")]
Limit = Annotated[int, Query(ge=1, le=200)]
_NAMED = 20  # projects in an error


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


@router.get("/projects", summary="Every project")
async def get_projects(request: Request, scope: Reader) -> Page:
    """Projects by name."""
    rows = await _database(request).read(scope, lambda tx: access.projects(scope, tx))
    return Page(data=[wire(row) for row in rows], next_cursor=None)


@router.get("/sessions", summary="Sessions, latest activity first")
async def get_sessions(
    request: Request,
    scope: Reader,
    follows: Follows,
    project: Annotated[str | None, Query(max_length=4096)] = None,
    limit: Limit = 20,
) -> Page:
    """One page; pass `next_cursor` on for the next."""
    after = follows.after

    def work(tx: Tx) -> list[dict[str, Any]]:
        project_id = find_project(scope, tx, project)
        return service.list_sessions(scope, tx, project_id=project_id, after=after, limit=limit + 1)

    rows = await _database(request).read(scope, work)
    return page_of(rows, limit, "last_activity_at", follows.seal)


@router.get("/sessions/{session_id}", summary="One session")
async def get_session(request: Request, scope: Reader, session_id: str) -> dict[str, Any]:
    """By our id or by the agent's own session id."""
    row = await _database(request).read(
        scope, lambda tx: service.get_session(scope, tx, session_id)
    )
    return wire(row)


Part = Literal["prompts", "observations", "changes", "summaries"]
_PART_TABLES = {
    "prompts": "prompts",
    "observations": "observations",
    "changes": "code_changes",
    "summaries": "summaries",
}


@router.get("/sessions/{session_id}/{part}", summary="What a session holds, as it happened")
async def get_part(
    request: Request,
    scope: Reader,
    session_id: str,
    part: Part,
    follows: Follows,
    limit: Limit = 50,
) -> Page:
    """Prompts, observations, code changes or summaries in order of (`occurred_at`, `id`)."""
    after = follows.after

    def work(tx: Tx) -> list[dict[str, Any]]:
        session = service.get_session(scope, tx, session_id)
        table = _PART_TABLES[part]
        return service.list_of_session(
            scope, tx, table, session["id"], after=after, limit=limit + 1
        )

    rows = await _database(request).read(scope, work)
    return page_of(rows, limit, "occurred_at", follows.seal)


@router.get("/prompts/{entity_id}", summary="One prompt")
async def get_prompt(request: Request, scope: Reader, entity_id: str) -> dict[str, Any]:
    """With its session and project."""
    return await _entity(request, scope, "prompt", entity_id)


@router.get("/observations/{entity_id}", summary="One observation")
async def get_observation(request: Request, scope: Reader, entity_id: str) -> dict[str, Any]:
    """With its session and project."""
    return await _entity(request, scope, "observation", entity_id)


@router.get("/export", summary="Everything, as JSON lines")
async def export(
    request: Request,
    scope: Annotated[Scope, require("export:read")],
    since: Annotated[str | None, Query(max_length=64)] = None,
    project: Annotated[str | None, Query(max_length=4096)] = None,
) -> StreamingResponse:
    """One object a line: `{"kind": ..., ...the row}`. Constant memory, whatever the size."""
    moment = _moment(since)
    database = _database(request)
    project_id = await database.read(scope, lambda tx: find_project(scope, tx, project))

    async def lines() -> AsyncIterator[bytes]:
        for table in service.exported_tables():
            kind = "summary" if table == "summaries" else table.removesuffix("s")
            after: str | None = None
            while rows := await database.read(
                scope, _next_rows(scope, table, after, moment, project_id)
            ):
                after = rows[-1]["id"]
                yield b"".join(
                    orjson.dumps({"kind": kind, **wire(row)}, option=orjson.OPT_APPEND_NEWLINE)
                    for row in rows
                )

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def _next_rows(
    scope: Scope, table: str, after: str | None, since: int | None, project_id: str | None
) -> Callable[[Tx], list[dict[str, Any]]]:
    return lambda tx: service.export_page(
        scope, tx, table, after=after, since=since, project_id=project_id
    )


async def _entity(request: Request, scope: Scope, kind: str, entity_id: str) -> dict[str, Any]:
    row = await _database(request).read(
        scope, lambda tx: service.get_entity(scope, tx, kind, entity_id)
    )
    return wire(row)


def find_project(scope: Scope, tx: Tx, wanted: str | None) -> str | None:
    """The project a person means by id, path or name. Raises NotFound, or Invalid where several share the name."""
    if wanted is None:
        return None
    found = access.match_projects(scope, tx, wanted)
    if not found:
        message = f"no project {wanted}: {_known_projects(scope, tx)}"
        raise NotFound(message, details=(Detail("project", message),))
    if len(found) > 1:
        message = f"{len(found)} projects are called {wanted}: give the id or the path"
        raise Invalid(f"project: {message}", details=(Detail("project", message),))
    return found[0]


def _known_projects(scope: Scope, tx: Tx) -> str:
    """What a person could have meant."""
    names = list(dict.fromkeys(str(row["name"]) for row in access.projects(scope, tx)))
    if not names:
        return "nothing is remembered of any project yet"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"known are {', '.join(names[:_NAMED])}{more}"


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        message = "expected ISO 8601 or a span such as 7d"
        raise Invalid(f"since: {message}", details=(Detail("since", message),)) from error
