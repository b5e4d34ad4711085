"""The one renderer of errors: {error, code, details, request_id, documentation_url}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from claude_mem.kernel.errors import Detail, Invalid, MemError, NotFound

DOCUMENTATION = "docs/errors.md"
UNFORESEEN = "something went wrong on our side: the log names it by the request id"
# What the framework says of a body that no parser reads.
_UNREAD: Final = "There was an error parsing the body"
_NO_JSON: Final = "no JSON in UTF-8, or nested too deep, or with a number too long"
_log = structlog.get_logger("api")


def render(error: MemError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and JSON body of an error."""
    headers = {"content-type": "application/json"}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    body = {
        "error": error.message,
        "code": error.code,
        "details": [{"field": d.field, "message": d.message} for d in error.details],
        "request_id": request_id,
        "documentation_url": f"{DOCUMENTATION}#{error.code.lower()}",
    }
    return error.status, headers, orjson.dumps(body)


def install(app: FastAPI) -> None:
    """Make the application answer every failure through `render`."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, MemError)  # noqa: S101 - registered for it below
        return _response(error, request)

    async def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it below
        details = tuple(_detail(fault, request) for fault in error.errors()[:20])
        first = details[0]
        return _response(Invalid(f"{first.field}: {first.message}", details=details), request)

    async def routed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it below
        if isinstance(error.__cause__, MemError):  # raised while the framework read a body
            return _response(error.__cause__, request)
        if error.status_code == 404:
            return _response(NotFound(f"nothing is at {request.url.path}"), request)
        unread = error.status_code == 400 and error.detail == _UNREAD
        mapped = Invalid(f"body: {_NO_JSON}" if unread else str(error.detail))
        mapped.status = error.status_code
        return _response(mapped, request)

    async def unknown(request: Request, error: Exception) -> Response:
        request_id = getattr(request.state, "request_id", "")
        _log.error("unhandled", exc_info=error, path=request.url.path, request_id=request_id)
        return _response(MemError(UNFORESEEN), request)

    app.add_exception_handler(MemError, known)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, routed)
    app.add_exception_handler(Exception, unknown)


def _detail(fault: Mapping[str, Any], request: Request) -> Detail:
    """What is wrong with a field, or with the body as a whole and the way out."""
    place = fault["loc"][1:]
    if fault["type"] == "json_invalid":
        return Detail("body", f"{_NO_JSON} (at character {place[0] if place else 0})")
    if not place and "json" not in request.headers.get("content-type", "").lower():
        return Detail(
            "body",
            "is read as JSON only where its type says so: send Content-Type: application/json",
        )
    return Detail(".".join(map(str, place)) or "body", str(fault["msg"]))


def _response(error: MemError, request: Request) -> Response:
    status, headers, body = render(error, getattr(request.state, "request_id", ""))
    return Response(body, status_code=status, headers=headers)
