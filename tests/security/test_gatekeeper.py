"""The gatekeeper: nothing but a status word without the token, whatever a request is dressed as."""

from __future__ import annotations

import ast
import inspect
import io
import json
import logging
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from api_support import API, Api, refusal
from fastapi import FastAPI

from claude_mem.api import middleware
from claude_mem.api.application import make_api, make_app
from claude_mem.api.middleware import MAX_BODY, OPEN_PATHS, max_body
from claude_mem.app import logs
from claude_mem.domains.access.service import LocalTokens
from claude_mem.kernel.errors import AuthInvalid, AuthMissing
from claude_mem.kernel.scope import Scope

pytestmark = pytest.mark.anyio

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW")


@pytest.fixture
async def doors(api: Api) -> list[tuple[str, str]]:
    """Every path of the application with every method, placeholders filled."""
    application = make_api(api.system.parts)
    paths = {path.replace("{", "").replace("}", "") for path in paths_of(application)}
    assert {"/health", f"{API}/events", f"{API}/search", f"{API}/openapi.json"} <= paths
    documented = {path.replace("{", "").replace("}", "") for path in application.openapi()["paths"]}
    assert documented <= paths
    return [(method, path) for path in sorted(paths) for method in METHODS]


def paths_of(application: FastAPI) -> Iterator[str]:
    found = list(application.openapi()["paths"])
    yield from found
    yield from (path.removeprefix(API) for path in found if "/health" in path)
    yield f"{API}/openapi.json"


async def ask(
    api: Api,
    path: str,
    headers: list[tuple[bytes, bytes]],
    method: str = "GET",
    body: list[bytes] | None = None,
    host: bytes | None = b"127.0.0.1:37700",
    raw_path: bytes | None = None,
    application: middleware.Application | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """One request straight to the application, exactly as given: no client tidies it."""
    pieces = list(body if body is not None else [b""])
    sent: list[Any] = []
    dressed = [(b"host", host)] if host is not None else []
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": raw_path or path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [*dressed, *headers],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 37700),
    }

    async def receive() -> dict[str, Any]:
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    await (application or make_app(api.system.parts))(scope, receive, send)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(it.get("body", b"") for it in sent[1:])


