"""`GET /stream/events`: who may listen, to what, how many, how long; and that tenants never meet."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from stream_support import OPTIONS, TIMES, Listening, Stage, prompts, without_permission

from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import first_id, new_id
from claude_mem.kernel.scope import Scope, local_scope


async def test_what_is_asked_for_wrongly_names_the_field(stage: Stage) -> None:
    for query, field in (
        ({"types": "session.created,nonsense"}, "types"),
        ({"types": ""}, "types"),
        ({"types": ","}, "types"),
        ({"types": "*"}, "types"),
        ({"types": "batch"}, "types"),
        ({"types": "task.completed"}, "types"),
        ({"last_event_id": "12"}, "last_event_id"),
        ({"last_event_id": "x\n\nevent: y"}, "last_event_id"),
        ({"last_event_id": new_id().upper()}, "last_event_id"),
    ):
        stream = Listening(
            stage.app(), query=query, headers={"authorization": f"Bearer {stage.api.token}"}
        )
        await stream.ended_refused()
        assert stream.status == 400, query
        body = stream.answer()
        assert body["code"] == "VALIDATION_ERROR"
        assert [it["field"] for it in body["details"]] == [field]


async def test_who_may_not_read_may_not_listen(stage: Stage) -> None:
    for token, status in ((None, 401), ("wrong", 401), ("blind", 403)):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        stream = Listening(stage.app(), headers=headers)
        await stream.ended_refused()
        assert stream.status == status
    for query in ({"token": stage.api.token}, {"access_token": stage.api.token}):
        stream = Listening(stage.app(), query=query)
        await stream.ended_refused()
        assert stream.status == 401, "a token in an address would stand in logs"
    foreign = {"authorization": f"Bearer {stage.api.token}", "origin": "https://evil.example"}
    stream = Listening(stage.app(), headers=foreign)
    await stream.ended_refused()
    assert stream.status == 403


async def test_another_tenant_hears_nothing_of_ours_live_or_later(stage: Stage) -> None:
    api = stage.api
    stage.options(replace(OPTIONS, sweep=0.05))
    stage.times(replace(TIMES, heartbeat=0.3))
    start = first_id(now_ms())
    theirs = stage.scopes["theirs"]
    async with stage.listen() as ours, stage.listen("theirs") as other:
        await api.take(*prompts(api, 3))
        told = await ours.events(5)
        await other.quiet()
        await stage.live.changed(theirs, 0)
        await other.quiet()
        await stage.live.index_updated(theirs)
        assert (await other.event()).type == "search.index_updated"
        await ours.quiet()
    for place in (start, str(told[0].id)):
        async with stage.listen("theirs", headers={"last-event-id": place}) as other:
            await other.quiet()


async def test_silence_is_broken_by_comments(stage: Stage) -> None:
    stage.times(replace(TIMES, heartbeat=0.02))
    async with stage.listen() as stream:
        for _ in range(3):
            await stream.quiet()
    assert stream.comments[0] == "open"
    assert set(stream.comments[1:]) == {"still here"}


async def test_there_are_bounds_by_user_enterprise_and_process(stage: Stage) -> None:
    for bounds in (
        replace(OPTIONS, per_user=3),
        replace(OPTIONS, per_enterprise=3),
        replace(OPTIONS, per_process=3),
    ):
        stage.options(bounds)
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(stage.listen())
            refused = Listening(stage.app(), headers={"authorization": f"Bearer {stage.api.token}"})
            await refused.ended_refused()
            assert refused.status == 429
            assert int(refused.answer_headers["retry-after"]) > 0
            assert refused.answer()["code"] == "RATE_LIMITED"
            if bounds.per_process > 3:
                await stack.enter_async_context(stage.listen("theirs"))
        async with stage.listen():
            assert stage.live.count(local_scope()) == 1
        assert stage.live.count(local_scope()) == 0


async def test_who_does_not_take_what_is_sent_is_cut_off_and_the_others_hear_all(
    stage: Stage,
) -> None:
    api = stage.api
    stage.options(replace(OPTIONS, queue=30, detailed=1_000))
    stage.times(replace(TIMES, send=0.2))
    async with stage.listen() as quick, stage.listen() as slow:
        slow.taking.clear()
        for _ in range(8):
            await api.take(*prompts(api, 10))
        told: list[Any] = []
        while len(told) < 82:
            told.append(await quick.event())
        await asyncio.wait_for(slow._task, 30)
        assert slow.aborted
        assert stage.live.count(local_scope()) == 1
        resume = slow.last_id
    async with stage.listen(headers={"last-event-id": resume}) as again:
        more = {it.id for it in await again.events(82)}
    assert more == {it.id for it in told}


async def test_a_revoked_key_ends_its_stream_and_no_other(stage: Stage) -> None:
    stage.times(replace(TIMES, recheck=0.02))
    stage.scopes["guest"] = Scope(
        local_scope().enterprise_id, new_id(), frozenset({"sessions:read"})
    )
    async with stage.listen() as ours, stage.listen("guest") as guest:
        stage.revoked.add("guest")
        assert await guest.ended() == []
        await stage.api.take(*prompts(stage.api, 1))
        assert (await ours.event()).type == "session.created"
    stage.revoked.clear()
    async with stage.listen("guest") as guest:
        stage.scopes["guest"] = without_permission()
        assert await guest.ended() == []


async def test_a_key_that_cannot_be_looked_up_is_believed_for_a_while_only(stage: Stage) -> None:
    stage.times(replace(TIMES, recheck=0.01, doubt=600))
    async with stage.listen() as stream:
        stage.away = True
        await asyncio.sleep(0.1)
        await stage.api.take(*prompts(stage.api, 1))
        assert (await stream.event()).type == "session.created"
        stage.away = False
    stage.times(replace(TIMES, recheck=0.01, doubt=0.05))
    async with stage.listen() as stream:
        stage.away = True
        assert await stream.ended() == []
    stage.away = False


async def test_stopping_ends_every_stream_at_once_and_opens_none(stage: Stage) -> None:
    async with stage.listen() as one, stage.listen("theirs") as two:
        await asyncio.wait_for(stage.live.close(), 30)
        assert await one.ended() == []
        assert await two.ended() == []
        late = Listening(stage.app(), headers={"authorization": f"Bearer {stage.api.token}"})
        await late.ended_refused()
        assert late.status == 503
        assert late.answer_headers["retry-after"]


async def test_leaving_frees_everything(stage: Stage) -> None:
    for _ in range(3):
        async with stage.listen(), stage.listen("theirs"):
            assert len(stage.live._feeds) == 2
        assert stage.live._feeds == {}
        async with asyncio.timeout(30):
            while stage.bus._listeners or stage.live._closing:  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.01)


async def test_the_document_knows_the_stream(stage: Stage) -> None:
    document = await stage.api.get("/openapi.json")
    answer = document["paths"]["/api/v1/stream/events"]["get"]
    assert list(answer["responses"]["200"]["content"]) == ["text/event-stream"]
