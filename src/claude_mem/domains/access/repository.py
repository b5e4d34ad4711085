"""All SQL of the access domain."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from claude_mem.domains.access import tables as t
from claude_mem.domains.sql import hold, insert_new, upsert
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
# Made once: every context asks for it, and putting a statement together costs more than running it.
_ZONE = sa.select(t.enterprises.c.timezone).where(t.enterprises.c.id == sa.bindparam("enterprise"))
_PROJECTS = sa.select(t.projects).where(t.projects.c.enterprise_id == sa.bindparam("enterprise"))
_PROJECT = sa.select(t.projects.c.id, t.projects.c.name).where(
    t.projects.c.enterprise_id == sa.bindparam("enterprise"),
    t.projects.c.key == sa.bindparam("key"),
)


def find_project(scope: Scope, tx: Tx, key: str) -> str | None:
    """The id of the project known by `key`."""
    found = named_project(scope, tx, key)
    return None if found is None else found[0]


def named_project(scope: Scope, tx: Tx, key: str) -> tuple[str, str] | None:
    """(id, name) of the project known by `key`."""
    found = tx.execute(_PROJECT, {"enterprise": scope.enterprise_id, "key": key}).first()
    return None if found is None else (str(found[0]), str(found[1]))


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
    found = tx.execute(_PROJECTS, {"enterprise": scope.enterprise_id})
    rows = [dict(row) for row in found.mappings()]
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
    tx: Tx,
    *,
    enterprise_id: str,
    solution_id: str,
    user_id: str,
    now: int,
    name: str = "local",
    username: str = "local",
    email: str | None = None,
) -> None:
    """Insert an enterprise with its first solution and administrator, once; a second call changes nothing."""
    exists = sa.select(t.enterprises.c.id).where(t.enterprises.c.id == enterprise_id)
    if tx.execute(exists).first() is not None:
        return
    at = {"created_at": now}
    mine = {"enterprise_id": enterprise_id}
    enterprise = {"id": enterprise_id, "name": name, "settings_json": {}}
    insert_new(tx, t.enterprises, [{**enterprise, **at}])
    insert_new(tx, t.solutions, [{**mine, "id": solution_id, "name": name, **at}])
    user = _user(user_id, username, "admin", email, now)
    insert_new(tx, t.users, [{**mine, **user}])


def _user(user_id: str, username: str, role: str, email: str | None, now: int) -> Row:
    return {
        "id": user_id,
        "username": username,
        "email": email,
        "password_hash": None,
        "role": role,
        "preferences_json": {},
        "quota_daily": -1,
        "quota_used_today": 0,
        "is_active": True,
        "last_login_at": None,
        "created_at": now,
        "updated_at": now,
    }


def enterprise(scope: Scope, tx: Tx) -> Row | None:
    """The scope's own enterprise."""
    query = sa.select(t.enterprises).where(t.enterprises.c.id == scope.enterprise_id)
    return _one(_rows(tx, query))


def timezone(scope: Scope, tx: Tx) -> str | None:
    """The time zone of the scope's own enterprise, if it has one of its own."""
    found: str | None = tx.execute(_ZONE, {"enterprise": scope.enterprise_id}).scalar()
    return found


def change_enterprise(scope: Scope, tx: Tx, changes: Row) -> None:
    """Change columns of the scope's own enterprise."""
    table = t.enterprises
    tx.execute(sa.update(table).where(table.c.id == scope.enterprise_id).values(**changes))


def user(scope: Scope, tx: Tx, user_id: str) -> Row | None:
    """One user, active or not."""
    return _one(_rows(tx, _users(scope).where(t.users.c.id == user_id)))


def users_page(
    scope: Scope, tx: Tx, *, active: bool | None, after: str | None, offset: int, limit: int
) -> list[Row]:
    """Users in the order in which they were made; `active` None: those that are not, too."""
    query = _users(scope)
    if active is not None:
        query = query.where(t.users.c.is_active.is_(active))
    return _rows(tx, _page(query, t.users.c.id, after, offset, limit))


def add_user(
    scope: Scope, tx: Tx, *, user_id: str, username: str, role: str, email: str | None, now: int
) -> bool:
    """Insert a user; False where the name or the address is another's."""
    row = {"enterprise_id": scope.enterprise_id, **_user(user_id, username, role, email, now)}
    return insert_new(tx, t.users, [row]) == 1


def change_user(scope: Scope, tx: Tx, user_id: str, changes: Row) -> None:
    """Change columns of a user."""
    table = t.users
    which = table.c.enterprise_id == scope.enterprise_id, table.c.id == user_id
    tx.execute(sa.update(table).where(*which).values(**changes))


def user_is_taken(scope: Scope, tx: Tx, *, user_id: str, username: str, email: str | None) -> bool:
    """Whether another user has the name or the address; None is nobody's address."""
    table = t.users
    same = table.c.username == username
    if email is not None:
        same = sa.or_(same, table.c.email == email)
    query = sa.select(table.c.id).where(
        table.c.enterprise_id == scope.enterprise_id, table.c.id != user_id, same
    )
    return bool(_rows(tx, query.limit(1)))


