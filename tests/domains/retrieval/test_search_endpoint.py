"""GET /search: parameters in, the documented shape out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.api import errors
from claude_mem.app.migrate import ensure_current
from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import NewObservation, NewSession, Recording
from claude_mem.domains.retrieval.endpoints import router
from claude_mem.domains.retrieval.model import IndexEntry
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.database import Tx
from claude_mem.sdk.client import API, Client

pytestmark = pytest.mark.anyio
SCOPE = local_scope()
AT = 1_763_600_000_000
SESSION, EVENT, ENTITY = new_id(AT), new_id(AT), new_id(AT)


def _remember(tx: Tx) -> None:
    access.make_local_organisation(tx)
    project = access.ensure_project(SCOPE, tx, "/home/dev/ledger")
    row = NewObservation(
        id=ENTITY,
        session_id=SESSION,
        prompt_id=None,
        event_id=EVENT,
        observation_type="error",
        source_tool="Bash",
        title="pytest failed",
        content="AssertionError in <test_token>: the refresh token had expired",
        content_hash="",
        command="pytest",
        exit_status=1,
        importance=0.5,
        tags=("ci",),
        metadata={},
        subagent_id=None,
        occurred_at=AT,
    )
    session = NewSession(SESSION, project, "backend", "claude-code", "s1", "Fix", AT, {})
    memory.record(SCOPE, tx, Recording(sessions=[session], observations=[row]))
    entry = IndexEntry(
        kind="observation",
        entity_id=ENTITY,
        title=row.title,
        body=row.content,
        project_id=project,
        session_id=SESSION,
        type="error",
        tool="Bash",
        role="backend",
        tags=("ci",),
        files=("tests/test_token.py",),
        occurred_at=AT,
    )
    IndexingService(SqliteLexicalIndex()).index(SCOPE, tx, [entry])


class _AsCaller:
    """Stands where the gatekeeper stands: the request comes from a known caller."""

    def __init__(self, app: Any, scope: Scope) -> None:
        self._app, self._scope = app, scope

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["caller"] = self._scope
        await self._app(scope, receive, send)


def _app(database: SqliteDatabase, scope: Scope, prefix: str = "") -> _AsCaller:
    app = FastAPI()
    app.include_router(router, prefix=prefix)
    errors.install(app)
    app.state.search = SearchService(database, SqliteLexicalIndex(), memory.get_many)
    return _AsCaller(app, scope)


def _client(database: SqliteDatabase, scope: Scope) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=_app(database, scope))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    path = tmp_path / "test.db"
    ensure_current(path)
    made = SqliteDatabase(path)
    await made.write(SCOPE, _remember)
    yield made
    await made.close()


async def test_the_shape_of_an_answer(database: SqliteDatabase) -> None:
    async with _client(database, SCOPE) as client:
        body = (await client.get("/search", params={"q": "the expired token"})).json()
    (result,) = body.pop("results")
    assert body.pop("took_ms") >= 0
    assert body == {
        "query": "the expired token",
        "total_results": 1,
        "total_is_estimate": False,
        "terms": {"used": ["expir", "token"], "dropped": ["the"]},
        "facets": None,
        "facets_are_of": None,
        "degraded": None,
    }
    assert 0 < result.pop("relevance_score") <= 1
    assert {reason["term"] for reason in result.pop("why")} == {"expir", "token"}
    parts = {part["part"]: part["share"] for part in result.pop("explain")}
    assert parts["lexical"] > parts["importance"] > 0
    assert result == {
        "id": ENTITY,
        "translated": [],
        "type": "observation",
        "subtype": "error",
        "title": "pytest failed",
        "content_preview": "AssertionError in <test_token>: the refresh token had expired",
        "content_chars": 61,
        "source_session": SESSION,
        "project": "ledger",
        "role": "backend",
        "tool": "Bash",
        "occurred_at": "2025-11-20T00:53:20.000Z",
        "event_id": EVENT,
        "matched_fields": ["content"],
        "highlights": [
            "AssertionError in &lt;<mark>test_token</mark>&gt;: the refresh "
            "<mark>token</mark> had <mark>expired</mark>"
        ],
    }


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"project": "ledger"}, True),
        ({"project": "other"}, False),
        ({"role": "backend"}, True),
        ({"type": "observation"}, True),
        ({"type": "prompt"}, False),
        ({"observation_type": "error"}, True),
        ({"observation_type": "info"}, False),
        ({"tool": "Bash"}, True),
        ({"tag": "ci"}, True),
        ({"file": "test_token.py"}, True),
        ({"session": "s1"}, True),
        ({"session": SESSION}, True),
        ({"since": "2025-11-20"}, True),
        ({"since": "1d"}, False),
        ({"until": "2025-11-20T00:53:20Z"}, True),
        ({"until": "2025-11-20T00:53:19Z"}, False),
        ({"offset": "1"}, False),
    ],
)
async def test_filters(database: SqliteDatabase, parameters: dict[str, str], found: bool) -> None:
    async with _client(database, SCOPE) as client:
        answer = await client.get("/search", params={"q": "token", **parameters})
    assert answer.status_code == 200
    assert bool(answer.json()["results"]) is found


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": "x" * 10_001}, "q"),
        ({"q": "x", "limit": "0"}, "limit"),
        ({"q": "x", "limit": "101"}, "limit"),
        ({"q": "x", "offset": "-1"}, "offset"),
        ({"q": "x", "type": "everything"}, "type"),
        ({"q": "x", "since": "yesterday"}, "since"),
    ],
)
async def test_bad_parameters_are_named(
    database: SqliteDatabase, parameters: dict[str, str], field: str
) -> None:
    async with _client(database, SCOPE) as client:
        answer = await client.get("/search", params=parameters)
    assert answer.status_code == 400
    body = answer.json()
    assert body["code"] == "VALIDATION_ERROR"
    assert body["details"][0]["field"] == field


@pytest.mark.parametrize("text", ["🎉", '"', "数" * 7_000, "a\x00b", "%", "AND", "title:x NEAR(y"])
async def test_any_text_is_answered(database: SqliteDatabase, text: str) -> None:
    async with _client(database, SCOPE) as client:
        answer = await client.get("/search", params={"q": text})
    assert answer.status_code == 200
    assert answer.json()["results"] == []


@pytest.mark.parametrize("facets", ["ab," * 30_000, ["ab"] * 30_000, ["ab," * 300]])
async def test_of_too_many_facets_there_is_one_error(
    database: SqliteDatabase, facets: str | list[str]
) -> None:
    async with _client(database, SCOPE) as client:
        answer = await client.post("/search", json={"q": "token", "facets": facets})
    assert answer.status_code == 400
    assert [it["field"] for it in answer.json()["details"]] == ["facets"]


@pytest.mark.parametrize(
    "moments",
    [
        {"until": "9999-12-31"},
        {"since": "1970-01-01", "until": "9999-12-31"},
        {"since": "1970-01-02", "now": "9999-12-31"},
        {"since": "9999-12-31", "now": "1970-01-01"},
    ],
)
async def test_the_first_and_the_last_moment_there_are(
    database: SqliteDatabase, moments: dict[str, str]
) -> None:
    async with _client(database, SCOPE) as client:
        for fusion in ("score", "lexical"):
            asked = {"q": "token", "fusion": fusion, **moments}
            answer = await client.get("/search", params=asked)
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "parameters",
    [
        {"q": "expired token"},
        {"q": "token", "project": "ledger", "limit": 1},
        {"q": "token " * 1_600},
        {"q": "过期" * 3_000},
    ],
)
async def test_a_body_asks_the_same_as_parameters(
    database: SqliteDatabase, parameters: dict[str, Any]
) -> None:
    async with _client(database, SCOPE) as client:
        answers = [
            await client.get("/search", params=parameters),
            await client.post("/search", json=parameters),
        ]
    asked, posted = (answer.json() for answer in answers)
    assert [answer.status_code for answer in answers] == [200, 200]
    asked.pop("took_ms"), posted.pop("took_ms")
    assert posted == asked


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "q"),
        ({"q": "x" * 10_001}, "q"),
        ({"q": "x", "limit": 0}, "limit"),
        ({"q": "x", "projct": "ledger"}, "projct"),
        ({"q": "x", "until": "yesterday"}, "until"),
    ],
)
async def test_a_bad_body_is_named(
    database: SqliteDatabase, body: dict[str, Any], field: str
) -> None:
    async with _client(database, SCOPE) as client:
        answer = await client.post("/search", json=body)
    assert answer.status_code == 400
    assert answer.json()["details"][0]["field"] == field


@pytest.mark.parametrize("text", ["expired token", "token " + "过期了 " * 2_498])
async def test_the_client_asks_queries_of_any_length(database: SqliteDatabase, text: str) -> None:
    config = uvicorn.Config(_app(database, SCOPE, API), port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        serving = asyncio.create_task(server.serve([listening]))
        with Client(f"http://127.0.0.1:{port}", "any") as client:
            found = await asyncio.to_thread(client.search, text, project="ledger", role=None)
        server.should_exit = True
        await serving
    assert [result["id"] for result in found["results"]] == [ENTITY]
    assert found["query"] == text


async def test_searching_needs_the_permission(database: SqliteDatabase) -> None:
    nobody = Scope(SCOPE.enterprise_id, SCOPE.user_id, frozenset({"sessions:read"}))
    async with _client(database, nobody) as client:
        answer = await client.get("/search", params={"q": "token"})
        posted = await client.post("/search", json={"q": "token"})
    assert answer.status_code == posted.status_code == 403
