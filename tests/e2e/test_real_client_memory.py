"""What the real client's model is given of earlier sessions, read from the requests that were made of it.

The client, a scripted model and our worker share a network namespace of their own, as in `test_real_client`.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from real_client import scripts
from real_client.playhouse import MARKS, open_stage, own_environment
from real_client.requests import given_again, injected, items, main_calls, results_of
from real_client.stage import Stage, Turn

pytestmark = MARKS
_ENVIRONMENT = own_environment()

ASKED = "Sort the berths by draught, deepest first; always keep the units metric. (script:berths)"
FENCE, FENCE_END = "<claude-mem-context", "</claude-mem-context>"
# One of each: what was asked, what failed, which file was changed, how it ended.
FACTS = ("by draught, deepest first", "unknown key tidewater", "berths.cfg", "tide_table now")
LONGEST = 9_500

Json = dict[str, Any]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The client on its island, with our hooks; everything there ends with the module."""
    with open_stage(tmp_path_factory.mktemp("memory"), _ENVIRONMENT) as made:
        yield made


@pytest.fixture(scope="module")
def first(stage: Stage) -> Turn:
    """A session with a prompt, a command, a failing one, a read and an edit, in an empty memory."""
    (stage.project / scripts.BERTHS_FILE).write_text(scripts.BERTHS, encoding="utf-8")
    turn = stage.turn(ASKED)
    assert turn.status == 0
    assert "tide_table = 4" in (stage.project / scripts.BERTHS_FILE).read_text(encoding="utf-8")
    stage.wait(lambda: scripts.BERTHS_DONE in _said(stage, turn), "the first session's last text")
    return turn


def _said(stage: Stage, turn: Turn) -> list[str]:
    return [row["content"] for row in stage.rows(turn.session, "prompts")]


def _opening(turn: Turn) -> str:
    """What the session was told at its start, as the first request shows it; it must be sound."""
    [context] = injected(main_calls(turn.calls)[0], "SessionStart")
    _check(context)
    return context


def _check(context: str) -> None:
    """Fenced, once, within what the client passes on whole."""
    assert context.startswith(FENCE), context[:200]
    assert context.endswith(FENCE_END), context[-200:]
    assert context.count(FENCE) == context.count(FENCE_END) == 1
    assert len(context) <= LONGEST
    assert items(context)
    assert re.search(r"\[[0-9a-f]{12}\]$", context, re.M), "nothing in it can be asked for in full"


def _well_behaved(turn: Turn) -> None:
    """Hooks succeeded, and only the two that may say something did."""
    for answer in turn.hook_answers():
        assert (answer["outcome"], answer["exit_code"], answer["stderr"]) == ("success", 0, "")
        if answer["hook_event"] not in ("SessionStart", "UserPromptSubmit"):
            assert answer["stdout"] == "", answer
    assert turn.stderr == ""
    assert turn.result["is_error"] is False


def _nothing_twice(call: Json) -> None:
    """No memory was given twice in what a model was sent."""
    assert given_again(call) == []
    for context in injected(call):
        assert len(set(items(context))) == len(items(context))


def test_an_empty_memory_says_nothing(first: Turn) -> None:
    _well_behaved(first)
    assert not any(injected(call) for call in first.calls)


def test_the_next_session_begins_with_what_the_last_one_did(stage: Stage, first: Turn) -> None:
    turn = stage.turn("What is left to do? (script:answer)")
    _well_behaved(turn)
    context = _opening(turn)
    for fact in FACTS:
        assert fact in context
    _nothing_twice(turn.calls[-1])


def test_hooks_that_speak_cause_no_model_call(stage: Stage, first: Turn) -> None:
    prompt = "Say again what the pelican does. (script:pelican)"
    with_us, without = stage.turn(prompt), stage.turn(prompt, hooks=False)
    assert _opening(with_us)
    assert not any(injected(call) for call in without.calls)
    assert sorted(with_us.played) == sorted(without.played)
    assert len(with_us.calls) == len(without.calls)


def test_nothing_is_given_twice_in_a_session(stage: Stage, first: Turn) -> None:
    """Several prompts on one matter in one client, then another client that goes on with the same session."""
    prompt = "What about the berths and their draught, {}? (script:again)"
    turn = stage.conversation(*(prompt.format(word) for word in ("first", "then", "at last")))
    _well_behaved(turn)
    assert len(main_calls(turn.calls)) == 3
    assert _opening(turn)
    resumed = stage.turn(prompt.format("once more"), resume=turn.session)
    _well_behaved(resumed)
    _nothing_twice(main_calls(resumed.calls)[-1])


@pytest.fixture
def only_at_prompts(stage: Stage, first: Turn) -> Iterator[None]:
    """A worker that a person told to say nothing at the beginning of a session."""
    config = stage.data / "config.toml"
    config.write_text("context = false\n", encoding="utf-8")
    stage.ours("restart")
    yield
    config.unlink()
    stage.ours("restart")


def test_a_prompt_brings_what_it_is_about(stage: Stage, only_at_prompts: None) -> None:
    """And one that is about nothing brings nothing."""
    # Not the same word twice: what one session said is remembered in the next.
    for word in ("Marvellous", "Splendid", "Brilliant", "Wonderful", "Superb"):
        # A machine that is busy for a moment may cost a prompt its context.
        asked = "Why did berths.cfg fail with an unknown key? (script:answer)"
        turn = stage.conversation(asked, f"{word}! (play:thanks)")
        _well_behaved(turn)
        first_request, last_request = main_calls(turn.calls)
        assert injected(last_request, "SessionStart") == []
        told = injected(first_request, "UserPromptSubmit")
        if told:
            break
    [context] = told
    _check(context)
    assert "unknown key tidewater" in context
    assert injected(last_request, "UserPromptSubmit") == [context]


