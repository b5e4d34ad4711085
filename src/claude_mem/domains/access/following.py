"""Where a listing goes on: the place in a `cursor`, which is of that very listing and the caller's enterprise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from claude_mem.domains.access.endpoints import caller
from claude_mem.kernel.places import Places

_HOW_MUCH = frozenset({"cursor", "limit"})  # of what is asked, that decides on no row


@dataclass(frozen=True, slots=True)
class Following:
    """`after`: (sort key, id) to go on from, None for the beginning; `seal` makes a cursor of such a place."""

    after: tuple[int, str] | None
    seal: Callable[[list[Any]], str]


async def _following(
    request: Request, cursor: Annotated[str | None, Query(max_length=400)] = None
) -> Following:
    places: Places = request.app.state.places
    asked = sorted((name, text) for name, text in request.query_params.multi_items())
    listing = [
        caller(request).enterprise_id,
        request.url.path,
        *(f"{name}={text}" for name, text in asked if name not in _HOW_MUCH),
    ]
    after = None
    if cursor is not None:
        moment, entity_id = places.open(cursor, listing)
        after = (moment, entity_id)
    return Following(after, lambda place: places.seal(place, listing))


Follows = Annotated[Following, Depends(_following)]
