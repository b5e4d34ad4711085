"""The ways in: wire events, hook payloads, and A 10.1's two single-item forms of the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.capture import door, forget
from claude_mem.domains.capture.model import Clearing, ContextSource
from claude_mem.domains.capture.schemas import Accepted, EventBatch
from claude_mem.domains.capture.service import CaptureService
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.endpoints import find_project
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import Detail, Invalid, Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

router = APIRouter(tags=["Capture"])
_Span = tuple[str, str, int]  # agent, its own session id, from when on (Unix ms)
Writer = Annotated[Scope, require("events:write")]
Spend = Callable[[int], Awaitable[None]]


def _service(request: Request) -> CaptureService:
    service: CaptureService = request.app.state.capture
    return service


async def take_events(
    service: CaptureService, scope: Scope, raw: bytes, spend: Spend | None = None
) -> bytes:
    """The body of `POST /events` in, the body of its answer out. The API's hot path calls this directly.

    `spend` is told how many events there are before any is taken, and may raise RateLimited.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        message = f"not JSON: {error}"
        raise Invalid(message, details=(Detail("body", message),)) from error
    if not isinstance(body, dict) or set(body) != {"events"}:
        raise Invalid(
            "the body is an object with one field: events",
            details=(Detail("events", "expected {'events': [...]} and nothing else"),),
        )
    if spend is not None and isinstance(body["events"], list) and len(body["events"]) > 1:
        await spend(len(body["events"]))
    receipt = await service.accept(scope, body["events"], len(raw))
    return orjson.dumps({"accepted": receipt.accepted, "duplicates": receipt.duplicates})


@router.post(
    "/events",
    status_code=202,
    response_model=Accepted,
    summary="Hand in events; they are on disk when this answers",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": EventBatch.model_json_schema(
                        ref_template="#/components/schemas/{model}"
                    )
                }
            },
        }
    },
)
async def post_events(request: Request, scope: Writer) -> Response:
    """All of the batch or none: a fault names its index and field."""
    spend = getattr(request.state, "spend", None)
    answer = await take_events(_service(request), scope, await request.body(), spend)
    return Response(answer, status_code=202, media_type="application/json")


