"""From a hit to the whole text: the timeline around an id, memories of any kind by id, and what is saved on purpose."""

from __future__ import annotations

from typing import Any

import pytest
from api_support import API, Api, refusal

from claude_mem.domains.memory.recent import short_id
from claude_mem.kernel.ids import new_id

pytestmark = pytest.mark.anyio


async def talk(api: Api, session: str = "session-one", turns: int = 4) -> list[str]:
    """A session of prompts and tool calls; returns ids of its entries as they happened."""
    for number in range(turns):
        await api.take(
            api.event(session=session, data={"content": f"Question {number}"}),
            api.event(
                "tool.used",
                session=session,
                data={
                    "tool": "Bash",
                    "tool_use_id": f"{session}-{number}",
                    "input": {"command": f"make step{number}"},
                    "response": {"stdout": f"done {number}"},
                },
            ),
        )
        await api.nothing_to_do()
    found = await api.get("/timeline", session=session, after=100)
    return [entry["id"] for entry in found["entries"]]


async def test_a_sessions_course_in_the_order_it_happened(api: Api) -> None:
    await talk(api, turns=3)
    found = await api.get("/timeline", session="session-one", after=4)
    kinds = [(entry["kind"], entry["preview"].split("\n")[0]) for entry in found["entries"]]
    assert [kind for kind, _ in kinds] == ["prompt", "observation", "prompt", "observation"]
    assert kinds[0][1] == "Question 0"
    assert (found["earlier"], found["later"], found["anchor"]) == (False, True, None)
    assert found["session"]["agent_session"] == "session-one"


AROUND = [
    (3, 1, 2, slice(2, 6), True, True),
    (3, 0, 0, slice(3, 4), True, True),
    (0, 5, 1, slice(0, 2), False, True),
    (7, 2, 5, slice(5, 8), True, False),
    (4, 100, 100, slice(0, 8), False, False),
    (4, 4, 3, slice(0, 8), False, False),
]


async def test_around_an_id(api: Api) -> None:
    ids = await talk(api)
    await talk(api, session="another")
    for position, before, after, expected, earlier, later in AROUND:
        found = await api.get("/timeline", around=ids[position], before=before, after=after)
        assert [entry["id"] for entry in found["entries"]] == ids[expected]
        assert (found["earlier"], found["later"]) == (earlier, later)
        assert found["anchor"] == ids[position]


async def test_entries_of_one_moment_are_told_apart_by_their_ids(api: Api) -> None:
    moment = "2026-05-01T10:00:00.000Z"
    events = [api.event(occurred_at=moment, data={"content": f"n {n}"}) for n in range(6)]
    await api.take(*events)
    whole = (await api.get("/timeline", session="session-one", after=50))["entries"]
    ids = [entry["id"] for entry in whole]
    assert ids == sorted(ids)
    found = await api.get("/timeline", around=ids[2], before=2, after=2)
    assert [entry["id"] for entry in found["entries"]] == ids[:5]


async def test_around_the_change_of_a_file(api: Api) -> None:
    data = {
        "tool": "Write",
        "tool_use_id": "t",
        "input": {"file_path": "/x/a.py", "content": "a = 1\n"},
        "response": {},
    }
    await api.take(api.event(), api.event("tool.used", data=data))
    (change,) = (await api.get("/sessions/session-one/changes"))["data"]
    found = await api.get("/timeline", around=change["id"])
    assert [entry["kind"] for entry in found["entries"]].count("code_change") == 1
    (shown,) = [entry for entry in found["entries"] if entry["kind"] == "code_change"]
    assert shown["title"] == "/x/a.py"
    assert shown["subtype"] == "create"


async def test_a_long_text_is_a_line_and_its_length(api: Api) -> None:
    await api.take(api.event(data={"content": "word " * 1000}))
    (entry,) = (await api.get("/timeline", session="session-one"))["entries"]
    assert len(entry["preview"]) <= 200
    assert entry["chars"] == 5000


