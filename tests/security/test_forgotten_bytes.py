"""After `forget`, no file of ours but those the security page names holds a byte of what was forgotten."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from api_support import API, Api, running

from claude_mem.app import clearing
from claude_mem.domains.capture import forget as forgetting
from claude_mem.domains.intelligence import service as intelligence
from claude_mem.hook.append import append
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.inbox import Entry
from claude_mem.ports.queue import Job

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
SCOPE = local_scope()
WORD = b"zanzibarplan"


def files_with(home: Path, word: bytes = WORD) -> list[str]:
    return sorted(
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and word in path.read_bytes().lower()
    )


async def forget(api: Api, **body: Any) -> dict[str, int]:
    answer = await api.client.post(f"{API}/forget", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, int] = answer.json()["forgotten"]
    return found


async def tell(api: Api) -> None:
    """A turn to keep among many, and one whose every part holds the word."""
    word = WORD.decode()
    tool = {
        "tool": "Write",
        "tool_use_id": "t1",
        "prompt_id": "p1",
        "reason": f"The {word} says so",
        "input": {"file_path": f"/x/{word}.py", "content": f"{word} = 1\n" * 500},
        "response": {},
    }
    # In one batch: a small piece of the index of its own would be rewritten by the deletion anyway.
    await api.take(
        *(api.event(data={"content": f"turn {n} " * 40}) for n in range(150)),
        api.event(data={"content": f"The {word} is this. " * 300, "prompt_id": "p1"}),
        api.event("tool.used", data=tool),
        api.event("context.compacted", data={"summary": f"The {word} is done", "prompt_id": "p1"}),
    )
    for n in range(5):  # what comes after moves pages and merges the index
        await api.take(
            *(api.event(session="other", data={"content": f"{n} {i}"}) for i in range(5))
        )


async def test_no_byte_of_a_forgotten_session_is_left(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as api:
        await tell(api)
        assert files_with(api.home), "the test looks where it is"
        await forget(api, what="session", id="session-one")
        assert files_with(api.home) == []
        # The log beside it may hold what a job wrote since: nothing of the forgotten, as is looked for above and below.
        assert "claude-mem.db" in files_with(api.home, b"session"), "the rest is there"
        assert files_with(api.home) == []
    assert files_with(tmp_path / "data") == []


async def test_no_byte_of_a_forgotten_turn_is_left(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as api:
        await tell(api)
        await forget(api, what="last", project="ledger")  # one of the other session
        assert files_with(api.home), "not yet"
        while files_with(api.home):
            await forget(api, what="last")
        assert (await api.counts())["prompts"] == 150


async def test_dead_letters_of_a_forgotten_session_go_with_it(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as api:
        await api.take(api.event())
        inbox = api.system.inbox
        for session, content in (("session-one", WORD.decode()), ("other", "kept")):
            event = api.event(session=session, data={"content": content})
            await inbox.append(SCOPE, [Entry(event["id"], json.dumps(event).encode())])
            [pending] = await inbox.take(1)
            await inbox.bury(pending, "poison", now_ms())
        agent = ("claude-code", "session-one")
        assert await forgetting.drop_dead_letters(SCOPE, inbox, *agent, now_ms()) == 0, "earlier"
        assert await forget(api, what="session", id="session-one") == {"prompt": 1}
        [left] = (await inbox.dead_letters(SCOPE, 10)).letters
        assert json.loads(left.body)["session"] == "other"
        assert files_with(api.home) == []


async def test_no_byte_of_one_forgotten_prompt_is_left(tmp_path: Path) -> None:
    """One of many in the same piece of the index, which its deletion alone would not rewrite."""
    async with running(tmp_path / "data") as api:
        others = [
            api.event(data={"content": f"turn {n} " * 9}, session=f"s{n}") for n in range(150)
        ]
        mine = [api.event(), api.event(data={"content": WORD.decode()})]
        await api.take(*others, *mine)
        rows = (await api.get("/sessions/session-one/prompts", limit=100))["data"]
        [doomed] = [row for row in rows if row["content"] == WORD.decode()]
        assert await forget(api, what="prompt", id=doomed["id"]) == {"prompt": 1}
        assert files_with(api.home) == []


async def test_what_comes_late_of_a_forgotten_session_stays_in_no_log(tmp_path: Path) -> None:
    """Nothing is made of it, and the worker's loop empties the log it was taken from."""
    async with running(tmp_path / "data") as api:
        await api.take(api.event())
        await forget(api, what="session", id="session-one")
        late = [api.event(data={"content": WORD.decode() * 900}) for _ in range(3)]
        assert (await api.post(*late)).status_code == 202
        assert files_with(api.home), "it was acknowledged: it is on disk"
        for _ in range(100):
            if not files_with(api.home):
                break
            await asyncio.sleep(0.05)
        assert files_with(api.home) == []
        assert (await api.counts())["prompts"] == 0


