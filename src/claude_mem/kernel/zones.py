"""Time zones by their IANA names: found, or said to be wrong in words that name the field.

Owns what is said where a system has no zone data: then only UTC is known. Never reads a zone from the environment.
"""

from __future__ import annotations

import re
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DEFAULT: Final = "UTC"
_NAME: Final = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_PROBE: Final = "Europe/London"  # every set of zone data has it


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """The zone of an IANA name; UTC where there is none of that name."""
    return _found(name) or UTC


def fault(name: str) -> str:
    """Why a name is no zone's, and what is expected; empty for one that is."""
    if name == DEFAULT or _found(name) is not None:
        return ""
    if _found(_PROBE) is None:
        return (
            "this system has no time zone data, so that only UTC is known: install the package tzdata"
            " (of the system, or with pip)"
        )
    return "expected the IANA name of a time zone, such as Europe/Berlin, Asia/Shanghai or UTC"


def _found(name: str) -> ZoneInfo | None:
    if not _NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones
        return None
