"""The FastAPI application: routers, middleware, errors, health. Knows no settings and no engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from claude_mem.api import errors
from claude_mem.api.admin import router as admin_router
from claude_mem.api.hot import HotPaths
from claude_mem.api.middleware import Application, Authenticate, Gatekeeper
from claude_mem.api.mounts import Mounted, Mounts
from claude_mem.domains.capture.door import Doors
from claude_mem.domains.capture.endpoints import router as capture_router
from claude_mem.domains.capture.saving import router as saving_router
from claude_mem.domains.context.endpoints import router as context_router
from claude_mem.domains.intelligence.endpoints import router as intelligence_router
from claude_mem.domains.memory.endpoints import router as memory_router
from claude_mem.domains.memory.timeline_endpoints import router as timeline_router
from claude_mem.domains.retrieval.endpoints import router as retrieval_router

PREFIX = "/api/v1"
# For the document only: the gatekeeper has authenticated every request before it gets here.
_BEARER = Depends(HTTPBearer(auto_error=False, description="The token in the data folder"))
Fresh = Annotated[
    bool, Query(description="Count the rows anew; those of a large store are kept for a while.")
]
Health = Callable[[bool, bool], Awaitable[dict[str, Any]]]  # (all of it, rows counted anew)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of; `state` is what endpoints find on `request.app.state`."""

    version: str
    state: dict[str, Any]
    authenticate: Authenticate
    health: Health
    lifespan: Callable[[FastAPI], Any]
    hosts: Sequence[str] = ("127.0.0.1", "localhost", "[::1]")
    mounts: Mapping[str, Mounted] = field(default_factory=dict)


def make_app(parts: Parts) -> Application:
    """The ASGI application, gatekeeper outermost."""
    hot = HotPaths(make_api(parts), Doors(parts.state["capture"], parts.state["context"]))
    mounts = Mounts(hot, parts.mounts)
    whole = Gatekeeper(mounts, parts.authenticate, parts.hosts, parts.version)
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
    for router in (
        capture_router,
        context_router,  # before memory: a session's parts there take any name
        intelligence_router,
        memory_router,
        retrieval_router,
        timeline_router,
        saving_router,
        admin_router,
    ):
        app.include_router(router, prefix=PREFIX, dependencies=[_BEARER])
    health = _health_router(parts.health)
    app.include_router(health, prefix=PREFIX)
    app.include_router(health, include_in_schema=False)
    errors.install(app)
    return app


def _lifespan(inner: Callable[[FastAPI], Any]) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        async with inner(app):
            yield

    return run


def _health_router(health: Health) -> APIRouter:
    router = APIRouter(tags=["System"])

    @router.get("/health", summary="How the service is; details for those with a key")
    async def get_health(request: Request, fresh: Fresh = False) -> dict[str, Any]:
        """Without a key a status word: healthy, degraded or unhealthy."""
        return await health(getattr(request.state, "caller", None) is not None, fresh)

    @router.get("/health/live", summary="The process answers")
    async def live() -> dict[str, str]:
        """Always healthy while this answers."""
        return {"status": "healthy"}

    @router.get("/health/ready", summary="Requests can be served")
    async def ready() -> Response:
        """503 while a dependency that is needed is away."""
        report = await health(False, False)
        status = 503 if report["status"] == "unhealthy" else 200
        return JSONResponse({"status": report["status"]}, status_code=status)

    return router
