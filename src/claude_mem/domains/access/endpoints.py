"""How endpoints learn who is asking. The API's middleware has authenticated already; this only reads and requires."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Depends, Request

from claude_mem.kernel.errors import AuthMissing, Forbidden
from claude_mem.kernel.scope import Scope


def caller(request: Request) -> Scope:
    """The scope the middleware found. Raises AuthMissing when the path let an unknown caller through."""
    scope: Scope | None = getattr(request.state, "caller", None)
    if scope is None:
        raise AuthMissing("this needs the token: send 'Authorization: Bearer <token>'")
    return scope


def require(permission: str) -> Callable[[Request], Scope]:
    """A dependency: the caller's scope, if it holds the permission; Forbidden otherwise."""

    async def check(request: Request) -> Scope:
        scope = caller(request)
        if not scope.allows(permission):
            raise Forbidden(f"this needs the permission {permission}")
        return scope

    dependency: Callable[[Request], Scope] = Depends(check)
    return dependency
