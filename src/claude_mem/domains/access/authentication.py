"""Who is asking, in the server profile: API keys, and the operator's token.

A key names its enterprise, so it is looked up in that tenant's scope: no way around the tenants' walls is needed. An
enterprise that is not there, a wrong secret, a key that is revoked or expired, a user who is not active: each costs the
same one query and is answered with the same words. Looked up is the hash of what was sent, so the time an index takes
tells nothing of any secret.

What a lookup found holds for two seconds from its beginning: a key that is revoked, or a user who is put out, is out
everywhere within two seconds, without a word between replicas. Both kinds of answers are kept, each within a bound: to
guess costs no memory and pushes no good key out. Nothing is kept while the database is away: nobody is let in on the
strength of an old answer. Must never log or keep a key: only hashes are held.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from claude_mem.domains.access import repository
from claude_mem.domains.access.model import digest, enterprise_of_key, scope_of_key
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import AuthInvalid, AuthMissing, MemError
from claude_mem.kernel.scope import Scope, operator_scope, tenant_scope
from claude_mem.ports.database import Database, Tx

FRESH_S = 2.0
NOTE_USE_MS = 60_000
OPERATOR_TOKEN_LENGTH = 32
_KNOWN, _REFUSED = 16_384, 4_096  # answers kept, some 400 bytes each
_NO_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class _Found:
    """A lookup's answer: a scope, or None for a refusal; until when it holds, by both clocks."""

    scope: Scope | None
    until: float
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class _Flight:
    """A lookup under way, which others may wait for while it is fresh."""

    task: asyncio.Task[_Found]
    until: float


class ServerTokens:
    """Authentication of the server profile. Call `close` before the database is closed.

    `operator_token` (32 characters or more; None: there is no operator) opens the operator's scope. Raises MemError
    when it is shorter.
    """

    def __init__(
        self,
        database: Database,
        operator_token: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = now_ms,
    ) -> None:
        if operator_token is not None and len(operator_token) < OPERATOR_TOKEN_LENGTH:
            raise MemError(f"the operator's token must have {OPERATOR_TOKEN_LENGTH} characters")
        self._database = database
        self._operator = None if operator_token is None else digest(operator_token)
        self._clock, self._wall_ms = clock, wall_ms
        self._known: OrderedDict[str, _Found] = OrderedDict()
        self._refused: OrderedDict[str, _Found] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self._notes: dict[str, asyncio.Task[None]] = {}  # by key

    def authenticate(self, authorization: str | None) -> Scope | Awaitable[Scope]:
        """The scope behind an `Authorization` header: at once where it is known, else to be awaited.

        Raises AuthMissing or AuthInvalid; awaited, also Unavailable while the database is away.
        """
        if not authorization:
            raise AuthMissing("this needs an API key: send 'Authorization: Bearer <key>'")
        kind, _, given = authorization.partition(" ")
        given = given.strip()
        key_hash = digest(given)
        if kind.lower() != "bearer":
            raise _refusal()
        if self._operator is not None and hmac.compare_digest(key_hash, self._operator):
            return operator_scope()
        enterprise_id = enterprise_of_key(given)
        if enterprise_id is None:
            raise _refusal()
        found = self._known.get(key_hash) or self._refused.get(key_hash)
        if found is not None and self._clock() < found.until:
            return self._scope_of(found)
        return self._ask(tenant_scope(enterprise_id), key_hash)

    async def close(self) -> None:
        """Wait for what is under way."""
        flights = [it.task for it in self._flights.values()]
        await asyncio.gather(*flights, return_exceptions=True)  # they may still begin notes
        await asyncio.gather(*self._notes.values(), return_exceptions=True)

    def _scope_of(self, found: _Found) -> Scope:
        if found.scope is None:
            raise _refusal()
        if found.expires_at is not None and found.expires_at <= self._wall_ms():
            raise _refusal()
        return found.scope

    async def _ask(self, scope: Scope, key_hash: str) -> Scope:
        flight = self._flights.get(key_hash)
        if flight is None or self._clock() >= flight.until:
            until = self._clock() + FRESH_S
            flight = _Flight(asyncio.create_task(self._look_up(scope, key_hash, until)), until)
            self._flights[key_hash] = flight
            flight.task.add_done_callback(lambda task: self._landed(key_hash, task))
        # Who asked first may go away: the others still want to know.
        return self._scope_of(await asyncio.shield(flight.task))

    def _landed(self, key_hash: str, task: asyncio.Task[_Found]) -> None:
        flight = self._flights.get(key_hash)
        if flight is not None and flight.task is task:
            del self._flights[key_hash]
        if not task.cancelled():
            task.exception()  # raised to whoever waits; nobody may

    async def _look_up(self, scope: Scope, key_hash: str, until: float) -> _Found:
        row = await self._database.read(
            scope, lambda tx: repository.key_by_hash(scope, tx, key_hash)
        )
        is_same = hmac.compare_digest(_NO_HASH if row is None else row["key_hash"], key_hash)
        if row is None or not is_same or row["is_revoked"] or not row["is_active"]:
            self._known.pop(key_hash, None)
            return _keep(self._refused, _REFUSED, key_hash, _Found(None, until, None))
        found = _Found(scope_of_key(row), until, row["expires_at"])
        if found.expires_at is None or found.expires_at > self._wall_ms():
            self._note_use(scope, row["id"], row["last_used_at"])
        self._refused.pop(key_hash, None)
        return _keep(self._known, _KNOWN, key_hash, found)

    def _note_use(self, scope: Scope, key_id: str, noted_at: int | None) -> None:
        """Off the request's path, and at most one at once for each key; the statement itself asks how long ago."""
        now = self._wall_ms()
        if key_id in self._notes or (noted_at is not None and now - noted_at < NOTE_USE_MS):
            return

        def work(tx: Tx) -> None:
            repository.note_key_use(scope, tx, key_id, now, NOTE_USE_MS)

        async def note() -> None:
            try:
                await self._database.write(scope, work)
            except MemError:
                pass  # a full or absent database: whether the key was used is the least of it
            finally:
                del self._notes[key_id]

        self._notes[key_id] = asyncio.create_task(note())


def _keep(kept: OrderedDict[str, _Found], most: int, key_hash: str, found: _Found) -> _Found:
    kept[key_hash] = found
    kept.move_to_end(key_hash)
    while len(kept) > most:
        kept.popitem(last=False)
    return found


def _refusal() -> AuthInvalid:
    return AuthInvalid("the API key is not right, or not any more: ask an administrator for one")
