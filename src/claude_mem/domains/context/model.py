"""Values and rules of context assembly: what may be shown, and how much each counts. Pure.

    score = 0.40 relevance + 0.20 recency + 0.25 importance + 0.15 frequency        each term in 0..1

- relevance: how much of what is asked (the prompt, or without one what the project is about now) the text speaks of;
  see `interest`.
- recency: 1 / (1 + age / 10 days): 1 now, 0.5 after ten days, 0.1 after three months; never negative, never over 1.
- importance: what the kind of statement is worth to whoever goes on (`IMPORTANCE`), or the row's own, whichever is
  more.
- frequency: ln(1 + uses) / ln(1 + 20), at most 1. A use is an expansion by whoever read the context: being shown is
  none, or what is shown once would be shown for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, Protocol

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.hybrid import NO_MEANING, Meant
from claude_mem.kernel.scope import Scope

W_RELEVANCE: Final = 0.40
W_RECENCY: Final = 0.20
W_IMPORTANCE: Final = 0.25
W_FREQUENCY: Final = 0.15
RECENCY_HALF_MS: Final = 10 * 86_400_000
MANY_USES: Final = 20
MIN_BUDGET, MAX_BUDGET = 200, 20_000
MAX_CHARS: Final = 9_500  # of an answer to a hook: the client cuts at 10,000

MemoryType = Literal["working", "episodic", "semantic", "procedural"]
# What is said about in a memory -> (type of memory, importance). The order is that of the rendered sections.
IMPORTANCE: Final[dict[str, tuple[MemoryType, float]]] = {
    "task": ("working", 1.0),
    "open": ("episodic", 0.9),
    "preference": ("semantic", 1.0),
    "saved": ("semantic", 0.8),
    "decision": ("semantic", 0.9),
    "fix": ("procedural", 0.8),
    "practice": ("procedural", 0.7),
    "fact": ("semantic", 0.6),
    "session": ("episodic", 0.6),
    "done": ("episodic", 0.5),
    "request": ("episodic", 0.45),
    "passage": ("episodic", 0.4),
    "file": ("episodic", 0.3),
    "message": ("working", 0.5),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a person set: which contexts there are, their budgets in tokens, and how relevant a thing must be."""

    at_start: bool = True
    budget: int = 1200
    at_prompt: bool = True
    prompt_budget: int = 800
    threshold: float = 0.35


@dataclass(frozen=True, slots=True)
class Ask:
    """What a context is wanted for. `query` is what the model is asked to do, None at the beginning of a session.

    `session` is the agent's own session id, for which nothing is given twice; `until` is a moment of
    `time.monotonic` after which no further work is begun.
    """

    project_id: str | None
    project: str = ""
    query: str | None = None
    budget: int = 1500
    session: str | None = None
    own_since: int = 0  # of that session itself: only what is older than this (its last compaction)
    branch: str = ""
    threshold: float = 0.0
    now: int = 0
    until: float = math.inf
    with_working: bool = False
    meaning: Meant = NO_MEANING  # of `query`


@dataclass(frozen=True, slots=True)
class Unit:
    """A passage-sized memory: one statement, with the entity it is expanded by.

    `about` is a key of IMPORTANCE; `closeness` is the relevance of the hit it was found in, `nearby` that of its
    session, both 0..1 of the best there is. `order` is its place in what it was cut from, `lead` what stands before the
    first passage of that; `share` is how much of what is asked the text speaks of, where that was looked at already.
    A hit that is told whole has its `rank` among the hits, 0 for the best, and its `pieces`: the texts of the passages
    that it could be told in, of which its own is made.
    """

    kind: str
    id: str
    about: str
    text: str
    session_id: str | None
    occurred_at: int
    importance: float
    closeness: float = 0.0
    nearby: float = 0.0
    refs: tuple[EntityRef, ...] = ()
    reason: str = ""
    order: int = 0
    lead: str = ""
    share: float | None = None
    rank: int | None = None
    pieces: tuple[str, ...] = ()

    @property
    def ref(self) -> EntityRef:
        """What expands it."""
        return EntityRef(self.kind, self.id)

    @property
    def memory_type(self) -> MemoryType:
        """One of the four types of memory."""
        return IMPORTANCE[self.about][0]


@dataclass(frozen=True, slots=True)
class Parts:
    """The terms of a score, each in 0..1."""

    relevance: float
    recency: float
    importance: float
    frequency: float

    @property
    def score(self) -> float:
        """Their weighted sum."""
        return (
            W_RELEVANCE * self.relevance
            + W_RECENCY * self.recency
            + W_IMPORTANCE * self.importance
            + W_FREQUENCY * self.frequency
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """A unit with its score, what it costs in tokens, and its words (for likeness)."""

    unit: Unit
    parts: Parts
    tokens: int
    words: frozenset[str]
    value: float = 0.0  # to the choice

    @property
    def score(self) -> float:
        """Of its parts."""
        return self.parts.score


@dataclass(frozen=True, slots=True)
class SessionLine:
    """How a session is headed: when, what about."""

    id: str
    title: str
    at: int


@dataclass(frozen=True, slots=True)
class Context:
    """What is shown: `text` (empty when there is nothing), its cost, what is in it, and how much found no room."""

    text: str
    tokens: int
    budget: int
    items: tuple[Scored, ...]
    omitted: int


def unit_keys(unit: Unit) -> Sequence[str]:
    """What tells a shown text from another, whatever entity it is of: of a whole, a key for each of its pieces."""
    return [sha256(text.encode("utf-8", "replace")).hexdigest()[:16] for text in texts_of(unit)]


def texts_of(unit: Unit) -> Sequence[str]:
    """What a unit says, in the pieces in which it could be said as well."""
    return unit.pieces or (unit.text,)


def recency(age_ms: int) -> float:
    """1 / (1 + age / RECENCY_HALF_MS); what is dated later than now is of now."""
    return 1 / (1 + max(age_ms, 0) / RECENCY_HALF_MS)


def frequency(uses: int) -> float:
    """ln(1 + uses) / ln(1 + MANY_USES), at most 1."""
    return min(math.log1p(max(uses, 0)) / math.log1p(MANY_USES), 1.0)


def importance(unit: Unit) -> float:
    """What the kind of statement is worth, or the row's own importance, whichever is more."""
    return min(max(IMPORTANCE[unit.about][1], unit.importance), 1.0)


class Rendered(Protocol):
    """Where rendered contexts are kept for when no worker is there (implemented in `adapters.local`).

    Of one enterprise: whoever prints what is kept asks nobody for whom. Of any other nothing is kept, and nothing told.
    """

    @property
    def generation(self) -> int:
        """Grows whenever everything is dropped: what was begun before must not be saved after."""
        ...

    def save(self, scope: Scope, record: Mapping[str, Any], generation: int) -> None:
        """Keep the context of `record["place"]`; nothing happens when it was begun before the last drop."""
        ...

    def load(self, scope: Scope, place: str) -> Mapping[str, Any] | None:
        """The record that was saved last for a place."""
        ...

    def places(self, scope: Scope, project_id: str) -> Sequence[str]:
        """The places of a project that have one."""
        ...

    def drop_all(self) -> None:
        """Delete every one."""
        ...

    def given(self, scope: Scope, session: str) -> Sequence[Sequence[str]]:
        """The units that a hook gave a session by itself, told once."""
        ...
