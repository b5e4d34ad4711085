"""The program over one store, as the composition root puts it together; its loop is not started: nothing moves by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from claude_mem.adapters.redis.connection import Connection as Redis
from claude_mem.adapters.redis.limits import RedisLimiter
from claude_mem.api.application import Parts, make_api, make_app
from claude_mem.api.throttle import Rates, Throttle
from claude_mem.app.build import build_local
from claude_mem.app.build_server import build_server
from claude_mem.app.server_settings import ServerSettings
from claude_mem.app.settings import load
from claude_mem.domains.access import authentication
from claude_mem.domains.access.authentication import ServerTokens
from claude_mem.domains.capture import saving
from claude_mem.domains.context.answer import HookContext
from claude_mem.ports.database import Database
from claude_mem.ports.inbox import Inbox
from servers import Urls
from word_embedder import WordEmbedder

_PREFIX = "isolation"
OPERATOR = "the operator's token of these tests, which is long"
# The attacks are many: how many are let through is not what is asked here.
_ANY_NUMBER = Rates(
    requests=10**9, events=10**8, searches=10**9, suggestions=10**9, strangers=10**9
)


@dataclass(frozen=True)
class Servers:
    """Where the engines of the server profile are."""

    urls: Urls
    redis: str
    nats: str


@dataclass
class Assembled:
    """What the attacks need of it. `app` is the whole application, `parts` what it is made of."""

    app: Any
    parts: Parts
    tokens: ServerTokens
    engines: tuple[Engine, ...]  # of the database: what is asked can be watched, and changed
    statements: Callable[[], int]

    @property
    def database(self) -> Database:
        """The store."""
        found: Database = self.parts.state["database"]
        return found

    @property
    def inbox(self) -> Inbox:
        """What waits."""
        found: Inbox = self.parts.state["inbox"]
        return found

    @property
    def context(self) -> HookContext:
        """What answers hooks."""
        found: HookContext = self.parts.state["context"]
        return found

    def openapi(self) -> dict[str, Any]:
        """What it says of itself."""
        found: dict[str, Any] = make_api(self.parts).openapi()
        return found

    async def settle(self) -> None:
        """Everything that was begun is done, and is rows."""
        await self.context.settle()
        await self.parts.state["capture"].drain_all()
        await self.tokens.close()  # waits for its notes, and goes on


@asynccontextmanager
async def assembled(home: Path, servers: Servers | None) -> AsyncIterator[Assembled]:
    """The server profile over those servers, or the local one, with keys for enterprises of its own."""
    async with _on_servers(servers) if servers else _on_this_machine(home) as made:
        waited, saving._INDEXED_S = saving._INDEXED_S, 0.0  # for a loop that is not running here
        # Keys are looked up once: or now and then an answer would cost statements of which it tells nothing.
        fresh, authentication.FRESH_S = authentication.FRESH_S, 3_600.0
        try:
            yield made
        finally:
            saving._INDEXED_S, authentication.FRESH_S = waited, fresh
            await made.settle()
            for mounted in made.parts.mounts.values():
                await mounted.close()  # type: ignore[attr-defined]
            await made.inbox.close()
            await made.database.close()


@asynccontextmanager
async def _on_servers(servers: Servers) -> AsyncIterator[Assembled]:
    settings = ServerSettings(
        database_url=servers.urls.runtime,
        redis_url=servers.redis,
        nats_url=servers.nats,
        name=f"{_PREFIX}-{servers.urls.name}",
        prompt_threshold=0.0,
        operator_token=OPERATOR,
    )
    parts = build_server(settings, embedder=WordEmbedder()).parts
    redis = Redis(servers.redis, prefix=settings.name)

    def throttle(app: Any) -> Throttle:
        return Throttle(app, RedisLimiter(redis), _ANY_NUMBER, lambda _: None)

    tokens: ServerTokens = parts.authenticate.__self__  # type: ignore[attr-defined]
    engines = (parts.state["database"]._database._engine,)
    yield _put_together(replace(parts, throttle=throttle), tokens, engines)
    await redis.close()


@asynccontextmanager
async def _on_this_machine(home: Path) -> AsyncIterator[Assembled]:
    parts = build_local(load(home, {}), WordEmbedder()).parts
    database = parts.state["database"]
    tokens = ServerTokens(database)
    engines = (database._write_engine, database._read_engine)
    yield _put_together(replace(parts, authenticate=tokens.authenticate), tokens, engines)


def _put_together(parts: Parts, tokens: ServerTokens, engines: tuple[Engine, ...]) -> Assembled:
    drain = parts.state["capture"].drain_all
    parts.state["catch_up"] = lambda _scope: drain()  # nobody else does it here
    return Assembled(make_app(parts), parts, tokens, engines, _Count(engines))


class _Count:
    """Statements that the engine was given."""

    def __init__(self, engines: tuple[Engine, ...]) -> None:
        self._number = 0
        for engine in engines:
            sa.event.listen(engine, "before_cursor_execute", self._counted)

    def _counted(self, *_: Any) -> None:
        self._number += 1

    def __call__(self) -> int:
        return self._number
