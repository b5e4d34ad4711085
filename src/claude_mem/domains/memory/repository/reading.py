"""Reading what is remembered: pages, single rows, and the one hydrate read of a search."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.sql import Lookup, beyond, given, metadata
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

BEFORE_CHARS = 240  # of what was said before: a model that sees it shall still see the thing itself

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


def recent_titles(scope: Scope, tx: Tx, project_ids: Sequence[str] | None, limit: int) -> list[str]:
    """Titles of sessions, latest activity first; of some projects, or of all."""
    s = t.sessions
    query = sa.select(s.c.title).where(
        s.c.enterprise_id == scope.enterprise_id, s.c.status != "deleted"
    )
    if project_ids is not None:
        query = query.where(s.c.project_id.in_(project_ids))
    query = query.order_by(s.c.last_activity_at.desc(), s.c.id.desc()).limit(limit)
    return list(tx.execute(query).scalars())


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
        if kind not in _TABLES:
            continue
        rows = _with_session(kind).named(tx, ids, enterprise=scope.enterprise_id)
        found.update({EntityRef(kind, row["id"]): row for row in rows})
    return {ref: found[ref] for ref in refs if ref in found}


def marks(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> dict[EntityRef, Row]:
    """{"tags", "files"} of those references whose rows have any place for them."""
    found: dict[EntityRef, Row] = {}
    by_kind: dict[str, list[str]] = {}
    for ref in refs:
        by_kind.setdefault(ref.kind, []).append(ref.id)
    for kind, ids in by_kind.items():
        if kind not in _MARKED:
            continue
        query = _statement(tx.dialect.name, _marked, kind)
        for start in range(0, len(ids), _CHUNK):
            wanted = {"enterprise": scope.enterprise_id, "ids": ids[start : start + _CHUNK]}
            for row_id, tags, metadata_ in tx.execute(query, wanted):
                files = (metadata_ or {}).get("files") or []
                found[EntityRef(kind, row_id)] = {"tags": tags or [], "files": files}
    return found


def _marked(dialect: str, table: sa.Table) -> Any:
    return sa.select(
        table.c.id,
        table.c.tags_json if "tags_json" in table.c else sa.null(),
        table.c.metadata_json if "metadata_json" in table.c else sa.null(),
    ).where(
        table.c.enterprise_id == sa.bindparam("enterprise"),
        given(dialect, table.c.id, "ids"),
        *_there(table),
    )


_SAID_BEFORE = (
    sa.select(
        sa.func.substr(t.prompts.c.content, 1, BEFORE_CHARS).label("content"),
        t.prompts.c.prompt_type,
        t.prompts.c.metadata_json,
    )
    .where(
        t.prompts.c.enterprise_id == sa.bindparam("enterprise"),
        t.prompts.c.session_id == sa.bindparam("session"),
        t.prompts.c.prompt_type.in_(("user", "assistant")),
        sa.tuple_(t.prompts.c.occurred_at, t.prompts.c.id)
        < sa.tuple_(
            sa.bindparam("at", type_=t.prompts.c.occurred_at.type),
            sa.bindparam("id", type_=t.prompts.c.id.type),
        ),
    )
    .order_by(t.prompts.c.occurred_at.desc(), t.prompts.c.id.desc())
    .limit(1)
)


def said_after(scope: Scope, tx: Tx, session_id: str, gone: Collection[str]) -> list[EntityRef]:
    """Prompts of a session that stand right behind one of `gone` (see `with_before`), and are none of them."""
    prompts = t.prompts.c
    rows = tx.execute(
        sa.select(prompts.id, prompts.prompt_type)
        .where(prompts.enterprise_id == scope.enterprise_id, prompts.session_id == session_id)
        .order_by(prompts.occurred_at, prompts.id)
    ).all()
    found: list[EntityRef] = []
    before: str | None = None
    for row_id, prompt_type in rows:
        if before in gone and row_id not in gone:
            found.append(EntityRef("prompt", row_id))
        if prompt_type in ("user", "assistant"):
            before = row_id
    return found


def with_before(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> dict[EntityRef, Row]:
    """As `get_many`; prompts with `before`: what a person said just before them in their session, its beginning."""
    found = get_many(scope, tx, refs)
    for ref, row in found.items():
        if ref.kind == "prompt":
            values = {
                "enterprise": scope.enterprise_id,
                "session": row["session_id"],
                "at": row["occurred_at"],
                "id": row["id"],
            }
            before = tx.execute(_SAID_BEFORE, values).mappings().first()
            if before is not None and before["prompt_type"] == "user":
                who = (before["metadata_json"] or {}).get("speaker") or "user"
                row["before"] = f"{who}: {before['content']}"[:BEFORE_CHARS]
    return found


@cache
def _with_session(kind: str) -> Lookup:
    """Rows of a kind by id, with what a reader wants of their session."""
    table, s = _TABLES[kind], t.sessions
    query = sa.select(table).where(
        table.c.enterprise_id == sa.bindparam("enterprise"), *_there(table)
    )
    if "session_id" not in table.c:
        return Lookup(query, table.c.id)
    of_session = query.add_columns(
        s.c.agent_session, s.c.project_id, s.c.role, s.c.title.label("session_title")
    ).where(
        s.c.enterprise_id == table.c.enterprise_id,
        s.c.id == table.c.session_id,
        s.c.status != "deleted",
    )
    return Lookup(of_session, table.c.id)


def index_page(
    scope: Scope, tx: Tx, kind: str, *, after: str | None, session_id: str | None, limit: int
) -> list[Row]:
    """Rows of a kind in order of id, with what the search index wants of their session."""
    table, s = _TABLES[kind], t.sessions
    query = (
        sa.select(
            table,
            s.c.project_id,
            s.c.role,
            s.c.title.label("session_title"),
        )
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
_MARKED = frozenset(
    kind
    for kind, table in _TABLES.items()
    if kind != "session" and {"tags_json", "metadata_json"} & set(table.c.keys())
)
_statements: dict[tuple[str, str, str], Any] = {}


def _statement(dialect: str, make: Callable[[str, sa.Table], Any], kind: str) -> Any:
    """Made once an engine: putting a statement together costs more than running it."""
    key = dialect, make.__name__, kind
    if key not in _statements:
        _statements[key] = make(dialect, _TABLES[kind])
    return _statements[key]
