"""How remembered things look on the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

from claude_mem.kernel.clock import to_iso

_MOMENTS = frozenset(
    {"occurred_at", "created_at", "updated_at", "started_at", "last_activity_at", "ended_at", "at"}
)
_HIDDEN = frozenset({"enterprise_id"})


class Page(BaseModel):
    """A page of rows; `next_cursor` is null on the last."""

    data: list[dict[str, Any]]
    next_cursor: str | None


def wire(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON: moments as ISO 8601, `x_json` columns as `x`."""
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if name in _HIDDEN:
            continue
        key = name.removesuffix("_json")
        shown[key] = to_iso(value) if name in _MOMENTS and value is not None else value
    return shown


def page_of(
    rows: Sequence[dict[str, Any]], limit: int, sort_key: str, seal: Callable[[list[Any]], str]
) -> Page:
    """A page from its rows, of which one more than `limit` was read; `seal` makes the place of the next."""
    shown = rows[:limit]
    cursor = seal([shown[-1][sort_key], shown[-1]["id"]]) if len(rows) > limit else None
    return Page(data=[wire(row) for row in shown], next_cursor=cursor)
