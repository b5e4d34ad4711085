"""Our own summaries of sessions, and how often anything remembered was used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import (
    EXTRACTIVE,
    EntityRef,
    SessionSummary,
    summary_ref,
)
from claude_mem.domains.memory.repository import journal
from claude_mem.domains.sql import Lookup, upsert
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
_CHUNK = 500


def _with_session() -> Any:
    m, s = t.summaries, t.sessions
    return (
        sa.select(
            m,
            s.c.agent_session,
            s.c.project_id,
            s.c.role,
            s.c.title.label("session_title"),
            s.c.started_at,
            s.c.last_activity_at,
            s.c.ended_at,
        )
        .join(s, sa.and_(s.c.enterprise_id == m.c.enterprise_id, s.c.id == m.c.session_id))
        .where(
            m.c.enterprise_id == sa.bindparam("enterprise"),
            m.c.source == EXTRACTIVE,
            s.c.status != "deleted",
        )
    )


_NEWEST = (
    _with_session()
    .order_by(t.summaries.c.occurred_at.desc(), t.summaries.c.id.desc())
    .limit(sa.bindparam("amount"))
)
_NEWEST_OF_PROJECT = _NEWEST.where(t.sessions.c.project_id == sa.bindparam("project"))
_OF_SESSION = _with_session().where(t.summaries.c.session_id == sa.bindparam("session"))


# Made once, as those above: putting a statement together costs more than running it.
_OF_SESSIONS = _with_session().where(
    t.summaries.c.session_id.in_(sa.bindparam("sessions", expanding=True))
)
_USES = Lookup(
    sa.select(t.entity_use.c.entity_id, t.entity_use.c.used).where(
        t.entity_use.c.enterprise_id == sa.bindparam("enterprise"),
        t.entity_use.c.kind == sa.bindparam("of_kind"),
    ),
    t.entity_use.c.entity_id,
)


def latest_summaries(scope: Scope, tx: Tx, project_id: str | None, limit: int) -> list[Row]:
    """Our summaries, newest first, with their sessions."""
    given: Row = {"enterprise": scope.enterprise_id, "amount": limit}
    if project_id is None:
        found = tx.execute(_NEWEST, given)
    else:
        found = tx.execute(_NEWEST_OF_PROJECT, given | {"project": project_id})
    return [dict(row) for row in found.mappings()]


def summary_of(scope: Scope, tx: Tx, session_id: str) -> Row | None:
    """Our summary of a session."""
    given = {"enterprise": scope.enterprise_id, "session": session_id}
    row = tx.execute(_OF_SESSION, given).mappings().first()
    return None if row is None else dict(row)


def summaries_of(scope: Scope, tx: Tx, session_ids: Sequence[str]) -> dict[str, Row]:
    """Our summaries of some sessions by session; those without one are left out."""
    if not session_ids:
        return {}
    given = {"enterprise": scope.enterprise_id, "sessions": list(session_ids)}
    found = tx.execute(_OF_SESSIONS, given).mappings()
    return {row["session_id"]: dict(row) for row in found}


def is_forgotten(scope: Scope, tx: Tx, ref: EntityRef) -> bool:
    """Whether a person had it forgotten, so that it must not be made again."""
    found = journal.last(scope, tx, ref)
    return found is not None and found[1] == journal.FORGOTTEN


def save_summary(scope: Scope, tx: Tx, summary: SessionSummary, now: int) -> bool:
    """Insert, or update as the next version; False when it says what it said before (or must not be made)."""
    m = t.summaries
    ref = summary_ref(summary.session_id)
    mine = sa.and_(m.c.enterprise_id == scope.enterprise_id, m.c.id == ref.id)
    row = tx.execute(sa.select(m).where(mine)).mappings().first()
    said = _said(summary)
    if row is None:
        version, state = journal.last(scope, tx, ref) or (0, None)
        if state == journal.FORGOTTEN:
            return False
        _insert(scope, tx, summary, ref.id, version + 1, now)
    elif any(row[name] != value for name, value in said.items()):
        values = {**said, "covers_json": summary.covers, "occurred_at": summary.occurred_at}
        version = row["version"]
        tx.execute(sa.update(m).where(mine).values(version=version + 1, updated_at=now, **values))
    else:
        if row["covers_json"] != summary.covers:
            values = {"covers_json": summary.covers, "occurred_at": summary.occurred_at}
            tx.execute(sa.update(m).where(mine).values(**values))
        return False
    journal.note(scope, tx, ref, version + 1, _state(summary), now)
    return True


def _said(summary: SessionSummary) -> Row:
    return {
        "title": summary.title,
        "content": summary.content,
        "key_points_json": list(summary.key_points),
        "action_items_json": list(summary.action_items),
        "details_json": summary.details,
        "model_used": summary.model_used,
    }


def _state(summary: SessionSummary) -> Row:
    """What the journal keeps: whole, because this is derived and small."""
    return {
        "session_id": summary.session_id,
        "summary_type": "session",
        "source": EXTRACTIVE,
        "title": summary.title,
        "content": summary.content,
        "key_points": list(summary.key_points),
        "action_items": list(summary.action_items),
        "model_used": summary.model_used,
        "occurred_at": summary.occurred_at,
    }


def _insert(
    scope: Scope, tx: Tx, summary: SessionSummary, summary_id: str, version: int, now: int
) -> None:
    tx.execute(
        sa.insert(t.summaries).values(
            enterprise_id=scope.enterprise_id,
            id=summary_id,
            session_id=summary.session_id,
            event_id=None,
            summary_type="session",
            generation_cost=0.0,
            quality_score=summary.quality,
            version=version,
            is_published=False,
            occurred_at=summary.occurred_at,
            created_at=now,
            updated_at=now,
            source=EXTRACTIVE,
            covers_json=summary.covers,
            **_said(summary),
        )
    )


def withdraw_summary(scope: Scope, tx: Tx, session_id: str, now: int) -> EntityRef | None:
    """Delete our summary of a session and what the journal holds of it; None when there is none."""
    m, ref = t.summaries, summary_ref(session_id)
    mine = sa.and_(m.c.enterprise_id == scope.enterprise_id, m.c.id == ref.id)
    if not tx.execute(sa.delete(m).where(mine)).rowcount:
        return None
    journal.blank(scope, tx, ref, journal.WITHDRAWN, now)
    return ref


def compactions_since(scope: Scope, tx: Tx, session_id: str, since: int) -> list[EntityRef]:
    """Summaries that the agent made of a session from a moment on: they may retell what came before them."""
    m = t.summaries
    query = sa.select(m.c.id).where(
        m.c.enterprise_id == scope.enterprise_id,
        m.c.session_id == session_id,
        m.c.source != EXTRACTIVE,
        m.c.occurred_at >= since,
    )
    return [EntityRef("summary", row_id) for row_id in tx.execute(query).scalars()]


def uses(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> dict[EntityRef, int]:
    """How often each was used; those never used are left out."""
    found: dict[EntityRef, int] = {}
    for kind, ids in _by_kind(refs):
        rows = _USES.rows(tx, ids, enterprise=scope.enterprise_id, of_kind=kind)
        found.update({EntityRef(kind, row[0]): row[1] for row in rows})
    return found


def note_use(scope: Scope, tx: Tx, refs: Sequence[EntityRef], now: int) -> None:
    """Count one more use of each."""
    u = t.entity_use
    rows = [
        {
            "enterprise_id": scope.enterprise_id,
            "kind": kind,
            "entity_id": entity_id,
            "used": 1,
            "last_used_at": now,
        }
        for kind, entity_id in sorted({(ref.kind, ref.id) for ref in refs})
    ]
    upsert(tx, u, rows, lambda new: {"used": u.c.used + 1, "last_used_at": new.last_used_at})


def drop_uses(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> None:
    """Forget that they were used."""
    u = t.entity_use
    for kind, ids in _by_kind(refs):
        tx.execute(
            sa.delete(u).where(
                u.c.enterprise_id == scope.enterprise_id, u.c.kind == kind, u.c.entity_id.in_(ids)
            )
        )


def _by_kind(refs: Sequence[EntityRef]) -> Iterator[tuple[str, list[str]]]:
    kinds: dict[str, list[str]] = {}
    for ref in refs:
        kinds.setdefault(ref.kind, []).append(ref.id)
    for kind, ids in kinds.items():
        for start in range(0, len(ids), _CHUNK):
            yield kind, ids[start : start + _CHUNK]
