"""Learnings: what is worth knowing beyond the session that taught it.

A learning is shown as its newest source tells it; each session that taught it is a source of its own, so that
forgetting one leaves what the others say.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import Derived, EntityRef, NewLearning
from claude_mem.domains.memory.repository import journal
from claude_mem.domains.sql import beyond
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
_REFS = 40  # shown of all sources together
_STEP, _SURE = 0.1, 0.95  # what a further session adds to the confidence, and where that ends
_TOLD = ("title", "description", "context_json", "examples_json", "tags_json")
_EMPTY: Row = {
    "title": "",
    "description": "",
    "context_json": {},
    "examples_json": [],
    "tags_json": [],
    "refs_json": [],
    "source_session_ids": [],
    "verification_notes": None,
    "session_id": None,
}


def learnings(
    scope: Scope,
    tx: Tx,
    project_id: str | None,
    *,
    category: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> list[Row]:
    """Newest first; `after` is the (occurred_at, id) of the last one seen."""
    table = t.learnings
    query = _newest(project_id is not None, category is not None)
    if after is not None:
        query = query.where(beyond((table.c.occurred_at, table.c.id), after, earlier=True))
    wanted = {"enterprise": scope.enterprise_id, "amount": limit}
    if project_id is not None:
        wanted["project"] = project_id
    if category is not None:
        wanted["of_category"] = category
    return [dict(row) for row in tx.execute(query, wanted).mappings()]


@cache  # every context asks for some, and putting a statement together costs more than running it
def _newest(of_project: bool, of_category: bool) -> Any:
    table = t.learnings
    query = sa.select(table).where(
        table.c.enterprise_id == sa.bindparam("enterprise"),
        sa.not_(table.c.is_deleted),
        table.c.occurred_at.is_not(None),
    )
    if of_project:
        query = query.where(table.c.project_id == sa.bindparam("project"))
    if of_category:
        query = query.where(table.c.category == sa.bindparam("of_category"))
    newest = (table.c.occurred_at.desc(), table.c.id.desc())
    return query.order_by(*newest).limit(sa.bindparam("amount"))


def learned_in(scope: Scope, tx: Tx, session_id: str) -> list[str]:
    """Ids of the learnings that a session is a source of."""
    s = t.learning_sources
    query = sa.select(s.c.learning_id).where(
        s.c.enterprise_id == scope.enterprise_id, s.c.session_id == session_id
    )
    return list(tx.execute(query.order_by(s.c.learning_id)).scalars())


def save(scope: Scope, tx: Tx, learning: NewLearning, now: int) -> tuple[str, bool]:
    """(id, whether anything changed). The same fingerprint of a project is one learning; a forgotten one stays so."""
    table = t.learnings
    row = tx.execute(
        sa.select(table.c.id, table.c.is_deleted).where(
            table.c.enterprise_id == scope.enterprise_id,
            table.c.project_id == learning.project_id,
            table.c.fingerprint == learning.fingerprint,
        )
    ).first()
    if row is None:
        learning_id = new_id(now)
        _insert(scope, tx, learning, learning_id, now)
    elif row[1]:
        return row[0], False
    else:
        learning_id = row[0]
    if not _put_source(scope, tx, learning, learning_id):
        return learning_id, False
    _show(scope, tx, learning_id, now)
    return learning_id, True


def drop_source(
    scope: Scope, tx: Tx, session_id: str, learning_ids: Sequence[str], now: int
) -> Derived:
    """A session no longer says these; what no session says any more is gone, with all the journal holds of it."""
    table, s = t.learnings, t.learning_sources
    changed, removed = list[EntityRef](), list[EntityRef]()
    for learning_id in learning_ids:
        ref = EntityRef("learning", learning_id)
        told = sa.and_(s.c.enterprise_id == scope.enterprise_id, s.c.learning_id == learning_id)
        tx.execute(sa.delete(s).where(told, s.c.session_id == session_id))
        journal.blank(scope, tx, ref, journal.WITHDRAWN, now)
        if tx.execute(sa.select(s.c.session_id).where(told).limit(1)).first() is not None:
            _show(scope, tx, learning_id, now)
            changed.append(ref)
        else:
            mine = sa.and_(table.c.enterprise_id == scope.enterprise_id, table.c.id == learning_id)
            tx.execute(sa.delete(table).where(mine))
            removed.append(ref)
    return Derived(tuple(changed), tuple(removed))


def forget(scope: Scope, tx: Tx, learning_id: str, now: int) -> bool:
    """Empty a learning and everything said of it; its fingerprint (a hash) stays, so that it is not learned again."""
    table, s = t.learnings, t.learning_sources
    mine = sa.and_(table.c.enterprise_id == scope.enterprise_id, table.c.id == learning_id)
    values = {**_EMPTY, "is_deleted": True, "updated_at": now}
    if not tx.execute(sa.update(table).where(mine).values(**values)).rowcount:
        return False
    tx.execute(
        sa.delete(s).where(s.c.enterprise_id == scope.enterprise_id, s.c.learning_id == learning_id)
    )
    journal.blank(scope, tx, EntityRef("learning", learning_id), journal.FORGOTTEN, now)
    return True


def _insert(scope: Scope, tx: Tx, learning: NewLearning, learning_id: str, now: int) -> None:
    tx.execute(
        sa.insert(t.learnings).values(
            enterprise_id=scope.enterprise_id,
            id=learning_id,
            project_id=learning.project_id,
            category=learning.category,
            fingerprint=learning.fingerprint,
            confidence_score=learning.confidence,
            importance_score=learning.importance,
            occurred_at=learning.occurred_at,
            usage_count=0,
            is_verified=False,
            is_deleted=False,
            version=0,
            created_at=now,
            updated_at=now,
            **_EMPTY,
        )
    )


def _put_source(scope: Scope, tx: Tx, learning: NewLearning, learning_id: str) -> bool:
    s = t.learning_sources
    values: Row = {
        "title": learning.title,
        "description": learning.description,
        "context_json": learning.context,
        "examples_json": list(learning.examples),
        "tags_json": list(learning.tags),
        "refs_json": [[ref.kind, ref.id] for ref in learning.refs],
        "confidence_score": learning.confidence,
        "importance_score": learning.importance,
        "occurred_at": learning.occurred_at,
    }
    mine = sa.and_(
        s.c.enterprise_id == scope.enterprise_id,
        s.c.learning_id == learning_id,
        s.c.session_id == learning.session_id,
    )
    row = tx.execute(sa.select(s).where(mine)).mappings().first()
    if row is None:
        tx.execute(
            sa.insert(s).values(
                enterprise_id=scope.enterprise_id,
                learning_id=learning_id,
                session_id=learning.session_id,
                **values,
            )
        )
        return True
    if all(row[name] == value for name, value in values.items()):
        return False
    tx.execute(sa.update(s).where(mine).values(**values))
    return True


def _show(scope: Scope, tx: Tx, learning_id: str, now: int) -> None:
    """Let the learning say what its sources say."""
    table, s = t.learnings, t.learning_sources
    query = (
        sa.select(s)
        .where(s.c.enterprise_id == scope.enterprise_id, s.c.learning_id == learning_id)
        .order_by(s.c.occurred_at, s.c.session_id)
    )
    sources = tx.execute(query).mappings().all()
    newest = sources[-1]
    confidence = max(source["confidence_score"] for source in sources)
    refs = [ref for source in reversed(sources) for ref in source["refs_json"]]
    values: Row = {
        **{name: newest[name] for name in _TOLD},
        "confidence_score": round(
            max(min(confidence + _STEP * (len(sources) - 1), _SURE), confidence), 4
        ),
        "importance_score": max(source["importance_score"] for source in sources),
        "source_session_ids": [source["session_id"] for source in sources],
        "session_id": newest["session_id"],
        "occurred_at": newest["occurred_at"],
        "refs_json": refs[:_REFS],
        "updated_at": now,
    }
    ref = EntityRef("learning", learning_id)
    version, _ = journal.last(scope, tx, ref) or (0, None)
    tx.execute(
        sa.update(table)
        .where(table.c.enterprise_id == scope.enterprise_id, table.c.id == learning_id)
        .values(version=version + 1, **values)
    )
    told = ("title", "description", "confidence_score", "source_session_ids", "occurred_at")
    journal.note(scope, tx, ref, version + 1, {name: values[name] for name in told}, now)
