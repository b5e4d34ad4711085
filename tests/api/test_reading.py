"""Reading, taking out and letting go: pages, cursors, export, forget, search, health."""

from __future__ import annotations

import base64
import json
from itertools import product
from typing import Any

import pytest
from api_support import API, Api, refusal

from claude_mem import __version__
from claude_mem.kernel.ids import new_id

pytestmark = pytest.mark.anyio


async def fill(api: Api, sessions: int = 3, prompts: int = 5) -> None:
    events = [
        api.event(session=f"s{session}", data={"content": f"Question {session}.{number} about fig"})
        for session in range(sessions)
        for number in range(prompts)
    ]
    await api.take(*events)


async def pages(api: Api, path: str, limit: int) -> list[dict[str, Any]]:
    """All rows of a paged read, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await api.get(path, limit=limit, **cursor)
        assert set(page) == {"data", "next_cursor"}
        assert len(page["data"]) <= limit
        rows += page["data"]
        if page["next_cursor"] is None:
            return rows
        cursor = {"cursor": page["next_cursor"]}


@pytest.mark.parametrize("limit", [1, 2, 3, 200])
async def test_sessions_by_pages_newest_first_each_once(limit: int, api: Api) -> None:
    await fill(api)
    rows = await pages(api, "/sessions", limit)
    assert [row["agent_session"] for row in rows] == ["s2", "s1", "s0"]


@pytest.mark.parametrize("limit", [1, 2, 5, 200])
async def test_prompts_by_pages_as_they_happened(limit: int, api: Api) -> None:
    await fill(api)
    rows = await pages(api, "/sessions/s1/prompts", limit)
    assert [row["content"][:12] for row in rows] == [f"Question 1.{n}" for n in range(5)]


async def test_rows_of_one_moment_are_paged_without_loss(api: Api) -> None:
    moment = "2026-05-01T10:00:00.000Z"
    await api.take(
        *[api.event(occurred_at=moment, data={"content": f"number {n}"}) for n in range(7)]
    )
    rows = await pages(api, "/sessions/session-one/prompts", 2)
    assert sorted(row["content"] for row in rows) == [f"number {n}" for n in range(7)]


async def test_a_cursor_goes_on_with_its_own_listing_alone(api: Api) -> None:
    await fill(api)
    cursor = (await api.get("/sessions", limit=1))["next_cursor"]
    assert (await api.get("/sessions", limit=2, cursor=cursor))["data"][0]["agent_session"] == "s1"
    place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))[1:]
    unsigned = base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")
    for path, asked in (
        ("/sessions/s1/prompts", {"cursor": cursor}),
        ("/learnings", {"cursor": cursor}),
        ("/sessions", {"cursor": cursor, "project": "claude-mem"}),
        ("/sessions", {"cursor": unsigned}),
    ):
        answer = await api.client.get(f"{API}{path}", params=asked)
        body = refusal(answer, 400, "VALIDATION_ERROR")
        assert body["details"][0]["field"] == "cursor", path
        assert "start at the beginning" in body["error"], path


async def test_sessions_of_a_project(api: Api) -> None:
    await api.take(api.event(session="a"), api.event(session="b", project="other"))
    page = await api.get("/sessions", project="other")
    assert [row["agent_session"] for row in page["data"]] == ["b"]
    answer = await api.client.get(f"{API}/sessions", params={"project": "none"})
    refusal(answer, 404, "RESOURCE_NOT_FOUND")
    names = [row["name"] for row in (await api.get("/projects"))["data"]]
    assert names == ["ledger", "other"]


async def test_projects_of_one_name_are_told_apart(api: Api) -> None:
    await api.take(
        api.event(session="a", project="/x/app"), api.event(session="b", project="/y/app")
    )
    answer = await api.client.get(f"{API}/sessions", params={"project": "app"})
    assert refusal(answer, 400, "VALIDATION_ERROR")["details"][0]["field"] == "project"
    page = await api.get("/sessions", project="/y/app")
    assert [row["agent_session"] for row in page["data"]] == ["b"]


def cursor_of(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


CURSORS = [
    "garbage",
    "!!!!",
    "",
    "é",
    "AAAA",
    "x" * 400,
    cursor_of([1]),
    cursor_of(["1", "x"]),
    cursor_of([1, 2]),
    cursor_of([True, "x"]),
    cursor_of({"a": 1}),
    cursor_of([10**30, "x"]),
    cursor_of([1.5, "x"]),
    cursor_of(None),
]


async def test_a_cursor_that_is_none_of_ours_is_refused(api: Api) -> None:
    await fill(api, 1, 1)
    for path, cursor in product(("/sessions", "/sessions/s0/prompts"), CURSORS):
        answer = await api.client.get(f"{API}{path}", params={"cursor": cursor})
        details = refusal(answer, 400, "VALIDATION_ERROR")["details"]
        assert details[0]["field"] == "cursor", (path, cursor)


async def test_a_cursor_at_the_end_of_numbers_is_no_failure(api: Api) -> None:
    await fill(api, 1, 1)
    for number in (2**63, -(2**63) - 1, 2**63 - 1, 0):
        asked = {"cursor": cursor_of([number, "x"])}
        answer = await api.client.get(f"{API}/sessions", params=asked)
        assert answer.status_code in {200, 400}, (number, answer.text)


@pytest.mark.parametrize("limit", ["0", "-1", "201", "many", "1e2", ""])
async def test_a_limit_out_of_bounds_is_refused(limit: str, api: Api) -> None:
    answer = await api.client.get(f"{API}/sessions", params={"limit": limit})
    assert refusal(answer, 400, "VALIDATION_ERROR")["details"][0]["field"] == "limit"


async def test_a_session_by_either_id(api: Api) -> None:
    await api.take(api.event())
    row = await api.get("/sessions/session-one")
    assert await api.get(f"/sessions/{row['id']}") == row
    assert "enterprise_id" not in row
    assert row["started_at"].endswith("Z")


@pytest.mark.parametrize(
    "path",
    [
        "/sessions/none",
        "/sessions/none/prompts",
        "/prompts/none",
        "/observations/none",
        "/nothing",
        "/sessions/%00",
        "/sessions/%ff%fe",
        "/sessions/" + "x" * 5000,
    ],
)
async def test_what_is_not_there_is_404(path: str, api: Api) -> None:
    refusal(await api.client.get(f"{API}{path}"), 404, "RESOURCE_NOT_FOUND")


async def test_an_unknown_part_of_a_session_is_refused(api: Api) -> None:
    await api.take(api.event())
    answer = await api.client.get(f"{API}/sessions/session-one/natural_keys")
    refusal(answer, 400, "VALIDATION_ERROR")


async def test_a_wrong_method_is_405(api: Api) -> None:
    refusal(await api.client.delete(f"{API}/sessions"), 405, "VALIDATION_ERROR")


async def test_one_prompt_and_one_observation(api: Api) -> None:
    data = {"observation_type": "info", "content": "Limits are per key"}
    await api.take(api.event(), api.event("observation.added", data=data))
    for part, content in (
        ("prompts", "Mend the rounding of invoices"),
        ("observations", "Limits are per key"),
    ):
        (row,) = (await api.get(f"/sessions/session-one/{part}"))["data"]
        found = await api.get(f"/{part}/{row['id']}")
        assert found["content"] == content
        assert found["session_title"] == "Mend the rounding of invoices"


async def test_a_prompt_can_be_added_to_a_session(api: Api) -> None:
    await api.take(api.event())
    answer = await api.client.post(
        f"{API}/sessions/session-one/prompts", json={"content": "One more thing"}
    )
    assert answer.status_code == 202, answer.text
    await api.settle()
    rows = await pages(api, "/sessions/session-one/prompts", 50)
    assert rows[-1]["content"] == "One more thing"
    assert rows[-1]["event_id"] == answer.json()["event_id"]
    assert rows[-1]["metadata"]["origin"] == "api"
    assert len((await api.get("/projects"))["data"]) == 1, "the session's own project"


async def test_an_observation_can_be_added_to_a_session(api: Api) -> None:
    await api.take(api.event())
    body = {"session_id": "session-one", "content": "Tax is rounded last", "tags": ["tax"]}
    answer = await api.client.post(f"{API}/observations", json=body)
    assert answer.status_code == 202, answer.text
    await api.settle()
    (row,) = await pages(api, "/sessions/session-one/observations", 50)
    assert (row["content"], row["observation_type"]) == ("Tax is rounded last", "info")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/sessions/none/prompts", {"content": "x"}, 404),
        ("/sessions/session-one/prompts", {"content": ""}, 400),
        ("/sessions/session-one/prompts", {"content": "x", "also": 1}, 400),
        ("/sessions/session-one/prompts", {}, 400),
        ("/sessions/session-one/prompts", [], 400),
        ("/observations", {"content": "x"}, 400),
        ("/observations", {"session_id": "none", "content": "x"}, 404),
        (
            "/observations",
            {"session_id": "session-one", "content": "x", "observation_type": "rumour"},
            400,
        ),
        ("/observations", {"session_id": "session-one", "content": "x", "importance": 2}, 400),
        ("/observations", {"session_id": "session-one", "content": "x", "tags": [""]}, 400),
        ("/observations", {"session_id": "session-one", "content": "x", "tags": ["t" * 201]}, 400),
    ],
)
async def test_a_wrong_single_item_is_refused(path: str, body: Any, status: int, api: Api) -> None:
    await api.take(api.event())
    answer = await api.client.post(f"{API}{path}", json=body)
    refusal(answer, status, "RESOURCE_NOT_FOUND" if status == 404 else "VALIDATION_ERROR")


# -- export --------------------------------------------------------------------------------------


async def exported(api: Api, **parameters: str) -> list[dict[str, Any]]:
    answer = await api.client.get(f"{API}/export", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_everything_is_exported_once(api: Api) -> None:
    await fill(api, 3, 5)
    edit = {"tool": "Write", "input": {"file_path": "/a.py", "content": "1\n"}, "response": {}}
    await api.take(
        api.event("tool.used", session="s0", data=edit),
        api.event("context.compacted", session="s0", data={"summary": "All of it"}),
    )
    rows = await exported(api)
    kinds = [row["kind"] for row in rows]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "session": 3,
        "prompt": 15,
        "observation": 1,
        "code_change": 1,
        "summary": 1,
    }
    assert len({(row["kind"], row["id"]) for row in rows}) == len(rows)
    assert not any("enterprise_id" in row for row in rows)


async def test_more_than_a_page_is_exported(api: Api) -> None:
    await api.take(*[api.event(data={"content": f"line {n}"}) for n in range(1000)])
    await api.take(*[api.event(data={"content": f"more {n}"}) for n in range(17)])
    assert len([row for row in await exported(api) if row["kind"] == "prompt"]) == 1017


async def test_an_export_since_a_moment(api: Api) -> None:
    await api.take(api.event(session="old", occurred_at="2020-01-01T00:00:00Z"), api.event())
    rows = await exported(api, since="7d")
    assert sorted(row["kind"] for row in rows) == ["prompt", "session"]
    answer = await api.client.get(f"{API}/export", params={"since": "when it rained"})
    assert refusal(answer, 400, "VALIDATION_ERROR")["details"][0]["field"] == "since"


# -- forget --------------------------------------------------------------------------------------


async def forget(api: Api, **body: Any) -> dict[str, int]:
    answer = await api.client.post(f"{API}/forget", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, int] = answer.json()["forgotten"]
    return found


async def test_the_last_turn_is_forgotten_and_found_no_more(api: Api) -> None:
    first, last = api.event(), api.event(data={"content": "The codename is zebra"})
    reply = api.event("assistant.replied", data={"content": "Noted: zebra"})
    await api.post(first, last, reply)  # still waiting to be indexed
    assert await forget(api, what="last") == {"prompt": 2}
    assert (await api.get("/search", q="zebra"))["total_results"] == 0
    rows = await pages(api, "/sessions/session-one/prompts", 50)
    assert [row["content"] for row in rows] == ["Mend the rounding of invoices"]
    assert (await api.post(last)).json()["accepted"] in {0, 1}
    await api.settle()
    assert (await api.counts())["prompts"] == 1, "a late second delivery brings nothing back"


async def test_a_session_is_forgotten(api: Api) -> None:
    await fill(api, 2, 3)
    assert await forget(api, what="session", id="s0") == {"prompt": 3}
    assert (await api.counts())["prompts"] == 3


async def test_one_thing_is_forgotten(api: Api) -> None:
    await fill(api, 1, 2)
    row = (await api.get("/sessions/s0/prompts"))["data"][0]
    assert await forget(api, what="prompt", id=row["id"]) == {"prompt": 1}
    answer = await api.client.post(f"{API}/forget", json={"what": "prompt", "id": row["id"]})
    refusal(answer, 404, "RESOURCE_NOT_FOUND")


async def test_forgetting_in_one_project_leaves_the_others(api: Api) -> None:
    await api.take(api.event(session="a", project="mine"), api.event(session="b", project="other"))
    assert await forget(api, what="last", project="mine") == {"prompt": 1}
    assert len(await pages(api, "/sessions/b/prompts", 5)) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"what": "last"}, 404),
        ({"what": "everything"}, 400),
        ({"what": "session"}, 400),
        ({"what": "session", "id": ""}, 400),
        ({"what": "session", "id": "none"}, 404),
        ({"what": "observation", "id": "none"}, 404),
        ({"what": "last", "project": "none"}, 404),
        ({"what": "last", "also": 1}, 400),
        ({}, 400),
        ("last", 400),
    ],
)
async def test_a_wrong_wish_to_forget_is_refused(body: Any, status: int, api: Api) -> None:
    answer = await api.client.post(f"{API}/forget", json=body)
    refusal(answer, status, "RESOURCE_NOT_FOUND" if status == 404 else "VALIDATION_ERROR")


# -- search --------------------------------------------------------------------------------------


async def test_search_by_pages(api: Api) -> None:
    await fill(api, 2, 5)
    seen: list[str] = []
    for offset in range(0, 12, 3):
        found = await api.get("/search", q="fig", limit=3, offset=offset)
        assert found["total_results"] == 10
        seen += [hit["id"] for hit in found["results"]]
    assert len(seen) == len(set(seen)) == 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("q", ""),
        ("limit", "0"),
        ("limit", "101"),
        ("offset", "-1"),
        ("offset", "1001"),
        ("since", "yesterday-ish"),
        ("until", "0"),
        ("type", "rumour"),
        ("observation_type", "rumour"),
    ],
)
async def test_a_wrong_parameter_of_a_search_is_named(name: str, value: str, api: Api) -> None:
    answer = await api.client.get(f"{API}/search", params={"q": "x"} | {name: value})
    assert refusal(answer, 400, "VALIDATION_ERROR")["details"][0]["field"] == name


ODD = [
    '"',
    '"" *',
    "-",
    "* * *",
    "a AND NOT",
    "NEAR(",
    "title:x",
    "\x00",
    "'; DROP TABLE",
    "𝔘" * 50,
]


async def test_any_words_are_safe(api: Api) -> None:
    await fill(api, 1, 1)
    for text in ODD:
        found = await api.get("/search", q=text)
        assert found["query"] == text


# -- headers, errors, health ---------------------------------------------------------------------


async def test_every_answer_names_its_request(api: Api) -> None:
    seen = set()
    for path in ("/health", f"{API}/sessions", f"{API}/none", f"{API}/search"):
        answer = await api.client.get(path)
        seen.add(answer.headers["x-request-id"])
        assert answer.headers["x-api-version"] == "1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    assert len(seen) == 4


async def test_an_unforeseen_failure_tells_nothing_but_its_request(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("SELECT secret FROM inner_workings")

    monkeypatch.setattr(api.system.parts.state["database"], "read", broken)
    answer = await api.client.get(f"{API}/sessions")
    body = refusal(answer, 500, "INTERNAL_ERROR")
    assert "inner_workings" not in answer.text
    assert body["details"] == []


async def test_an_unforeseen_failure_of_taking_events_is_an_error_like_others(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("inner_workings")

    monkeypatch.setattr(api.system.parts.state["capture"]._inbox, "append", broken)
    answer = await api.post(api.event())
    refusal(answer, 500, "INTERNAL_ERROR")
    assert "inner_workings" not in answer.text


async def test_health_tells_strangers_a_word(api: Api) -> None:
    for path in ("/health", f"{API}/health"):
        answer = await api.client.get(path, headers={"authorization": ""})
        assert answer.json() == {"status": "healthy"}
    for path in ("/health/live", "/health/ready"):
        assert (await api.client.get(path)).json() == {"status": "healthy"}


@pytest.mark.local
async def test_health_tells_friends_everything(api: Api) -> None:
    await api.take(api.event())
    found = await api.get("/health")
    assert found["status"] == "healthy"
    assert found["version"] == __version__
    assert set(found["checks"]) == {"database", "inbox", "spool", "store"}
    assert found["checks"]["inbox"]["pending"] == 0
    assert found["counts"]["prompts"] == 1
    assert found["paused"] is False


async def test_counts_that_take_long_are_kept_unless_asked_for_anew(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_mem.app.counting._SLOW_S", -1.0)
    monkeypatch.setattr("claude_mem.app.counting._SHARE", 1e9)
    assert (await api.get("/health"))["counts"]["prompts"] == 0
    await api.take(api.event())
    assert (await api.get("/health"))["counts"]["prompts"] == 0
    assert (await api.get("/health", fresh=True))["counts"]["prompts"] == 1


@pytest.mark.local
async def test_a_full_store_refuses_tools_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = api.system.parts.state["capture"]._gate
    monkeypatch.setattr(type(gate), "fill", lambda _: 1.01)
    tool = api.event("tool.used", data={"tool": "Bash", "input": {}})
    answer = await api.post(tool)
    body = refusal(answer, 503, "STORE_FULL")
    assert "max_store_mb" in body["error"]
    assert int(answer.headers["retry-after"]) > 0
    assert (await api.post(api.event())).status_code == 202
    assert (await api.get("/health"))["status"] == "degraded"


async def test_a_full_inbox_asks_for_patience(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = api.system.parts.state["capture"]._inbox
    monkeypatch.setattr(inbox, "_bound", 0)
    answer = await api.post(api.event())
    refusal(answer, 503, "UNAVAILABLE")
    assert int(answer.headers["retry-after"]) > 0


async def test_ids_of_requests_are_ours(api: Api) -> None:
    wanted = new_id()
    answer = await api.client.get("/health", headers={"x-request-id": wanted})
    assert answer.headers["x-request-id"] != wanted
