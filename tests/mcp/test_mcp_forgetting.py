"""What the tool that forgets takes out, what it leaves, and what it says of both."""

from __future__ import annotations

import pytest
from api_support import Api
from tools_support import call, fill, told

pytestmark = pytest.mark.anyio


async def test_forgetting_one_note_of_several_says_that_only_it_went(api: Api) -> None:
    await fill(api)
    notes = [f"The {word} gateway listens on its own port." for word in ("teal", "plum", "rust")]
    saved = [await call(api, "save", folder="/ledger", content=it) for it in notes]
    session = saved[0].structured_content["session"]
    await call(api, "summary", session=session)
    gone = await call(api, "forget", id=saved[0].structured_content["id"])
    assert gone.structured_content["forgotten"] == {"observation": 1, "learning": 1}
    assert gone.structured_content["remade"] == 2
    assert "(1 observation, 1 learning)" in told(gone)
    assert "2 learnings made anew" in told(gone)
    left = {row["description"] for row in (await api.get("/learnings"))["data"]}
    assert set(notes[1:]) <= left


async def test_forgetting_wants_one_thing_named(api: Api) -> None:
    await fill(api)
    for given in ({}, {"id": "x", "last_turn": True}, {"last_turn": False}):
        assert "give one of" in told(await call(api, "forget", **given), failed=True)
    session = await api.get("/sessions/s-1")
    refused = told(await call(api, "forget", id=session["id"]), failed=True)
    assert "claude-mem forget session" in refused
    assert (await api.get("/sessions/s-1"))["observation_count"] == 2


async def test_forgetting_the_last_turn_of_the_project(api: Api) -> None:
    await fill(api)
    gone = await call(api, "forget", folder="/ledger", last_turn=True)
    assert gone.structured_content["forgotten"]["prompt"] == 2
    assert (await api.get("/sessions/s-2/prompts"))["data"], "the other project's stays"
    assert (await api.get("/sessions/s-1/prompts"))["data"] == []


async def test_the_turn_that_asks_to_forget_is_not_the_one_that_is_meant(api: Api) -> None:
    about = {"session": "s-1", "project": "/ledger"}
    await api.take(
        api.event(**about, data={"content": "Start with the totals"}),
        api.event(**about, data={"content": "The codename is wombatxyz"}),
        api.event("assistant.replied", **about, data={"content": "Noted: wombatxyz"}),
        api.event(**about, data={"content": "Please forget the last turn"}),
    )
    assert "which project" in told(await call(api, "forget", last_turn=True), failed=True)
    gone = await call(api, "forget", folder="/ledger", running="s-1", last_turn=True)
    assert gone.structured_content["forgotten"]["prompt"] == 2
    rows = (await api.get("/sessions/s-1/prompts"))["data"]
    assert [row["content"] for row in rows] == [
        "Start with the totals",
        "Please forget the last turn",
    ]
    found = await call(api, "search", folder="/ledger", query="wombatxyz")
    assert found.structured_content["results"] == []
    (api.home / "paused").write_text("")
    refused = await call(api, "forget", folder="/ledger", running="s-1", last_turn=True)
    assert "not being recorded" in told(refused, failed=True)
