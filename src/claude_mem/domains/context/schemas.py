"""How contexts and working memory look on the wire."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from claude_mem.domains.context.model import Context, Scored
from claude_mem.domains.context.working import Working
from claude_mem.domains.memory.schemas import wire


class PartsBody(BaseModel):
    """The terms of a score, each in 0..1."""

    relevance: float
    recency: float
    importance: float
    frequency: float


class ItemBody(BaseModel):
    """One shown memory: what expands it, what it costs, and why it is there."""

    id: str
    kind: str
    memory_type: str
    tokens: int
    score: float
    parts: PartsBody
    reason: str


class ContextBody(BaseModel):
    """`text` is what a model is given, "" when there is nothing; `omitted` found no room in the budget."""

    text: str
    tokens: int
    budget: int
    items: list[ItemBody]
    omitted: int


class WorkingBody(BaseModel):
    """Where a session stands; messages oldest first."""

    session: dict[str, Any]
    task: dict[str, Any] | None
    messages: list[dict[str, Any]]
    files: list[str]
    failures: list[dict[str, Any]]


def context_body(context: Context) -> ContextBody:
    """A context as JSON."""
    return ContextBody(
        text=context.text,
        tokens=context.tokens,
        budget=context.budget,
        items=[_item(one) for one in sorted(context.items, key=lambda it: -it.score)],
        omitted=context.omitted,
    )


def _item(one: Scored) -> ItemBody:
    parts = {name: round(getattr(one.parts, name), 4) for name in PartsBody.model_fields}
    return ItemBody(
        id=one.unit.id,
        kind=one.unit.kind,
        memory_type=one.unit.memory_type,
        tokens=one.tokens,
        score=round(one.score, 4),
        parts=PartsBody(**parts),
        reason=one.unit.reason,
    )


def working_body(working: Working) -> WorkingBody:
    """Working memory as JSON."""
    return WorkingBody(
        session=wire(working.session),
        task=None if working.task is None else wire(working.task),
        messages=[wire(row) for row in working.messages],
        files=list(working.files),
        failures=[wire(row) for row in working.failures],
    )