@pytest.mark.parametrize(
    ("parameters", "status", "field"),
    [
        ({}, 400, "around"),
        ({"around": "x", "session": "y"}, 400, "around"),
        ({"around": "x"}, 404, None),
        ({"session": "x"}, 404, None),
        ({"around": "x", "before": 101}, 400, "before"),
        ({"around": "x", "after": -1}, 400, "after"),
        ({"around": ""}, 400, "around"),
    ],
)
async def test_a_timeline_that_cannot_be(
    parameters: dict[str, Any], status: int, field: str | None, api: Api
) -> None:
    answer = await api.client.get(f"{API}/timeline", params=parameters)
    body = refusal(answer, status, "VALIDATION_ERROR" if status == 400 else "RESOURCE_NOT_FOUND")
    if field:
        assert body["details"][0]["field"] == field


async def test_a_session_is_no_place_in_a_timeline(api: Api) -> None:
    await talk(api, turns=1)
    session = await api.get("/sessions/session-one")
    answer = await api.client.get(f"{API}/timeline", params={"around": session["id"]})
    assert "session" in refusal(answer, 400, "VALIDATION_ERROR")["error"]


async def read(api: Api, *ids: str) -> Any:
    answer = await api.client.post(f"{API}/memories/get", json={"ids": list(ids)})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_memories_of_any_kind_by_their_ids(api: Api) -> None:
    ids = await talk(api, turns=1)
    session = await api.get("/sessions/session-one")
    found = await read(api, ids[1], "none", session["id"], ids[0], ids[1])
    assert [(row["kind"], row["id"]) for row in found["data"]] == [
        ("observation", ids[1]),
        ("session", session["id"]),
        ("prompt", ids[0]),
    ]
    assert found["missing"] == ["none"]
    assert found["data"][0]["content"].startswith("$ make step0")
    assert "enterprise_id" not in found["data"][0]


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": ["x"] * 101}, {"ids": [""]}, {"id": 1}])
async def test_what_is_no_list_of_ids_is_refused(body: Any, api: Api) -> None:
    refusal(await api.client.post(f"{API}/memories/get", json=body), 400, "VALIDATION_ERROR")


async def test_what_is_forgotten_is_in_neither(api: Api) -> None:
    ids = await talk(api, turns=2)
    session = await api.get("/sessions/session-one")
    await api.client.post(f"{API}/forget", json={"what": "session", "id": session["id"]})
    assert (await read(api, *ids, session["id"]))["data"] == []
    answer = await api.client.get(f"{API}/timeline", params={"around": ids[0]})
    refusal(answer, 404, "RESOURCE_NOT_FOUND")


