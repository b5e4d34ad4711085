"""Events that could not become rows: told with the reason, handed in again, mended, given up."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from api_support import API, Api

from claude_mem.adapters.nats.inbox import NatsInbox
from claude_mem.kernel.ids import new_id
from claude_mem.ports.inbox import Entry

LETTERS = f"{API}/admin/dead-letters"


async def poison(api: Api, **changes: Any) -> dict[str, Any]:
    """Put an event into the ingest log that no recorder can make rows of: its moment is none."""
    event = api.event(**changes) | {"occurred_at": "never"}
    await api.system.inbox.append(api.scope, [Entry(event["id"], orjson.dumps(event))])
    await api.settle()
    return event


async def letters(api: Api) -> list[dict[str, Any]]:
    answer = await api.client.get(LETTERS)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["letters"]
    return found


async def test_a_poisoned_event_is_kept_and_told_and_holds_up_no_other(api: Api) -> None:
    event = await poison(api)
    await api.take(api.event())
    [letter] = await letters(api)
    assert letter["event_id"] == event["id"]
    assert letter["event"] == event
    assert "ValueError" in letter["reason"] or "moment" in letter["reason"]
    one = await api.client.get(f"{LETTERS}/{event['id']}")
    assert one.json() == letter


async def test_a_mended_event_becomes_a_row_once(api: Api) -> None:
    event = await poison(api, data={"content": "Round half to even"})
    mended = event | {"occurred_at": "2026-11-01T10:00:00.000Z"}
    answer = await api.client.post(f"{LETTERS}/{event['id']}/replay", json={"event": mended})
    assert (answer.status_code, answer.json()) == (200, {"replayed": 1})
    await api.settle()
    assert await letters(api) == []
    found = (await api.get("/search", q="half"))["results"]
    assert [hit["content_preview"] for hit in found] == ["Round half to even"]
    assert (await api.post(mended)).json() == {"accepted": 0, "duplicates": 1}


async def test_a_mended_event_is_masked_like_a_new_one(api: Api) -> None:
    event = await poison(api)
    token = "ghp_" + "a1B2" * 9
    mended = event | {
        "occurred_at": "2026-11-01T10:00:00.000Z",
        "data": {"content": f"push with {token}"},
    }
    await api.client.post(f"{LETTERS}/{event['id']}/replay", json={"event": mended})
    await api.settle()
    found = (await api.get("/search", q="push"))["results"]
    assert len(found) == 1
    assert token not in found[0]["content_preview"]


async def test_what_still_cannot_become_rows_comes_back(api: Api) -> None:
    event = await poison(api)
    handed_in = (await api.client.post(f"{LETTERS}/replay")).json()
    assert handed_in == {"replayed": 1, "next_cursor": None}
    await api.settle()
    assert [letter["event_id"] for letter in await letters(api)] == [event["id"]]


async def test_a_wrongly_mended_event_changes_nothing_and_names_the_field(api: Api) -> None:
    event = await poison(api)
    path = f"{LETTERS}/{event['id']}/replay"
    for mended, field in (
        (event, "event.occurred_at"),
        (event | {"occurred_at": "2026-11-01T10:00:00.000Z", "id": new_id()}, "event.id"),
        (event | {"occurred_at": "2026-11-01T10:00:00.000Z", "user_id": new_id()}, "event"),
    ):
        answer = await api.client.post(path, json={"event": mended})
        assert answer.status_code == 400
        assert answer.json()["details"][0]["field"].startswith(field)
    assert len(await letters(api)) == 1


async def test_one_is_given_up_and_unknown_ones_are_not_there(api: Api) -> None:
    event = await poison(api)
    assert (await api.client.delete(f"{LETTERS}/{event['id']}")).json() == {"dropped": 1}
    assert await letters(api) == []
    for answer in (
        await api.client.delete(f"{LETTERS}/{event['id']}"),
        await api.client.get(f"{LETTERS}/{event['id']}"),
        await api.client.post(f"{LETTERS}/{event['id']}/replay"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "RESOURCE_NOT_FOUND")


async def test_of_many_the_newest_come_and_a_cursor_goes_on(api: Api) -> None:
    ids = [(await poison(api))["id"] for _ in range(5)]
    seen: list[str] = []
    url: str | None = f"{LETTERS}?limit=2"
    while url:
        body = (await api.client.get(url)).json()
        seen += [letter["event_id"] for letter in body["letters"]]
        assert body["more"] is (body["next_cursor"] is not None)
        url = f"{LETTERS}?limit=2&cursor={body['next_cursor']}" if body["more"] else None
    assert len(seen) == 5
    assert set(seen) == set(ids)


async def test_a_cursor_is_of_that_list_alone(api: Api) -> None:
    for _ in range(2):
        await poison(api)
    cursor = (await api.client.get(f"{LETTERS}?limit=1")).json()["next_cursor"]
    for answer in (
        await api.client.get(f"{LETTERS}?cursor={cursor[:-2]}AA"),
        await api.client.post(f"{LETTERS}/replay?cursor={cursor}"),
    ):
        assert (answer.status_code, answer.json()["details"][0]["field"]) == (400, "cursor")
    assert len(await letters(api)) == 2


async def test_handing_all_in_again_goes_on_where_a_request_ended(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_mem.domains.capture.letters._AT_ONCE", 2)
    monkeypatch.setattr("claude_mem.domains.capture.letters._ALL", 3)
    ids = [(await poison(api))["id"] for _ in range(5)]
    first = (await api.client.post(f"{LETTERS}/replay")).json()
    assert first["replayed"] == 3
    await api.settle()  # they come back, as the newest
    again = await api.client.post(f"{LETTERS}/replay?cursor={first['next_cursor']}")
    assert again.json() == {"replayed": 2, "next_cursor": None}
    await api.settle()
    assert {letter["event_id"] for letter in await letters(api)} == set(ids)


async def test_too_many_are_told_by_health_and_hold_up_new_events(
    api: Api, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if profile == "local":
        pytest.skip("the local store is bounded as a whole")
    monkeypatch.setattr("claude_mem.adapters.nats.letters._LOOK_EVERY_S", 0)
    inbox = api.system.inbox
    assert isinstance(inbox, NatsInbox)
    await poison(api)
    report = await api.get("/health")
    assert (report["status"], report["degraded"]) == ("healthy", {})
    inbox._letters.bound = 2
    await poison(api)
    report = await api.get("/health")
    assert report["status"] == "degraded"
    assert "at 2 no new ones" in report["degraded"]["dead_letters"]
    refused = await api.post(api.event())
    assert (refused.status_code, refused.json()["code"]) == (503, "STORE_FULL")
    assert "Retry-After" in refused.headers
    await api.client.delete(f"{LETTERS}/{(await letters(api))[0]['event_id']}")
    assert (await api.post(api.event())).status_code == 202
