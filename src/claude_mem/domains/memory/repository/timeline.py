"""What happened around a moment of a session: all kinds in one order, as lines rather than whole texts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import EntityRef
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
LINE_CHARS = 600  # read of each text; what is shown is shorter


def beside(
    scope: Scope, tx: Tx, session_id: str, at: int, entity_id: str, limit: int, *, later: bool
) -> list[Row]:
    """Up to `limit` entries of a session next to (moment, id), which is left out; in the order they happened."""
    wanted = {
        "enterprise": scope.enterprise_id,
        "session": session_id,
        "at": at,
        "id": entity_id,
        "limit": limit,
    }
    found: list[Row] = []
    for kind, before, after in _BESIDE:
        rows = tx.execute(after if later else before, wanted).mappings()
        found.extend({"kind": kind, **row} for row in rows)
    found.sort(key=lambda row: (row["occurred_at"], row["id"]), reverse=not later)
    return found[:limit] if later else found[:limit][::-1]


def made_of(scope: Scope, tx: Tx, event_id: str) -> EntityRef | None:
    """The row an event was turned into; None while it waits, and where it only repeated what was there."""
    ledger = tx.execute(
        _LEDGER, {"enterprise": scope.enterprise_id, "event": event_id}
    ).one_or_none()
    if ledger is None or ledger.made not in _MADE:
        return None
    wanted = {
        "enterprise": scope.enterprise_id,
        "session": ledger.session_id,
        "at": ledger.occurred_at,
        "event": event_id,
    }
    found = tx.execute(_MADE[ledger.made], wanted).scalar()
    return None if found is None else EntityRef(ledger.made, str(found))


_SUBTYPES = ("prompt_type", "observation_type", "summary_type")


def _line(table: sa.Table) -> Any:
    """The columns of an entry, whatever the kind."""
    c = table.c
    subtype = c[next(name for name in _SUBTYPES if name in c)]
    title = c.title if "title" in c else sa.literal("").label("title")
    return sa.select(
        c.id,
        c.occurred_at,
        subtype.label("subtype"),
        title,
        sa.func.substr(c.content, 1, LINE_CHARS).label("text"),
        sa.func.length(c.content).label("chars"),
    )


def _beside(table: sa.Table, *, later: bool) -> Any:
    c = table.c
    # As the columns are typed: moments are timestamps and ids are UUIDs on PostgreSQL.
    anchor = sa.tuple_(
        sa.bindparam("at", type_=c.occurred_at.type), sa.bindparam("id", type_=c.id.type)
    )
    place = sa.tuple_(c.occurred_at, c.id)
    order = (c.occurred_at, c.id) if later else (c.occurred_at.desc(), c.id.desc())
    return (
        _line(table)
        .where(
            c.enterprise_id == sa.bindparam("enterprise"),
            c.session_id == sa.bindparam("session"),
            place > anchor if later else place < anchor,
        )
        .order_by(*order)
        .limit(sa.bindparam("limit"))
    )


def _by_event(table: sa.Table) -> Any:
    c = table.c
    return sa.select(c.id).where(
        c.enterprise_id == sa.bindparam("enterprise"),
        c.session_id == sa.bindparam("session"),
        c.occurred_at == sa.bindparam("at", type_=c.occurred_at.type),
        c.event_id == sa.bindparam("event"),
    )


_TABLES = {"prompt": t.prompts, "observation": t.observations, "summary": t.summaries}
_BESIDE = tuple(
    (kind, _beside(table, later=False), _beside(table, later=True))
    for kind, table in _TABLES.items()
)
_MADE = {kind: _by_event(table) for kind, table in _TABLES.items()}
_LEDGER = sa.select(
    t.ingested_events.c.made, t.ingested_events.c.session_id, t.ingested_events.c.occurred_at
).where(
    t.ingested_events.c.enterprise_id == sa.bindparam("enterprise"),
    t.ingested_events.c.event_id == sa.bindparam("event"),
)
