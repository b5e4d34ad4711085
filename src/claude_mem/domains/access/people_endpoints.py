"""Users, their keys, and the log of who did what: by API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from claude_mem.domains.access import audit, keys, users
from claude_mem.domains.access.acting import Acting, Pages, acting
from claude_mem.domains.access.endpoints import require
from claude_mem.domains.access.model import NewKey, NewUser
from claude_mem.domains.access.schemas import (
    AuditOut,
    KeyMade,
    KeyOut,
    Listing,
    NewKeyBody,
    NewUserBody,
    UserChange,
    UserOut,
    listing,
    told,
)
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database

router = APIRouter(tags=["People"])
Reader = Annotated[Scope, require("organisation:read")]
KeyOwner = Annotated[Scope, require("keys:own")]
Auditor = Annotated[Scope, require("audit:read")]
Id = Annotated[str, Path(max_length=64)]


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


@router.get("/users", summary="Users")
async def get_users(
    request: Request,
    scope: Reader,
    pages: Pages,
    active: Annotated[bool | None, Query(description="Only those that are, or are not.")] = None,
) -> Listing[UserOut]:
    """In the order in which they were made."""
    wanted, encode = pages.of(scope, f"users {active}")
    rows = await _database(request).read(
        scope, lambda tx: users.page(scope, tx, active=active, **wanted)
    )
    return listing(UserOut, rows, pages.limit, encode)


@router.post("/users", status_code=201, summary="Make a user")
async def post_user(
    by: Annotated[Acting, acting("users.create", "users:write")], body: NewUserBody
) -> UserOut:
    """They come in with a key that is made for them."""
    new = NewUser(body.username, body.role, body.email)
    row = await by.write(lambda tx: users.make(by.scope, tx, by.origin, new))
    return told(UserOut, row)


@router.get("/users/me", summary="Oneself")
async def get_me(request: Request, scope: Annotated[Scope, require("keys:own")]) -> UserOut:
    """Whose key this is."""
    row = await _database(request).read(scope, lambda tx: users.get(scope, tx, scope.user_id))
    return told(UserOut, row)


@router.get("/users/{user_id}", summary="One user")
async def get_user(request: Request, scope: Reader, user_id: Id) -> UserOut:
    """By their id."""
    row = await _database(request).read(scope, lambda tx: users.get(scope, tx, user_id))
    return told(UserOut, row)


@router.patch(
    "/users/{user_id}", summary="Change a user: name, address, role, whether they may come in"
)
async def patch_user(
    by: Annotated[Acting, acting("users.change", "users:write")], user_id: Id, body: UserChange
) -> UserOut:
    """Every key of theirs follows within two seconds. The last active administrator stays one."""
    changes = body.given()
    row = await by.write(lambda tx: users.change(by.scope, tx, by.origin, user_id, changes))
    return told(UserOut, row)


@router.get("/keys", summary="API keys: one's own; an administrator's are everybody's")
async def get_keys(
    request: Request,
    scope: KeyOwner,
    pages: Pages,
    user: Annotated[str | None, Query(max_length=64, description="Only this user's.")] = None,
) -> Listing[KeyOut]:
    """In the order in which they were made, revoked ones too."""
    wanted, encode = pages.of(scope, f"keys {scope.user_id} {user}")
    rows = await _database(request).read(
        scope, lambda tx: keys.page(scope, tx, user_id=user, **wanted)
    )
    return listing(KeyOut, rows, pages.limit, encode)


@router.post("/keys", status_code=201, summary="Make an API key, which is shown this once")
async def post_key(
    by: Annotated[Acting, acting("keys.create", "keys:own")], body: NewKeyBody
) -> KeyMade:
    """It may do no more than the key it is made with, and than its owner."""
    new = NewKey(
        user_id=body.user_id or by.scope.user_id,
        name=body.name,
        permissions=None if body.permissions is None else tuple(body.permissions),
        rate_limit_rpm=body.rate_limit_rpm,
        expires_at=body.end(),
    )
    row, key = await by.write(lambda tx: keys.make(by.scope, tx, by.origin, new))
    return told(KeyMade, row, key=key)


@router.get("/keys/{key_id}", summary="One API key")
async def get_key(request: Request, scope: KeyOwner, key_id: Id) -> KeyOut:
    """By its id."""
    row = await _database(request).read(scope, lambda tx: keys.get(scope, tx, key_id))
    return told(KeyOut, row)


@router.delete("/keys/{key_id}", summary="Revoke an API key")
async def delete_key(
    by: Annotated[Acting, acting("keys.revoke", "keys:own")], key_id: Id
) -> KeyOut:
    """It opens nothing any more, on any replica, within two seconds; it stays in the list."""
    row = await by.write(lambda tx: keys.revoke(by.scope, tx, by.origin, key_id))
    return told(KeyOut, row)


@router.get("/audit", summary="Who changed, or was not let change, what; newest first")
async def get_audit(request: Request, scope: Auditor, pages: Pages) -> Listing[AuditOut]:
    """Of one's own enterprise."""
    wanted, encode = pages.of(scope, "audit")
    rows = await _database(request).read(scope, lambda tx: audit.page(scope, tx, **wanted))
    return listing(AuditOut, rows, pages.limit, encode)
