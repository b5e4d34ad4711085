"""Summaries and learnings over HTTP."""

from __future__ import annotations

import pytest
from api_support import API, Api, refusal

pytestmark = pytest.mark.anyio
RULE = "Always use pnpm in this repository, never npm or yarn."


async def tell(api: Api, words: str) -> None:
    await api.take(api.event(data={"content": words}))


async def test_a_summary_is_made_when_asked_for_and_read_again(api: Api) -> None:
    await tell(api, f"The nightly job lost 12 rows in ledger.py. {RULE}")
    made = await api.client.post(f"{API}/sessions/session-one/summaries")
    assert made.status_code == 200, made.text
    body = made.json()
    assert (body["source"], body["version"], body["agent_session"]) == (
        "extractive",
        1,
        "session-one",
    )
    assert RULE in body["content"]
    assert body["details"]["preferences"][0]["text"] == RULE
    assert "enterprise_id" not in body
    read = await api.get("/sessions/session-one/summary")
    assert read["is_stale"] is False
    assert read["content"] == body["content"]

    await tell(api, "Because export.py reads rows twice it needs 9.5 s; make it one pass.")
    assert (await api.get("/sessions/session-one/summary"))["is_stale"] is True
    again = (await api.client.post(f"{API}/sessions/session-one/summaries")).json()
    assert (again["id"], again["version"]) == (body["id"], 2)
    versions = await api.get(f"/summaries/{body['id']}/versions")
    assert [it["version"] for it in versions["data"]] == [2, 1]
    assert versions["data"][1]["content"] == body["content"]


async def test_learnings_by_project_category_and_words(api: Api) -> None:
    await tell(api, RULE)
    await tell(api, "From now on the port is set in config.toml, never in the code.")
    await api.client.post(f"{API}/sessions/session-one/summaries")
    everything = (await api.get("/learnings", project="ledger"))["data"]
    assert {it["category"] for it in everything} == {"best_practice", "config"}
    assert all(it["source_session_ids"] for it in everything)
    [config] = (await api.get("/learnings", category="config"))["data"]
    assert "config.toml" in config["description"]
    [found] = (await api.get("/learnings", q="pnpm yarn"))["data"]
    assert found["description"] == RULE
    first = await api.get("/learnings", limit=1)
    second = await api.get("/learnings", limit=1, cursor=first["next_cursor"])
    assert {first["data"][0]["id"], second["data"][0]["id"]} == {it["id"] for it in everything}
    assert second["next_cursor"] is None

    gone = await api.client.post(f"{API}/forget", json={"what": "learning", "id": found["id"]})
    assert gone.json()["forgotten"] == {"learning": 1}
    assert (await api.get("/learnings", q="pnpm yarn"))["data"] == []


async def test_what_is_not_there_is_said(api: Api) -> None:
    refusal(await api.client.get(f"{API}/sessions/none/summary"), 404, "RESOURCE_NOT_FOUND")
    await tell(api, "Mend the rounding of invoices")
    refusal(await api.client.get(f"{API}/sessions/session-one/summary"), 404, "RESOURCE_NOT_FOUND")
    refusal(await api.client.get(f"{API}/summaries/none/versions"), 404, "RESOURCE_NOT_FOUND")
    refusal(await api.client.post(f"{API}/sessions/none/summaries"), 404, "RESOURCE_NOT_FOUND")
    refusal(
        await api.client.get(f"{API}/learnings", params={"category": "x"}), 400, "VALIDATION_ERROR"
    )
