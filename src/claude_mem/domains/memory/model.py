"""What is remembered, as frozen values. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from claude_mem.kernel.ids import deterministic_id, id_epoch_ms
from claude_mem.kernel.scope import Scope

PREVIEW_CHARS = 280
TITLE_CHARS = 120
UNTITLED = "Untitled session"
# Told after a commit, and never fails: the enterprise's change journal holds new entries, with ids of this moment
# (Unix ms) or later.
Changed = Callable[[Scope, int], Awaitable[None]]
AGENT, EXTRACTIVE = "agent", "extractive"  # who made a summary: the agent itself, or our extraction


async def untold(_scope: Scope, _since: int) -> None:
    """A `Changed` for where nobody listens."""


def preview(text: str, limit: int = PREVIEW_CHARS) -> str:
    """One line of at most `limit` characters."""
    flat = " ".join(text[: limit * 4].split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class SessionRef:
    """A session as the recorder needs it."""

    id: str
    project_id: str
    last_sequence: int
    status: str
    title: str
    version: int


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session first heard of."""

    id: str
    project_id: str
    role: str | None
    agent: str
    agent_session: str
    title: str
    started_at: int
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SessionPatch:
    """What a batch changes of a session; None leaves a field as it is.

    `started_at` and `last_activity_at` are the first and last moment in the batch (they only widen the session's span).
    """

    session_id: str
    prompts: int
    observations: int
    tokens: int
    last_sequence: int
    started_at: int
    last_activity_at: int
    title: str | None = None
    model: str | None = None
    status: str | None = None
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class NewPrompt:
    """A prompt or a reply."""

    id: str
    session_id: str
    event_id: str
    sequence_num: int
    prompt_type: str
    content: str
    content_hash: str
    token_count: int
    agent_prompt_id: str | None
    subagent_id: str | None
    metadata: dict[str, Any]
    occurred_at: int


@dataclass(frozen=True, slots=True)
class NewObservation:
    """What a tool gave back, or something said to be worth knowing."""

    id: str
    session_id: str
    prompt_id: str | None
    event_id: str
    observation_type: str
    source_tool: str
    title: str
    content: str
    content_hash: str
    command: str | None
    exit_status: int | None
    importance: float
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    subagent_id: str | None
    occurred_at: int


@dataclass(frozen=True, slots=True)
class NewCodeChange:
    """A change of a file, with what led to it."""

    id: str
    session_id: str
    project_id: str
    observation_id: str
    event_id: str
    file_path: str
    operation: str
    lines_added: int
    lines_removed: int
    diff: str
    reason_prompt_id: str | None
    reason_text: str | None
    tool_use_id: str | None
    occurred_at: int


@dataclass(frozen=True, slots=True)
class NewSummary:
    """A summary made by the agent itself (its compaction) or brought over."""

    id: str
    session_id: str
    event_id: str
    title: str
    content: str
    model_used: str
    occurred_at: int


@dataclass(frozen=True, slots=True)
class NaturalKey:
    """What makes a row the same thing however it reached us."""

    session_id: str
    key: str
    entity_kind: str
    entity_id: str


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """An event that was turned into rows; `made` is the kind of row, None for a repeat."""

    event_id: str
    type: str
    session_id: str
    made: str | None
    occurred_at: int


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason learned after the change it explains was recorded."""

    session_id: str
    tool_use_id: str
    text: str


@dataclass(slots=True)
class Recording:
    """Everything one transaction writes; filled by `capture`, written by `memory`."""

    sessions: list[NewSession] = field(default_factory=list)
    prompts: list[NewPrompt] = field(default_factory=list)
    observations: list[NewObservation] = field(default_factory=list)
    code_changes: list[NewCodeChange] = field(default_factory=list)
    summaries: list[NewSummary] = field(default_factory=list)
    natural_keys: list[NaturalKey] = field(default_factory=list)
    ledger: list[LedgerRow] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    patches: list[SessionPatch] = field(default_factory=list)


class EntityRef(NamedTuple):
    """A remembered thing: its kind (`prompt`, `observation`, ...) and id. A tuple: a search hashes thousands.

    JSON has no form for it: write `[ref.kind, ref.id]`.
    """

    kind: str
    id: str


def summary_ref(session_id: str) -> EntityRef:
    """Our summary of a session has one id, whether it is there or not."""
    own = deterministic_id(id_epoch_ms(session_id), f"summary\0{session_id}")
    return EntityRef("summary", own)


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """Our own summary of a session: one row a session, each change of it a version.

    `details` are the points it was rendered from, by section, each with the rows it rests on; `covers` is what it was
    made from, so that a stale one is known.
    """

    session_id: str
    title: str
    content: str
    key_points: tuple[str, ...]
    action_items: tuple[str, ...]
    details: dict[str, Any]
    covers: dict[str, Any]
    model_used: str
    quality: float
    occurred_at: int


@dataclass(frozen=True, slots=True)
class NewLearning:
    """What one session says of something worth knowing; `fingerprint` is the same wherever it was learned."""

    project_id: str
    session_id: str
    category: str  # pattern | solution | error | config | best_practice | general
    title: str
    description: str
    fingerprint: str
    context: dict[str, Any]
    examples: tuple[str, ...]
    tags: tuple[str, ...]
    refs: tuple[EntityRef, ...]
    confidence: float
    importance: float
    occurred_at: int


@dataclass(frozen=True, slots=True)
class Material:
    """What a session's summary is made from, bounded: texts as `head` and `tail`, the latter empty for short ones."""

    session: dict[str, Any]
    prompts: tuple[dict[str, Any], ...]
    observations: tuple[dict[str, Any], ...]
    changes: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Derived:
    """What became of derived things: `changed` are to be indexed again, `removed` are gone."""

    changed: tuple[EntityRef, ...] = ()
    removed: tuple[EntityRef, ...] = ()


@dataclass(frozen=True, slots=True)
class ForgottenTurns:
    """What of a session must not come back.

    `spans` are (first, last) moments in Unix ms, both included; `prompts` are the agent's own prompt ids, each with the
    moment from which on its turn is forgotten.
    """

    spans: tuple[tuple[int, int], ...]
    prompts: dict[str, int]

    def covers(self, prompt_id: str | None, at: int) -> bool:
        """Whether an event of that turn (None: it does not say) and moment is forgotten."""
        if any(first <= at <= last for first, last in self.spans):
            return True
        return prompt_id is not None and at >= self.prompts.get(prompt_id, at + 1)

    def last_before(self, at: int) -> int | None:
        """When the last forgotten turn up to a moment began."""
        return max((first for first, _ in self.spans if first <= at), default=None)