def hold_users(scope: Scope, tx: Tx) -> None:
    """Until the transaction ends, nobody else changes who the enterprise's users and administrators are."""
    hold(tx, [f"users {scope.enterprise_id}"])


def hold_names(scope: Scope, tx: Tx) -> None:
    """Until the transaction ends, nobody else names or places the enterprise's solutions and projects by hand."""
    hold(tx, [f"names {scope.enterprise_id}"])


def active_admins(scope: Scope, tx: Tx) -> list[str]:
    """Ids of the administrators who may come in, the oldest first."""
    table = t.users
    query = sa.select(table.c.id).where(
        table.c.enterprise_id == scope.enterprise_id,
        table.c.role == "admin",
        table.c.is_active.is_(True),
    )
    return [str(found) for found in tx.execute(query.order_by(table.c.id)).scalars()]


def key_by_hash(scope: Scope, tx: Tx, key_hash: str) -> Row | None:
    """The key of this hash with its owner's `role` and `is_active`, whatever state they are in."""
    keys, users = t.api_keys, t.users
    owner = (users.c.enterprise_id == keys.c.enterprise_id) & (users.c.id == keys.c.user_id)
    query = (
        sa.select(keys, users.c.role, users.c.is_active)
        .join(users, owner)
        .where(keys.c.enterprise_id == scope.enterprise_id, keys.c.key_hash == key_hash)
    )
    return _one(_rows(tx, query))


def key(scope: Scope, tx: Tx, key_id: str) -> Row | None:
    """One key, without its hash."""
    return _one(_rows(tx, _keys(scope).where(t.api_keys.c.id == key_id)))


def keys_page(
    scope: Scope, tx: Tx, *, user_id: str | None, after: str | None, offset: int, limit: int
) -> list[Row]:
    """Keys without their hashes, in the order in which they were made; `user_id` None: everybody's."""
    query = _keys(scope)
    if user_id is not None:
        query = query.where(t.api_keys.c.user_id == user_id)
    return _rows(tx, _page(query, t.api_keys.c.id, after, offset, limit))


def count_keys(scope: Scope, tx: Tx, user_id: str) -> int:
    """How many keys of a user are not revoked."""
    table = t.api_keys
    query = sa.select(sa.func.count()).where(
        table.c.enterprise_id == scope.enterprise_id,
        table.c.user_id == user_id,
        table.c.is_revoked.is_(False),
    )
    return int(tx.execute(query).scalar_one())


def add_key(scope: Scope, tx: Tx, row: Row) -> None:
    """Insert a key: its columns but those that every new one has alike."""
    made = {**row, "enterprise_id": scope.enterprise_id, "last_used_at": None, "is_revoked": False}
    tx.execute(sa.insert(t.api_keys).values(**made))


def revoke_key(scope: Scope, tx: Tx, key_id: str) -> None:
    """From now on the key opens nothing."""
    table = t.api_keys
    which = table.c.enterprise_id == scope.enterprise_id, table.c.id == key_id
    tx.execute(sa.update(table).where(*which).values(is_revoked=True))


def note_key_use(scope: Scope, tx: Tx, key_id: str, now: int, every_ms: int) -> None:
    """Note that a key was used, unless that was noted less than `every_ms` ago."""
    table = t.api_keys
    stale = sa.or_(table.c.last_used_at.is_(None), table.c.last_used_at <= now - every_ms)
    which = table.c.enterprise_id == scope.enterprise_id, table.c.id == key_id, stale
    tx.execute(sa.update(table).where(*which).values(last_used_at=now))


def solution(scope: Scope, tx: Tx, solution_id: str) -> Row | None:
    """One solution."""
    return _one(_rows(tx, _mine(scope, t.solutions).where(t.solutions.c.id == solution_id)))


def solutions_page(
    scope: Scope, tx: Tx, *, after: str | None, offset: int, limit: int
) -> list[Row]:
    """Solutions in the order in which they were made."""
    return _rows(tx, _page(_mine(scope, t.solutions), t.solutions.c.id, after, offset, limit))


def add_solution(scope: Scope, tx: Tx, *, solution_id: str, name: str, now: int) -> bool:
    """Insert a solution; False where the name is another's."""
    row = {"id": solution_id, "name": name, "created_at": now}
    return insert_new(tx, t.solutions, [{"enterprise_id": scope.enterprise_id, **row}]) == 1


def rename_solution(scope: Scope, tx: Tx, solution_id: str, name: str) -> None:
    """Give a solution another name, which must be nobody's."""
    table = t.solutions
    which = table.c.enterprise_id == scope.enterprise_id, table.c.id == solution_id
    tx.execute(sa.update(table).where(*which).values(name=name))


def named_solution(scope: Scope, tx: Tx, name: str) -> str | None:
    """The id of the solution of a name."""
    rows = _rows(tx, _mine(scope, t.solutions).where(t.solutions.c.name == name))
    return str(rows[0]["id"]) if rows else None


