"""After `forget`, no file of ours but those the security page names holds a byte of what was forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_support import API, Api, running

from claude_mem.domains.capture import forget as forgetting
from claude_mem.hook.append import append
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.inbox import Entry

pytestmark = pytest.mark.anyio
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
        assert files_with(api.home, b"session") == ["claude-mem.db"], "the rest is there"
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
        [left] = await inbox.dead_letters(SCOPE, 10)
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
