"""Which role may call what: every endpoint, every role. An endpoint that is new here has to be given its place."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
from api_support import Api
from test_gatekeeper import ask

import claude_mem
from claude_mem.api import middleware
from claude_mem.api.application import make_api
from claude_mem.kernel.scope import (
    ALL_PERMISSIONS,
    OPERATOR_PERMISSIONS,
    ROLES,
    local_scope,
    operator_scope,
)

SOURCE = Path(claude_mem.__file__).parent
VIEWER, USER, ADMIN = ("viewer", "user", "admin"), ("user", "admin"), ("admin",)
OPERATOR = ("operator",)
EVERYBODY = ("viewer", "user", "admin", "operator", None)
P = "/projects/{project_id}"
ALLOWED: dict[str, tuple[str | None, ...]] = {
    "GET /health": EVERYBODY,
    "GET /health/live": EVERYBODY,
    "GET /health/ready": EVERYBODY,
    "POST /events": USER,
    "POST /hooks/{agent}": USER,
    "POST /sessions/{session_id}/prompts": USER,
    "POST /observations": USER,
    "POST /memories": USER,
    "POST /forget": USER,
    "POST /sessions/{session_id}/summaries": USER,
    "GET /context": VIEWER,
    "GET /learnings": VIEWER,
    "GET /sessions/{session_id}/summary": VIEWER,
    "GET /sessions/{session_id}/working": VIEWER,
    "GET /summaries/{summary_id}/versions": VIEWER,
    "GET /projects": VIEWER,
    "GET /sessions": VIEWER,
    "GET /sessions/{session_id}": VIEWER,
    "GET /sessions/{session_id}/{part}": VIEWER,
    "GET /prompts/{entity_id}": VIEWER,
    "GET /observations/{entity_id}": VIEWER,
    "GET /timeline": VIEWER,
    "GET /stream/events": VIEWER,
    "POST /memories/get": VIEWER,
    "GET /export": VIEWER,
    "GET /search": VIEWER,
    "POST /search": VIEWER,
    "POST /search/semantic": VIEWER,
    "POST /search/similar": VIEWER,
    "GET /search/stream": VIEWER,
    "GET /search/suggest": VIEWER,
    "GET /admin/jobs": ADMIN,
    "POST /admin/jobs/retry": ADMIN,
    "POST /admin/spool/take": ADMIN,
    "POST /admin/db/checkpoint": ADMIN,
    "POST /admin/db/rebuild": ADMIN,
    "POST /admin/vectors/embed": ADMIN,
    "GET /admin/dead-letters": ADMIN,
    "GET /admin/dead-letters/{event_id}": ADMIN,
    "POST /admin/dead-letters/replay": ADMIN,
    "POST /admin/dead-letters/{event_id}/replay": ADMIN,
    "DELETE /admin/dead-letters/{event_id}": ADMIN,
    "GET /enterprises": OPERATOR,
    "POST /enterprises": OPERATOR,
    "POST /enterprises/{enterprise_id}/keys": OPERATOR,
    "GET /enterprise": VIEWER,
    "PATCH /enterprise": ADMIN,
    "GET /solutions": VIEWER,
    "POST /solutions": ADMIN,
    "GET /solutions/{solution_id}": VIEWER,
    "PATCH /solutions/{solution_id}": ADMIN,
    "POST /projects": ADMIN,
    f"GET {P}": VIEWER,
    f"PATCH {P}": ADMIN,
    f"GET {P}/roles": VIEWER,
    f"POST {P}/roles": ADMIN,
    f"DELETE {P}/roles/{{role_id}}": ADMIN,
    f"GET {P}/members": VIEWER,
    f"PUT {P}/members/{{user_id}}": ADMIN,
    f"DELETE {P}/members/{{user_id}}": ADMIN,
    "GET /users": VIEWER,
    "POST /users": ADMIN,
    "GET /users/me": VIEWER,
    "GET /users/{user_id}": VIEWER,
    "PATCH /users/{user_id}": ADMIN,
    "GET /keys": VIEWER,
    "POST /keys": VIEWER,
    "GET /keys/{key_id}": VIEWER,
    "DELETE /keys/{key_id}": VIEWER,
    "GET /audit": ADMIN,
}
SCOPES = {
    **{role: replace(local_scope(), role=role, permissions=held) for role, held in ROLES.items()},
    "operator": operator_scope(),
    None: replace(local_scope(), role=None, permissions=frozenset()),
}


@pytest.mark.parametrize("role", [*ROLES, "operator", None])
async def test_each_role_gets_where_it_may_and_no_further(api: Api, role: str | None) -> None:
    scope = SCOPES[role]
    application = middleware.Gatekeeper(
        make_api(api.system.parts), lambda _: scope, api.system.parts.hosts, "1"
    )
    seen = set()
    for path, methods in make_api(api.system.parts).openapi()["paths"].items():
        for method in methods:
            name = f"{method.upper()} {path.removeprefix('/api/v1')}"
            assert name in ALLOWED, f"{name}: say which roles may call it"
            seen.add(name)
            plain = path.replace("{", "").replace("}", "")
            headers = [(b"content-type", b"application/json")]
            status, _, body = await ask(
                api, plain, headers, method.upper(), [b"{}"], application=application
            )
            is_refused = status == 403
            assert is_refused == (role not in ALLOWED[name]), f"{role}: {name} answered {status}"
            if is_refused:
                assert json.loads(body)["code"] == "FORBIDDEN"
            assert status < 500, f"{role}: {name} answered {status}"
    assert seen == set(ALLOWED), f"no longer there: {set(ALLOWED) - seen}"


def test_roles_hold_more_and_more() -> None:
    assert ROLES["viewer"] < ROLES["user"] < ROLES["admin"] == ALL_PERMISSIONS
    assert not OPERATOR_PERMISSIONS & ALL_PERMISSIONS
    writing = {"admin", "audit:read", "keys:own"}
    assert {it for it in ROLES["viewer"] if not it.endswith(":read")} <= writing


def test_every_permission_that_is_asked_for_exists() -> None:
    """A slip of the pen would close an endpoint to everybody, or leave a permission that opens nothing."""
    asked = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            at = {"require": 0, "acting": 1, "allows": 0}.get(name)
            if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
                asked.add(str(ast.literal_eval(node.args[at])))
    known = ALL_PERMISSIONS | OPERATOR_PERMISSIONS
    assert asked <= known
    assert asked >= {"events:write", "keys:write", "enterprises:write", "audit:read"}
