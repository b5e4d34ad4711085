"""Taking things out for good: rows, natural keys, and every body the journal holds of them.

The journal keeps one tombstone an entity (its last version, no state), so that a later reading of the past says
"forgotten" instead of showing what was.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import EntityRef
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


def erase(scope: Scope, tx: Tx, refs: Sequence[EntityRef], now: int) -> int:
    """Delete the rows, their keys and what the journal says of them; returns how many rows went.

    The ledger of event ids stays (an id and a time, nothing of what was said), so that a late second delivery does not
    bring the forgotten back; natural keys stay for the same reason, pointing at the tombstone.
    """
    journal, gone = t.change_journal, 0
    for ref in refs:
        table = _BY_KIND[ref.kind]
        deleted = tx.execute(
            sa.delete(table).where(
                table.c.enterprise_id == scope.enterprise_id, table.c.id == ref.id
            )
        ).rowcount
        if not deleted:
            continue
        gone += 1
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
                state={"forgotten": True},
            )
        )
    return gone
