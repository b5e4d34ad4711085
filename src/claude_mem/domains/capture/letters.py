"""Dead letters: events that could not become rows, looked at, mended and handed in again.

Must never lose one: it is put back into the ingest log before it is taken out of the dead letters, under its own id, so
that a crash in between makes no second one of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.access.following import Follows
from claude_mem.domains.capture.schemas import check_events
from claude_mem.domains.capture.service import BY, CaptureService
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.errors import Detail, Invalid, NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.inbox import DeadLetter, Inbox

router = APIRouter(prefix="/admin/dead-letters", tags=["Administration"])
Admin = Annotated[Scope, require("admin:write")]
EventId = Annotated[str, Path(max_length=64)]
_AT_ONCE: Final = 200
_ALL: Final = 10_000  # in one request


class Letter(BaseModel):
    """An event that could not become rows; `event` is as it was accepted, masked (null where it is no JSON)."""

    event_id: str
    reason: str
    at: str
    event: dict[str, Any] | None


class Letters(BaseModel):
    """The newest first; `more`: there are others, and `next_cursor` goes on with them.

    Fewer than asked for where events are large: some eight megabytes are told at once.
    """

    letters: list[Letter]
    more: bool
    next_cursor: str | None


class ReplayBody(BaseModel):
    """What to hand in instead of the event as it is: a whole, mended event with the same id."""

    model_config = ConfigDict(extra="forbid")
    event: Annotated[dict[str, Any] | None, Field()] = None


class Replayed(BaseModel):
    """How many were handed in again. Whether they become rows now shows in a moment: those that do not come back."""

    replayed: int


class ReplayedAll(Replayed):
    """`next_cursor` is for those that are still to be handed in; null: they all were."""

    next_cursor: str | None


class Dropped(BaseModel):
    """How many are gone for good."""

    dropped: int


@router.get("", summary="Events that could not become rows, and why")
async def get_letters(
    request: Request,
    scope: Admin,
    follows: Follows,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Letters:
    """What they hold is masked like everything that was accepted. A cursor stays good while letters go and come."""
    page = await _inbox(request).dead_letters(scope, limit, follows.after)
    cursor = None if page.before is None else follows.seal([*page.before])
    letters = [_shown(letter) for letter in page.letters]
    return Letters(letters=letters, more=cursor is not None, next_cursor=cursor)


@router.get("/{event_id}", summary="One event that could not become rows")
async def get_letter(request: Request, scope: Admin, event_id: EventId) -> Letter:
    """By the id of the event."""
    return _shown(await _letter(request, scope, event_id))


@router.post("/replay", summary="Hand all of them in again")
async def replay_all(request: Request, scope: Admin, follows: Follows) -> ReplayedAll:
    """For when what kept them out has been mended. Ten thousand in a request: go on with `next_cursor`.

    What comes back meanwhile is not handed in a second time by going on.
    """
    place, count = follows.after, 0
    while count < _ALL:
        page = await _inbox(request).dead_letters(scope, min(_AT_ONCE, _ALL - count), place)
        for letter in page.letters:
            await _capture(request).replay(scope, letter, None)
        place, count = page.before, count + len(page.letters)
        if place is None:
            return ReplayedAll(replayed=count, next_cursor=None)
    return ReplayedAll(replayed=count, next_cursor=follows.seal([*place]) if place else None)


@router.post("/{event_id}/replay", summary="Hand one in again, mended if need be")
async def replay_one(
    request: Request, scope: Admin, event_id: EventId, body: ReplayBody | None = None
) -> Replayed:
    """A mended event is validated and masked like a new one; it keeps its id."""
    letter = await _letter(request, scope, event_id)
    mended = body.event if body is not None else None
    if mended is not None:
        _check_mended(mended, event_id)
    await _capture(request).replay(scope, letter, mended)
    return Replayed(replayed=1)


@router.delete("/{event_id}", summary="Give one up for good")
async def drop_letter(request: Request, scope: Admin, event_id: EventId) -> Dropped:
    """What it held is lost."""
    dropped = await _inbox(request).drop_dead_letters(scope, [event_id])
    if not dropped:
        raise NotFound(f"no dead letter {event_id}")
    return Dropped(dropped=dropped)


async def _letter(request: Request, scope: Scope, event_id: str) -> DeadLetter:
    letter = await _inbox(request).dead_letter(scope, event_id)
    if letter is None:
        raise NotFound(f"no dead letter {event_id}")
    return letter


def _check_mended(event: dict[str, Any], event_id: str) -> None:
    """Raises Invalid, naming fields as of the event itself."""
    try:
        check_events([event])
    except Invalid as error:
        details = tuple(
            Detail(it.field.replace("events[0]", "event"), it.message) for it in error.details
        )
        raise Invalid(error.message.replace("events[0]", "event"), details=details) from None
    if event["id"] != event_id:
        message = f"a mended event keeps its id: {event_id}"
        raise Invalid(f"event.id: {message}", details=(Detail("event.id", message),))


def _shown(letter: DeadLetter) -> Letter:
    try:
        event = orjson.loads(letter.body)
    except orjson.JSONDecodeError:
        event = None
    if isinstance(event, dict):
        event.pop(BY, None)  # no part of an event as it is handed in
    shown = event if isinstance(event, dict) else None
    return Letter(event_id=letter.event_id, reason=letter.reason, at=to_iso(letter.at), event=shown)


def _inbox(request: Request) -> Inbox:
    inbox: Inbox = request.app.state.inbox
    return inbox


def _capture(request: Request) -> CaptureService:
    service: CaptureService = request.app.state.capture
    return service
