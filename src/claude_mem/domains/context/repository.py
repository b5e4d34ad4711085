"""All SQL of the context domain."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from claude_mem.domains.context import tables as t
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.sql import insert_new
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Given = tuple[str, str, str]  # kind, entity, unit
_CHUNK = 500
# Stands for the conversation itself: since when a session knows no more than it was given anew.
CUT_SHORT: Given = ("session", "00000000-0000-7000-8000-000000000000", "conversation")

_GIVEN = sa.select(
    t.injections.c.kind, t.injections.c.entity_id, t.injections.c.unit, t.injections.c.at
).where(
    t.injections.c.enterprise_id == sa.bindparam("enterprise"),
    t.injections.c.agent_session == sa.bindparam("session"),
)


def given_units(scope: Scope, tx: Tx, agent_session: str) -> tuple[frozenset[str], int]:
    """The units an agent's session was given, and since when its conversation goes (0: from its beginning)."""
    found = tx.execute(_GIVEN, {"enterprise": scope.enterprise_id, "session": agent_session}).all()
    cut = max((row.at for row in found if row.unit == CUT_SHORT[2]), default=0)
    return frozenset(row.unit for row in found if row.unit != CUT_SHORT[2]), cut


def note_given(
    scope: Scope, tx: Tx, agent_session: str, units: Sequence[Given], event: str, now: int
) -> None:
    """Remember what a session was given; what it was given before stays as it is."""
    known, _ = given_units(scope, tx, agent_session)
    fresh = sorted(unit for unit in set(units) if unit[2] not in known)
    columns = t.injections.columns.keys()
    rows = [(scope.enterprise_id, agent_session, *unit, now, event) for unit in fresh]
    insert_new(tx, t.injections, [dict(zip(columns, row, strict=True)) for row in rows])


def cut_short(scope: Scope, tx: Tx, agent_session: str, event: str, now: int) -> None:
    """A session's conversation was compacted or cleared: what it was given is gone with it."""
    table = t.injections
    tx.execute(
        sa.delete(table).where(
            table.c.enterprise_id == scope.enterprise_id, table.c.agent_session == agent_session
        )
    )
    row = (scope.enterprise_id, agent_session, *CUT_SHORT, now, event)
    insert_new(tx, table, [dict(zip(table.columns.keys(), row, strict=True))])


def drop_entities(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> None:
    """Forget that entities were ever given, and everything derived: that may be made of them."""
    table = t.injections
    derived = table.c.kind.in_(("summary", "learning", "session"))
    noted = table.c.unit != CUT_SHORT[2]
    tx.execute(sa.delete(table).where(table.c.enterprise_id == scope.enterprise_id, derived, noted))
    ids = list({ref.id for ref in refs})
    for start in range(0, len(ids), _CHUNK):
        tx.execute(
            sa.delete(table).where(
                table.c.enterprise_id == scope.enterprise_id,
                table.c.entity_id.in_(ids[start : start + _CHUNK]),
            )
        )


def drop_session(scope: Scope, tx: Tx, agent_session: str) -> None:
    """Forget what a session was given."""
    table = t.injections
    tx.execute(
        sa.delete(table).where(
            table.c.enterprise_id == scope.enterprise_id, table.c.agent_session == agent_session
        )
    )
