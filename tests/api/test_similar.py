"""POST /search/similar: cases like a problem, on both profiles."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from api_support import API, Api, refusal

from claude_mem.domains.access import founding
from claude_mem.domains.access.model import Origin
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.memory.service import note_use

pytestmark = pytest.mark.anyio
AT = 1_763_600_000_000
RULE = "Always rotate refresh tokens on login, never reuse them."


async def similar(api: Api, **body: Any) -> list[dict[str, Any]]:
    answer = await api.client.post(f"{API}/search/similar", json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


async def remember(api: Api) -> None:
    """A session with an error that was mended and a rule, and a decision saved on purpose."""

    def ran(tool_id: str, command: str, **outcome: Any) -> dict[str, Any]:
        kind = "tool.failed" if "error" in outcome else "tool.used"
        data = {"tool": "Bash", "tool_use_id": tool_id, "input": {"command": command}, **outcome}
        return api.event(kind, data=data)

    error = "Exit code 1\nE   TokenExpiredError: refresh token was used twice"
    await api.take(
        api.event(data={"content": f"The login tests fail. {RULE}"}),
        ran("toolu_1", "pytest tests/test_login.py", error=error),
        ran(
            "toolu_2", "pytest tests/test_login.py", response={"stdout": "12 passed", "stderr": ""}
        ),
        api.event("session.ended", data={"reason": "other"}),
    )
    made = await api.client.post(f"{API}/sessions/session-one/summaries")
    assert made.status_code == 200, made.text
    body = {
        "content": "We keep refresh tokens in Redis because revoking them must be quick",
        "type": "decision",
        "project": "ledger",
    }
    assert (await api.client.post(f"{API}/memories", json=body)).status_code == 201
    await api.settle()


async def test_every_sort_of_case_with_how_it_came_out(api: Api) -> None:
    await remember(api)
    found = await similar(api, text="a refresh token was used twice at login: TokenExpiredError")
    assert {it["case"] for it in found} == {"learning", "decision", "session"}
    scores = [it["score"] for it in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < it["score"] <= it["found"]["relevance_score"] <= 1 for it in found)
    assert all(it["found"]["why"] for it in found)
    by_outcome = {it["outcome"]: it for it in found}
    assert "solved" in by_outcome
    solved = by_outcome["solved"]
    assert "TokenExpiredError" in solved["problem"]
    assert "pytest tests/test_login.py" in solved["resolution"]
    assert solved["feedback"]["sessions"] == 1
    assert 0 < solved["feedback"]["confidence"] < 1
    [decision] = [it for it in found if it["case"] == "decision"]
    assert decision["outcome"] == "decided"
    [session] = [it for it in found if it["case"] == "session"]
    assert session["lessons"]["failures"]


async def test_sorts_project_and_number_are_as_asked(api: Api) -> None:
    await remember(api)
    asked = {"text": "refresh tokens"}
    assert {it["case"] for it in await similar(api, **asked, cases=["decision"])} == {"decision"}
    assert await similar(api, **asked, project="elsewhere") == []
    assert await similar(api, **asked, project="ledger")
    assert len(await similar(api, **asked, limit=1)) == 1


async def test_like_something_that_is_remembered_but_not_itself(api: Api) -> None:
    await remember(api)
    first = (await similar(api, text="refresh token", cases=["learning"]))[0]["found"]
    found = await similar(api, type=first["type"], id=first["id"])
    assert found
    assert first["id"] not in {it["found"]["id"] for it in found}
    failed = (await api.get("/search", q="TokenExpiredError", observation_type="error"))["results"]
    assert (await similar(api, type="observation", id=failed[0]["id"]))[0]["outcome"] == "solved"


async def test_what_was_of_use_comes_before_what_was_not(api: Api) -> None:
    rules = (
        "Always check the parser grammar before every big release.",
        "Never deploy the parser lexicon without two human reviewers.",
    )
    await api.take(
        *[api.event(session=f"s{n}", data={"content": rule}) for n, rule in enumerate(rules)]
    )
    for n in range(2):
        assert (await api.client.post(f"{API}/sessions/s{n}/summaries")).status_code == 200
    asked = {"text": "the parser", "cases": ["learning"]}
    first, last = (it["found"]["id"] for it in await similar(api, **asked))
    database = api.system.parts.state["database"]
    used = [EntityRef("learning", last)]
    for at in range(10):
        await database.write(api.scope, partial(note_use, api.scope, refs=used, now=AT + at))
    found = await similar(api, **asked)
    assert [it["found"]["id"] for it in found] == [last, first]
    assert [it["feedback"]["used"] for it in found] == [10, 0]


@pytest.mark.parametrize(
    "text", ["🎉", '"', "\x00\x1f", "x" * 10_000, "登录" * 5_000, "(NEAR", "-token"]
)
async def test_no_text_is_an_error(api: Api, text: str) -> None:
    await remember(api)
    await similar(api, text=text, context=text)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "x" * 10_001},
        {"id": "x"},
        {"type": "observation"},
        {"text": "x", "type": "observation", "id": "y"},
        {"text": "x", "cases": ["miracle"]},
        {"text": "x", "limit": 0},
        {"text": "x", "q": "y"},
    ],
)
async def test_what_is_wrong_is_refused(api: Api, body: dict[str, Any]) -> None:
    refusal(await api.client.post(f"{API}/search/similar", json=body), 400, "VALIDATION_ERROR")


async def test_half_of_a_character_is_refused_or_answered(api: Api) -> None:
    answer = await api.client.post(
        f"{API}/search/similar",
        content=b'{"text": "token \\ud800"}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in (200, 400)


async def test_like_what_is_not_there(api: Api) -> None:
    body = {"type": "observation", "id": "0197b000-0000-7000-8000-000000000000"}
    refusal(await api.client.post(f"{API}/search/similar", json=body), 404, "RESOURCE_NOT_FOUND")


async def test_never_of_another_enterprise(api: Api, profile: str) -> None:
    if profile == "local":
        pytest.skip("one enterprise")
    await remember(api)
    mine = (await similar(api, text="refresh token"))[0]["found"]
    database = api.system.parts.state["database"]
    other = await founding.found(database, Origin(None, None, 1.0), "other", "admin", None)
    theirs = {"authorization": f"Bearer {other.key}"}
    asked = {"text": "refresh token was used twice"}
    answer = await api.client.post(f"{API}/search/similar", json=asked, headers=theirs)
    assert answer.json()["results"] == []
    asked = {"type": mine["type"], "id": mine["id"]}
    answer = await api.client.post(f"{API}/search/similar", json=asked, headers=theirs)
    assert answer.status_code == 404
