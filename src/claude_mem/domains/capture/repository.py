"""All SQL of the capture domain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.capture import tables as t
from claude_mem.domains.sql import hold, upsert
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx


def hold_sessions(scope: Scope, tx: Tx, events: Iterable[dict[str, Any]]) -> None:
    """Let nobody else record the sessions of these events until the transaction ends.

    What is known of them is read before it is written: two recorders at once would make the same thing twice.
    """
    sessions = {(event["agent"], event["session"]) for event in events}
    hold(tx, [f"session {scope.enterprise_id} {agent} {name}" for agent, name in sessions])


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
    row = {"enterprise_id": scope.enterprise_id, "path": path, "position": value, "updated_at": now}
    upsert(
        tx,
        t.transcript_positions,
        [row],
        lambda new: {"position": new.position, "updated_at": new.updated_at},
    )
