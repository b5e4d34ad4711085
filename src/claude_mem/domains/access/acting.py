"""What endpoints that change the organisation share: the caller, where they come from, and pages.

A change that is refused for want of a permission is in the audit log too, in the caller's own enterprise; of whoever is
of none, in the program's log. Owns no rules of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import structlog
from fastapi import Depends, Query, Request

from claude_mem.domains.access import audit
from claude_mem.domains.access.endpoints import caller
from claude_mem.domains.access.model import Origin
from claude_mem.kernel.errors import Detail, Forbidden, Invalid, Unavailable
from claude_mem.kernel.places import Places
from claude_mem.kernel.scope import NOBODY, Scope
from claude_mem.ports.database import Database, Tx

T = TypeVar("T")
_AGENT_LENGTH, _ID_LENGTH, _MOST_PAGES = 400, 64, 1000
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_log = structlog.get_logger("access")


@dataclass(frozen=True, slots=True)
class Acting:
    """Somebody who is about to change something."""

    scope: Scope
    database: Database
    origin: Origin
    action: str
    resource_id: str | None

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction of the caller's enterprise; what is refused in it is noted, and raised."""
        try:
            return await self.database.write(self.scope, work)
        except Forbidden as refusal:
            await self.note_refusal(refusal)
            raise

    async def note_refusal(self, refusal: Forbidden) -> None:
        """Put a refusal into the audit log. It stays a refusal where that cannot be written."""
        said = {"action": self.action, "user_id": self.scope.user_id, "reason": refusal.message}
        if self.scope.enterprise_id == NOBODY:
            _log.warning("refused", **said)
            return

        def work(tx: Tx) -> None:
            audit.note(
                self.scope,
                tx,
                self.origin,
                self.action,
                self.resource_id,
                refused=refusal.message,
            )

        try:
            await self.database.write(self.scope, work)
        except Unavailable:
            _log.warning("refused", **said)


def acting(action: str, permission: str) -> Callable[[Request], Acting]:
    """A dependency: whoever holds the permission, about to do `action` (`users.create`); Forbidden otherwise."""

    async def check(request: Request) -> Acting:
        scope = caller(request)
        named = next(reversed(request.path_params.values()), None)
        resource_id = None if named is None else _printable(str(named), _ID_LENGTH)
        database: Database = request.app.state.database
        found = Acting(scope, database, _origin(request), action, resource_id)
        if not scope.allows(permission):
            refusal = Forbidden(f"this needs the permission {permission}")
            await found.note_refusal(refusal)
            raise refusal
        return found

    dependency: Callable[[Request], Acting] = Depends(check)
    return dependency


def _origin(request: Request) -> Origin:
    """`address_of` is set where requests come through proxies, whose word counts."""
    address_of = getattr(request.app.state, "address_of", None)
    client = request.client.host if request.client else None
    address = address_of(request.scope) if address_of else client
    agent = request.headers.get("user-agent")
    return Origin(
        _printable(address, _ID_LENGTH) if address else None,
        _printable(agent, _AGENT_LENGTH) if agent else None,
        time.perf_counter(),
    )


def _printable(text: str, most: int) -> str:
    return _UNPRINTABLE.sub("?", text)[:most]


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page is wanted: after a cursor, or (for people) by number, up to a thousand pages."""

    limit: int
    cursor: str | None
    page: int
    places: Places

    def of(self, scope: Scope, what: str) -> tuple[dict[str, Any], Callable[[str], str]]:
        """(`after`, `offset` and `limit` of a read of one row more than is shown, what makes the next cursor).

        A cursor goes on with the listing it came from, in the same enterprise. Raises Invalid for another one.
        """
        asked = (scope.enterprise_id, what)
        after = None if self.cursor is None else self.places.open(self.cursor, asked)[0]
        wanted = {"after": after, "offset": (self.page - 1) * self.limit, "limit": self.limit + 1}
        return wanted, lambda place: self.places.seal([place], asked)


async def _paging(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
    page: Annotated[int | None, Query(ge=1, le=_MOST_PAGES)] = None,
) -> Paging:
    if cursor is not None and page is not None:
        message = "give one of page and cursor"
        raise Invalid(f"page: {message}", details=(Detail("page", message),))
    return Paging(limit, cursor, page or 1, request.app.state.places)


Pages = Annotated[Paging, Depends(_paging)]
