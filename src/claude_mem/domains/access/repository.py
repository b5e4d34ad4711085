"""All SQL of the access domain."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from claude_mem.domains.access import tables as t
from claude_mem.domains.sql import insert_new
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
) -> str:
    """Insert a project first heard of; returns the id of the one with this key, which may be another's by now."""
    row = {
        "enterprise_id": scope.enterprise_id,
        "id": project_id,
        "solution_id": solution_id,
        "key": key,
        "name": name,
        "created_at": now,
    }
    if insert_new(tx, t.projects, [row]):
        return project_id
    return find_project(scope, tx, key) or project_id


def projects(scope: Scope, tx: Tx) -> list[dict[str, Any]]:
    """Every project of the enterprise, by name."""
    query = sa.select(t.projects).where(t.projects.c.enterprise_id == scope.enterprise_id)
    rows = [dict(row) for row in tx.execute(query).mappings()]
    # Here, not there: how names sort is each PostgreSQL database's own.
    return sorted(rows, key=lambda row: (row["name"], row["id"]))


def match_projects(scope: Scope, tx: Tx, wanted: str) -> list[str]:
    """Ids of the projects whose id, key or name is `wanted`."""
    table = t.projects
    query = sa.select(table.c.id).where(
        table.c.enterprise_id == scope.enterprise_id,
        sa.or_(table.c.id == wanted, table.c.key == wanted, table.c.name == wanted),
    )
    return [str(found) for found in tx.execute(query.order_by(table.c.id)).scalars()]


def make_enterprise(
    tx: Tx, *, enterprise_id: str, solution_id: str, user_id: str, now: int
) -> None:
    """Insert an enterprise with its first solution and user, once; a second call changes nothing."""
    exists = sa.select(t.enterprises.c.id).where(t.enterprises.c.id == enterprise_id)
    if tx.execute(exists).first() is not None:
        return
    at = {"created_at": now}
    mine = {"enterprise_id": enterprise_id}
    enterprise = {"id": enterprise_id, "name": "local", "settings_json": {}}
    insert_new(tx, t.enterprises, [{**enterprise, **at}])
    insert_new(tx, t.solutions, [{**mine, "id": solution_id, "name": "local", **at}])
    user: dict[str, Any] = {
        "id": user_id,
        "username": "local",
        "email": None,
        "password_hash": None,
        "role": "admin",
        "preferences_json": {},
        "quota_daily": -1,
        "quota_used_today": 0,
        "is_active": True,
        "last_login_at": None,
        "updated_at": now,
    }
    insert_new(tx, t.users, [{**mine, **user, **at}])
