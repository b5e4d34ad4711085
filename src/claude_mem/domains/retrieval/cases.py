"""Cases: what was learned, decided or got done before, read as problem, outcome and feedback. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from claude_mem.domains.memory.model import preview
from claude_mem.domains.retrieval.model import Filters, Hit

# What cases are made of: a name, and how the search finds them. Another kind of the index is another line.
SOURCES: Final[Mapping[str, Filters]] = {
    "learning": Filters(kind="learning"),
    "decision": Filters(kind="observation", tool="decision"),
    "session": Filters(kind="summary"),
}
SOLVED, DECIDED, KNOWN, DONE, OPEN = "solved", "decided", "known", "done", "open"
_TOLD = 3  # points of a section
_POINT_CHARS = 400
_TRUST = 0.25  # of the score that is trust; the rest is likeness alone
_OFTEN = 10  # uses from which more of them say no more
_UNTOLD = 0.5

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """`score` is the hit's relevance, less by up to a quarter for what little speaks for it.

    `outcome`: solved (an error and what ended it), decided, known (a rule or preference), done, open. `problem` and
    `resolution` are told where the case is an error and its fix; `lessons` are what a session failed at, decided, and
    left open. `feedback` is what was seen of its worth since.
    """

    name: str
    hit: Hit
    score: float
    outcome: str
    problem: str | None = None
    resolution: str | None = None
    lessons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    feedback: Mapping[str, Any] = field(default_factory=dict)


def case_of(name: str, hit: Hit, feedback: Row) -> Case:
    """A hit of a source as a case; `feedback` is what is known of it besides its row."""
    told = _own_feedback(hit.row) | dict(feedback)
    score = hit.relevance * (1 - _TRUST + _TRUST * trust(told))
    if name == "session":
        lessons = _lessons(hit.row)
        return Case(
            name, hit, score, OPEN if lessons.get("open") else DONE, lessons=lessons, feedback=told
        )
    if name == "decision":
        return Case(name, hit, score, DECIDED, feedback=told)
    tags = hit.row.get("tags_json") or ()
    if hit.row.get("category") == "solution":
        problem, resolution = _mended(hit.row)
        return Case(name, hit, score, SOLVED, problem, resolution, feedback=told)
    return Case(name, hit, score, DECIDED if "decision" in tags else KNOWN, feedback=told)


def trust(feedback: Row) -> float:
    """0..1: what somebody verified, else how sure the extraction was, and how often it was of use.

    A further sign (votes for a decision) is `support`, 0..1, and counts as verification does.
    """
    if feedback.get("is_verified"):
        return 1.0
    sure = max(feedback.get("confidence", _UNTOLD), feedback.get("support", 0.0))
    used = math.log1p(min(feedback.get("used", 0), _OFTEN)) / math.log1p(_OFTEN)
    return float(sure + (1 - sure) * used / 2)


def _own_feedback(row: Row) -> dict[str, Any]:
    """What the row itself says."""
    names = {
        "confidence_score": "confidence",
        "quality_score": "confidence",
        "importance_score": "importance",
        "is_verified": "is_verified",
    }
    found = {told: row[name] for name, told in names.items() if row.get(name) is not None}
    if row.get("source_session_ids"):
        found["sessions"] = len(row["source_session_ids"])
    return found


def _mended(row: Row) -> tuple[str | None, str | None]:
    """(the error, what ended it) of what is quoted: the command that failed, its error, the one that held."""
    quoted: Sequence[Any] = row.get("examples_json") or ()
    error = str(quoted[1]) if len(quoted) > 1 else str(row.get("title") or "") or None
    ended = str(quoted[2]) if len(quoted) > 2 else None
    return error, ended


def _lessons(row: Row) -> dict[str, tuple[str, ...]]:
    details = row.get("details_json") or {}
    found = {}
    for section in ("failures", "decisions", "open"):
        texts = [
            it.get("text") if isinstance(it, Mapping) else it for it in details.get(section) or ()
        ]
        told = tuple(preview(str(it), _POINT_CHARS) for it in texts[:_TOLD] if it)
        if told:
            found[section] = told
    return found
