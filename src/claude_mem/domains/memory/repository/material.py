"""What a session's summary is made from, read in bounded pieces: however long the session, this much and no more."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import Material
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
_HEAD, _TAIL = 6_000, 2_000  # characters of one text
_FIRST = 40  # rows from the beginning, besides the newest
_PROMPTS, _OBSERVATIONS, _CHANGES, _NOTES = 360, 400, 600, 200


def _clipped(column: Any) -> tuple[Any, Any]:
    """Head and tail of a text; the tail is empty where the head is all of it."""
    length = sa.func.length(column)
    tail = sa.func.substr(
        column, sa.case((length > _HEAD + _TAIL, length - _TAIL + 1), else_=_HEAD + 1)
    )
    return sa.func.substr(column, 1, _HEAD).label("head"), tail.label("tail")


def _of(table: sa.Table, *columns: Any) -> Any:
    return sa.select(table.c.id, table.c.occurred_at, *columns).where(
        table.c.enterprise_id == sa.bindparam("enterprise"),
        table.c.session_id == sa.bindparam("session"),
    )


def _ends(query: Any, table: sa.Table, newest: int) -> tuple[Any, Any]:
    order = (table.c.occurred_at, table.c.id)
    backwards = tuple(column.desc() for column in order)
    return query.order_by(*order).limit(_FIRST), query.order_by(*backwards).limit(newest)


_P, _O, _C = t.prompts, t.observations, t.code_changes
# Made once: putting a statement together costs more than running it.
_ASKED = _ends(
    _of(_P, _P.c.prompt_type, _P.c.subagent_id, *_clipped(_P.c.content)).where(
        _P.c.prompt_type.in_(("user", "assistant"))
    ),
    _P,
    _PROMPTS,
)
_SEEABLE = _of(
    _O,
    _O.c.observation_type,
    _O.c.source_tool,
    _O.c.title,
    _O.c.command,
    _O.c.exit_status,
    _O.c.subagent_id,
    *_clipped(_O.c.content),
)
_SEEN = _ends(
    _SEEABLE.where(sa.or_(_O.c.command.is_not(None), _O.c.observation_type != "tool_result")),
    _O,
    _OBSERVATIONS,
)
# What somebody said outright is not to fall out because many tools ran since.
_NOTED = _ends(_SEEABLE.where(_O.c.observation_type == "info"), _O, _NOTES)
_CHANGED = _ends(
    _of(
        _C,
        _C.c.observation_id,
        _C.c.file_path,
        _C.c.operation,
        _C.c.lines_added,
        _C.c.lines_removed,
    ),
    _C,
    _CHANGES,
)
_SESSION = sa.select(t.sessions).where(
    t.sessions.c.enterprise_id == sa.bindparam("enterprise"),
    t.sessions.c.id == sa.bindparam("session"),
    t.sessions.c.status != "deleted",
)


def material(scope: Scope, tx: Tx, session_id: str) -> Material | None:
    """The rows of a session that a summary rests on, each kind in the order it happened."""
    given = {"enterprise": scope.enterprise_id, "session": session_id}
    session = tx.execute(_SESSION, given).mappings().first()
    if session is None:
        return None
    return Material(
        dict(session),
        _both(scope, tx, _ASKED, session_id),
        _both(scope, tx, (*_SEEN, *_NOTED), session_id),
        _both(scope, tx, _CHANGED, session_id),
    )


def _both(scope: Scope, tx: Tx, ends: tuple[Any, ...], session_id: str) -> tuple[Row, ...]:
    given = {"enterprise": scope.enterprise_id, "session": session_id}
    found = {row["id"]: dict(row) for query in ends for row in tx.execute(query, given).mappings()}
    return tuple(sorted(found.values(), key=lambda row: (row["occurred_at"], row["id"])))
