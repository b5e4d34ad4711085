"""What was saved on purpose: as points of a session's summary, and as learnings. Pure.

Whoever saves something has weighed it already: it is taken whole, and is worth more than what was drawn out of talk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from claude_mem.domains.intelligence.findings import fingerprint
from claude_mem.domains.intelligence.model import Finding, Point
from claude_mem.domains.intelligence.sentences import LONGEST, clean, clip
from claude_mem.domains.memory.model import EntityRef

Row = Mapping[str, Any]
SAVED: Final = "saved"  # the tag of learnings that were saved on purpose
_TITLE, _DESCRIPTION = 100, 2_000  # characters
_CONFIDENCE, _IMPORTANCE = 0.95, 0.95
_TOLD: Final = 24  # notes of a session that its summary names
# Never the fingerprint of what a person said, in whatever words: it would take the rule's place.
_STAMPS: Final[Mapping[str, str]] = {"preference": "saved preference"}


@dataclass(frozen=True, slots=True)
class _Kind:
    section: str  # of the summary
    category: str  # of the learning


_KINDS: Mapping[str, _Kind] = {
    "decision": _Kind("decisions", "general"),
    "preference": _Kind("preferences", "best_practice"),
    "fact": _Kind("investigated", "config"),
    "note": _Kind("investigated", "general"),
}


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes of a session: its learnings, and points by section of the summary."""

    findings: tuple[Finding, ...]
    points: Mapping[str, tuple[Point, ...]]

    @property
    def all_points(self) -> tuple[Point, ...]:
        """Every point, in the order they were saved."""
        return tuple(
            sorted((it for each in self.points.values() for it in each), key=lambda it: it.at)
        )


def notes_of(observations: Sequence[Row]) -> Notes:
    """What was saved on purpose, among a session's observations."""
    rows = [row for row in observations if is_note(row)]
    points: dict[str, tuple[Point, ...]] = {}
    for row in rows[-_TOLD:]:
        section = _KINDS[row["source_tool"]].section
        text = clip(_said(row), LONGEST)
        point = Point(text, (EntityRef("observation", row["id"]),), row["occurred_at"], 1.0)
        points[section] = (*points.get(section, ()), point)
    return Notes(tuple(map(_finding, rows)), points)


def is_note(row: Row) -> bool:
    """Whether an observation was saved on purpose."""
    return row["observation_type"] == "info" and row["source_tool"] in _KINDS


def _said(row: Row) -> str:
    """The whole note on one line, after its title where that says something of its own."""
    text, title = clean(row["head"]), clean(row["title"] or "").rstrip("…")
    return text if not title or title[:60] in text else f"{title}: {text}"


def _finding(row: Row) -> Finding:
    said, kind = _said(row), row["source_tool"]
    return Finding(
        category=_KINDS[kind].category,
        title=clip(said, _TITLE),
        description=clip(said, _DESCRIPTION),
        fingerprint=fingerprint(_STAMPS.get(kind, kind), said),
        refs=(EntityRef("observation", row["id"]),),
        occurred_at=row["occurred_at"],
        confidence=_CONFIDENCE,
        importance=_IMPORTANCE,
        tags=(kind, SAVED),
    )
