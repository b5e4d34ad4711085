"""`GET /stream/events`: what happens, as it happens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.ops.model import TYPES
from claude_mem.domains.ops.service import LiveService
from claude_mem.domains.ops.sse import LiveResponse, StreamTimes
from claude_mem.kernel.errors import AuthInvalid, Forbidden
from claude_mem.kernel.scope import Scope

router = APIRouter(tags=["System"])
_PERMISSION = "sessions:read"
_TYPES = f"Only these, separated by commas: {', '.join(TYPES)}."
_RESUME = "Go on after this event: the `id` of the last one that was received."


# Not a generator of FastAPI's own: that could not end a stream whose client takes nothing.
@router.get(
    "/stream/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="What happens, as it happens",
)
async def get_stream(
    request: Request,
    scope: Annotated[Scope, require(_PERMISSION)],
    types: Annotated[str | None, Query(max_length=400, description=_TYPES)] = None,
    last_event_id: Annotated[str | None, Query(max_length=64, description=_RESUME)] = None,
    last_event_id_header: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=64, description=_RESUME)
    ] = None,
) -> Response:
    """Server-sent events; a comment after fifteen quiet seconds. The header wins over the parameter."""
    state: Any = request.app.state
    live: LiveService = state.live
    times: StreamTimes = state.stream_times
    wanted = None if types is None else frozenset(filter(None, types.split(",")))
    stream = await live.open(scope, wanted, last_event_id_header or last_event_id or None)

    async def may_listen() -> None:
        found = state.authenticate(request.headers.get("authorization"))
        again: Scope = found if isinstance(found, Scope) else await found
        if (again.enterprise_id, again.user_id) != (scope.enterprise_id, scope.user_id):
            raise AuthInvalid("the key is somebody else's now")
        if not again.allows(_PERMISSION):
            raise Forbidden(f"this needs the permission {_PERMISSION}")

    return LiveResponse(stream, may_listen, lambda: live.release(scope, stream), times)
