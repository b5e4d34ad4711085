"""An engine with an enterprise on it, for the tests of who may do what."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.queue import SqliteQueue
from claude_mem.api.application import Parts, make_api
from claude_mem.api.middleware import Gatekeeper
from claude_mem.domains.access import founding, keys, users
from claude_mem.domains.access.authentication import ServerTokens
from claude_mem.domains.access.founding import Founded
from claude_mem.domains.access.model import NewKey, NewUser, Origin
from claude_mem.kernel.places import Places
from claude_mem.kernel.scope import ROLES, Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.queue import Queue
from claude_mem.ports.tenants import Tenants

ORIGIN = Origin("192.0.2.7", "tests", 0.0)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A founded enterprise and the scope of its first administrator."""

    database: Database
    founded: Founded

    @property
    def scope(self) -> Scope:
        return Scope(
            self.founded.enterprise["id"],
            self.founded.user["id"],
            ROLES["admin"],
            role="admin",
            key_id=self.founded.key_row["id"],
            rate_limit_rpm=self.founded.key_row["rate_limit_rpm"],
        )

    async def read(self, work: Callable[[Tx], T], scope: Scope | None = None) -> T:
        return await self.database.read(scope or self.scope, work)

    async def write(self, work: Callable[[Tx], T], scope: Scope | None = None) -> T:
        return await self.database.write(scope or self.scope, work)

    async def add_user(self, name: str, role: str = "user") -> dict[str, Any]:
        new = NewUser(name, role)
        return await self.write(lambda tx: users.make(self.scope, tx, ORIGIN, new))

    async def add_key(self, user_id: str, **more: Any) -> tuple[dict[str, Any], str]:
        new = NewKey(user_id, "a key", **more)
        return await self.write(lambda tx: keys.make(self.scope, tx, ORIGIN, new))

    async def audit(self) -> list[dict[str, Any]]:
        """The audit log, oldest first."""
        from claude_mem.domains.access.repository import audit_page

        scope = self.scope
        found = await self.read(lambda tx: audit_page(scope, tx, after=None, offset=0, limit=1000))
        return found[::-1]


async def found_tenant(database: Database, name: str = "Acme") -> Tenant:
    founded = await founding.found(database, ORIGIN, name, "ada", "ada@example.com")
    return Tenant(database, founded)


OPERATOR = "operator-" + "x" * 32
BASE, API = "http://127.0.0.1:37700", "/api/v1"


def queue_of(database: Database) -> Queue:
    if isinstance(database, SqliteDatabase):
        return SqliteQueue()
    from claude_mem.adapters.postgres.queue import PostgresQueue

    return PostgresQueue()


class Server:
    """The organisation's endpoints behind the real gatekeeper and the real keys, in process."""

    def __init__(self, database: Database, tenants: Tenants) -> None:
        self.tokens = ServerTokens(database, OPERATOR)
        parts = Parts(
            version="1",
            state={
                "database": database,
                "tenants": tenants,
                "queue": queue_of(database),
                "places": Places(b"tests"),
            },
            authenticate=self.tokens.authenticate,
            health=self._health,
            lifespan=lambda _: nullcontext(),
        )
        self.whole = Gatekeeper(make_api(parts), parts.authenticate, parts.hosts, "1")
        transport = httpx.ASGITransport(self.whole, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url=BASE)

    @staticmethod
    async def _health(_full: bool, _fresh: bool) -> dict[str, Any]:
        return {"status": "healthy"}

    async def ask(self, key: str, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", "user-agent": "tests"}
        return await self.client.request(method, f"{API}{path}", json=body, headers=headers)

    async def did(self, key: str, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a request that must succeed."""
        answer = await self.ask(key, method, path, body)
        assert answer.status_code < 300, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    async def refusal(self, key: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """(status, code) of one that must not, whose body has the one shape."""
        answer = await self.ask(key, method, path, body)
        found = answer.json()
        assert set(found) == {"error", "code", "details", "request_id", "documentation_url"}
        assert found["request_id"] == answer.headers["x-request-id"]
        return answer.status_code, found["code"]

    async def close(self) -> None:
        await self.client.aclose()
        await self.tokens.close()
