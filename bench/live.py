"""What live capture costs the real client, and hook calls made out of a transcript.

    python -m bench.live [--rounds N] [--json]

Every round lets the real client (fetched as its end-to-end tests do) take the same scripted turn with our hooks (and
the tools that come with them) and without, one after the other, in a network namespace of its own; then at times with
a worker that was killed before. Wall time of the whole client. Also owns the mapping from transcript lines to hook
payloads (Claude Code 2.1): the way back is the product's. It shows that live capture and import meet, and makes
realistic traffic.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import report

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


# --- the real client ------------------------------------------------------------------------------

_COLD_ROUNDS = 5


def measure(rounds: int) -> Json:
    """Seconds of the client's turns, with hooks and without, interleaved."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "e2e"))
    from real_client import scripts  # type: ignore[import-not-found]
    from real_client.fetch import (  # type: ignore[import-not-found]
        NotToBeHadError,
        client_program,
    )
    from real_client.island import Island, IslandError  # type: ignore[import-not-found]
    from real_client.stage import Stage  # type: ignore[import-not-found]

    try:
        program, island = client_program(os.environ), Island()
    except (NotToBeHadError, IslandError) as error:
        raise SystemExit(f"the real client cannot be had here: {error}") from error
    with tempfile.TemporaryDirectory(prefix="cml") as folder:
        try:
            stage = Stage(Path(folder), island, program)
            stage.start_model(scripts.all_scripts(stage.project))
            stage.ours("install", "--yes", "--no-start")
            (stage.project / scripts.BERTHS_FILE).write_text(scripts.BERTHS, encoding="utf-8")
            stage.turn("Sort the berths by draught. (script:berths)")
            return _play(stage, rounds)
        finally:
            island.close()


def _play(stage: Any, rounds: int) -> Json:
    prompt = "Are the berths sorted by draught? Ask the pelican. (script:pelican)"
    taken: dict[str, list[float]] = {"with_hooks": [], "without_hooks": [], "worker_killed": []}
    calls: dict[str, set[int]] = {"with_hooks": set(), "without_hooks": set()}
    events, told = set(), 0
    for number in range(-1, rounds):  # one round to warm the caches
        for name in ("with_hooks", "without_hooks"):
            turn = stage.turn(prompt, hooks=name == "with_hooks")
            calls[name].add(len(turn.calls))
            if number < 0:
                continue
            taken[name].append(turn.seconds)
            if name == "with_hooks":
                events.add(len(turn.hook_answers()))
                told += "hook additional context" in json.dumps(turn.calls[-1])
    up = []
    for _ in range(min(_COLD_ROUNDS, rounds)):
        stage.kill_worker()
        (stage.data / "door").unlink(missing_ok=True)
        began = time.time()
        taken["worker_killed"].append(stage.turn(prompt).seconds)
        stage.wait((stage.data / "door").exists, "the worker")
        up.append((stage.data / "door").stat().st_mtime - began)
    result = _summary(rounds, taken, calls, events, told)
    result["worker_ready_after_client_start_s"] = _spread(up)
    return result


def _summary(
    rounds: int,
    taken: dict[str, list[float]],
    calls: dict[str, set[int]],
    events: set[int],
    told: int,
) -> Json:
    pairs = zip(taken["with_hooks"], taken["without_hooks"], strict=True)
    added = [(one - other) * 1000 for one, other in pairs]
    return {
        "bench": "live",
        **report.facts(),
        "rounds": rounds,
        "hook_events_a_turn": sorted(events),
        "turns_with_context": told,
        "model_calls_a_turn": {name: sorted(found) for name, found in calls.items()},
        "no_extra_model_call": calls["with_hooks"] == calls["without_hooks"],
        "wall_s": {name: _spread(row) for name, row in taken.items()},
        "added_ms_a_turn": _spread(added),
    }


def _spread(values: list[float]) -> Json:
    if len(values) < 2:
        return {"median": round(values[0], 3)} if values else {}
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return {
        "median": round(statistics.median(values), 3),
        "p95": round(cuts[18], 3),
        "max": round(max(values), 3),
    }


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    chosen = parser.parse_args()
    report.write("live", measure(chosen.rounds), as_json=chosen.json)


if __name__ == "__main__":
    main()
