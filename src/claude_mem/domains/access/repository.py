"""All SQL of the access domain."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from claude_mem.domains.access import tables as t
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx


def find_project(scope: Scope, tx: Tx, key: str) -> str | None:
    """The id of the project known by `key`."""
    table = t.projects
    query = sa.select(table.c.id).where(
        table.c.enterprise_id == scope.enterprise_id, table.c.key == key
    )
    found = tx.execute(query).scalar()
    return None if found is None else str(found)


def first_solution(scope: Scope, tx: Tx) -> str:
    """The enterprise's oldest solution: where projects that nobody placed belong."""
    table = t.solutions
    query = (
        sa.select(table.c.id)
        .where(table.c.enterprise_id == scope.enterprise_id)
        .order_by(table.c.created_at, table.c.id)
        .limit(1)
    )
    return str(tx.execute(query).scalar_one())


def add_project(
    scope: Scope, tx: Tx, *, project_id: str, solution_id: str, key: str, name: str, now: int
) -> None:
    """Insert a project first heard of."""
    tx.execute(
        sa.insert(t.projects).values(
            enterprise_id=scope.enterprise_id,
            id=project_id,
            solution_id=solution_id,
            key=key,
            name=name,
            created_at=now,
        )
    )


def projects(scope: Scope, tx: Tx) -> list[dict[str, Any]]:
    """Every project of the enterprise, by name."""
    table = t.projects
    query = (
        sa.select(table)
        .where(table.c.enterprise_id == scope.enterprise_id)
        .order_by(table.c.name, table.c.id)
    )
    return [dict(row) for row in tx.execute(query).mappings()]


def match_projects(scope: Scope, tx: Tx, wanted: str) -> list[str]:
    """Ids of the projects whose id, key or name is `wanted`."""
    table = t.projects
    query = sa.select(table.c.id).where(
        table.c.enterprise_id == scope.enterprise_id,
        sa.or_(table.c.id == wanted, table.c.key == wanted, table.c.name == wanted),
    )
    return [str(found) for found in tx.execute(query).scalars()]


def make_enterprise(
    tx: Tx, *, enterprise_id: str, solution_id: str, user_id: str, now: int
) -> None:
    """Insert an enterprise with its first solution and user, once; a second call changes nothing."""
    exists = sa.select(t.enterprises.c.id).where(t.enterprises.c.id == enterprise_id)
    if tx.execute(exists).first() is not None:
        return
    tx.execute(
        sa.insert(t.enterprises).values(
            id=enterprise_id, name="local", settings_json={}, created_at=now
        )
    )
    tx.execute(
        sa.insert(t.solutions).values(
            enterprise_id=enterprise_id, id=solution_id, name="local", created_at=now
        )
    )
    tx.execute(
        sa.insert(t.users).values(
            enterprise_id=enterprise_id,
            id=user_id,
            username="local",
            email=None,
            password_hash=None,
            role="admin",
            preferences_json={},
            quota_daily=-1,
            quota_used_today=0,
            is_active=True,
            last_login_at=None,
            created_at=now,
            updated_at=now,
        )
    )