def bearer(token: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {token}".encode()


async def test_every_path_and_method_asks_for_the_token(
    api: Api, doors: list[tuple[str, str]]
) -> None:
    wrong = "cm_sk_local_" + "x" * 43
    strangers: dict[str, list[tuple[bytes, bytes]]] = {
        "AUTH_MISSING": [],
        "AUTH_INVALID": [bearer(wrong)],
    }
    for method, path in doors:
        for code, headers in strangers.items():
            status, answered, body = await ask(api, path, headers, method)
            if path in OPEN_PATHS:
                assert status in {200, 405}, f"{method} {path}"
                if status == 200:
                    assert json.loads(body) == {"status": "healthy"}, f"{method} {path}"
                continue
            assert status == 401, f"{method} {path} answered {status} to a stranger"
            assert json.loads(body)["code"] == code
            assert answered["www-authenticate"] == "Bearer"


async def test_the_open_paths_are_health_alone() -> None:
    assert all(path.removeprefix(API).startswith("/health") for path in OPEN_PATHS)


NO_TOKENS = {
    "basic": "Basic {token}",
    "the token alone": "{token}",
    "no space": "Bearer{token}",
    "another scheme": "Token {token}",
    "half": "Bearer {half}",
    "with more": "Bearer {token}x",
    "two": "Bearer {token} {token}",
    "nothing": "Bearer ",
    "a comma": "Bearer {token}, Bearer {token}",
    "upper case": "Bearer {upper}",
    "NUL": "Bearer {token}\x00",
    "not ASCII": "Bearer {token}\xe9",
    "quoted": 'Bearer "{token}"',
}


@pytest.mark.parametrize("name", sorted(NO_TOKENS))
async def test_what_only_looks_like_the_token_is_none(name: str, api: Api) -> None:
    token = api.token
    text = NO_TOKENS[name].format(token=token, half=token[: len(token) // 2], upper=token.upper())
    headers = [(b"authorization", text.encode("latin-1"))]
    status, _, body = await ask(api, f"{API}/sessions", headers)
    assert status == 401
    assert token.encode() not in body


@pytest.mark.parametrize("text", ["bearer {token}", "BEARER {token}", "Bearer  {token} "])
async def test_the_schemes_case_and_space_around_do_not_matter(text: str, api: Api) -> None:
    headers = [(b"authorization", text.format(token=api.token).encode())]
    assert (await ask(api, f"{API}/sessions", headers))[0] == 200


async def test_two_authorizations_are_none(api: Api) -> None:
    """Which of two counts is a question that proxies answer differently."""
    right, wrong = bearer(api.token), bearer("cm_sk_local_" + "x" * 43)
    for headers in ([right, wrong], [wrong, right]):
        assert (await ask(api, f"{API}/sessions", headers))[0] == 403


async def test_two_hosts_are_none(api: Api) -> None:
    headers = [(b"host", b"evil.example"), bearer(api.token)]
    assert (await ask(api, f"{API}/sessions", headers))[0] == 403
    headers = [(b"host", b"127.0.0.1"), bearer(api.token)]
    assert (await ask(api, f"{API}/sessions", headers, host=b"evil.example"))[0] == 403


async def test_a_token_elsewhere_is_none(api: Api) -> None:
    for headers in (
        [(b"cookie", f"token={api.token}".encode())],
        [(b"x-api-key", api.token.encode())],
        [(b"proxy-authorization", f"Bearer {api.token}".encode())],
        [(b"x-original-url", b"/health")],
        [(b"x-forwarded-for", b"127.0.0.1")],
    ):
        assert (await ask(api, f"{API}/sessions", headers))[0] == 401
    answer = await api.client.get(
        f"{API}/sessions", params={"token": api.token}, headers={"authorization": ""}
    )
    assert answer.status_code == 401


HOSTS_OF_OURS = ["127.0.0.1", "127.0.0.1:37700", "localhost", "LOCALHOST:1", "[::1]", "[::1]:37700"]
FOREIGN_HOSTS = [
    "",
    "evil.example",
    "evil.example:37700",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "127.0.0.1@evil.example",
    "evil.example#127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0.0.0.0",
    "[::ffff:127.0.0.1]",
    "[::1].evil.example",
    "[::1]evil",
    "[::1",
    "::1",
    "[::1%25lo]",
    "127.0.0.1,evil.example",
    "127.0.0.1:37700.evil.example",
    "127.0.0.1:x",
    "localhost.",
    " 127.0.0.1",
]


@pytest.mark.parametrize("host", HOSTS_OF_OURS)
async def test_our_own_names_are_answered(host: str, api: Api) -> None:
    status, _, _ = await ask(api, f"{API}/sessions", [bearer(api.token)], host=host.encode())
    assert status == 200


@pytest.mark.parametrize("path", ["/health", f"{API}/sessions"])
@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_a_foreign_host_is_refused_even_with_the_token(
    host: str, path: str, api: Api
) -> None:
    status, _, body = await ask(api, path, [bearer(api.token)], host=host.encode())
    assert status == 403
    assert json.loads(body)["code"] == "FORBIDDEN"


async def test_a_request_without_a_host_is_refused(api: Api) -> None:
    assert (await ask(api, "/health", [bearer(api.token)], host=None))[0] == 403


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://evil.example:37700",
        "http://127.0.0.1",
        "http://127.0.0.1:8080",
        "http://localhost:37700",
        "http://127.0.0.1:37700.evil.example",
        "http://evil.example/http://127.0.0.1:37700",
        "chrome-extension://abcdef",
        "file://",
        "http://127.0.0.1:37700/",
        "javascript://127.0.0.1:37700",
    ],
)
@pytest.mark.parametrize("path", ["/health", f"{API}/sessions"])
async def test_a_page_of_another_origin_is_refused(origin: str, path: str, api: Api) -> None:
    headers = [bearer(api.token), (b"origin", origin.encode())]
    status, answered, _ = await ask(api, path, headers)
    assert status == 403
    assert "access-control-allow-origin" not in answered


async def test_a_page_of_our_own_is_answered(api: Api) -> None:
    headers = [bearer(api.token), (b"origin", b"http://127.0.0.1:37700")]
    assert (await ask(api, f"{API}/sessions", headers))[0] == 200


async def test_a_preflight_opens_nothing(api: Api) -> None:
    headers = [
        (b"origin", b"https://evil.example"),
        (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", b"authorization"),
    ]
    status, answered, _ = await ask(api, f"{API}/events", headers, "OPTIONS")
    assert status == 403
    assert not [name for name in answered if name.startswith("access-control")]


CLOSED = f"{API}/sessions"
TRICKS = [
    "//health",
    "/health/",
    "/HEALTH",
    "/Health",
    "/health/../api/v1/sessions",
    "/health/..%2fapi/v1/sessions",
    "/health/%2e%2e/api/v1/sessions",
    "/health%2f..%2fapi%2fv1%2fsessions",
    "/api/v1//sessions",
    "//api/v1/sessions",
    "/api/v1/sessions/",
    "/api/v1/sessions;/health",
    "/api/v1/sessions#/health",
    "/api/v1/sessions?/health",
    "/api/v1/sessions/..;/health",
    "/api/v1/health/../sessions",
    "/api/v1/health/..\\sessions",
    "/./api/v1/sessions",
    "/health\x00/api/v1/sessions",
    "/api/v1/sessions\x00/health",
    "health",
    "",
    "*",
    "http://127.0.0.1:37700/health",
    "/api/v1/ſessions",
    "/health/live/../../api/v1/sessions",
]


async def test_a_path_that_pretends_opens_nothing(api: Api) -> None:
    await api.take(api.event(data={"content": "the inner secret"}))
    for path, raw in product(TRICKS, (None, b"/health")):
        status, _, body = await ask(api, path, [], raw_path=raw)
        assert status == 401, f"{path!r} answered {status}"
        assert b"secret" not in body, path


async def test_the_paths_that_are_open_cannot_carry_more(api: Api) -> None:
    for path in OPEN_PATHS:
        status, _, body = await ask(api, path, [], raw_path=f"{API}/sessions".encode())
        assert status == 200
        assert json.loads(body) == {"status": "healthy"}


# -- size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [str(MAX_BODY + 1), "9" * 30, "-1", "1e3", "x", "", "+5", "٣"])
async def test_a_length_too_great_or_none_is_refused_before_reading(length: str, api: Api) -> None:
    headers = [bearer(api.token), (b"content-length", length.encode())]
    status, _, _ = await ask(api, f"{API}/events", headers, "POST", [b"{}"])
    assert status in {400, 413}


ENDPOINTS_WITH_BODY = [f"{API}/events", f"{API}/hooks/claude-code", f"{API}/forget"]
ENDPOINTS_WITH_BODY += [f"{API}/observations", f"{API}/sessions/x/prompts"]


@pytest.mark.parametrize("path", ENDPOINTS_WITH_BODY)
async def test_a_body_without_a_length_is_counted(path: str, api: Api) -> None:
    piece = b"x" * (1 << 20)
    headers = [
        bearer(api.token),
        (b"transfer-encoding", b"chunked"),
        (b"content-type", b"application/json"),
        (b"x-event-id", b"01890000-0000-7000-8000-000000000001"),
        (b"x-event-time", b"1"),
    ]
    pieces = [piece] * (MAX_BODY // len(piece) + 1)
    status, _, body = await ask(api, path, headers, "POST", pieces)
    assert status == 413, body
    assert json.loads(body)["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize("path", ["/search", "/search/similar", "/users", "/keys", "/memories/get"])
async def test_a_question_is_no_larger_than_a_question(path: str, api: Api) -> None:
    most = max_body(API + path)
    assert most < MAX_BODY
    headers = [bearer(api.token), (b"content-type", b"application/json")]
    told = [*headers, (b"content-length", str(most + 1).encode())]
    assert (await ask(api, API + path, told, "POST", [b"{}"]))[0] == 413
    counted = [*headers, (b"transfer-encoding", b"chunked")]
    pieces = [b" " * (1 << 18)] * (most // (1 << 18) + 1)
    assert (await ask(api, API + path, counted, "POST", pieces))[0] == 413


async def test_a_length_that_lies_does_not_let_more_through(api: Api) -> None:
    piece = b"x" * (1 << 20)
    headers = [bearer(api.token), (b"content-length", b"10")]
    pieces = [piece] * (MAX_BODY // len(piece) + 1)
    assert (await ask(api, f"{API}/events", headers, "POST", pieces))[0] == 413


async def test_a_stranger_is_refused_before_the_body_is_read(api: Api) -> None:
    pieces = [b"x"] * 3
    assert (await ask(api, f"{API}/events", [], "POST", pieces))[0] == 401


# -- what is told and how it is compared ---------------------------------------------------------


async def test_no_error_and_no_log_line_tells_a_token(
    api: Api, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(logs.sys, "stderr", stream)
    try:
        logs.configure(None, "debug")
        tried = "cm_sk_local_" + "Zq" * 21 + "Z"
        for token in (tried, api.token):
            for path in (CLOSED, f"{API}/{token}", "/health", f"{API}/sessions/{token}"):
                for kind in ("Bearer", "Basic"):
                    headers = [(b"authorization", f"{kind} {token}".encode())]
                    status, _, body = await ask(api, path, headers)
                    if token not in path:
                        assert token.encode() not in body
                    assert status in {200, 401, 404}
        told = stream.getvalue()
        assert '"request"' in told, "requests are logged"
        assert tried not in told
        assert api.token not in told
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        import structlog

        structlog.reset_defaults()
    out = capfd.readouterr()
    assert api.token not in out.out + out.err


def test_tokens_are_compared_in_constant_time() -> None:
    source = inspect.getsource(LocalTokens.authenticate)
    tree = ast.parse("class X:\n" + source)
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "hmac.compare_digest" in calls
    compared = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    assert not [text for text in compared if "given" in text or "_token" in text]


@pytest.mark.parametrize("given", [None, ""])
def test_no_header_is_a_missing_token(given: str | None) -> None:
    with pytest.raises(AuthMissing):
        LocalTokens("t").authenticate(given)


def test_an_empty_token_opens_nothing() -> None:
    with pytest.raises(AuthInvalid):
        LocalTokens("t").authenticate("Bearer ")


async def test_a_permission_that_is_not_held_is_refused(api: Api) -> None:
    """Every endpoint but health requires one; a scope with none gets nowhere."""
    nobody = Scope("00000000-0000-7000-8000-000000000001", "nobody", frozenset())
    application = middleware.Gatekeeper(
        make_api(api.system.parts), lambda _: nobody, api.system.parts.hosts, "1"
    )
    asked = 0
    for path, methods in make_api(api.system.parts).openapi()["paths"].items():
        for method in methods:
            if path in OPEN_PATHS:
                continue
            plain = path.replace("{", "").replace("}", "")
            headers = [(b"content-type", b"application/json")]
            status, _, body = await ask(
                api, plain, headers, method.upper(), [b"{}"], application=application
            )
            assert (status, json.loads(body)["code"]) == (403, "FORBIDDEN"), f"{method} {path}"
            asked += 1
    assert asked >= 10


async def test_a_websocket_is_not_let_in(api: Api) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": f"{API}/sessions",
        "query_string": b"",
        "headers": [(b"host", b"evil.example")],
        "subprotocols": [],
        "scheme": "ws",
    }
    await make_app(api.system.parts)(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_refusals_have_the_shape_of_every_error(api: Api) -> None:
    answer = await api.client.get(CLOSED, headers={"authorization": "Bearer x"})
    refusal(answer, 401, "AUTH_INVALID")
    answer = await api.client.get(CLOSED, headers={"host": "evil.example"})
    refusal(answer, 403, "FORBIDDEN")
