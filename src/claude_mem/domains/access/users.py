"""Users of an enterprise. They are never deleted, only put out: what they did keeps its author.

An enterprise always has an active administrator: the last one cannot be put out, nor become anything else.
"""

from __future__ import annotations

from typing import Any

from claude_mem.domains.access import audit, repository
from claude_mem.domains.access.model import NewUser, Origin, clean_email, clean_name
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Conflict, Forbidden, NotFound
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ROLES, Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
_TAKEN = "a user of this enterprise has this name or address already"


def make(scope: Scope, tx: Tx, origin: Origin, new: NewUser) -> Row:
    """Add a user. Raises Invalid, or Conflict where the name or the address is another's."""
    _check_role(scope, new.role)
    repository.hold_users(scope, tx)
    user_id = new_id()
    added = repository.add_user(
        scope,
        tx,
        user_id=user_id,
        username=clean_name("username", new.username),
        role=new.role,
        email=clean_email(new.email),
        now=now_ms(),
    )
    if not added:
        raise Conflict(_TAKEN)
    row = get(scope, tx, user_id)
    audit.note(
        scope, tx, origin, "users.create", user_id, {"username": row["username"], "role": new.role}
    )
    return row


def get(scope: Scope, tx: Tx, user_id: str) -> Row:
    """One user, active or not. Raises NotFound."""
    row = repository.user(scope, tx, user_id)
    if row is None:
        raise NotFound("no such user")
    return row


def page(
    scope: Scope, tx: Tx, *, active: bool | None, after: str | None, offset: int, limit: int
) -> list[Row]:
    """Users in the order in which they were made."""
    return repository.users_page(scope, tx, active=active, after=after, offset=offset, limit=limit)


def change(scope: Scope, tx: Tx, origin: Origin, user_id: str, changes: Row) -> Row:
    """Change `username`, `email`, `role` or `is_active`, those of them that are given.

    Raises NotFound, Invalid, or Conflict: a name or an address that is another's, the last active administrator.
    """
    repository.hold_users(scope, tx)
    before = get(scope, tx, user_id)
    wanted = _cleaned(changes)
    new = {name: value for name, value in wanted.items() if value != before[name]}
    if not new:
        return before
    if "role" in new:
        _check_role(scope, new["role"])
    after = {**before, **new}
    if (after["role"], after["is_active"]) != ("admin", True) and repository.active_admins(
        scope, tx
    ) == [user_id]:
        raise Conflict("this is the last active administrator: make another one first")
    if repository.user_is_taken(
        scope, tx, user_id=user_id, username=after["username"], email=after["email"]
    ):
        raise Conflict(_TAKEN)
    repository.change_user(scope, tx, user_id, {**new, "updated_at": now_ms()})
    audit.note(scope, tx, origin, "users.change", user_id, new)
    return get(scope, tx, user_id)


def _check_role(scope: Scope, role: str) -> None:
    """Raises Forbidden for a role that may do what the caller may not: a restricted key makes nobody who may more."""
    if missing := sorted(ROLES.get(role, frozenset()) - scope.permissions):
        raise Forbidden(f"the role {role} holds what this key does not: {', '.join(missing)}")


def _cleaned(changes: Row) -> Row:
    wanted = dict(changes)
    if "username" in wanted:
        wanted["username"] = clean_name("username", wanted["username"])
    if "email" in wanted:
        wanted["email"] = clean_email(wanted["email"])
    return wanted
