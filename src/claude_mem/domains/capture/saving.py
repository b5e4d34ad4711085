"""Saving on purpose: a note, decision, preference or fact that somebody wants remembered.

It takes the same path as an event: durable when `POST /memories` answers, masked like all else. What belongs to no
session goes to one of its own a project and day.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from claude_mem.domains.access import service as access
from claude_mem.domains.access.endpoints import require
from claude_mem.domains.capture.service import CaptureService
from claude_mem.domains.capture.sessions import FORGOTTEN
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.endpoints import find_project
from claude_mem.domains.memory.model import preview
from claude_mem.domains.memory.timeline import made_of
from claude_mem.kernel.clock import from_iso, now_ms, to_iso
from claude_mem.kernel.errors import Detail, Forbidden, Invalid, NotFound
from claude_mem.kernel.ids import deterministic_id, new_id
from claude_mem.kernel.redact import mask_text
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

router = APIRouter(tags=["Capture"])
AGENT = "claude-mem"  # of sessions that hold what was saved outside any other
NO_PROJECT = "notes"
_PRIVATE = "[private]"  # what masking leaves of a private part
Kind = Literal["note", "decision", "preference", "fact"]
# Said on purpose: worth more than what merely happened.
_IMPORTANCE: dict[str, float] = {"decision": 0.95, "preference": 0.95, "fact": 0.85, "note": 0.8}
_INDEXED_S, _LOOK_AGAIN_S = 1.0, 0.02
_UUID7 = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"


class NewMemoryBody(BaseModel):
    """`POST /memories`. `id` (UUIDv7) makes a repeat harmless; `session` is ours or the agent's own."""

    model_config = ConfigDict(extra="forbid")

    content: Annotated[str, Field(min_length=1, max_length=1_000_000, pattern=r"\S")]
    title: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    type: Kind = "note"
    tags: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=60)
    ] = []
    files: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(max_length=256)
    ] = []
    project: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    session: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    id: Annotated[str, Field(pattern=_UUID7)] | None = None


class Saved(BaseModel):
    """`id` is what to read or forget it by; null while it waits to be indexed (it is durable all the same)."""

    id: str | None
    kind: str
    event_id: str
    session: str
    project: str


@router.post("/memories", status_code=201, summary="Remember something on purpose")
async def post_memory(
    request: Request,
    scope: Annotated[Scope, require("events:write")],
    body: NewMemoryBody,
) -> Saved:
    """Durable when this answers, and as a rule searchable too. 403 while capture is paused or opted out of."""
    if not mask_text(body.content).replace(_PRIVATE, "").strip():
        raise _invalid("content", "all of it is marked as private, so nothing would be kept")
    database: Database = request.app.state.database
    capture: CaptureService = request.app.state.capture
    events = await database.read(scope, lambda tx: _events(scope, tx, body))
    receipt = await capture.accept(scope, events)
    if receipt.ignored:
        raise Forbidden(
            "nothing was saved: capture is paused, or this project asked not to be recorded; "
            "`claude-mem resume` ends a pause"
        )
    event = events[-1]
    return Saved(
        id=await _indexed(database, scope, event["id"]),
        kind="observation",
        event_id=event["id"],
        session=event["session"],
        project=event["project"],
    )


def _events(scope: Scope, tx: Tx, body: NewMemoryBody) -> list[dict[str, Any]]:
    """The note as an event, after the beginning of its session where it has one of its own. Raises NotFound."""
    at = to_iso(now_ms())
    note = {
        "observation_type": "info",
        "content": body.content,
        "title": body.title or preview(body.content, 120),
        "source_tool": body.type,
        "tags": list(dict.fromkeys([body.type, *body.tags])),
        "files": body.files,
        "importance": _IMPORTANCE[body.type],
        "origin": "api",
    }
    if body.session is not None:
        session = memory.get_session(scope, tx, body.session)
        place = {
            "agent": session["agent"],
            "session": session["agent_session"],
            "project": _key_of(scope, tx, session["project_id"]),
        }
        return [_event("observation.added", at, place, note, body.id)]
    key = _project_key(scope, tx, body.project)
    name = _own_session(scope, tx, at[:10], key)
    place = {"agent": AGENT, "session": name, "project": key}
    begun = {"title": f"Saved notes of {at[:10]}", "origin": "api"}
    # Always the same id: a session begins once, however many notes it gets.
    first = deterministic_id(from_iso(at[:10]), f"began\0{name}")
    return [
        _event("session.started", at, place, begun, first),
        _event("observation.added", at, place, note, body.id),
    ]


def _own_session(scope: Scope, tx: Tx, day: str, key: str) -> str:
    """A name for the session of a project's notes of a day; one that was forgotten is not taken up again."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    number = 1
    while True:
        name = f"notes-{day}-{digest}" + (f"-{number}" if number > 1 else "")
        found = memory.find_session(scope, tx, AGENT, name)
        if found is None or found.status != FORGOTTEN:
            return name
        number += 1


def _event(
    kind: str, at: str, place: dict[str, str], data: dict[str, Any], event_id: str | None
) -> dict[str, Any]:
    return {"id": event_id or new_id(), "type": kind, "occurred_at": at, **place, "data": data}


def _project_key(scope: Scope, tx: Tx, wanted: str | None) -> str:
    """What a project is known by: that of one heard of already (by id, path or name), else as it was given."""
    if wanted is None:
        return NO_PROJECT
    try:
        project_id = find_project(scope, tx, wanted)
    except NotFound:
        return wanted
    return _key_of(scope, tx, str(project_id))


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", details=(Detail(field, message),))


def _key_of(scope: Scope, tx: Tx, project_id: str) -> str:
    keys = {str(row["id"]): str(row["key"]) for row in access.projects(scope, tx)}
    return keys[project_id]


async def _indexed(database: Database, scope: Scope, event_id: str) -> str | None:
    """The id of the row an event became, waited for a moment."""
    for _ in range(int(_INDEXED_S / _LOOK_AGAIN_S)):
        found = await database.read(scope, lambda tx: made_of(scope, tx, event_id))
        if found is not None:
            return found.id
        await asyncio.sleep(_LOOK_AGAIN_S)
    return None