async def save(api: Api, **body: Any) -> Any:
    answer = await api.client.post(f"{API}/memories", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_what_is_saved_is_found_read_and_forgotten_by_its_id(api: Api) -> None:
    saved = await save(
        api,
        content="Invoices are rounded half to even",
        type="decision",
        tags=["money"],
        files=["src/round.py"],
        project="ledger",
    )
    (hit,) = (await api.get("/search", q="half to even", project="ledger"))["results"]
    assert hit["id"] == saved["id"]
    (row,) = (await read(api, saved["id"]))["data"]
    assert row["tags"] == ["decision", "money"]
    assert row["metadata"]["files"] == ["src/round.py"]
    assert row["importance_score"] > 0.9
    body = {"what": "observation", "id": saved["id"]}
    answer = await api.client.post(f"{API}/forget", json=body)
    assert answer.json()["forgotten"] == {"observation": 1}
    assert (await api.get("/search", q="half to even"))["results"] == []


async def test_notes_without_a_session_share_one_a_project_and_day(api: Api) -> None:
    first = await save(api, content="One", project="ledger")
    again = await save(api, content="Two", project="ledger")
    other = await save(api, content="Three", project="elsewhere")
    nowhere = await save(api, content="Four")
    assert first["session"] == again["session"]
    assert len({it["session"] for it in (first, other, nowhere)}) == 3
    rows = (await api.get("/sessions", project="ledger"))["data"]
    assert [row["observation_count"] for row in rows] == [2]
    assert rows[0]["title"].startswith("Saved notes of 20")


async def test_a_note_goes_into_the_session_it_names(api: Api) -> None:
    await api.take(api.event())
    saved = await save(api, content="Noted on the way", session="session-one")
    found = await api.get("/timeline", around=saved["id"])
    assert found["session"]["agent_session"] == "session-one"
    assert saved["project"] == "ledger"
    answer = await api.client.post(f"{API}/memories", json={"content": "x", "session": "none"})
    refusal(answer, 404, "RESOURCE_NOT_FOUND")


async def test_the_same_note_twice_under_one_id_is_one(api: Api) -> None:
    event_id = new_id()
    first = await save(api, content="Once", project="ledger", id=event_id)
    again = await save(api, content="Once", project="ledger", id=event_id)
    assert first["id"] == again["id"]
    assert (await api.counts())["observations"] == 1


async def test_a_secret_in_a_note_is_masked(api: Api) -> None:
    secret = "sk-ant-api03-" + "a1B2" * 20
    saved = await save(api, content=f"The key is {secret}", title=f"Key {secret}", project="ledger")
    (row,) = (await read(api, saved["id"]))["data"]
    assert secret not in str(row)
    assert "The key is" in row["content"]


@pytest.mark.local
async def test_nothing_is_saved_while_capture_is_paused(api: Api) -> None:
    (api.home / "paused").write_text("")
    answer = await api.client.post(f"{API}/memories", json={"content": "x"})
    assert "paused" in refusal(answer, 403, "FORBIDDEN")["error"]
    (api.home / "paused").unlink()


async def test_a_note_after_its_session_was_forgotten_is_kept(api: Api) -> None:
    saved = await save(api, content="Old", project="ledger")
    (session,) = (await api.get("/sessions"))["data"]
    await api.client.post(f"{API}/forget", json={"what": "session", "id": session["id"]})
    again = await save(api, content="New", project="ledger")
    assert again["session"] != saved["session"]
    assert (await read(api, again["id"]))["data"][0]["content"] == "New"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": ""},
        {"content": "   "},
        {"content": "x", "type": "rumour"},
        {"content": "x", "also": 1},
        {"content": "x", "tags": [""]},
        {"content": "x", "id": "1"},
        {"content": "x", "title": ""},
    ],
)
async def test_a_wrong_note_is_refused(body: Any, api: Api) -> None:
    refusal(await api.client.post(f"{API}/memories", json=body), 400, "VALIDATION_ERROR")


async def test_the_short_form_of_an_id_goes_wherever_the_id_does(api: Api) -> None:
    prompt, observation = await talk(api, turns=1)
    session = (await api.get("/sessions/session-one"))["id"]
    assert (await api.get(f"/prompts/{short_id(prompt)}"))["id"] == prompt
    assert (await api.get(f"/observations/{short_id(observation)}"))["id"] == observation
    assert (await api.get(f"/sessions/{short_id(session)}"))["id"] == session
    assert (await api.get("/timeline", session=short_id(session)))["session"]["id"] == session
    wrong_kind = await api.client.get(f"{API}/prompts/{short_id(observation)}")
    refusal(wrong_kind, 404, "RESOURCE_NOT_FOUND")
    body = {"what": "observation", "id": short_id(observation)}
    gone = await api.client.post(f"{API}/forget", json=body)
    assert gone.json()["forgotten"]["observation"] == 1
    refusal(await api.client.get(f"{API}/observations/{observation}"), 404, "RESOURCE_NOT_FOUND")


async def test_an_unknown_project_is_told_with_those_that_are_known(api: Api) -> None:
    params = {"project": "legder"}
    answer = await api.client.get(f"{API}/context", params=params)
    assert "nothing is remembered" in refusal(answer, 404, "RESOURCE_NOT_FOUND")["error"]
    await talk(api, turns=1)
    body = refusal(await api.client.get(f"{API}/context", params=params), 404, "RESOURCE_NOT_FOUND")
    assert "known are ledger" in body["error"]
    assert [it["field"] for it in body["details"]] == ["project"]


@pytest.mark.parametrize("kind", ["code_change", "session"])
async def test_what_is_in_no_index_is_no_kind_of_result(kind: str, api: Api) -> None:
    answer = await api.client.get(f"{API}/search", params={"q": "step", "type": kind})
    refusal(answer, 400, "VALIDATION_ERROR")
