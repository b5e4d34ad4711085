"""Facets of a search: how what matches spreads, on both profiles."""

from __future__ import annotations

from typing import Any

import pytest
from api_support import API, Api, refusal

from claude_mem.domains.retrieval.facets import MOST, NAMES

pytestmark = pytest.mark.anyio


async def remember(api: Api) -> None:
    def noted(at: str, project: str, kind: str, files: list[str], tags: list[str]) -> Any:
        data = {
            "observation_type": kind,
            "content": "the carburettor leaks",
            "source_tool": "Bash",
            "files": files,
            "tags": tags,
        }
        return api.event(
            "observation.added", occurred_at=at, project=project, session=project, data=data
        )

    await api.take(
        noted("2026-03-01T23:59:59.000Z", "/w/cars", "error", ["src/a.py"], ["leak", "fuel"]),
        noted("2026-03-02T00:00:00.000Z", "/w/cars", "info", ["src/a.py", "b.py"], ["leak"]),
        noted("2026-02-01T10:00:00.000Z", "/w/bikes", "info", [], []),
        api.event(
            occurred_at="2026-03-02T09:00:00.000Z",
            project="/w/bikes",
            session="/w/bikes",
            data={"content": "has a bicycle a carburettor?"},
        ),
    )


async def facets(api: Api, q: str = "carburettor", **more: Any) -> dict[str, list[tuple[str, int]]]:
    body = await api.get("/search", q=q, **{"facets": "true", **more})
    return {
        name: [(it["label"], it["count"]) for it in values]
        for name, values in body["facets"].items()
    }


async def test_every_facet_of_what_matches(api: Api) -> None:
    await remember(api)
    body = await api.get("/search", q="carburettor", facets="true")
    assert body["facets_are_of"] == "all"
    assert set(body["facets"]) == set(NAMES)
    found = await facets(api)
    assert sorted(found.pop("project")) == [("bikes", 2), ("cars", 2)]
    assert found == {
        "role": [],
        "type": [("observation", 3), ("prompt", 1)],
        "observation_type": [("info", 2), ("error", 1)],
        "tool": [("Bash", 3)],
        "tag": [("leak", 2), ("fuel", 1)],
        "file": [("src/a.py", 2), ("b.py", 1)],
        "day": [("2026-03-02", 2), ("2026-03-01", 1), ("2026-02-01", 1)],
        "month": [("2026-03", 3), ("2026-02", 1)],
    }


async def test_filters_and_what_is_asked_for_narrow_them(api: Api) -> None:
    await remember(api)
    assert await facets(api, facets="tag,month", since="2026-03-01") == {
        "tag": [("leak", 2), ("fuel", 1)],
        "month": [("2026-03", 3)],
    }
    found = await facets(api, facets=["type", "tool"], project="bikes")
    assert found == {"type": [("observation", 1), ("prompt", 1)], "tool": [("Bash", 1)]}
    exact = await facets(api, facets="day", until="2026-03-01T23:59:59Z")
    assert exact == {"day": [("2026-03-01", 1), ("2026-02-01", 1)]}


async def test_a_value_is_what_to_filter_by(api: Api) -> None:
    await remember(api)
    body = await api.get("/search", q="carburettor", facets="true")
    parameter = {"day": None, "month": None, "file": "file", "tag": "tag"}
    for name, values in body["facets"].items():
        wanted = parameter.get(name, name)
        for it in values if wanted else ():
            narrowed = await api.get("/search", q="carburettor", **{wanted: it["value"]})
            assert narrowed["total_results"] == it["count"], (name, it)


async def test_of_more_than_are_counted_it_is_said(api: Api) -> None:
    events = [
        api.event(session=f"s{number % 7}", data={"content": f"piston number {number}"})
        for number in range(MOST + 40)
    ]
    await api.take(*events)
    body = await api.get("/search", q="piston", facets="type")
    assert body["facets_are_of"] == "candidates"
    assert body["facets"]["type"] == [{"value": "prompt", "label": "prompt", "count": MOST}]


async def test_none_unless_they_are_asked_for(api: Api) -> None:
    await remember(api)
    for more in ({}, {"facets": "false"}, {"facets": ""}):
        body = await api.get("/search", q="carburettor", **more)
        assert body["facets"] is None
        assert body["facets_are_of"] is None


@pytest.mark.parametrize("q", ["🎉", "nobodywrotethis", '"', "\x00"])
async def test_of_nothing_they_are_empty(api: Api, q: str) -> None:
    await remember(api)
    assert not any((await facets(api, q)).values())


@pytest.mark.parametrize("wanted", [True, ["all"], ["tool", "tag"], "tool,tag"])
async def test_a_body_asks_for_them_too(api: Api, wanted: Any) -> None:
    await remember(api)
    body = {"q": "carburettor", "facets": wanted}
    answer = (await api.client.post(f"{API}/search", json=body)).json()
    assert [it["value"] for it in answer["facets"]["tool"]] == ["Bash"]


@pytest.mark.parametrize("wanted", [["colour"], "tool,colour", 7, [[]]])
async def test_an_unknown_one_is_refused(api: Api, wanted: Any) -> None:
    body = {"q": "carburettor", "facets": wanted}
    refusal(await api.client.post(f"{API}/search", json=body), 400, "VALIDATION_ERROR")


async def test_what_was_forgotten_is_not_counted(api: Api) -> None:
    await remember(api)
    session = next(
        it["id"] for it in (await api.get("/sessions"))["data"] if it["agent_session"] == "/w/cars"
    )
    answer = await api.client.post(f"{API}/forget", json={"what": "session", "id": session})
    assert answer.status_code == 200
    found = await facets(api, facets="tag,type")
    assert found == {"tag": [], "type": [("observation", 1), ("prompt", 1)]}
