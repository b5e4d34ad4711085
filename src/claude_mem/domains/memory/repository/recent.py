"""The latest of a session, newest first, and ids from their short forms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import EntityRef
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
SHORT_HEAD, SHORT_TAIL = 8, 4  # characters of an id that its short form has of both ends
_TEXT_CHARS = 4_000


def _latest(table: sa.Table, *columns: Any, where: Any = None) -> Any:
    c = table.c
    query = sa.select(c.id, c.occurred_at, *columns).where(
        c.enterprise_id == sa.bindparam("enterprise"), c.session_id == sa.bindparam("session")
    )
    if where is not None:
        query = query.where(where)
    return query.order_by(c.occurred_at.desc(), c.id.desc()).limit(sa.bindparam("limit"))


_MESSAGES = _latest(
    t.prompts,
    t.prompts.c.prompt_type,
    sa.func.substr(t.prompts.c.content, 1, _TEXT_CHARS).label("content"),
    where=sa.and_(
        t.prompts.c.prompt_type.in_(("user", "assistant")), t.prompts.c.subagent_id.is_(None)
    ),
)
_OBSERVATIONS = _latest(
    t.observations,
    t.observations.c.observation_type,
    t.observations.c.title,
    t.observations.c.command,
    sa.func.substr(t.observations.c.content, 1, 600).label("content"),
)
_CHANGES = _latest(t.code_changes, t.code_changes.c.file_path, t.code_changes.c.operation)


def _all(tx: Tx, query: Any, scope: Scope, session_id: str, limit: int) -> list[Row]:
    given = {"enterprise": scope.enterprise_id, "session": session_id, "limit": limit}
    return [dict(row) for row in tx.execute(query, given).mappings()]


def latest_messages(scope: Scope, tx: Tx, session_id: str, limit: int) -> list[Row]:
    """What the person and the agent said last."""
    return _all(tx, _MESSAGES, scope, session_id, limit)


def latest_observations(scope: Scope, tx: Tx, session_id: str, limit: int) -> list[Row]:
    """What tools gave last."""
    return _all(tx, _OBSERVATIONS, scope, session_id, limit)


def latest_changes(scope: Scope, tx: Tx, session_id: str, limit: int) -> list[Row]:
    """Which files were changed last."""
    return _all(tx, _CHANGES, scope, session_id, limit)


_KINDS = {
    "observation": t.observations,
    "prompt": t.prompts,
    "summary": t.summaries,
    "code_change": t.code_changes,
    "learning": t.learnings,
    "session": t.sessions,
}
# Ids begin with their moment, so that a short form is a narrow range of the primary key.
_IN_RANGE = {
    kind: sa.select(table.c.id).where(
        table.c.enterprise_id == sa.bindparam("enterprise"),
        table.c.id >= sa.bindparam("first", type_=table.c.id.type),
        table.c.id <= sa.bindparam("last", type_=table.c.id.type),
    )
    for kind, table in _KINDS.items()
}


def full_ids(scope: Scope, tx: Tx, shorts: Iterable[str]) -> dict[str, EntityRef]:
    """short form -> what it stands for; left out where nothing, or more than one thing, has it."""
    found: dict[str, EntityRef] = {}
    for short in shorts:
        head, tail = short[:SHORT_HEAD], short[SHORT_HEAD:]
        given = {
            "enterprise": scope.enterprise_id,
            "first": f"{head}-0000-0000-0000-000000000000",
            "last": f"{head}-ffff-ffff-ffff-ffffffffffff",
        }
        refs = [
            EntityRef(kind, str(row_id))
            for kind, query in _IN_RANGE.items()
            for row_id in tx.execute(query, given).scalars()
            if str(row_id).endswith(tail)
        ]
        if len(refs) == 1:
            found[short] = refs[0]
    return found
