"""All SQL of the capture domain."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from claude_mem.domains.capture import tables as t
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx


def position(scope: Scope, tx: Tx, path: str) -> dict[str, Any] | None:
    """How far a transcript was read."""
    table = t.transcript_positions
    query = sa.select(table.c.position).where(
        table.c.enterprise_id == scope.enterprise_id, table.c.path == path
    )
    found: dict[str, Any] | None = tx.execute(query).scalar()
    return found


def keep_position(scope: Scope, tx: Tx, path: str, value: dict[str, Any], now: int) -> None:
    """Remember how far a transcript was read."""
    table = t.transcript_positions
    mine = sa.and_(table.c.enterprise_id == scope.enterprise_id, table.c.path == path)
    changed = tx.execute(sa.update(table).where(mine).values(position=value, updated_at=now))
    if changed.rowcount == 0:
        tx.execute(
            sa.insert(table).values(
                enterprise_id=scope.enterprise_id, path=path, position=value, updated_at=now
            )
        )