@router.post("/hooks/{agent}", summary="A hook's raw payload, as the agent wrote it")
async def post_hook(
    request: Request,
    scope: Writer,
    agent: Annotated[str, Path(max_length=64)],
    x_event_id: Annotated[str, Header()],
    x_event_time: Annotated[int, Header()],
    x_project_dir: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """200 with what the hook is to print, which may be nothing; anything else tells the hook to spool."""
    answer = await door.take_hook(
        door.Doors(_service(request), request.app.state.context),
        scope,
        agent,
        await request.body(),
        x_event_id,
        x_event_time,
        door.project_dir(x_project_dir),
    )
    return Response(answer, status_code=200, media_type="application/json")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewPromptBody(_Body):
    """`POST /sessions/{id}/prompts`."""

    content: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    speaker: Annotated[str, Field(max_length=512)] | None = None


class NewObservationBody(_Body):
    """`POST /observations`."""

    session_id: Annotated[str, Field(min_length=1, max_length=200)]
    content: Annotated[str, Field(min_length=1, max_length=1_000_000)]
    observation_type: Annotated[str, Field(pattern="^(tool_result|error|warning|info)$")] = "info"
    title: Annotated[str, Field(max_length=512)] | None = None
    source_tool: Annotated[str, Field(max_length=512)] | None = None
    tags: Annotated[list[str], Field(max_length=64)] | None = None
    files: Annotated[list[str], Field(max_length=256)] | None = None
    importance: Annotated[float, Field(ge=0, le=1)] | None = None


class ForgetBody(_Body):
    """What to forget: the last turn, a whole session, or one thing.

    `running`, for `last`: the session whose running turn asks for it, which is not the turn that is meant.
    """

    what: Literal["last", "session", "prompt", "observation", "summary", "code_change", "learning"]
    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    project: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    running: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class Forgotten(BaseModel):
    """What was taken out for good, by kind.

    `remade`: learnings of the rest of its session that were made anew without it, under other ids. `since`: when the
    forgotten turn began, null for anything else.
    `cleared`: whether its last bytes are out of the files too; where that takes long it is done when the worker is
    idle. `copies`: damaged files that were kept and may still hold it, by their place in the data folder.
    """

    forgotten: dict[str, int]
    remade: int
    since: str | None
    cleared: bool
    copies: list[str]


class Taken(BaseModel):
    """The id of the event that now stands for what was handed in."""

    event_id: str


async def _hand_in(
    request: Request, scope: Scope, session_id: str, kind: str, data: dict[str, Any]
) -> Taken:
    database: Database = request.app.state.database
    session = await database.read(scope, lambda tx: memory.get_session(scope, tx, session_id))
    event = {
        "id": new_id(),
        "type": kind,
        "occurred_at": to_iso(now_ms()),
        "agent": session["agent"],
        "session": session["agent_session"],
        "project": session["project_id"],
        "data": data | {"origin": "api"},
    }
    await _service(request).accept(scope, [event])
    return Taken(event_id=event["id"])


@router.post("/sessions/{session_id}/prompts", status_code=202, summary="Add a prompt to a session")
async def post_prompt(
    request: Request, scope: Writer, session_id: str, body: NewPromptBody
) -> Taken:
    """The same path as an event: durable when this answers, searchable a moment later."""
    data = body.model_dump(exclude_none=True)
    return await _hand_in(request, scope, session_id, "prompt.submitted", data)


@router.post("/observations", status_code=202, summary="Add an observation to a session")
async def post_observation(request: Request, scope: Writer, body: NewObservationBody) -> Taken:
    """The same path as an event: durable when this answers, searchable a moment later."""
    data = body.model_dump(exclude_none=True, exclude={"session_id"})
    return await _hand_in(request, scope, body.session_id, "observation.added", data)


@router.post("/forget", summary="Take something out for good")
async def post_forget(
    request: Request, scope: Annotated[Scope, require("forget:write")], body: ForgetBody
) -> Forgotten:
    """Rows, search index, journal and dead letters, to the last byte of our files; what waits is recorded first."""
    if body.what != "last" and body.id is None:
        raise Invalid("id: needed", details=(Detail("id", f"say which {body.what}"),))
    if body.running is not None and not _is_recorded(request, scope, body):
        message = "what is running is not being recorded, so the last turn is not known: say what to forget by its id"
        raise Invalid(message, details=(Detail("running", message),))
    state = request.app.state
    await state.catch_up(scope)
    database: Database = state.database
    context: ContextSource = state.context
    clearing: Clearing = state.clearing

    def work(tx: Tx) -> tuple[forget.Gone, _Span | None]:
        gone, span = _forget(scope, tx, state.indexing, body)
        whole = span[1] if span is not None and body.what == "session" else None
        context.forget(scope, tx, gone.refs, whole)
        state.queue.enqueue(scope, tx, clearing.jobs())
        return gone, span

    await context.forgotten(scope)  # before too: a kill in between must leave no rendered context
    at = now_ms()
    gone, span = await database.write(scope, work)
    await context.forgotten(scope, gone.sessions)
    await state.changed(scope, at)
    dropped = True
    if span is not None:
        try:
            await forget.drop_dead_letters(scope, state.inbox, *span)
        except Unavailable:  # it is forgotten: to say that it was not would have it done again
            dropped = False
    cleared = await clearing.at_once() and dropped
    with suppress(Unavailable):  # it is forgotten; maintenance empties the logs a little later
        await state.maintain()
    return Forgotten(
        forgotten=gone.counts(),
        remade=gone.remade,
        since=to_iso(span[2]) if span is not None and span[2] else None,
        cleared=cleared,
        copies=await clearing.copies(),
    )


def _is_recorded(request: Request, scope: Scope, body: ForgetBody) -> bool:
    """Whether the prompt of a running turn is one of those that are remembered."""
    now = {"occurred_at": to_iso(now_ms()), "project": body.project or "", "data": {}}
    return _service(request).wants(scope, now)


def _forget(
    scope: Scope, tx: Tx, indexing: IndexingService, body: ForgetBody
) -> tuple[forget.Gone, _Span | None]:
    """What went, and the agent's session with the moment it went from."""
    if body.what == "last":
        project_id = find_project(scope, tx, body.project)
        turn = forget.last_turn(scope, tx, project_id, body.running)
        session, since = memory.get_session(scope, tx, turn.session_id), turn.since
        gone = forget.forget_turn(scope, tx, indexing, turn)
    elif body.what == "session":
        session, since = memory.get_session(scope, tx, str(body.id)), 0
        gone = forget.forget_session(scope, tx, indexing, session["id"])
    else:
        ref = EntityRef(body.what, str(body.id))
        return forget.forget_entity(scope, tx, indexing, ref), None
    return gone, (session["agent"], session["agent_session"], since)
