"""`GET /timeline` and `POST /memories/get`: the steps between a search and the whole text."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.memory import timeline
from claude_mem.domains.memory.model import preview
from claude_mem.domains.memory.schemas import wire
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Detail, Invalid, Unavailable
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

router = APIRouter(tags=["Memory"])
Reader = Annotated[Scope, require("sessions:read")]
Id = Annotated[str, Query(min_length=1, max_length=200)]
Span = Annotated[int, Query(ge=0, le=100)]
_LINE = 200


class Entry(BaseModel):
    """One thing that happened: a line of it, and how many characters the whole has."""

    id: str
    kind: str
    subtype: str | None
    occurred_at: str
    title: str
    preview: str
    chars: int


class TimelineAnswer(BaseModel):
    """A stretch of a session; `earlier` and `later` say whether it goes on beyond."""

    session: dict[str, Any]
    anchor: str | None
    entries: list[Entry]
    earlier: bool
    later: bool


class WantedBody(BaseModel):
    """Ids of any kind."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]],
        Field(min_length=1, max_length=100),
    ]
    note_use: bool = True  # what is read in full counts as used: it is worth more next time


class Memories(BaseModel):
    """Rows in the order they were asked for, each with its `kind`; `missing` are ids of nothing."""

    data: list[dict[str, Any]]
    missing: list[str]


@router.get("/timeline", summary="What happened around a memory, or in a session")
async def get_timeline(
    request: Request,
    scope: Reader,
    around: Id | None = None,
    session: Id | None = None,
    before: Span = 5,
    after: Span = 5,
) -> TimelineAnswer:
    """Prompts, observations and summaries in the order they happened; `around` is an id of any kind."""
    if (around is None) == (session is None):
        message = "give one of around (an id) and session"
        raise Invalid(f"around: {message}", details=(Detail("around", message),))
    database: Database = request.app.state.database

    def work(tx: Tx) -> timeline.Timeline:
        if around is not None:
            return timeline.around(scope, tx, around, before, after)
        return timeline.of_session(scope, tx, str(session), after)

    found = await database.read(scope, work)
    return TimelineAnswer(
        session=wire(found.session),
        anchor=None if found.anchor is None else found.anchor.id,
        entries=[_entry(row) for row in found.entries],
        earlier=found.earlier,
        later=found.later,
    )


@router.post("/memories/get", summary="Memories of any kind, by their ids")
async def post_get(request: Request, scope: Reader, body: WantedBody) -> Memories:
    """Whole rows; an id of nothing is no error, but listed."""
    database: Database = request.app.state.database

    def work(tx: Tx) -> dict[str, tuple[str, dict[str, Any]]]:
        return timeline.read_in_full(scope, tx, body.ids, now_ms())

    found = None
    if body.note_use:
        with suppress(Unavailable):  # a full disk hinders no reading
            found = await database.write(scope, work)
    if found is None:
        found = await database.read(scope, lambda tx: timeline.find_any(scope, tx, body.ids))
    ids = list(dict.fromkeys(body.ids))
    return Memories(
        data=[{"kind": found[it][0], **wire(found[it][1])} for it in ids if it in found],
        missing=[it for it in ids if it not in found],
    )


def _entry(row: dict[str, Any]) -> Entry:
    shown = wire({name: value for name, value in row.items() if name != "text"})
    return Entry(**shown, preview=preview(row["text"], _LINE))
