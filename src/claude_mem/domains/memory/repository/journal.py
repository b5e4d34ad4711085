"""The change journal: every earlier state of what is tracked, and tombstones where it was forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.sql import insert_many
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

FORGOTTEN: dict[str, Any] = {"forgotten": True}  # by a person: does not come back
WITHDRAWN: dict[str, Any] = {"withdrawn": True}  # it rested on something forgotten: may be remade


class Journal:
    """Collects (enterprise, kind, id, version, at, actor, state) of a transaction."""

    def __init__(self, scope: Scope, now: int) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self._scope = scope
        self._now = now

    def add(self, kind: str, entity_id: str, version: int, state: dict[str, Any] | None) -> None:
        """Note a version of an entity."""
        self.rows.append(
            (
                self._scope.enterprise_id,
                new_id(self._now),
                kind,
                entity_id,
                version,
                self._now,
                self._scope.user_id,
                state,
            )
        )


def note(
    scope: Scope, tx: Tx, ref: EntityRef, version: int, state: dict[str, Any], now: int
) -> None:
    """Write one version at once."""
    journal = Journal(scope, now)
    journal.add(ref.kind, ref.id, version, state)
    insert_many(tx, t.change_journal, journal.rows)


def last(scope: Scope, tx: Tx, ref: EntityRef) -> tuple[int, dict[str, Any] | None] | None:
    """(version, state) of an entity's newest entry."""
    row = tx.execute(
        sa.select(t.change_journal.c.version, t.change_journal.c.state)
        .where(_of(scope, ref))
        .order_by(t.change_journal.c.version.desc())
        .limit(1)
    ).first()
    return None if row is None else (row[0], row[1])


def states(scope: Scope, tx: Tx, ref: EntityRef) -> Iterator[dict[str, Any]]:
    """The journal of one entity, oldest version first."""
    query = sa.select(t.change_journal).where(_of(scope, ref)).order_by(t.change_journal.c.version)
    for row in tx.execute(query).mappings().all():
        yield dict(row)


_AFTER = (
    sa.select(
        t.change_journal.c.id,
        t.change_journal.c.kind,
        t.change_journal.c.entity_id,
        t.change_journal.c.version,
        t.change_journal.c.at,
        t.change_journal.c.state,
    )
    .where(
        t.change_journal.c.enterprise_id == sa.bindparam("enterprise"),
        t.change_journal.c.id > sa.bindparam("after"),
    )
    .order_by(t.change_journal.c.id)
    .limit(sa.bindparam("amount"))
)


def after(scope: Scope, tx: Tx, entry_id: str, limit: int) -> list[dict[str, Any]]:
    """The next entries of the whole journal in order of id, which is that of time to the millisecond."""
    wanted = {"enterprise": scope.enterprise_id, "after": entry_id, "amount": limit}
    return [dict(row) for row in tx.execute(_AFTER, wanted).mappings()]


def blank(scope: Scope, tx: Tx, ref: EntityRef, state: dict[str, Any], now: int) -> None:
    """Empty every earlier state of an entity and append the one given."""
    version, _ = last(scope, tx, ref) or (0, None)
    tx.execute(sa.update(t.change_journal).where(_of(scope, ref)).values(state=sa.null()))
    note(scope, tx, ref, version + 1, state, now)


def _of(scope: Scope, ref: EntityRef) -> Any:
    journal = t.change_journal
    return sa.and_(
        journal.c.enterprise_id == scope.enterprise_id,
        journal.c.entity_id == ref.id,
        journal.c.kind == ref.kind,
    )
