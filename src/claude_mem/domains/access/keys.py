"""API keys: made, shown once, listed and revoked.

A key may do no more than the key it was made with and its owner's role. With `keys:own` somebody minds their own keys,
which last no longer than the one they were made with, and are no faster; with `keys:write` everybody's.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from claude_mem.domains.access import audit, repository
from claude_mem.domains.access.model import (
    ALL_OF_ROLE,
    LETTERS,
    SECRET_LENGTH,
    NewKey,
    Origin,
    clean_name,
    digest,
    key_prefix,
    make_key_text,
)
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import AuthInvalid, Conflict, Detail, Forbidden, Invalid, NotFound
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ROLES, Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
MOST_KEYS = 100  # that are not revoked, of one user


def make(scope: Scope, tx: Tx, origin: Origin, new: NewKey) -> tuple[Row, str]:
    """(the key's row without its hash, the key itself, which is nowhere else and cannot be had again).

    Raises Forbidden, NotFound for a user that is not there, Invalid, or Conflict when the user has too many.
    """
    _check_hand(scope, new.user_id)
    owner = repository.user(scope, tx, new.user_id)
    if owner is None:
        raise NotFound("no such user")
    if not owner["is_active"]:
        raise Conflict("the user is not active: activate them first")
    repository.hold_users(scope, tx)
    if repository.count_keys(scope, tx, new.user_id) >= MOST_KEYS:
        raise Conflict(f"the user has {MOST_KEYS} keys: revoke those that nobody uses")
    now = now_ms()
    _check_bounds(scope, tx, new, now)
    text = make_key_text(
        scope.enterprise_id, "".join(secrets.choice(LETTERS) for _ in range(SECRET_LENGTH))
    )
    row: Row = {
        "id": new_id(now),
        "user_id": new.user_id,
        "key_prefix": key_prefix(text),
        "name": clean_name("name", new.name),
        "permissions_json": _permissions(scope, owner["role"], new.permissions),
        "rate_limit_rpm": new.rate_limit_rpm,
        "expires_at": new.expires_at,
        "created_at": now,
    }
    repository.add_key(scope, tx, {**row, "key_hash": digest(text)})
    said = {"user_id": new.user_id, "name": row["name"], "permissions": row["permissions_json"]}
    audit.note(scope, tx, origin, "keys.create", row["id"], said)
    return {**row, "last_used_at": None, "is_revoked": False}, text


def page(
    scope: Scope, tx: Tx, *, user_id: str | None, after: str | None, offset: int, limit: int
) -> list[Row]:
    """Keys in the order in which they were made: one's own; with `keys:write` everybody's, or those of `user_id`."""
    if not scope.allows("keys:write"):
        if user_id not in {None, scope.user_id}:
            raise Forbidden("the keys of others need the permission keys:write")
        user_id = scope.user_id
    return repository.keys_page(scope, tx, user_id=user_id, after=after, offset=offset, limit=limit)


def get(scope: Scope, tx: Tx, key_id: str) -> Row:
    """One key. Raises NotFound, or Forbidden for another's."""
    row = repository.key(scope, tx, key_id)
    if row is None:
        raise NotFound("no such key")
    _check_hand(scope, row["user_id"])
    return row


def revoke(scope: Scope, tx: Tx, origin: Origin, key_id: str) -> Row:
    """Let a key open nothing any more; it stays in the list. Raises NotFound, or Forbidden for another's."""
    row = get(scope, tx, key_id)
    if not row["is_revoked"]:
        repository.revoke_key(scope, tx, key_id)
        audit.note(scope, tx, origin, "keys.revoke", key_id, {"user_id": row["user_id"]})
    return {**row, "is_revoked": True}


def _check_hand(scope: Scope, user_id: str) -> None:
    if user_id != scope.user_id and not scope.allows("keys:write"):
        raise Forbidden("the keys of others need the permission keys:write")


def _check_bounds(scope: Scope, tx: Tx, new: NewKey, now: int) -> None:
    """An end in the future; not after that of the key it is made with, which may be over by now, and no faster."""
    if new.expires_at is not None and new.expires_at <= now:
        raise _invalid("expires_at", "this moment is past")
    if scope.key_id is None or scope.allows("keys:write"):
        return
    own = repository.key(scope, tx, scope.key_id)
    if own is None or own["is_revoked"]:
        raise AuthInvalid("the key that asks for this was revoked")
    end = own["expires_at"]
    if end is not None and (new.expires_at is None or new.expires_at > end):
        raise _invalid("expires_at", "a key ends no later than the one it is made with")
    if new.rate_limit_rpm > own["rate_limit_rpm"]:
        most = own["rate_limit_rpm"]
        raise _invalid("rate_limit_rpm", f"the key it is made with is allowed {most} a minute")


def _permissions(scope: Scope, role: str, wanted: Sequence[str] | None) -> list[str]:
    """What is stored: everything of the role, where whoever makes the key holds that; else names."""
    held = ROLES[role]
    if wanted is None or ALL_OF_ROLE in wanted:
        # What the role will hold some day is given by who holds all of it, and not by a key that is cut to some of it.
        if held <= scope.permissions and ROLES.get(scope.role or "", held) <= scope.permissions:
            return [ALL_OF_ROLE]
        return sorted(held & scope.permissions)
    if unknown := sorted(set(wanted) - held):
        raise _invalid("permissions", f"the role {role} does not hold {', '.join(unknown)}")
    if missing := sorted(set(wanted) - scope.permissions):
        raise Forbidden(f"a key gives what it holds itself, not {', '.join(missing)}")
    return sorted(set(wanted))


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", details=(Detail(field, message),))