async def test_what_waits_in_the_spool_is_forgotten_too(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as api:
        payload = {
            "hook_event_name": "UserPromptSubmit",
            "session_id": "s1",
            "cwd": "/x",
            "prompt": WORD.decode(),
        }
        line = {"v": 1, "id": new_id(), "ms": now_ms(), "agent": "claude-code"}
        line |= {"event": "UserPromptSubmit", "project_dir": "", "payload": payload}
        append(str(api.home), "UserPromptSubmit", json.dumps(line).encode())
        assert await forget(api, what="last") == {"prompt": 1}
        assert files_with(api.home) == []


@pytest.mark.parametrize("at_once", [True, False])
async def test_no_byte_is_left_where_pages_were_rearranged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, at_once: bool
) -> None:
    """Sessions that share what was learned in them: their forgetting moves rows about, and moves leave copies."""
    if not at_once:  # a large store, which is written anew when it is quiet
        monkeypatch.setattr(clearing, "AT_ONCE_BYTES", 0)
    async with running(tmp_path / "data") as api:
        first = now_ms()
        for number in range(8 if at_once else 80):
            await tell_alike(api, f"quetzal{number}")
            answers = [await forgotten(api, it) for it in await session_ids(api)]
            assert [it["cleared"] for it in answers] == [at_once] * 2
            left = files_with(api.home, b"quetzal")
            if at_once:
                assert left == []
            elif (
                left
            ):  # which pages a move leaves behind is a matter of the ids' order: until it did
                break
        if not at_once:
            assert files_with(api.home, b"quetzal") == ["claude-mem.db"], "the test is of copies"
            assert (await api.get("/admin/jobs"))["waiting"]["store.clear"] == 1
            job = Job(SCOPE.enterprise_id, "j", "store.clear", "all", {"since": first}, 1, 5)
            await api.system.parts.state["clearing"].run(SCOPE, job)
        assert files_with(api.home, b"quetzal") == []
        await api.take(api.event())
        assert (await api.counts())["prompts"] == 1, "it goes on recording"


async def forgotten(api: Api, session_id: str) -> dict[str, Any]:
    body = {"what": "session", "id": session_id}
    found: dict[str, Any] = (await api.client.post(f"{API}/forget", json=body)).json()
    return found


async def session_ids(api: Api) -> list[str]:
    """Those that are not forgotten yet, summed up as the worker's job does it a moment later."""
    rows = [it for it in (await api.get("/sessions", limit=100))["data"] if it["prompt_count"]]
    state = api.system.parts.state
    for row in rows:
        distil = partial(
            intelligence.distil, SCOPE, indexing=state["indexing"], session_id=row["id"]
        )
        await state["database"].write(SCOPE, distil)
    return [row["id"] for row in rows]


async def tell_alike(api: Api, word: str) -> None:
    """Two sessions that say the same: what is learned in them has two sources."""
    said = " ".join(f"Then {word} step {i} was done in file x{i}.py." for i in range(20))
    tool = {"tool": "Bash", "input": {"command": f"run {word}"}}
    parts: list[tuple[str, dict[str, Any]]] = [
        ("prompt.submitted", {"content": f"We decided to use {word} because it is faster."}),
        ("prompt.submitted", {"content": f"I prefer {word} always."}),
        ("tool.failed", {**tool, "error": f"error {word} missing"}),
        ("tool.used", {**tool, "response": {"stdout": f"1 passed {word}"}}),
        ("assistant.replied", {"content": f"Decided: {word} is used, it parses faster. {said}"}),
    ]
    for session in (
        f"a{word[-1]}",
        f"b{word[-1]}",
    ):  # an agent's id stays: it keeps the session out
        await api.take(*(api.event(kind, session=session, data=data) for kind, data in parts))
