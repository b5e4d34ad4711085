"""GET /search/stream: a search told in steps, on both profiles."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from api_support import API, BASE, Api, refusal

from claude_mem.api.application import make_app

pytestmark = pytest.mark.anyio


def events_of(text: str) -> list[dict[str, Any]]:
    """Server-sent events, taken apart."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append(
            {"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])}
        )
    return found


async def streamed(api: Api, q: str, **more: Any) -> list[dict[str, Any]]:
    answer = await api.client.get(f"{API}/search/stream", params={"q": q, **more})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events_of(answer.text)


async def test_what_words_find_then_why_there_is_no_more_then_the_end(api: Api) -> None:
    await api.take(api.event(data={"content": "the carburettor\n\nleaks"}))
    found = await streamed(api, "carburettor")
    assert [(it["id"], it["event"]) for it in found] == [
        ("1", "lexical"),
        ("2", "degraded"),
        ("3", "done"),
    ]
    plain = await api.get("/search", q="carburettor")
    for answer in (plain, found[0]["data"]):
        del answer["took_ms"]
    del plain["facets"], plain["facets_are_of"]
    assert found[0]["data"] == plain
    assert found[1]["data"]["reason"]


async def test_the_same_parameters_as_a_search(api: Api) -> None:
    await api.take(
        api.event(project="/w/cars", session="a", data={"content": "carburettor one"}),
        api.event(project="/w/bikes", session="b", data={"content": "carburettor two"}),
    )
    found = await streamed(api, "carburettor", project="bikes", limit=1)
    assert [it["project"] for it in found[0]["data"]["results"]] == ["bikes"]


async def test_a_browser_that_comes_again_after_the_end_is_told_to_stay_away(api: Api) -> None:
    ask = {"params": {"q": "x"}, "headers": {"Last-Event-ID": "3"}}
    again = await api.client.get(f"{API}/search/stream", **ask)
    assert (again.status_code, again.content) == (204, b"")
    ask["headers"] = {"Last-Event-ID": "1"}
    assert (await api.client.get(f"{API}/search/stream", **ask)).status_code == 200


@pytest.mark.parametrize("q", ["🎉", '"', "\x00", "x" * 10_000, "数" * 7_000, "a\nevent: done"])
async def test_no_text_breaks_it(api: Api, q: str) -> None:
    found = await streamed(api, q)
    assert [it["event"] for it in found] == ["lexical", "degraded", "done"]
    assert found[0]["data"]["query"] == q


@pytest.mark.parametrize("more", [{}, {"q": ""}, {"q": "x", "since": "yesterday"}])
async def test_what_is_wrong_is_refused_as_by_a_search(api: Api, more: dict[str, str]) -> None:
    answer = await api.client.get(f"{API}/search/stream", params=more)
    refusal(answer, 400, "VALIDATION_ERROR")


async def test_a_client_that_leaves_ends_it(api: Api) -> None:
    """In the application itself: what it sends after the client has gone is one event at most."""
    await api.take(api.event(data={"content": "carburettor"}))
    sent: list[Any] = []
    taken = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not taken.is_set():
            await taken.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            taken.set()
            await asyncio.Event().wait()  # a client that takes nothing more

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"{API}/search/stream",
        "raw_path": f"{API}/search/stream".encode(),
        "query_string": b"q=carburettor",
        "root_path": "",
        "headers": [
            (b"host", BASE.removeprefix("http://").encode()),
            (b"authorization", f"Bearer {api.token}".encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 37700),
        "state": {},
    }
    first = {"type": "http.request", "body": b"", "more_body": False}
    waiting = [first]

    async def receiving() -> dict[str, Any]:
        return waiting.pop() if waiting else await receive()

    async with asyncio.timeout(10):
        await make_app(api.system.parts)(scope, receiving, send)
    bodies = [it for it in sent if it["type"] == "http.response.body"]
    assert len(bodies) == 1
    assert b"event: lexical" in bodies[0]["body"]
