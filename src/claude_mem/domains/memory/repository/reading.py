"""Reading what is remembered: pages, single rows, and the one hydrate read of a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.sql import beyond, metadata
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

_CHUNK = 500
Row = dict[str, Any]


def _rows(tx: Tx, query: Any) -> list[Row]:
    return [dict(row) for row in tx.execute(query).mappings()]


def _there(table: sa.Table) -> list[Any]:
    """What tells rows from what is kept of the forgotten."""
    if table is t.sessions:
        return [table.c.status != "deleted"]
    return [sa.not_(table.c.is_deleted)] if table is t.learnings else []


def count(scope: Scope, tx: Tx, table_name: str) -> int:
    """How many rows of the enterprise a table holds."""
    table = metadata.tables[table_name]
    query = (
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.enterprise_id == scope.enterprise_id, *_there(table))
    )
    return int(tx.execute(query).scalar_one())


def sessions(
    scope: Scope,
    tx: Tx,
    *,
    project_id: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> list[Row]:
    """Sessions, latest activity first; `after` is the (last_activity_at, id) of the last one seen."""
    table = t.sessions
    query = sa.select(table).where(
        table.c.enterprise_id == scope.enterprise_id, table.c.status != "deleted"
    )
    if project_id is not None:
        query = query.where(table.c.project_id == project_id)
    if after is not None:
        query = query.where(beyond((table.c.last_activity_at, table.c.id), after, earlier=True))
    query = query.order_by(table.c.last_activity_at.desc(), table.c.id.desc()).limit(limit)
    return _rows(tx, query)


def session(scope: Scope, tx: Tx, session_id: str) -> Row | None:
    """One session by our id or by the agent's own session id."""
    table = t.sessions
    query = sa.select(table).where(
        table.c.enterprise_id == scope.enterprise_id,
        sa.or_(table.c.id == session_id, table.c.agent_session == session_id),
        table.c.status != "deleted",
    )
    found = _rows(tx, query.limit(1))
    return found[0] if found else None


def of_session(
    scope: Scope,
    tx: Tx,
    table_name: str,
    session_id: str,
    *,
    after: tuple[int, str] | None,
    limit: int,
) -> list[Row]:
    """Rows of a session in the order they happened: (occurred_at, id)."""
    table = metadata.tables[table_name]
    query = sa.select(table).where(
        table.c.enterprise_id == scope.enterprise_id, table.c.session_id == session_id
    )
    if after is not None:
        query = query.where(beyond((table.c.occurred_at, table.c.id), after))
    return _rows(tx, query.order_by(table.c.occurred_at, table.c.id).limit(limit))


def get_many(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> dict[EntityRef, Row]:
    """The rows behind references, in their order, with session and project; what is gone or not ours is left out."""
    found: dict[EntityRef, Row] = {}
    by_kind: dict[str, list[str]] = {}
    for ref in refs:
        by_kind.setdefault(ref.kind, []).append(ref.id)
    for kind, ids in by_kind.items():
        query = _BY_IDS.get(kind)
        if query is None:
            continue
        for start in range(0, len(ids), _CHUNK):
            wanted = {"enterprise": scope.enterprise_id, "ids": ids[start : start + _CHUNK]}
            for row in tx.execute(query, wanted).mappings():
                found[EntityRef(kind, row["id"])] = dict(row)
    return {ref: found[ref] for ref in refs if ref in found}


def _with_session(table: sa.Table) -> Any:
    """Rows of a table by id, with what a reader wants of their session."""
    query = sa.select(table).where(
        table.c.enterprise_id == sa.bindparam("enterprise"),
        table.c.id.in_(sa.bindparam("ids", expanding=True)),
        *_there(table),
    )
    if "session_id" not in table.c:
        return query
    s = t.sessions
    return query.add_columns(
        s.c.agent_session, s.c.project_id, s.c.role, s.c.title.label("session_title")
    ).where(
        s.c.enterprise_id == table.c.enterprise_id,
        s.c.id == table.c.session_id,
        s.c.status != "deleted",
    )


def index_page(
    scope: Scope, tx: Tx, kind: str, *, after: str | None, session_id: str | None, limit: int
) -> list[Row]:
    """Rows of a kind in order of id, with what the search index wants of their session."""
    table, s = _TABLES[kind], t.sessions
    query = (
        sa.select(table, s.c.project_id, s.c.role, s.c.title.label("session_title"))
        .join(s, sa.and_(s.c.enterprise_id == table.c.enterprise_id, s.c.id == table.c.session_id))
        .where(table.c.enterprise_id == scope.enterprise_id, *_there(table))
    )
    if after is not None:
        query = query.where(table.c.id > after)
    if session_id is not None:
        query = query.where(table.c.session_id == session_id)
    return _rows(tx, query.order_by(table.c.id).limit(limit))


def page(
    scope: Scope,
    tx: Tx,
    table_name: str,
    *,
    after: str | None,
    limit: int,
    since: int | None,
    project_id: str | None,
) -> list[Row]:
    """Rows in order of id, for streaming everything (or one project) out in bounded pieces."""
    table = metadata.tables[table_name]
    query = sa.select(table).where(table.c.enterprise_id == scope.enterprise_id, *_there(table))
    if project_id is not None:
        s = t.sessions
        mine = sa.select(s.c.id).where(
            s.c.enterprise_id == scope.enterprise_id, s.c.project_id == project_id
        )
        column = table.c.project_id if "project_id" in table.c else table.c.session_id
        query = query.where(column == project_id if "project_id" in table.c else column.in_(mine))
    if after is not None:
        query = query.where(table.c.id > after)
    if since is not None:
        query = query.where(
            (table.c.occurred_at if "occurred_at" in table.c else table.c.last_activity_at) >= since
        )
    return _rows(tx, query.order_by(table.c.id).limit(limit))


_TABLES: dict[str, sa.Table] = {
    "prompt": t.prompts,
    "observation": t.observations,
    "code_change": t.code_changes,
    "summary": t.summaries,
    "learning": t.learnings,
    "session": t.sessions,
}
# Made once: putting a statement together costs more than running it.
_BY_IDS = {kind: _with_session(table) for kind, table in _TABLES.items()}
