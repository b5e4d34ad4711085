"""How remembered things look on the wire."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson
from pydantic import BaseModel

from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.errors import Detail, Invalid

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


def encode_cursor(position: tuple[int, str]) -> str:
    """An opaque cursor of (sort key, id)."""
    return base64.urlsafe_b64encode(orjson.dumps(list(position))).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> tuple[int, str] | None:
    """The position in a cursor. Raises Invalid."""
    if cursor is None:
        return None
    try:
        value = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise _bad_cursor() from error
    if not (
        isinstance(value, list)
        and len(value) == 2
        and type(value[0]) is int
        and 0 <= value[0] < 1 << 63  # what an engine can compare with
        and isinstance(value[1], str)
    ):
        raise _bad_cursor()
    return value[0], value[1]


def _bad_cursor() -> Invalid:
    message = "not a cursor of this API: leave it out to start at the beginning"
    return Invalid(f"cursor: {message}", details=(Detail("cursor", message),))