def project(scope: Scope, tx: Tx, project_id: str) -> Row | None:
    """One project."""
    return _one(_rows(tx, _mine(scope, t.projects).where(t.projects.c.id == project_id)))


def change_project(scope: Scope, tx: Tx, project_id: str, changes: Row) -> None:
    """Change columns of a project."""
    table = t.projects
    which = table.c.enterprise_id == scope.enterprise_id, table.c.id == project_id
    tx.execute(sa.update(table).where(*which).values(**changes))


def role(scope: Scope, tx: Tx, project_id: str, role_id: str) -> Row | None:
    """One role of a project."""
    query = _mine(scope, t.roles).where(t.roles.c.project_id == project_id)
    return _one(_rows(tx, query.where(t.roles.c.id == role_id)))


def roles_page(
    scope: Scope, tx: Tx, project_id: str, *, after: str | None, offset: int, limit: int
) -> list[Row]:
    """A project's roles in the order in which they were made."""
    query = _mine(scope, t.roles).where(t.roles.c.project_id == project_id)
    return _rows(tx, _page(query, t.roles.c.id, after, offset, limit))


def add_role(scope: Scope, tx: Tx, row: Row) -> bool:
    """Insert a role; False where its project has one of that name."""
    return insert_new(tx, t.roles, [{"enterprise_id": scope.enterprise_id, **row}]) == 1


def remove_role(scope: Scope, tx: Tx, project_id: str, role_id: str) -> None:
    """Remove a role; who had it in its project has none then."""
    members, roles = t.members, t.roles
    held = (
        members.c.enterprise_id == scope.enterprise_id,
        members.c.project_id == project_id,
        members.c.role_id == role_id,
    )
    tx.execute(sa.update(members).where(*held).values(role_id=None))
    which = roles.c.enterprise_id == scope.enterprise_id, roles.c.id == role_id
    tx.execute(sa.delete(roles).where(*which))


def member(scope: Scope, tx: Tx, project_id: str, user_id: str) -> Row | None:
    """One membership."""
    query = _mine(scope, t.members).where(t.members.c.project_id == project_id)
    return _one(_rows(tx, query.where(t.members.c.user_id == user_id)))


def members_page(
    scope: Scope, tx: Tx, project_id: str, *, after: str | None, offset: int, limit: int
) -> list[Row]:
    """A project's members in the order of their ids."""
    query = _mine(scope, t.members).where(t.members.c.project_id == project_id)
    return _rows(tx, _page(query, t.members.c.user_id, after, offset, limit))


def put_member(
    scope: Scope, tx: Tx, *, project_id: str, user_id: str, role_id: str | None, now: int
) -> None:
    """Insert a membership, or give the one that is there another role."""
    row = {
        "enterprise_id": scope.enterprise_id,
        "user_id": user_id,
        "project_id": project_id,
        "role_id": role_id,
        "created_at": now,
    }
    upsert(tx, t.members, [row], lambda new: {"role_id": new.role_id})


def remove_member(scope: Scope, tx: Tx, project_id: str, user_id: str) -> None:
    """Remove a membership."""
    table = t.members
    which = (
        table.c.enterprise_id == scope.enterprise_id,
        table.c.project_id == project_id,
        table.c.user_id == user_id,
    )
    tx.execute(sa.delete(table).where(*which))


def add_audit(scope: Scope, tx: Tx, row: Row) -> None:
    """Append to the audit log."""
    tx.execute(sa.insert(t.audit_logs).values(enterprise_id=scope.enterprise_id, **row))


def audit_page(scope: Scope, tx: Tx, *, after: str | None, offset: int, limit: int) -> list[Row]:
    """The audit log, newest first."""
    table = t.audit_logs
    query = sa.select(table).where(table.c.enterprise_id == scope.enterprise_id)
    return _rows(tx, _page(query, table.c.id, after, offset, limit, newest_first=True))


def _mine(scope: Scope, table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).where(table.c.enterprise_id == scope.enterprise_id)


def _users(scope: Scope) -> sa.Select[Any]:
    """Users without their password's hash."""
    columns = [it for it in t.users.c if it.name != "password_hash"]
    return sa.select(*columns).where(t.users.c.enterprise_id == scope.enterprise_id)


def _keys(scope: Scope) -> sa.Select[Any]:
    """Keys without their hash."""
    columns = [it for it in t.api_keys.c if it.name != "key_hash"]
    return sa.select(*columns).where(t.api_keys.c.enterprise_id == scope.enterprise_id)


def _page(
    query: sa.Select[Any],
    column: sa.Column[Any],
    after: str | None,
    offset: int,
    limit: int,
    *,
    newest_first: bool = False,
) -> sa.Select[Any]:
    """The next rows by id, which is a time first: the order in which they were made."""
    if after is not None:
        query = query.where(column < after if newest_first else column > after)
    return query.order_by(column.desc() if newest_first else column).offset(offset).limit(limit)


def _rows(tx: Tx, query: sa.Select[Any]) -> list[Row]:
    return [dict(row) for row in tx.execute(query).mappings()]


def _one(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None
