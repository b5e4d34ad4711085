"""The FastAPI application: routers, middleware, errors. Knows no settings and no engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from claude_mem.api import errors
from claude_mem.api.admin import router as admin_router
from claude_mem.api.health import router as health_router
from claude_mem.api.hot import HotPaths
from claude_mem.api.middleware import Application, Authenticate, Gatekeeper
from claude_mem.api.mounts import Mounted, Mounts
from claude_mem.api.queries import only_known
from claude_mem.api.throttle import Throttle
from claude_mem.domains.access.organisation_endpoints import router as organisation_router
from claude_mem.domains.access.people_endpoints import router as people_router
from claude_mem.domains.capture.door import Doors
from claude_mem.domains.capture.endpoints import router as capture_router
from claude_mem.domains.capture.letters import router as letters_router
from claude_mem.domains.capture.saving import router as saving_router
from claude_mem.domains.context.endpoints import router as context_router
from claude_mem.domains.intelligence.endpoints import router as intelligence_router
from claude_mem.domains.memory.endpoints import router as memory_router
from claude_mem.domains.memory.timeline_endpoints import router as timeline_router
from claude_mem.domains.ops.endpoints import router as live_router
from claude_mem.domains.retrieval.endpoints import router as retrieval_router
from claude_mem.domains.retrieval.similar_endpoints import router as similar_router
from claude_mem.domains.retrieval.stream_endpoints import router as steps_router
from claude_mem.domains.retrieval.suggest_endpoints import router as suggest_router
from claude_mem.kernel.scope import Scope

PREFIX = "/api/v1"
# For the document only: the gatekeeper has authenticated every request before it gets here.
_BEARER = Depends(HTTPBearer(auto_error=False, description="The token in the data folder"))
# (who asks: nobody gets a status word alone; whether rows are counted anew)
Health = Callable[[Scope | None, bool], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of; `state` is what endpoints find on `request.app.state`."""

    version: str
    state: dict[str, Any]
    authenticate: Authenticate
    health: Health
    lifespan: Callable[
        [Any], Any
    ]  # what it is given, an application or nothing, it does not look at
    hosts: Sequence[str] | None = ("127.0.0.1", "localhost", "[::1]")  # None: any
    mounts: Mapping[str, Mounted] = field(default_factory=dict)
    throttle: Callable[[Application], Throttle] | None = None  # None: nobody is held back


def make_app(parts: Parts) -> Application:
    """The ASGI application, gatekeeper outermost."""
    hot = HotPaths(make_api(parts), Doors(parts.state["capture"], parts.state["context"]))
    inner: Application = Mounts(hot, parts.mounts)
    stranger = None
    if parts.throttle is not None:
        inner = throttle = parts.throttle(inner)
        stranger = throttle.stranger
    whole = Gatekeeper(inner, parts.authenticate, parts.hosts, parts.version, stranger)
    for mounted in parts.mounts.values():
        mounted.attach(whole)
    return whole


def make_api(parts: Parts) -> FastAPI:
    """The application without the gatekeeper: what the OpenAPI document is generated from."""
    app = FastAPI(
        title="Claude-Mem API",
        version=parts.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        lifespan=_lifespan(parts.lifespan),
        separate_input_output_schemas=False,
    )
    for name, value in parts.state.items():
        setattr(app.state, name, value)
    app.state.authenticate = parts.authenticate  # for what lasts longer than a request
    for router in (
        capture_router,
        context_router,  # before memory: a session's parts there take any name
        intelligence_router,
        memory_router,
        retrieval_router,
        suggest_router,
        similar_router,
        steps_router,
        timeline_router,
        saving_router,
        letters_router,
        organisation_router,
        people_router,
        admin_router,
        live_router,
    ):
        app.include_router(router, prefix=PREFIX, dependencies=[_BEARER, Depends(only_known)])
    app.state.health = parts.health
    app.include_router(health_router, prefix=PREFIX)
    app.include_router(health_router, include_in_schema=False)
    errors.install(app)
    return app


def _lifespan(inner: Callable[[Any], Any]) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        async with inner(app):
            yield

    return run
