"""How the service is: the endpoints that ask for no key. Whoever makes the application says what health is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

router = APIRouter(tags=["System"])
Fresh = Annotated[
    bool, Query(description="Count the rows anew; those of a large store are kept for a while.")
]


@router.get("/health", summary="How the service is; details for those with a key")
async def get_health(request: Request, fresh: Fresh = False) -> dict[str, Any]:
    """Without a key a status word: healthy, degraded or unhealthy."""
    report: dict[str, Any] = await request.app.state.health(
        getattr(request.state, "caller", None), fresh
    )
    return report


@router.get("/health/live", summary="The process answers")
async def live() -> dict[str, str]:
    """Always healthy while this answers."""
    return {"status": "healthy"}


@router.get("/health/ready", summary="Requests can be served")
async def ready(request: Request) -> Response:
    """503 while a dependency that is needed is away."""
    report = await request.app.state.health(None, False)
    status = 503 if report["status"] == "unhealthy" else 200
    return JSONResponse({"status": report["status"]}, status_code=status)
