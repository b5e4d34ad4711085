"""A session's title out of the lines that carry one. Pure.

A title that a person gave beats one that the client made, and that beats the summary line of older
versions.
"""

from __future__ import annotations

from typing import Any

# line type -> (rank, the field that holds the title)
_KINDS = {
    "summary": (1, "summary"),
    "ai-title": (2, "aiTitle"),
    "custom-title": (3, "customTitle"),
}


def title_of(kind: str, line: dict[str, Any]) -> tuple[int, str] | None:
    """(rank, title) of a title line; None for any other."""
    known = _KINDS.get(kind)
    if known is None:
        return None
    rank, name = known
    for field in (name, "title"):
        value = line.get(field)
        if isinstance(value, str) and value.strip():
            return rank, " ".join(value.split())[:500]
    return None
