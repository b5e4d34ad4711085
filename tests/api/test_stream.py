"""`GET /stream/events`, through the whole application: told after the commit, and resumed without a gap."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from stream_support import OPTIONS, TIMES, Event, Listening, Stage, prompts

from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import first_id, id_epoch_ms, is_id, new_id
from claude_mem.kernel.scope import Scope, local_scope


async def test_what_was_recorded_is_told_with_names_and_no_content(stage: Stage) -> None:
    api = stage.api
    async with stage.listen() as stream:
        assert stream.status == 200
        assert stream.answer_headers["content-type"].startswith("text/event-stream")
        assert "no-store" in stream.answer_headers["cache-control"]
        assert "no-transform" in stream.answer_headers["cache-control"]
        assert stream.answer_headers["x-accel-buffering"] == "no"
        assert not any(name.startswith("access-control") for name in stream.answer_headers)
        assert stream.retry == 3_000
        await api.take(
            api.event(data={"content": "Mend the rounding. SECRETWORD", "prompt_id": "p1"}),
            api.event(
                "tool.used",
                data={
                    "tool": "Write",
                    "input": {"file_path": "/src/a.py", "content": "SECRETWORD\n"},
                    "response": {},
                    "tool_use_id": "t1",
                },
            ),
        )
        told = await stream.events(5)
    assert [it.type for it in told[:3]] == ["session.created", "session.updated", "session.updated"]
    assert sorted(it.type for it in told[3:]) == ["observation.added", "session.updated"]
    for event in told:
        assert event.id is not None
        assert is_id(event.id)
        assert event.body["id"] == event.id
        assert event.body["type"] == event.type
        assert event.body["at"].endswith("Z")
        assert event.data["session_id"] == told[0].data["id"]
        assert event.data["session_title"].startswith("Mend the rounding")
    kinds = {it.data["kind"]: it.data for it in told}
    assert kinds["code_change"]["file_path"] == "/src/a.py"
    assert kinds["code_change"]["operation"] == "create"
    assert kinds["prompt"]["prompt_type"] == "user"
    assert kinds["observation"]["title"]
    whole = json.dumps([it.body for it in told])
    assert "SECRETWORD" not in whole.replace("Mend the rounding. SECRETWORD", "")


async def test_what_is_made_of_a_session_and_what_is_forgotten_is_told(stage: Stage) -> None:
    api = stage.api
    client = stage.client()
    await api.take(
        *prompts(api, 3),
        api.event("assistant.replied", data={"content": "Decision: amounts are kept in cents."}),
    )
    session = (await api.get("/sessions"))["data"][0]["id"]
    async with stage.listen(query={"types": "summary.generated,memory.removed"}) as stream:
        answer = await client.post(f"/api/v1/sessions/{session}/summaries")
        assert answer.status_code == 200
        made = await stream.event()
        assert (made.type, made.data["session_id"]) == ("summary.generated", session)
        assert made.data["id"] == answer.json()["id"]
        assert made.data["title"]
        prompt = (await api.get(f"/sessions/{session}/prompts"))["data"][1]["id"]
        body = {"what": "prompt", "id": prompt}
        assert (await client.post("/api/v1/forget", json=body)).status_code == 200
        removed = {(it.data["kind"], it.data["why"]) for it in await _until(stream, prompt)}
        assert ("prompt", "forgotten") in removed
    async with stage.listen(query={"last_event_id": first_id(0)}) as stream:
        told = await _until(stream, prompt)
        of_it = [it.type for it in told if it.data["id"] == prompt]
        assert of_it == ["memory.removed"], "what it said before is told no more"


async def _until(stream: Listening, entity_id: str) -> list[Event]:
    """The events up to the removal of something."""
    told: list[Event] = []
    while not told or (told[-1].type, told[-1].data["id"]) != ("memory.removed", entity_id):
        told.append(await stream.event())
    return told


async def test_nothing_is_told_before_the_commit_and_a_failed_batch_tells_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = stage.api
    database = api.system.parts.state["database"]
    entered, go_on = asyncio.Event(), asyncio.Event()
    whole = database.write

    async def held(scope: Scope, work: Any) -> Any:
        entered.set()
        await go_on.wait()
        return await whole(scope, work)

    stage.times(replace(TIMES, heartbeat=0.05))
    async with stage.listen() as stream:
        assert (await api.post(*prompts(api, 1))).status_code == 202
        monkeypatch.setattr(database, "write", held)
        draining = asyncio.create_task(api.settle())
        await entered.wait()
        await stream.quiet()
        go_on.set()
        await draining
        assert (await stream.event()).type == "session.created"


async def test_the_domain_records_when_the_bus_is_closed(stage: Stage) -> None:
    await stage.bus.close()
    await stage.api.take(*prompts(stage.api, 2))
    assert (await stage.api.counts())["prompts"] == 2


async def test_a_lost_message_is_made_good_by_looking(stage: Stage) -> None:
    api = stage.api
    stage.options(replace(OPTIONS, sweep=0.05))

    async def says_nothing(_scope: Scope, _since: int) -> None:
        return None

    api.system.parts.state["capture"]._changed = says_nothing
    async with stage.listen() as stream:
        await api.take(*prompts(api, 2))
        assert {it.type for it in await stream.events(4)} == {"session.created", "session.updated"}


async def test_each_event_is_told_once_however_often_the_journal_is_read(stage: Stage) -> None:
    api = stage.api
    stage.options(replace(OPTIONS, sweep=0.02))
    stage.times(replace(TIMES, heartbeat=0.3))
    async with stage.listen() as stream:
        for _ in range(5):
            await api.take(*prompts(api, 3))
            for _ in range(3):
                await stage.live.changed(local_scope(), 0)
        told = await stream.events(1 + 15 + 1)  # the session, its title, and the prompts
        await stream.quiet()
    ids = [it.id for it in told]
    assert len(set(ids)) == len(ids)


async def test_it_resumes_after_the_event_it_names_by_header_or_parameter(stage: Stage) -> None:
    api = stage.api
    async with stage.listen() as stream:
        await api.take(*prompts(api, 1))
        await stream.events(3)
    last = stream.last_id
    stage.options(replace(OPTIONS, overlap_ms=0))
    await asyncio.sleep(0.002)  # another millisecond
    missed = prompts(api, 4)
    await api.take(*missed)
    for options in (
        {"headers": {"last-event-id": last}},
        {"query": {"last_event_id": last}},
        {"headers": {"last-event-id": last}, "query": {"last_event_id": new_id()}},
    ):
        async with stage.listen(**options) as stream:
            more = await stream.events(3 + 4)
            fresh = [it for it in more if it.id is not None and it.id > last]
            assert len([it for it in fresh if it.data["kind"] == "prompt"]) == 4
            await api.take(*prompts(api, 1))
            live = await stream.event()
            assert live.id not in {it.id for it in more}


async def test_a_stream_that_heard_nothing_resumes_from_where_it_was_opened(stage: Stage) -> None:
    api = stage.api
    async with stage.listen() as stream:
        opened = stream.last_id
    assert is_id(opened)
    await api.take(*prompts(api, 1))
    async with stage.listen(headers={"last-event-id": opened}) as stream:
        assert {it.type for it in await stream.events(3)} == {"session.created", "session.updated"}


async def test_no_gap_and_no_repeat_while_it_is_written_to(stage: Stage) -> None:
    """Listeners come and go under load; together they have heard everything, each stream no event twice."""
    api = stage.api
    stage.options(replace(OPTIONS, overlap_ms=0))
    first = first_id(now_ms() - 1)
    ending = asyncio.Event()

    async def record() -> None:
        while not ending.is_set():
            await api.take(*prompts(api, 2))
            await asyncio.sleep(0.002)

    recording = asyncio.create_task(record())
    heard: set[str] = set()
    last = first
    for _ in range(6):
        async with stage.listen(headers={"last-event-id": last}) as stream:
            told = await stream.events(25)
        ids = [it.id or "" for it in told]
        assert len(set(ids)) == len(ids)
        heard |= set(ids)
        last = stream.last_id
    ending.set()
    await recording
    rows = await api.system.parts.state["database"].read(local_scope(), _journal_ids)
    upto = sorted(rows).index(last)
    # Within one millisecond ids have no order: what shares the last one's may still be to come.
    missing = {it for it in sorted(rows)[:upto] if id_epoch_ms(it) < id_epoch_ms(last)} - heard
    assert missing == set()


def _journal_ids(tx: Any) -> list[str]:
    return [row[0] for row in tx.exec_driver_sql("SELECT id FROM change_journal").all()]


async def test_a_burst_is_told_by_its_numbers_and_rare_things_one_by_one(stage: Stage) -> None:
    api = stage.api
    stage.options(replace(OPTIONS, detailed=10))
    async with (
        stage.listen() as every,
        stage.listen(query={"types": "observation.added"}) as some,
        stage.listen(query={"types": "learning.extracted"}) as none,
    ):
        note = {"observation_type": "info", "content": "Worth knowing"}
        notes = [api.event("observation.added", data=note) for _ in range(3)]
        await api.take(*prompts(api, 60), *notes)
        told = await every.events(1 + 3 + 1)
        assert [it.type for it in told] == [
            "session.created",
            *["observation.added"] * 3,
            "batch",
        ]
        assert told[-1].data["types"] == {"session.updated": 61}
        assert told[-1].data["sessions"] == [told[0].data["id"]]
        assert [it.type for it in await some.events(3)] == ["observation.added"] * 3
        await api.take(*[api.event("observation.added", data=note) for _ in range(20)])
        assert (await some.event()).data["types"] == {"observation.added": 20}
        assert none.comments == ["open"]


async def test_a_long_absence_is_told_in_numbers_and_a_longer_one_as_such(stage: Stage) -> None:
    api = stage.api
    start = first_id(now_ms())
    await api.take(*prompts(api, 95))
    stage.options(replace(OPTIONS, page=10, detailed=5, replay=20))
    async with stage.listen(query={"last_event_id": start}) as stream:
        total = 0
        while total < 97:
            event = await stream.event()
            total += sum(event.data["types"].values()) if event.type == "batch" else 1
        assert total == 97
        await api.take(*prompts(api, 1))
        assert (await stream.event()).type == "session.updated"
    stage.options(replace(OPTIONS, page=10, detailed=5, replay=3))
    async with stage.listen(
        query={"last_event_id": start, "types": "learning.extracted"}
    ) as stream:
        reset = await stream.event()
        assert reset.type == "stream.reset"
        assert id_epoch_ms(reset.id or "") >= id_epoch_ms(start)


async def test_a_rebuilt_index_is_told_and_nobody_resumes_from_that(stage: Stage) -> None:
    async with stage.listen(query={"types": "search.index_updated"}) as stream:
        before = stream.last_id
        await stage.live.index_updated(local_scope())
        event = await stream.event()
        assert (event.type, event.id) == ("search.index_updated", None)
        assert stream.last_id == before
