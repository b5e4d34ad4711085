"""`POST /hooks/{agent}`: the hook's raw payload."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from api_support import API, Api, refusal

from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id

pytestmark = pytest.mark.anyio

PROMPT = {
    "session_id": "0d9b5f0e-5a3e-4a77-9a55-b0b0a6c3e1f2",
    "transcript_path": "/nowhere/0d9b5f0e.jsonl",
    "cwd": "/home/dev/ledger",
    "hook_event_name": "UserPromptSubmit",
    "prompt": "Why does the invoice differ by a cent?",
    "a_field_of_tomorrow": {"x": 1},
}


async def knock(
    api: Api, payload: Any = PROMPT, agent: str = "claude-code", **headers: str | None
) -> httpx.Response:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    sent = {"x-event-id": new_id(), "x-event-time": str(now_ms()), "x-hook-event": "x"}
    for name, value in headers.items():
        sent.pop(name.replace("_", "-"), None)
        if value is not None:
            sent[name.replace("_", "-")] = value
    return await api.client.post(f"{API}/hooks/{agent}", content=raw, headers=sent)


async def test_taken_once_whatever_is_sent_twice(api: Api) -> None:
    event_id = new_id()
    for _ in range(2):
        answer = await knock(api, x_event_id=event_id)
        assert (answer.status_code, answer.content) == (200, b"")
    await api.settle()
    page = await api.get(f"/sessions/{PROMPT['session_id']}/prompts")
    assert [row["content"] for row in page["data"]] == [PROMPT["prompt"]]
    assert page["data"][0]["event_id"] == event_id


async def test_what_is_not_recorded_is_answered_all_the_same(api: Api) -> None:
    assert (await knock(api, PROMPT | {"hook_event_name": "SomethingNew"})).status_code == 200
    await api.settle()
    assert (await api.counts())["sessions"] == 0


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("x_event_id", None, "x-event-id"),
        ("x_event_id", "7", "X-Event-Id"),
        ("x_event_id", "", "X-Event-Id"),
        ("x_event_id", "0b9f2b4e-8d0e-4d52-9a55-b0b0a6c3e1f2", "X-Event-Id"),
        ("x_event_time", None, "x-event-time"),
        ("x_event_time", "soon", "x-event-time"),
        ("x_event_time", "-1", "X-Event-Time"),
        ("x_event_time", "99999999999999999999", "X-Event-Time"),
    ],
)
async def test_a_bad_header_is_named(name: str, value: str | None, field: str, api: Api) -> None:
    body = refusal(await knock(api, **{name: value}), 400, "VALIDATION_ERROR")
    assert body["details"][0]["field"] == field


async def test_an_unknown_agent_is_told_the_known_ones(api: Api) -> None:
    body = refusal(await knock(api, agent="cassandra"), 404, "RESOURCE_NOT_FOUND")
    assert "claude-code" in body["error"]


@pytest.mark.parametrize(
    "raw",
    [b"", b"not json", b"{", b"[1]", b"null", b'"x"', b"7", b"\xff\xfe\x00", b"[" * 100_000],
)
async def test_a_body_that_is_no_object_is_refused(raw: bytes, api: Api) -> None:
    body = refusal(await knock(api, raw), 400, "VALIDATION_ERROR")
    assert body["details"][0]["field"] == "body"


@pytest.mark.parametrize("session", [None, "", 7, [], {}])
async def test_a_payload_without_a_session_is_refused(session: Any, api: Api) -> None:
    body = refusal(await knock(api, PROMPT | {"session_id": session}), 400, "VALIDATION_ERROR")
    assert body["details"][0]["field"] == "session_id"


ODD: dict[str, Any] = {
    "a number for the prompt": PROMPT | {"prompt": 7},
    "no prompt": {key: value for key, value in PROMPT.items() if key != "prompt"},
    "a list for the folder": PROMPT | {"cwd": []},
    "a lone surrogate": PROMPT | {"prompt": "half \ud83d of a fire"},
    "NUL everywhere": PROMPT | {"prompt": "a\x00b", "cwd": "/tmp/\x00", "session_id": "s\x00"},
    "a very long session": PROMPT | {"session_id": "s" * 100_000},
    "a tool without input": PROMPT | {"hook_event_name": "PostToolUse", "tool_name": "Bash"},
    "a tool with odd fields": PROMPT
    | {
        "hook_event_name": "PostToolUse",
        "tool_name": "Edit",
        "tool_input": {"file_path": 7, "old_string": None, "new_string": []},
        "tool_response": {"structuredPatch": "none"},
    },
    "a tool with a text for input": PROMPT
    | {"hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_input": "ls"},
    "a huge number": PROMPT
    | {
        "hook_event_name": "PostToolUse",
        "tool_name": "Bash",
        "tool_input": {"n": 10**400},
        "duration_ms": 10**400,
    },
}


@pytest.mark.parametrize("name", sorted(ODD))
async def test_an_odd_payload_is_taken_or_refused_but_never_fails(name: str, api: Api) -> None:
    answer = await knock(api, ODD[name])
    assert answer.status_code in {200, 400}, answer.text
    await api.settle()
    assert await api.dead_letters() == 0


async def test_a_surrogate_that_stands_alone_becomes_the_replacement_character(api: Api) -> None:
    assert (await knock(api, ODD["a lone surrogate"])).status_code == 200
    await api.settle()
    page = await api.get(f"/sessions/{PROMPT['session_id']}/prompts")
    assert page["data"][0]["content"] == "half \ufffd of a fire"


@pytest.mark.local
async def test_while_paused_nothing_is_kept_and_the_hook_is_content(api: Api) -> None:
    (api.home / "paused").touch()
    assert (await knock(api)).status_code == 200
    await api.settle()
    assert (await api.counts())["sessions"] == 0


@pytest.mark.local
async def test_a_project_that_opted_out_is_not_kept(api: Api, tmp_path: Path) -> None:
    folder = tmp_path / "secret-project" / "src"
    folder.mkdir(parents=True)
    (tmp_path / "secret-project" / ".git").mkdir()
    (tmp_path / "secret-project" / ".claude-mem-off").touch()
    assert (await knock(api, PROMPT | {"cwd": str(folder)})).status_code == 200
    assert (await knock(api)).status_code == 200
    await api.settle()
    page = await api.get("/sessions")
    assert [row["metadata"]["cwd"] for row in page["data"]] == [PROMPT["cwd"]]


@pytest.mark.local
@pytest.mark.parametrize("told", [True, False])
async def test_a_session_that_opted_out_stays_out_after_a_cd(
    api: Api, tmp_path: Path, told: bool
) -> None:
    folder = tmp_path / "secret project"
    folder.mkdir()
    (folder / ".claude-mem-off").touch()
    header = quote(str(folder)) if told else None
    began = PROMPT | {"hook_event_name": "SessionStart", "cwd": str(folder)}
    assert (await knock(api, began, x_project_dir=header)).status_code == 200
    assert (await knock(api, PROMPT | {"cwd": "/tmp"}, x_project_dir=header)).status_code == 200
    await api.settle()
    assert (await api.get("/sessions"))["data"] == []
    (folder / ".claude-mem-off").unlink()
    api.system.parts.state["capture"]._gate._opted.clear()
    await knock(api, began, x_project_dir=header)
    await knock(api, PROMPT | {"cwd": "/tmp"}, x_project_dir=header)
    await api.settle()
    page = await api.get(f"/sessions/{PROMPT['session_id']}/prompts")
    assert [row["content"] for row in page["data"]] == [PROMPT["prompt"]]


async def test_an_event_time_of_thousands_of_digits_is_refused(api: Api) -> None:
    body = refusal(await knock(api, x_event_time="9" * 5000), 400, "VALIDATION_ERROR")
    assert body["details"][0]["field"] == "X-Event-Time"


@pytest.mark.local
async def test_what_the_spool_lost_is_known_after_a_restart(api: Api) -> None:
    spool = api.home / "spool"
    spool.mkdir(exist_ok=True)
    (spool / "rejected.jsonl").write_text("{}\n{}\n")
    check = (await api.get("/health"))["checks"]["spool"]
    assert (check["status"], check["rejected"]) == ("degraded", 2)
    os.utime(spool / "rejected.jsonl", (1, 1))
    check = (await api.get("/health"))["checks"]["spool"]
    assert (check["status"], check["rejected"]) == ("healthy", 2)