def test_a_killed_worker_costs_the_next_session_nothing(stage: Stage, first: Turn) -> None:
    """SessionStart brings it back and still begins with what is remembered; nothing is lost."""
    before = stage.turn("Where does the pelican moor? (script:pelican)")
    old = stage.kill_worker()
    turn = stage.turn("And the heron? (script:heron)")
    _well_behaved(turn)
    context = _opening(turn)
    assert "berths" in context
    for one, reply in ((before, scripts.PELICAN), (turn, scripts.HERON)):
        stage.wait(lambda: reply in _said(stage, one), reply)  # noqa: B023
    health = stage.let_hooks_be_taken_over()
    for one in (before, turn):
        texts = Counter(_said(stage, one))
        assert set(texts.values()) == {1}
    assert health["pid"] not in old
    assert health["checks"]["spool"]["events"] == 0


def test_a_worker_that_cannot_come_back_leaves_the_last_context(stage: Stage, first: Turn) -> None:
    """The launch plan is gone: the hook gives what was rendered last."""
    plan = stage.data / "hook" / "launch.json"
    stage.turn("Tell me of the berths. (script:answer)")
    kept = plan.read_bytes()
    stage.kill_worker()
    plan.unlink()
    try:
        turn = stage.turn("And now? (script:answer)")
    finally:
        plan.write_bytes(kept)
    assert "berths" in _opening(turn)
    after = stage.turn("Are the berths sorted by draught? (script:answer)", resume=turn.session)
    stage.wait(lambda: len(_said(stage, turn)) >= 4, "what was spooled meanwhile")
    _nothing_twice(main_calls(after.calls)[-1])


def test_a_compaction_brings_the_context_back(stage: Stage, first: Turn) -> None:
    before = stage.turn("How are the berths sorted? (script:answer)")
    assert _opening(before)
    compacted = stage.turn("/compact", resume=before.session)
    assert compacted.played == ["compaction"]
    after = stage.turn("Go on with the berths. (script:again)", resume=before.session)
    _well_behaved(after)
    [request] = main_calls(after.calls)
    told = injected(request)
    assert told, "the conversation began anew: what was given before is not in it any more"
    for context in told:
        _check(context)
    assert any("How are the berths sorted?" in context for context in told)
    _nothing_twice(request)


def test_two_clients_at_once_in_one_project(stage: Stage, first: Turn) -> None:
    """Each begins with what is remembered, and what both did is there once."""
    turns: dict[str, Turn] = {}

    def run(bird: str) -> None:
        turns[bird] = stage.turn(f"Where does the {bird} moor tonight? (script:{bird})")

    threads = [threading.Thread(target=run, args=(bird,)) for bird in ("pelican", "heron")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for bird, reply in (("pelican", scripts.PELICAN), ("heron", scripts.HERON)):
        turn = turns[bird]
        _well_behaved(turn)
        own = [call for call in stage.calls() if f"the {bird} moor tonight" in str(call)]
        opening = next(call for call in own if call["played"] == f"{bird}:0")
        [context] = injected(opening, "SessionStart")
        _check(context)
        stage.wait(lambda: reply in _said(stage, turn), reply)  # noqa: B023
        stage.let_hooks_be_taken_over()
        prompts = stage.rows(turn.session, "prompts")
        kinds = Counter(row["prompt_type"] for row in prompts)
        assert kinds == {"user": 1, "assistant": 1}
        [told] = stage.rows(turn.session, "observations")
        assert told["command"] == f"echo {bird} at {'seven' if bird == 'pelican' else 'nine'}"


def test_a_subagent_works_without_our_context(stage: Stage, first: Turn) -> None:
    """It is told its task by the agent; what it does is recorded under the session."""
    turn = stage.turn("Let somebody look for mistakes. (script:delegate)")
    _well_behaved(turn)
    helpers = [call for call in turn.calls if call["played"].startswith("helper")]
    assert len(helpers) == 2
    assert not any(injected(call) for call in helpers)
    assert _opening(turn)

    def seen() -> bool:
        rows = stage.rows(turn.session, "observations")
        return [row["command"] for row in rows if row["subagent_id"]] == ["echo aardvark"]

    stage.wait(seen, "what the subagent did")


def test_the_client_has_our_tools(stage: Stage) -> None:
    """As installed: it starts the server, and is told what it can do."""
    listed = stage.client("mcp", "list")
    [line] = [line for line in listed.splitlines() if line.startswith("claude-mem:")]
    assert "Connected" in line


def test_the_model_searches_the_memory_and_that_is_not_remembered(
    stage: Stage, first: Turn
) -> None:
    """Through the client, its tool search and our server; a memory must not find its own searches."""
    turn = stage.turn("Look it up. (script:look-back)")
    _well_behaved(turn)
    requests = main_calls(turn.calls)
    assert "mcp__claude-mem__search" in str(requests[0]["messages"]) + str(requests[0]["tools"])
    assert len(requests) == 3
    found = results_of(requests[-1])[-1]
    assert not found.get("is_error"), found
    assert "unknown key tidewater" in str(found["content"])
    stage.wait(lambda: "It was the tide table." in _said(stage, turn), "the last text")
    stage.let_transcripts_settle()
    stage.ours("import", "--yes")
    rows = stage.rows(turn.session, "observations")
    assert {row["source_tool"] for row in rows} <= {"ToolSearch"}
    assert "unknown key tidewater" not in str(rows)
