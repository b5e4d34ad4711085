"""`GET /search/stream`: a search told in steps, as server-sent events.

Owns the wire form of the steps and the end of a stream: after `done`, or when the client leaves, which ends the search.
Never waits for a client without limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Request, Response
from fastapi import Query as Parameters
from fastapi.sse import EventSourceResponse, format_sse_event

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.retrieval import progressive
from claude_mem.domains.retrieval.endpoints import moment_of, query_of, response_of
from claude_mem.domains.retrieval.model import Query, SearchResult
from claude_mem.domains.retrieval.progressive import Search, Step
from claude_mem.domains.retrieval.schemas import SearchParameters
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.scope import Scope

router = APIRouter(tags=["Search"])
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
_HEADERS = {"Cache-Control": "no-transform", "X-Accel-Buffering": "no"}
_SEND_S = 20.0
# Where a step stands: the id of its event. The last one's tells a client that comes again that all was told.
_PLACES = {progressive.LEXICAL: "1", progressive.FUSED: "2", progressive.DEGRADED: "2"}
_LAST = "3"


# Not a generator of FastAPI's own: that would search on for a client that has gone.
@router.get(
    "/search/stream",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "All was told before: `Last-Event-ID` is that of `done`."},
    },
    summary="Find what was done, told in steps",
)
async def get_search_stream(
    request: Request,
    scope: Annotated[Scope, require("search:read")],
    asked: Annotated[SearchParameters, Parameters()],
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID", max_length=64, description="Sent by a browser that comes again"
        ),
    ] = None,
) -> Response:
    """Server-sent events: `lexical` with what the words find, at once; `fused` with the answer that meaning has part
    in, or `degraded` with the reason why there is none; `done`. Answers are those of `GET /search`, but for facets.
    """
    if last_event_id == _LAST:
        return Response(status_code=204)
    query = query_of(asked)
    started = time.perf_counter()
    legs = _legs(request.app.state.search, scope, query, moment_of(asked))
    told = progressive.steps(*legs)
    first = await anext(told)  # what cannot be answered at all is refused as ever, not half-way
    return StepsResponse(first, told, lambda step: _event(step, asked, started))


def _legs(
    search: SearchService, scope: Scope, query: Query, now: int | None
) -> tuple[Search, Search | None]:
    """The search by words, and the one that meaning has part in; None where there is none."""
    if not search.understanding.is_there or query.fusion == "lexical":
        return partial(search.search, scope, query, now), None
    words = partial(search.search, scope, replace(query, fusion="lexical"), now)

    async def both() -> SearchResult:
        found = await search.search(scope, query, now)
        if found.degraded:
            raise Unavailable(found.degraded)
        return found

    return words, both


def _event(step: Step, asked: SearchParameters, started: float) -> bytes:
    data: Any = {"took_ms": round((time.perf_counter() - started) * 1000, 2)}
    if step.result is not None:
        answer = response_of(asked, step.result, started)
        data = answer.model_dump(exclude={"facets", "facets_are_of"})
    elif step.reason:
        data |= {"reason": step.reason}
    return format_sse_event(
        event=step.name, id=_PLACES.get(step.name, _LAST), data_str=orjson.dumps(data).decode()
    )


class StepsResponse(EventSourceResponse):
    """Sends the first step and those that a generator gives, and closes it when the client goes."""

    def __init__(
        self, first: Step, told: AsyncGenerator[Step, None], encode: Callable[[Step], bytes]
    ) -> None:
        super().__init__(iter(()), headers=_HEADERS)
        self._first, self._told, self._encode = first, told, encode

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI."""
        del scope
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
            await self._told.aclose()
        if not writing.cancelled() and writing.exception() is not None:
            with suppress(OSError, TimeoutError):  # the client is gone, or takes nothing
                writing.result()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _send(send, self._encode(self._first), more=True)
        async for step in self._told:
            await _send(send, self._encode(step), more=True)
        await _send(send, b"", more=False)


async def _send(send: Send, body: bytes, *, more: bool) -> None:
    async with asyncio.timeout(_SEND_S):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
