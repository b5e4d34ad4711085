"""Time: UTC milliseconds inside, ISO 8601 with `Z` at the edges.

Owns parsing and printing of moments. Never reads a zone from the environment.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z: what comes after cannot be printed
_RELATIVE = re.compile(r"^([0-9]{1,6})\s*([smhdw])$")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def now_ms() -> int:
    """Unix milliseconds, now."""
    return time.time_ns() // 1_000_000


def to_iso(epoch_ms: int) -> str:
    """`2026-11-20T10:00:00.000Z` for Unix milliseconds."""
    moment = _EPOCH + timedelta(milliseconds=epoch_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{epoch_ms % 1000:03d}Z"


def from_iso(text: str) -> int:
    """Unix milliseconds of an ISO 8601 moment; one without an offset is taken as UTC.

    Raises ValueError when `text` is no such moment or lies outside the years 1970..9999.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    epoch_ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    if not 0 <= epoch_ms <= _LAST_MS:
        raise ValueError("a moment outside the years 1970 to 9999")
    return epoch_ms


def parse_moment(text: str, now: int | None = None) -> int:
    """Unix milliseconds of an ISO 8601 moment or of a span ago (`90m`, `7d`, `2w`). Raises ValueError."""
    relative = _RELATIVE.match(text.strip().lower())
    if relative is None:
        return from_iso(text.strip())
    span = int(relative.group(1)) * _UNIT_MS[relative.group(2)]
    return max((now_ms() if now is None else now) - span, 0)
