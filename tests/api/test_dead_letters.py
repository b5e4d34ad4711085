"""Events that could not become rows: told with the reason, handed in again, mended, given up."""

from __future__ import annotations

from typing import Any

import orjson
from api_support import API, Api

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
    assert (await api.client.post(f"{LETTERS}/replay")).json() == {"replayed": 1}
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


async def test_of_many_the_newest_come_and_the_rest_is_announced(api: Api) -> None:
    ids = [(await poison(api))["id"] for _ in range(3)]
    body = (await api.client.get(f"{LETTERS}?limit=2")).json()
    assert body["more"] is True
    assert {letter["event_id"] for letter in body["letters"]} <= set(ids)
    assert len(body["letters"]) == 2
