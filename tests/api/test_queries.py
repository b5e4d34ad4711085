"""A parameter that an endpoint does not know is an error: a misspelt filter would be none, and more be answered."""

from __future__ import annotations

import pytest
from api_support import API, Api, refusal

from claude_mem.kernel.ids import new_id

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/search?q=x&projct=one", "projct: there is no such parameter; did you mean project?"),
        ("/search?q=x&Project=one", "Project: there is no such parameter; did you mean project?"),
        ("/sessions?limt=3", "limt: there is no such parameter; did you mean limit?"),
        ("/projects?zzz=1", "zzz: there is no such parameter; known here: "),
        ("/learnings?=1", ": there is no such parameter; known here: "),
        ("/context?project=p&budget=700&q=x&" + "y" * 500 + "=1", "y" * 40 + ": there is no such"),
        ("/search?limit=many&projct=one", "projct: there is no such parameter"),
    ],
)
async def test_the_name_and_what_may_be_meant_are_told(api: Api, path: str, said: str) -> None:
    error = refusal(await api.client.get(API + path), 400, "VALIDATION_ERROR")
    assert error["error"].startswith(said)
    assert len(error["details"][0]["field"]) <= 40


async def test_every_parameter_of_the_document_is_known(api: Api) -> None:
    document = (await api.client.get(f"{API}/openapi.json")).json()
    asked = 0
    for path, methods in document["paths"].items():
        names = [
            it["name"] for it in methods.get("get", {}).get("parameters", ()) if it["in"] == "query"
        ]
        if not names or path.endswith("/stream"):
            continue
        answer = await api.client.get(path, params=dict.fromkeys(names, "1"))
        assert "no such parameter" not in answer.text, path
        asked += len(names)
    assert asked >= 40


@pytest.mark.parametrize("path", ["/events", "/hooks/claude-code"])
async def test_what_agents_send_is_held_to_it_too(api: Api, path: str) -> None:
    headers = {"x-event-id": new_id(), "x-event-time": "1760000000000", "x-event-name": "Stop"}
    answer = await api.client.post(f"{API}{path}?projct=one", json={"events": []}, headers=headers)
    assert "projct: there is no such parameter" in refusal(answer, 400, "VALIDATION_ERROR")["error"]


async def test_nothing_is_written_by_a_request_with_an_unknown_parameter(api: Api) -> None:
    body = {"content": "a note", "project": "one"}
    answer = await api.client.post(f"{API}/memories", params={"projct": "one"}, json=body)
    assert refusal(answer, 400, "VALIDATION_ERROR")["details"][0]["field"] == "projct"
    await api.settle()
    assert (await api.counts())["observations"] == 0
