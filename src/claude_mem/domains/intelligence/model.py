"""What is drawn out of a session, as frozen values. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from claude_mem.domains.memory.model import EntityRef


@dataclass(frozen=True, slots=True)
class Point:
    """One thing worth telling, in its own words, and the rows it rests on; `weight` is 0..1."""

    text: str
    refs: tuple[EntityRef, ...] = ()
    at: int = 0
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A learning to be: `category` is one of the learnings' categories, `fingerprint` the same wherever it is found."""

    category: str
    title: str
    description: str
    fingerprint: str
    refs: tuple[EntityRef, ...]
    occurred_at: int
    confidence: float
    importance: float
    examples: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    context: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Digest:
    """A session in short. The sections hold points in the order they happened; `content` shows them as Markdown.

    `request` is what was asked, `investigated` what was found out, `completed` what was done and with what result,
    `failures` what failed and how it was mended, `open` what is left.
    """

    session_id: str
    project_id: str
    title: str
    request: tuple[Point, ...]
    investigated: tuple[Point, ...]
    completed: tuple[Point, ...]
    failures: tuple[Point, ...]
    decisions: tuple[Point, ...]
    preferences: tuple[Point, ...]
    open: tuple[Point, ...]
    files: tuple[Point, ...]
    key_points: tuple[Point, ...]
    action_items: tuple[Point, ...]
    findings: tuple[Finding, ...]
    content: str
    covers: dict[str, Any]
    occurred_at: int

    def sections(self) -> dict[str, tuple[Point, ...]]:
        """Every section by its name."""
        return {name: getattr(self, name) for name in SECTIONS}


SECTIONS = (
    "request",
    "investigated",
    "completed",
    "failures",
    "decisions",
    "preferences",
    "open",
    "files",
)
