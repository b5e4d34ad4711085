"""What the agent would have told its hooks, out of a transcript of the same session.

Owns the mapping from transcript lines to hook payloads (Claude Code 2.1): the way back is the product's. Used to show
that live capture and import meet, and as realistic traffic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Call = tuple[str, Json]  # hook event, payload


def session_calls(transcript: Path, recorded_at: Path | None = None) -> list[Call]:
    """The hook calls of a session, in order; its subagents' are among them.

    `recorded_at` is what the payloads name as the transcript's path (default: nowhere, so nothing is read from it).
    """
    lines = _lines(transcript)
    first = next(line for line in lines if line.get("type") == "user")
    base = {
        "session_id": first["sessionId"],
        "transcript_path": str(recorded_at or "/nowhere/transcript.jsonl"),
        "cwd": first["cwd"],
        "permission_mode": "default",
    }
    model = next(line["message"]["model"] for line in lines if line.get("type") == "assistant")
    timed = list(_turns(lines, base, {}))
    for path in sorted(transcript.with_suffix("").glob("subagents/*.jsonl")):
        timed += _subagent(path, base)
    timed.sort(key=lambda item: item[0])
    begin = base | {"hook_event_name": "SessionStart", "source": "startup", "model": model}
    end = base | {"hook_event_name": "SessionEnd", "reason": "prompt_input_exit"}
    return [("SessionStart", begin), *(call for _, call in timed), ("SessionEnd", end)]


def _lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _subagent(path: Path, base: Json) -> Iterator[tuple[str, Call]]:
    kind = json.loads(path.with_suffix(".meta.json").read_text(encoding="utf-8"))["agentType"]
    agent = {"agent_id": path.stem.removeprefix("agent-"), "agent_type": kind}
    for at, (event, payload) in _turns(_lines(path), base, agent):
        if event == "UserPromptSubmit":
            continue  # a task comes from the agent: no hook is called for it
        if event == "Stop":
            yield at, ("SubagentStop", payload | {"hook_event_name": "SubagentStop"})
        else:
            yield at, (event, payload)


def _turns(lines: list[Json], base: Json, agent: Json) -> Iterator[tuple[str, Call]]:
    asked: dict[str, Json] = {}
    texts: list[str] = []
    prompt_id = message_id = ""
    for line in lines:
        message = line.get("message")
        if line.get("type") not in ("user", "assistant") or not isinstance(message, dict):
            continue
        at, content = line["timestamp"], message["content"]
        common = base | agent
        if line["type"] == "assistant":
            if message["id"] != message_id:
                texts, message_id = [], message["id"]
            texts += [block["text"] for block in content if block["type"] == "text"]
            asked |= {block["id"]: block for block in content if block["type"] == "tool_use"}
            if message.get("stop_reason") == "end_turn":
                said = {"stop_hook_active": False, "last_assistant_message": "\n\n".join(texts)}
                yield at, _call("Stop", common | {"prompt_id": prompt_id} | said)
            continue
        prompt_id = line.get("promptId", prompt_id)
        common |= {"prompt_id": prompt_id}
        if isinstance(content, str):
            yield at, _call("UserPromptSubmit", common | {"prompt": content})
            continue
        for block in content:
            if block.get("type") == "tool_result":
                yield at, _result(common, asked[block["tool_use_id"]], block, line)


def _result(common: Json, asked: Json, block: Json, line: Json) -> Call:
    tool = {"tool_name": asked["name"], "tool_input": asked["input"], "tool_use_id": asked["id"]}
    if block.get("is_error"):
        return _call("PostToolUseFailure", common | tool | {"error": block["content"]})
    return _call("PostToolUse", common | tool | {"tool_response": line["toolUseResult"]})


def _call(event: str, payload: Json) -> Call:
    return event, payload | {"hook_event_name": event}
