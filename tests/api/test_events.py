"""`POST /events`: all of a batch or none, on disk when it answers, once whatever is repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_support import API, Api, refusal

from claude_mem.domains.capture.schemas import MAX_CONTENT, MAX_EVENTS
from claude_mem.kernel.ids import new_id

pytestmark = pytest.mark.anyio


async def send(api: Api, raw: bytes) -> Any:
    return await api.client.post(
        f"{API}/events", content=raw, headers={"content-type": "application/json"}
    )


async def test_taken_and_counted(api: Api) -> None:
    answer = await api.post(api.event(), api.event())
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 2, "duplicates": 0}


async def test_repeats_are_counted_and_make_nothing(api: Api) -> None:
    first, second = api.event(), api.event()
    assert (await api.post(first, first, second)).json() == {"accepted": 2, "duplicates": 1}
    assert (await api.post(second, first)).json() == {"accepted": 0, "duplicates": 2}
    await api.settle()
    third = api.event()
    assert (await api.post(first, third)).json() == {"accepted": 1, "duplicates": 1}
    await api.settle()
    assert (await api.counts())["prompts"] == 3


async def test_an_old_id_is_still_known_by_the_tables(api: Api) -> None:
    """Ids older than this process are looked up, not remembered."""
    old = api.event(id="01890000-0000-7000-8000-000000000001")
    await api.take(old)
    api.system.parts.state["capture"]._recent.clear()
    assert (await api.post(old)).json() == {"accepted": 0, "duplicates": 1}


def without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


def with_data(event: dict[str, Any], **data: Any) -> dict[str, Any]:
    return event | {"data": event["data"] | data}


WRONG: dict[str, tuple[Any, str]] = {
    "no id": (lambda e: without(e, "id"), "events[1].id"),
    "an id that is no UUID": (lambda e: e | {"id": "1"}, "events[1].id"),
    "a UUID of version 4": (
        lambda e: e | {"id": "0b9f2b4e-8d0e-4d52-9a55-b0b0a6c3e1f2"},
        "events[1].id",
    ),
    "an id in upper case": (lambda e: e | {"id": e["id"].upper()}, "events[1].id"),
    "an id with a line end": (lambda e: e | {"id": e["id"] + "\n"}, "events[1].id"),
    "an unknown type": (lambda e: e | {"type": "prompt.dreamt"}, "events[1].type"),
    "no type": (lambda e: without(e, "type"), "events[1].type"),
    "a number for the type": (lambda e: e | {"type": 7}, "events[1].type"),
    "an unknown key": (lambda e: e | {"colour": "blue"}, "events[1].colour"),
    "an unknown key in data": (lambda e: with_data(e, colour="blue"), "events[1].data.colour"),
    "no content": (lambda e: e | {"data": {}}, "events[1].data.content"),
    "a number for text": (lambda e: with_data(e, content=5), "events[1].data.content"),
    "null for text": (lambda e: with_data(e, content=None), "events[1].data.content"),
    "text for a truth value": (lambda e: with_data(e, machine="yes"), "events[1].data.machine"),
    "a list for data": (lambda e: e | {"data": []}, "events[1].data"),
    "data as text": (lambda e: e | {"data": "{}"}, "events[1].data"),
    "an empty session": (lambda e: e | {"session": ""}, "events[1].session"),
    "a long session": (lambda e: e | {"session": "s" * 201}, "events[1].session"),
    "a long agent": (lambda e: e | {"agent": "a" * 65}, "events[1].agent"),
    "a long project": (lambda e: e | {"project": "/" + "p" * 4096}, "events[1].project"),
    "an empty role": (lambda e: e | {"role": ""}, "events[1].role"),
    "a text too long": (
        lambda e: with_data(e, content="x" * (MAX_CONTENT + 1)),
        "events[1].data.content",
    ),
    "a moment without a zone": (
        lambda e: e | {"occurred_at": "2026-05-01T10:00:00"},
        "events[1].occurred_at",
    ),
    "a moment that never was": (
        lambda e: e | {"occurred_at": "2026-02-30T10:00:00Z"},
        "events[1].occurred_at",
    ),
    "a moment before 1970": (
        lambda e: e | {"occurred_at": "1969-12-31T23:59:59Z"},
        "events[1].occurred_at",
    ),
    "the year 0": (
        lambda e: e | {"occurred_at": "0000-01-01T00:00:00Z"},
        "events[1].occurred_at",
    ),
    "a zone that is none": (
        lambda e: e | {"occurred_at": "2026-05-01T10:00:00+99:99"},
        "events[1].occurred_at",
    ),
    "a moment at the end of time in another zone": (
        lambda e: e | {"occurred_at": "9999-12-31T23:59:59-23:59"},
        "events[1].occurred_at",
    ),
    "a number for the moment": (lambda e: e | {"occurred_at": 0}, "events[1].occurred_at"),
    "an unknown origin": (lambda e: with_data(e, origin="moon"), "events[1].data.origin"),
    "no object": (lambda _: "an event", "events[1]"),
    "null": (lambda _: None, "events[1]"),
    "a list": (lambda _: [], "events[1]"),
}


async def test_a_fault_names_index_and_field_and_nothing_is_taken(api: Api) -> None:
    for name, (spoil, field) in sorted(WRONG.items()):
        answer = await api.post(api.event(), spoil(api.event()))
        body = refusal(answer, 400, "VALIDATION_ERROR")
        assert field in [detail["field"] for detail in body["details"]], (name, body)
        assert "None of the batch was taken" in body["error"], name
    await api.settle()
    assert (await api.counts())["prompts"] == 0


async def test_every_fault_of_a_batch_is_named_up_to_twenty(api: Api) -> None:
    some = refusal(await api.post(*({"type": "prompt.submitted"},) * 2), 400, "VALIDATION_ERROR")
    named = {detail["field"] for detail in some["details"]}
    assert {"events[0].id", "events[1].id", "events[1].data"} <= named
    many = refusal(await api.post(*[7] * 100), 400, "VALIDATION_ERROR")
    assert len(many["details"]) == 20


async def test_a_fault_does_not_repeat_the_value(api: Api) -> None:
    answer = await api.post(api.event(agent="do-not-repeat-" * 20))
    refusal(answer, 400, "VALIDATION_ERROR")
    assert "do-not-repeat" not in answer.text


@pytest.mark.parametrize("count", [0, MAX_EVENTS + 1])
async def test_a_batch_has_one_to_a_thousand_events(count: int, api: Api) -> None:
    event = api.event()
    body = refusal(await api.post(*[event | {"id": new_id()}] * count), 400, "VALIDATION_ERROR")
    assert body["details"][0]["field"] == "events"


async def test_a_thousand_events_are_taken(api: Api) -> None:
    answer = await api.post(*[api.event() for _ in range(MAX_EVENTS)])
    assert answer.json() == {"accepted": MAX_EVENTS, "duplicates": 0}


BODIES = {
    "nothing": b"",
    "no JSON": b"events",
    "half of JSON": b'{"events": [',
    "a list": b"[]",
    "null": b"null",
    "a text": b'"events"',
    "events that are no list": b'{"events": {}}',
    "events that are null": b'{"events": null}',
    "no events": b"{}",
    "another field": b'{"events": [], "also": 1}',
    "NaN": b'{"events": NaN}',
    "bytes that are no UTF-8": b'{"events": "\xff\xfe"}',
    "a nesting without end": b'{"events": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of a million digits": b'{"events": ' + b"9" * 1_000_000 + b"}",
}


@pytest.mark.parametrize("name", sorted(BODIES))
async def test_a_body_that_is_no_batch_is_refused(name: str, api: Api) -> None:
    refusal(await send(api, BODIES[name]), 400, "VALIDATION_ERROR")


async def test_a_lone_surrogate_is_refused(api: Api) -> None:
    """It has no bytes in UTF-8, so nothing could store it."""
    event = json.dumps({"events": [with_data(api.event(), content="\ud800 alone")]})
    refusal(await send(api, event.encode()), 400, "VALIDATION_ERROR")


async def test_a_surrogate_pair_is_a_character(api: Api) -> None:
    event = json.dumps({"events": [with_data(api.event(), content="fire \U0001f525 here")]})
    assert "\\ud83d" in event
    assert (await send(api, event.encode())).status_code == 202
    await api.settle()
    page = await api.get("/sessions/session-one/prompts")
    assert page["data"][0]["content"] == "fire \U0001f525 here"


@pytest.mark.local  # PostgreSQL's text cannot hold it: U+FFFD stands there
async def test_nul_is_a_character_like_others(api: Api) -> None:
    await api.take(with_data(api.event(), content="before\x00after zebra"))
    page = await api.get("/sessions/session-one/prompts")
    assert page["data"][0]["content"] == "before\x00after zebra"
    assert (await api.get("/search", q="zebra"))["total_results"] == 1


@pytest.mark.parametrize("place", ["project", "session", "agent", "role", "cwd", "prompt_id"])
async def test_nul_in_a_name_harms_nothing(place: str, api: Api) -> None:
    text = "/tmp/a\x00b" if place in {"project", "cwd"} else "a\x00b"
    event = api.event()
    inside = {"cwd", "prompt_id"}
    await api.take(with_data(event, **{place: text}) if place in inside else event | {place: text})
    assert (await api.counts())["prompts"] == 1
    assert await api.dead_letters() == 0


HUGE: dict[str, Any] = {
    "a whole number of 64 bits": 2**63 - 1,
    "of 65 bits": 2**64,
    "of a thousand digits": 10**1000,
    "a float at the end": 1.7e308,
}


@pytest.mark.parametrize("name", sorted(HUGE))
async def test_huge_numbers_in_a_tools_input_harm_nothing(name: str, api: Api) -> None:
    data = {"tool": "Calc", "input": {"n": HUGE[name]}, "response": {"n": [HUGE[name]]}}
    event = api.event("tool.used", data=data)
    answer = await send(api, json.dumps({"events": [event]}).encode())
    if answer.status_code == 400:
        refusal(answer, 400, "VALIDATION_ERROR")
        return
    assert answer.status_code == 202
    await api.settle()
    assert (await api.counts())["observations"] == 1
    assert await api.dead_letters() == 0


@pytest.mark.parametrize("tokens", [2**31, 2**63 - 1, 2**64, 10**30])
async def test_token_counts_are_bounded(tokens: int, api: Api) -> None:
    """A sum of them must fit into what the engine counts with."""
    usage = {"input_tokens": tokens, "output_tokens": tokens}
    events = [
        api.event(
            "assistant.replied", data={"content": "So.", "message_id": f"m{n}", "usage": usage}
        )
        for n in range(3)
    ]
    answer = await send(api, json.dumps({"events": events}).encode())
    if answer.status_code == 202:
        await api.settle()
        session = await api.get("/sessions/session-one")
        assert session["token_count"] == 6 * tokens
    else:
        refusal(answer, 400, "VALIDATION_ERROR")
    assert await api.dead_letters() == 0


@pytest.mark.parametrize("value", [-1, 2, "0.5", True, None])
async def test_an_importance_is_between_zero_and_one(value: Any, api: Api) -> None:
    data = {"observation_type": "info", "content": "x", "importance": value}
    answer = await api.post(api.event("observation.added", data=data))
    if value is None:
        assert answer.status_code == 202
    else:
        refusal(answer, 400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "moment", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2026-05-01T12:00:00+02:00"]
)
async def test_any_moment_can_be_kept(moment: str, api: Api) -> None:
    await api.take(api.event(occurred_at=moment))
    page = await api.get("/sessions/session-one/prompts")
    shown = {"2026-05-01T12:00:00+02:00": "2026-05-01T10:00:00.000Z"}.get(moment)
    assert page["data"][0]["occurred_at"] == (shown or moment.replace("00Z", "00.000Z"))
    assert await api.dead_letters() == 0


async def test_deep_input_of_a_tool_is_kept_or_refused_but_harms_nothing(api: Api) -> None:
    deep: Any = "bottom"
    for _ in range(800):
        deep = {"in": deep}
    event = api.event("tool.used", data={"tool": "Deep", "input": {"in": deep}})
    answer = await send(api, json.dumps({"events": [event]}).encode())
    if answer.status_code == 202:
        await api.settle()
        assert (await api.counts())["observations"] == 1
    else:
        refusal(answer, 400, "VALIDATION_ERROR")
    assert await api.dead_letters() == 0
