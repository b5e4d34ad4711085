"""Taking things out for good: rows, natural keys, and every body the journal holds of them.

The journal keeps one tombstone an entity (its last version, no state), so that a later reading of the past says
"forgotten" instead of showing what was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import TITLE_CHARS, UNTITLED, EntityRef, preview
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

_BY_KIND = {
    "prompt": t.prompts,
    "observation": t.observations,
    "code_change": t.code_changes,
    "summary": t.summaries,
}


def last_turn(scope: Scope, tx: Tx, project_id: str | None) -> tuple[str, int] | None:
    """(session id, start of its last turn): the newest prompt a person wrote."""
    p, s = t.prompts, t.sessions
    query = (
        sa.select(p.c.session_id, p.c.occurred_at)
        .join(s, sa.and_(s.c.enterprise_id == p.c.enterprise_id, s.c.id == p.c.session_id))
        .where(p.c.enterprise_id == scope.enterprise_id, p.c.prompt_type == "user")
        .order_by(s.c.last_activity_at.desc(), p.c.occurred_at.desc(), p.c.id.desc())
        .limit(1)
    )
    if project_id is not None:
        query = query.where(s.c.project_id == project_id)
    row = tx.execute(query).first()
    return None if row is None else (row[0], row[1])


def entities_since(scope: Scope, tx: Tx, session_id: str, since: int) -> list[EntityRef]:
    """Everything of a session from a moment on."""
    refs: list[EntityRef] = []
    for kind, table in _BY_KIND.items():
        query = sa.select(table.c.id).where(
            table.c.enterprise_id == scope.enterprise_id,
            table.c.session_id == session_id,
            table.c.occurred_at >= since,
        )
        refs.extend(EntityRef(kind, row_id) for row_id in tx.execute(query).scalars())
    return refs


def erase(scope: Scope, tx: Tx, refs: Sequence[EntityRef], now: int) -> list[str]:
    """Delete the rows, and what the journal says of them; returns the sessions that lost their title.

    The ledger of event ids and the natural keys stay (ids and hashes, nothing of what was said), so that a late second
    delivery does not bring the forgotten back.
    """
    titles = _titles_taken(scope, tx, refs)
    for ref in refs:
        table = _BY_KIND[ref.kind]
        mine = sa.and_(table.c.enterprise_id == scope.enterprise_id, table.c.id == ref.id)
        if tx.execute(sa.delete(table).where(mine)).rowcount:
            _blank_journal(scope, tx, ref, now, {"forgotten": True})
    for session_id in titles:
        _retitle(scope, tx, session_id, now)
    return titles


def _titles_taken(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> list[str]:
    """Sessions whose title repeats a prompt that is about to go."""
    p, s = t.prompts, t.sessions
    taken = []
    for ref in refs:
        if ref.kind != "prompt":
            continue
        row = tx.execute(
            sa.select(p.c.content, s.c.id, s.c.title)
            .join(s, sa.and_(s.c.enterprise_id == p.c.enterprise_id, s.c.id == p.c.session_id))
            .where(p.c.enterprise_id == scope.enterprise_id, p.c.id == ref.id)
        ).first()
        if row is not None and preview(row[0], TITLE_CHARS) == row[2]:
            taken.append(str(row[1]))
    return taken


def _retitle(scope: Scope, tx: Tx, session_id: str, now: int) -> None:
    """Name a session after the first prompt that is left, and forget its earlier names."""
    p, s = t.prompts, t.sessions
    first = tx.execute(
        sa.select(p.c.content)
        .where(
            p.c.enterprise_id == scope.enterprise_id,
            p.c.session_id == session_id,
            p.c.prompt_type == "user",
        )
        .order_by(p.c.occurred_at, p.c.id)
        .limit(1)
    ).scalar()
    title = UNTITLED if first is None else preview(first, TITLE_CHARS)
    tx.execute(
        sa.update(s)
        .where(s.c.enterprise_id == scope.enterprise_id, s.c.id == session_id)
        .values(title=title, version=s.c.version + 1)
    )
    _blank_journal(scope, tx, EntityRef("session", session_id), now, {"title": title})


def _blank_journal(scope: Scope, tx: Tx, ref: EntityRef, now: int, state: dict[str, Any]) -> None:
    """Empty every earlier state of an entity and append the one given."""
    journal = t.change_journal
    mine = sa.and_(
        journal.c.enterprise_id == scope.enterprise_id,
        journal.c.entity_id == ref.id,
        journal.c.kind == ref.kind,
    )
    last = tx.execute(sa.select(sa.func.max(journal.c.version)).where(mine)).scalar() or 0
    tx.execute(sa.update(journal).where(mine).values(state=sa.null()))
    tx.execute(
        sa.insert(journal).values(
            enterprise_id=scope.enterprise_id,
            id=new_id(now),
            kind=ref.kind,
            entity_id=ref.id,
            version=last + 1,
            at=now,
            actor=scope.user_id,
            state=state,
        )
    )
