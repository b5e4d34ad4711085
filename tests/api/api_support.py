"""The real system in a temporary data folder, called in process: no port, no mock."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import sqlean
from fastapi import FastAPI

from claude_mem.api.application import make_app
from claude_mem.app.build import System, build_local
from claude_mem.app.build_server import build_server
from claude_mem.app.migrate import ensure_current
from claude_mem.app.server_settings import ServerSettings
from claude_mem.app.settings import load
from claude_mem.domains.access import founding
from claude_mem.domains.access.model import Origin
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ALL_PERMISSIONS, Scope, local_scope
from claude_mem.ports.database import Tx
from deployment import Servers

BASE = "http://127.0.0.1:37700"
API = "/api/v1"


@dataclass
class Api:
    """A client of a running system."""

    client: httpx.AsyncClient
    system: System
    home: Path
    token: str
    scope: Scope = field(default_factory=local_scope)
    _seconds: int = field(default=0)

    def event(self, kind: str = "prompt.submitted", **changes: Any) -> dict[str, Any]:
        """A sound event; every call a second later than the one before. `data` replaces its data."""
        self._seconds += 1
        event = {
            "id": new_id(),
            "type": kind,
            "occurred_at": to_iso(now_ms() - 3_600_000 + self._seconds * 1000),
            "agent": "claude-code",
            "session": "session-one",
            "project": "ledger",
            "data": {"content": "Mend the rounding of invoices"},
        }
        return event | changes

    async def post(self, *events: Any) -> httpx.Response:
        return await self.client.post(f"{API}/events", json={"events": list(events)})

    async def take(self, *events: Any) -> None:
        """Hand events in and wait until they are rows."""
        answer = await self.post(*events)
        assert answer.status_code == 202, answer.text
        await self.settle()

    async def settle(self) -> None:
        """Wait until everything that was handed in is rows, whoever makes them."""
        if self.scope == local_scope():
            await self.system.parts.state["capture"].drain_all()
        async with asyncio.timeout(60):
            while await self.system.inbox.pending():  # noqa: ASYNC110 - the loop has it in hand
                await asyncio.sleep(0.01)

    async def nothing_to_do(self) -> None:
        """Take every job away, once none is at work: no summary comes later and changes what is there."""

        def work(tx: Tx) -> bool:
            if tx.exec_driver_sql("SELECT 1 FROM task_queue WHERE status = 'running'").all():
                return False
            tx.exec_driver_sql("DELETE FROM task_queue")
            return True

        async with asyncio.timeout(60):
            while not await self.system.parts.state["database"].write(self.scope, work):  # noqa: ASYNC110 - rows set no event
                await asyncio.sleep(0.05)

    async def get(self, path: str, **parameters: Any) -> Any:
        """The JSON of a read that must succeed."""
        answer = await self.client.get(f"{API}{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def counts(self) -> dict[str, int]:
        found: dict[str, int] = (await self.get("/health", fresh=True))["counts"]
        return found

    async def dead_letters(self) -> int:
        found: int = (await self.get("/health"))["checks"]["inbox"]["dead_letters"]
        return found


def refusal(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error, whose shape is checked."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert set(body) == {"error", "code", "details", "request_id", "documentation_url"}
    assert body["code"] == code
    assert body["error"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["documentation_url"] == f"docs/errors.md#{code.lower()}"
    for detail in body["details"]:
        assert set(detail) == {"field", "message"}
    return body


@cache
def migrated() -> bytes:
    """An empty database at HEAD: made once, because migrating is most of what starting costs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "claude-mem.db"
        ensure_current(path)
        raw = sqlean.connect(str(path), isolation_level=None)
        raw.execute("PRAGMA journal_mode=DELETE").fetchall()  # everything into the one file
        raw.close()
        return path.read_bytes()


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[Api]:
    """A started system; it is stopped on leaving."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "claude-mem.db").write_bytes(migrated())
    system = build_local(load(home, {}))
    token = (home / "token").read_text().strip()
    api = FastAPI()
    async with system.parts.lifespan(api):
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(make_app(system.parts), raise_app_exceptions=False),
            base_url=BASE,
            headers={"authorization": f"Bearer {token}"},
        )
        async with client:
            yield Api(client, system, home, token)


@asynccontextmanager
async def serving(servers: Servers, folder: Path) -> AsyncIterator[Api]:
    """The server profile in this process, on a database of its own, with one enterprise and its administrator's key."""
    urls = servers.postgres.database()
    settings = ServerSettings(
        database_url=urls.runtime,
        nats_url=servers.nats.url,
        redis_url=servers.redis.url,
        name=f"cm{secrets.token_hex(6)}",
        rate_requests=1_000_000,
        rate_events=1_000_000,
        rate_searches=1_000_000,
    )
    system = build_server(settings)
    try:
        async with system.parts.lifespan(FastAPI()):
            origin = Origin(None, None, time.perf_counter())
            database = system.parts.state["database"]
            made = await founding.found(database, origin, "acme", "admin", None)
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(make_app(system.parts), raise_app_exceptions=False),
                base_url=BASE,
                headers={"authorization": f"Bearer {made.key}"},
            )
            async with client:
                scope = Scope(made.enterprise["id"], made.user["id"], ALL_PERMISSIONS)
                yield Api(client, system, folder, made.key, scope)
    finally:
        servers.postgres.drop(urls)
