"""The plugin in the real Claude Code client: valid to it, installed by it, recording and answering in it.

The client, a scripted model and our worker share a network namespace of their own, as in `test_real_client`. The tests
of this module are one story, in their order: alone, with the program, beside `claude-mem install`, taken out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_client import scripts
from real_client.playhouse import MARKS, open_stage, own_environment
from real_client.requests import injected, main_calls
from real_client.stage import Stage, Turn

from claude_mem.mcp.stdio import NAMES

pytestmark = MARKS
_ENVIRONMENT = own_environment()
RULE = "Sort the berths by draught, deepest first; always keep the units metric."
PROMPT = "Tell it to the pangolin. (script:short)"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The client on its island, without anything of ours."""
    with open_stage(tmp_path_factory.mktemp("plugin"), _ENVIRONMENT, install=False) as made:
        yield made


@pytest.fixture(scope="module")
def market(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin as the command wrote it out."""
    folder = tmp_path_factory.mktemp("out") / "market"
    assert stage.ours("plugin", "--output", str(folder))["output"] == str(folder)
    return folder


@pytest.fixture(scope="module")
def alone(stage: Stage, market: Path) -> Turn:
    """A session with the plugin installed, while the program was never set up."""
    stage.client("plugin", "marketplace", "add", str(market))
    stage.client("plugin", "install", "memory@claude-mem")
    return stage.turn(PROMPT)


@pytest.fixture(scope="module")
def recorded(stage: Stage, alone: Turn) -> Turn:
    """A session after `claude-mem start`."""
    stage.ours("start")
    turn = stage.turn(PROMPT)
    stage.wait(lambda: _said(stage, turn) == [PROMPT, "The pangolin was told."], "what was said")
    stage.let_hooks_be_taken_over()
    return turn


def _said(stage: Stage, turn: Turn) -> list[str]:
    rows = stage.rows(turn.session, "prompts")
    return [row["content"] for row in rows if row["prompt_type"] in ("user", "assistant")]


def _beginning(turn: Turn) -> Json:
    """What the client says it works with."""
    return next(line for line in turn.lines if line.get("subtype") == "init")


def _our_tools(turn: Turn) -> set[str]:
    return {name for name in _beginning(turn)["tools"] if "claude-mem" in name}


def _hooks_ran_well(turn: Turn) -> Counter[str]:
    answers = turn.hook_answers()
    for answer in answers:
        assert (answer["outcome"], answer["exit_code"], answer["stderr"]) == ("success", 0, "")
    assert turn.result["is_error"] is False
    return Counter(answer["hook_event"] for answer in answers)


# --- valid ------------------------------------------------------------------------------------------


def test_the_client_finds_nothing_wrong(stage: Stage, market: Path) -> None:
    """Warnings count as errors; as for the directory that plugins are submitted to."""
    listed = json.loads(stage.client("plugin", "validate", str(market), "--strict", "--json"))
    assert listed["success"] is True
    strictly = ["--strict", "--profile", "directory", "--json"]
    said = json.loads(stage.client("plugin", "validate", str(market / "memory"), *strictly))
    assert said["success"] is True
    assert said["directory"]["findings"] == []


# --- alone ------------------------------------------------------------------------------------------


def test_alone_it_says_what_to_run_and_disturbs_nothing(stage: Stage, alone: Turn) -> None:
    ran = _hooks_ran_well(alone)
    assert ran["SessionStart"] == ran["UserPromptSubmit"] == ran["PostToolUse"] == ran["Stop"] == 1
    said = {answer["hook_event"]: answer["stdout"] for answer in alone.hook_answers()}
    assert "claude-mem start" in json.loads(said.pop("SessionStart"))["systemMessage"]
    assert set(said.values()) == {""}
    assert alone.said() == ["The pangolin was told."]
    assert "has not been set up" not in str(alone.calls)
    assert not stage.data.exists()


def test_the_client_lists_its_parts(alone: Turn) -> None:
    """Even without the program the server answers at once, so that the client does not give it up."""
    beginning = _beginning(alone)
    [server] = [it for it in beginning["mcp_servers"] if "claude-mem" in it["name"]]
    assert server["status"] == "connected"
    assert _our_tools(alone) == {scripts.PLUGIN_TOOLS + name for name in NAMES}
    assert "memory:memory" in beginning["skills"]
    commands = {f"memory:{name}" for name in ("recall", "remember", "timeline", "forget")}
    assert commands <= set(beginning["slash_commands"])


# --- with the program -------------------------------------------------------------------------------


def test_it_records(stage: Stage, recorded: Turn) -> None:
    _hooks_ran_well(recorded)
    [told] = stage.rows(recorded.session, "observations")
    assert told["command"] == "echo pangolin"
    assert stage.project_of(recorded.session)["key"] == str(stage.project)


def test_what_it_tells_a_session_names_its_own_tools(stage: Stage, recorded: Turn) -> None:
    """The context says how to get an item in full: by the name that the client gives the plugin's tool."""
    (stage.project / scripts.BERTHS_FILE).write_text(scripts.BERTHS, encoding="utf-8")
    before = stage.turn(f"{RULE} (script:berths)")
    stage.wait(lambda: scripts.BERTHS_DONE in _said(stage, before), "the last text")
    turn = stage.turn("How does it stand? (script:answer)")
    [context] = injected(main_calls(turn.calls)[0], "SessionStart")
    assert "always keep the units metric" in context
    assert f"{scripts.PLUGIN_TOOLS}get" in context
    assert "mcp__claude-mem__" not in context


def test_its_tools_answer_and_are_not_recorded(stage: Stage, recorded: Turn) -> None:
    turn = stage.turn("Look it up. (script:lookup)")
    _hooks_ran_well(turn)
    assert turn.played == ["lookup:0", "lookup:1", "lookup:2"]
    results = [
        block
        for line in turn.lines
        if line["type"] == "user"
        for block in line["message"]["content"]
        if block["type"] == "tool_result"
    ]
    assert not results[-1].get("is_error"), results[-1]
    assert "pangolin" in str(results[-1]["content"])
    stage.wait(lambda: "It is all there." in _said(stage, turn), "the last text")
    tools = {row["source_tool"] for row in stage.rows(turn.session, "observations")}
    assert not [tool for tool in tools if "claude-mem" in tool]


def test_what_is_written_anew_is_what_the_next_session_has(
    stage: Stage, market: Path, recorded: Turn
) -> None:
    """The client reads a marketplace that is a folder in place: an upgrade is to write it again."""
    page = market / "memory" / "commands" / "later.md"
    page.write_text("---\ndescription: Of an upgrade\n---\n\nSay yes.\n", encoding="utf-8")
    assert "memory:later" in _beginning(stage.turn(PROMPT))["slash_commands"]
    stage.ours("plugin", "--output", str(market))
    assert not page.exists()
    assert "memory:later" not in _beginning(stage.turn(PROMPT))["slash_commands"]


# --- beside `claude-mem install` ----------------------------------------------------------------------


def test_with_hooks_in_the_settings_nothing_is_double(stage: Stage, recorded: Turn) -> None:
    stage.ours("install", "--yes", "--no-start")
    try:
        assert stage.ours("status")["plugin"]["silent"] is True
        turn = stage.turn(PROMPT)
        ran = _hooks_ran_well(turn)
        assert ran["UserPromptSubmit"] == ran["SessionStart"] == 2
        spoke = Counter(it["hook_event"] for it in turn.hook_answers() if it["stdout"])
        assert max(spoke.values(), default=0) <= 1, spoke
        wanted = [PROMPT, "The pangolin was told."]
        stage.wait(lambda: _said(stage, turn) == wanted, "what was said")
        stage.let_hooks_be_taken_over()
        assert len(stage.rows(turn.session, "observations")) == 1
        names = [name.rpartition("__")[2] for name in _our_tools(turn)]
        assert sorted(names) == sorted(NAMES)
    finally:
        stage.ours("uninstall")
    again = stage.turn(PROMPT)
    stage.wait(lambda: _said(stage, again) == wanted, "the plugin's own recording")


def test_the_client_takes_it_out(stage: Stage, recorded: Turn) -> None:
    stage.client("plugin", "uninstall", "memory@claude-mem")
    stage.client("plugin", "marketplace", "remove", "claude-mem")
    turn = stage.turn(PROMPT)
    assert turn.hook_answers() == []
    assert _our_tools(turn) == set()
    assert stage.ours("status")["plugin"] is None
