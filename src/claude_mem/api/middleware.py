"""One pure ASGI middleware for what every request goes through.

Order: request id, body limit, Host and Origin (DNS rebinding, CSRF), authentication, the endpoint, access log.
Pure ASGI because Starlette's BaseHTTPMiddleware costs more than the rest of a request together.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import structlog

from claude_mem.api.errors import UNFORESEEN, render
from claude_mem.kernel.errors import Forbidden, MemError, RateLimited, TooLarge
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
# Told of a request (its ASGI scope) that was turned away for want of a valid key; may raise RateLimited.
Stranger = Callable[[MutableMapping[str, Any]], Awaitable[None]]
# A scope at once where nothing has to be read for it: then nobody waits.
Authenticate = Callable[[str | None], Scope | Awaitable[Scope]]

MAX_BODY = 33_554_432
# By the beginning of a path: what holds a text that somebody or something wrote; all else is questions and names.
# A body is taken apart on the loop, and one that is wrong in every place has an error for each.
_MAX_TEXT, _MAX_ELSE = 8_388_608, 524_288
_BODIES = (
    ("/api/v1/events", MAX_BODY),
    ("/api/v1/hooks/", MAX_BODY),
    ("/api/v1/admin/dead-letters", MAX_BODY),
    ("/api/v1/memories/get", _MAX_ELSE),
    ("/api/v1/memories", _MAX_TEXT),
    ("/api/v1/observations", _MAX_TEXT),
    ("/api/v1/sessions/", _MAX_TEXT),
    ("/mcp", _MAX_TEXT),
)
# A status word each; everything else needs a key.
OPEN_PATHS = frozenset(
    {
        "/health",
        "/api/v1/health",
        "/health/live",
        "/health/ready",
        "/api/v1/health/live",
        "/api/v1/health/ready",
    }
)
_DECIDING = frozenset({b"host", b"origin", b"authorization", b"content-length"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")
_QUIET = ("/api/v1/hooks/", "/api/v1/events", "/health", "/api/v1/health")
_log = structlog.get_logger("api")


class Gatekeeper:
    """Wraps the application. `hosts` are the names we answer to (without port), lower case; None: to any.

    What stands behind may leave more headers for the answer, whatever that will be, in `state["answer_headers"]`.
    """

    def __init__(
        self,
        app: Application,
        authenticate: Authenticate,
        hosts: Iterable[str] | None,
        version: str,
        stranger: Stranger | None = None,
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._hosts = None if hosts is None else frozenset(hosts)
        self._stranger = stranger
        self._headers = [
            (b"x-api-version", b"1"),
            (b"x-claude-mem-version", version.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict[bytes, bytes](scope["headers"])
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = new_id()
        status = 0

        async def counted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    *self._headers,
                    *state.get("answer_headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            _check_single(scope["headers"])
            most = max_body(scope["path"])
            self._check_size(headers, most)
            self._check_origin(headers)
            state["caller"] = await self._caller(scope["path"], headers)
            await self._app(scope, _bounded(receive, most), counted_send)
        except MemError as error:
            if status:
                raise
            await _answer(await self._told(scope, error), request_id, counted_send)
        except Exception:
            if status:
                raise  # too late to say anything: the server ends the connection
            _log.exception("unhandled", path=scope["path"], request_id=request_id)
            await _answer(MemError(UNFORESEEN), request_id, counted_send)
        finally:
            self._note(scope, status, started, request_id)

    async def _caller(self, path: str, headers: dict[bytes, bytes]) -> Scope | None:
        raw = headers.get(b"authorization")
        given = raw.decode("latin-1") if raw else None
        if path not in OPEN_PATHS:
            return await self._scope_of(given)
        try:
            return await self._scope_of(given) if given else None
        except MemError:
            return None  # an open path stays open to a wrong token: it only learns less

    async def _scope_of(self, authorization: str | None) -> Scope:
        found = self._authenticate(authorization)
        return found if isinstance(found, Scope) else await found

    async def _told(self, scope: MutableMapping[str, Any], error: MemError) -> MemError:
        """The error, or that there were too many of its kind."""
        if self._stranger is not None and error.status == 401:
            try:
                await self._stranger(scope)
            except RateLimited as limited:
                return limited
        return error

    @staticmethod
    def _check_size(headers: dict[bytes, bytes], most: int) -> None:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 12 or int(length) > most:
            raise TooLarge(f"a body holds at most {most} bytes here: send it in pieces")

    def _check_origin(self, headers: dict[bytes, bytes]) -> None:
        host = _host_name(headers.get(b"host", b"").decode("latin-1"))
        if self._hosts is not None and host not in self._hosts:
            raise Forbidden("the Host header names another machine: use a name this one answers to")
        origin = headers.get(b"origin")
        if origin is None:
            return
        scheme, _, place = origin.decode("latin-1").partition("://")
        own = headers.get(b"host", b"").decode("latin-1").lower()
        if scheme not in {"http", "https"} or place.lower() != own:
            raise Forbidden("a page of another origin may not call this API")

    def _note(
        self, scope: MutableMapping[str, Any], status: int, started: float, request_id: str
    ) -> None:
        path = scope["path"]
        quiet = status < 400 and path.startswith(_QUIET)
        note = _log.debug if quiet else (_log.warning if status >= 500 else _log.info)
        caller = scope["state"].get("caller")
        note(
            "request",
            request_id=request_id,
            user_id=caller.user_id if caller else None,
            method=scope["method"],
            path=path,
            status_code=status,
            duration_ms=round((time.perf_counter() - started) * 1000, 2),
        )


def max_body(path: str) -> int:
    """How many bytes the body of a request may have."""
    return next((most for start, most in _BODIES if path.startswith(start)), _MAX_ELSE)


def _bounded(receive: Receive, most: int) -> Receive:
    """Counts a body that came without a length."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise TooLarge(f"a body holds at most {most} bytes here: send it in pieces")
        return message

    return bounded


def _check_single(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Of what decides there is one: which of two counts, others on the way may see differently."""
    names = [name for name, _ in headers if name in _DECIDING]
    if len(names) != len(set(names)):
        raise Forbidden("Host, Origin, Authorization and Content-Length may be sent once each")


def _host_name(host: str) -> str:
    """The name in a Host header: without port, lower case; `[::1]` keeps its brackets; "" if it is none."""
    found = _HOST.fullmatch(host)
    return found[1].lower() if found else ""


async def _answer(error: MemError, request_id: str, send: Send) -> None:
    status, headers, body = render(error, request_id)
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
