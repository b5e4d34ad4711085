"""Founding enterprises: an operator's work, done inside the new tenant's own scope.

The operator may read nothing of what a tenant remembers. What is read here is ids (`ports.tenants`), and of each its
name, in its own scope.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from claude_mem.domains.access import audit, keys, repository
from claude_mem.domains.access.model import NewKey, Origin, clean_email, clean_name
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Conflict, NotFound
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ALL_PERMISSIONS, NOBODY, Scope, tenant_scope
from claude_mem.ports.database import Database, Tx

Row = dict[str, Any]
_FIRST_KEY = "first key"
_RESCUE_KEY = "made by the operator"


@dataclass(frozen=True, slots=True)
class Founded:
    """What a new enterprise begins with; `key` is shown once."""

    enterprise: Row
    solution_id: str
    user: Row
    key_row: Row
    key: str


async def found(
    database: Database, origin: Origin, name: str, username: str, email: str | None
) -> Founded:
    """An enterprise with its first solution (of the same name), an administrator and a key of theirs.

    Raises Invalid. Names of enterprises are not unique: no tenant, and so nobody, can look into another.
    """
    name, username = clean_name("name", name), clean_name("username", username)
    email = clean_email(email)
    scope = Scope(new_id(), NOBODY, ALL_PERMISSIONS, role="operator")
    solution_id, user_id = new_id(), new_id()

    def work(tx: Tx) -> Founded:
        repository.make_enterprise(
            tx,
            enterprise_id=scope.enterprise_id,
            solution_id=solution_id,
            user_id=user_id,
            now=now_ms(),
            name=name,
            username=username,
            email=email,
        )
        audit.note(scope, tx, origin, "enterprises.create", scope.enterprise_id, {"name": name})
        key_row, key = keys.make(scope, tx, origin, NewKey(user_id, _FIRST_KEY))
        enterprise, user = repository.enterprise(scope, tx), repository.user(scope, tx, user_id)
        assert enterprise is not None  # noqa: S101 - made above
        assert user is not None  # noqa: S101 - made above
        return Founded(enterprise, solution_id, user, key_row, key)

    return await database.write(scope, work)


async def rescue(database: Database, origin: Origin, enterprise_id: str) -> tuple[Row, str]:
    """A new key for the oldest active administrator of an enterprise that has lost its own: (row, the key).

    Raises NotFound. It is in the enterprise's audit log.
    """
    scope = replace(tenant_scope(enterprise_id), permissions=ALL_PERMISSIONS, role="operator")

    def work(tx: Tx) -> tuple[Row, str]:
        if repository.enterprise(scope, tx) is None:
            raise NotFound("no such enterprise")
        admins = repository.active_admins(scope, tx)
        if not admins:
            raise Conflict("the enterprise has no active administrator")
        return keys.make(scope, tx, origin, NewKey(admins[0], _RESCUE_KEY))

    return await database.write(scope, work)


async def names(database: Database, enterprise_ids: list[str]) -> list[Row]:
    """Each enterprise's `id`, `name` and `created_at`, read in its own scope; those that are gone are left out."""
    rows = []
    for enterprise_id in enterprise_ids:
        scope = tenant_scope(enterprise_id)
        row = await database.read(scope, partial(repository.enterprise, scope))
        if row is not None:
            rows.append({name: row[name] for name in ("id", "name", "created_at")})
    return rows
