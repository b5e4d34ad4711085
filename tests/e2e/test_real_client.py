"""Live capture with the real Claude Code client: what it does is recorded, once, and it does not notice.

The client, a scripted model and our worker share a network namespace of their own: nothing leaves loopback. The client
is fetched once (some 170 MB) into a cache; where it cannot be had these tests are skipped with a warning, and fail in
CI unless CLAUDE_MEM_SKIP_REAL_CLIENT=1 is set.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
from real_client import scripts
from real_client.mock_model import MODEL, USAGE
from real_client.playhouse import MARKS, open_stage, own_environment
from real_client.requests import injected
from real_client.stage import Stage, Turn

from claude_mem.sdk.client import ApiError

pytestmark = MARKS
_ENVIRONMENT = own_environment()
# As a person may have written it: another program's hook, and a layout of their own.
SETTINGS = b"""{
    "model": "claude-sonnet-4-5",
    "hooks": { "Stop": [ { "hooks": [ { "type": "command", "command": "true" } ] } ] }
}
"""
PROMPT = "Please mend the greeting. (script:work)"
KINDS = ("session", "prompt", "observation", "code_change")
TOKENS_A_CALL = USAGE["input_tokens"] + USAGE["output_tokens"]

Row = dict[str, Any]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The client on its island, with our hooks; everything there ends with the module."""
    with open_stage(tmp_path_factory.mktemp("real"), _ENVIRONMENT, SETTINGS) as made:
        yield made


@pytest.fixture(scope="module")
def work(stage: Stage) -> Turn:
    """One session of real work, recorded; its SessionStart hook is what starts the worker."""
    turn = _work(stage)
    for what, seen in {
        "the final text": lambda: scripts.FINAL in _texts(stage, turn, "assistant"),
        "the text in between": lambda: scripts.REASON in _texts(stage, turn, "assistant"),
        "the subagent's text": lambda: _texts(stage, turn, "assistant", subagents=True),
        "the subagent's task": lambda: _texts(stage, turn, "system", subagents=True),
        "the reason": lambda: any(
            row["reason_text"] for row in stage.rows(turn.session, "changes")
        ),
    }.items():
        stage.wait(seen, what)
    stage.let_hooks_be_taken_over()
    return turn


def _work(stage: Stage, *, hooks: bool = True) -> Turn:
    (stage.project / scripts.GREETING_FILE).write_text(scripts.GREETING, encoding="utf-8")
    turn = stage.turn(PROMPT, folder=stage.project / "docs", hooks=hooks)
    assert turn.status == 0
    assert "lantern is lit" in (stage.project / scripts.GREETING_FILE).read_text(encoding="utf-8")
    return turn


def _texts(stage: Stage, turn: Turn, kind: str, *, subagents: bool = False) -> list[str]:
    """The texts of a kind of prompt rows, of the session itself or of its subagents."""
    return [
        row["content"]
        for row in stage.rows(turn.session, "prompts")
        if row["prompt_type"] == kind and bool(row["subagent_id"]) is subagents
    ]


def _observations(stage: Stage, turn: Turn, tool: str) -> list[Row]:
    rows = stage.rows(turn.session, "observations")
    return [row for row in rows if row["source_tool"] == tool]


def _silent(turn: Turn) -> None:
    """No hook failed, or was heard of on the client's own output; only two may say something: to the model."""
    answers = turn.hook_answers()
    assert answers
    for answer in answers:
        assert (answer["outcome"], answer["exit_code"]) == ("success", 0), answer
        assert answer["stderr"] == "", answer
        if answer["stdout"]:
            said = json.loads(answer["stdout"])
            assert answer["hook_event"] in ("SessionStart", "UserPromptSubmit"), answer
            assert set(said) == {"hookSpecificOutput"}
    assert turn.stderr == ""
    assert turn.result["is_error"] is False


# --- what the client notices ----------------------------------------------------------------------


def test_the_hooks_run_silently_on_every_event(work: Turn) -> None:
    """Each of the turn's events reaches a hook, and where nothing is remembered yet no hook says a word."""
    _silent(work)
    assert not any(answer["stdout"] for answer in work.hook_answers())
    ran = Counter(answer["hook_event"] for answer in work.hook_answers())
    assert ran["SessionStart"] == ran["UserPromptSubmit"] == ran["SubagentStop"] == 1
    assert ran["PostToolUse"] == 5  # two commands, a read, an edit, a subagent
    assert ran["PostToolUseFailure"] == 1
    assert ran["Stop"] == 2  # ours and the one that was there before


def test_the_hooks_cause_no_model_call_and_tell_the_model_nothing(stage: Stage, work: Turn) -> None:
    """The model is asked as often as without hooks, and where nothing is remembered yet hears nothing of them."""
    without = _work(stage, hooks=False)
    assert not without.hook_answers()
    assert len(work.calls) == len(without.calls)
    assert sorted(work.played) == sorted(without.played)
    assert Counter(call["played"].partition(":")[0] for call in work.calls) == {
        "work": 6,
        "helper": 2,
    }
    assert not any(injected(call) for call in work.calls)


def test_say_what_the_hooks_cost(
    stage: Stage, work: Turn, capsys: pytest.CaptureFixture[str]
) -> None:
    """Printed for a person to see; the hook's speed is measured elsewhere. Both ways must work."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(3):
        for hooks in (True, False):
            turn = stage.turn("Say it again. (script:short)", hooks=hooks)
            assert bool(turn.hook_answers()) is hooks
            seconds[hooks].append(turn.seconds)
    with_us, without = median(seconds[True]), median(seconds[False])
    with capsys.disabled():
        print(
            f"\nA turn of the client with one command: {with_us:.2f} s with hooks (5 events), "
            f"{without:.2f} s without: {(with_us - without) * 1000:+.0f} ms"
        )


# --- what is recorded -------------------------------------------------------------------------------


def test_the_session_belongs_to_the_git_root(stage: Stage, work: Turn) -> None:
    """The client ran in a folder below."""
    project = stage.project_of(work.session)
    assert project["key"] == str(stage.project)
    assert project["name"] == "harbour"
    session = stage.session(work.session)
    assert session["agent"] == "claude-code"
    assert session["title"] == PROMPT
    assert session["ended_at"] is not None


def test_prompt_and_texts_are_there_once(stage: Stage, work: Turn) -> None:
    """The prompt and the final text by hook, the texts in between from the transcript."""
    assert _texts(stage, work, "user") == [PROMPT]
    said = _texts(stage, work, "assistant")
    assert said == [scripts.INTERMEDIATE, scripts.REASON, scripts.FINAL]


def test_a_command_is_recorded_with_its_output(stage: Stage, work: Turn) -> None:
    """The one that succeeded."""
    [hi] = [row for row in _observations(stage, work, "Bash") if "echo hi" in row["command"]]
    assert hi["observation_type"] == "tool_result"
    assert hi["exit_status"] == 0
    assert hi["content"].endswith(f"\nhi {scripts.OUTPUT_WORD}")


def test_a_failed_command_is_an_error_with_its_exit_status(stage: Stage, work: Turn) -> None:
    """The client tells it by another event than a success."""
    rows = stage.rows(work.session, "observations")
    [failed] = [row for row in rows if row["observation_type"] == "error"]
    assert failed["exit_status"] == 3
    assert "no such lamp" in failed["content"]


def test_an_edit_is_a_change_with_its_reason_but_without_the_whole_file(
    stage: Stage, work: Turn
) -> None:
    """One line out, one in; the last line of the file is context, the whole file is nowhere."""
    [change] = stage.rows(work.session, "changes")
    assert change["file_path"] == str(stage.project / scripts.GREETING_FILE)
    assert (change["lines_added"], change["lines_removed"]) == (1, 1)
    assert change["operation"] == "edit"
    assert "-the lanterne is lit.\n+the lantern is lit." in change["diff"]
    assert change["reason_text"] == scripts.REASON
    [prompt] = [row for row in stage.rows(work.session, "prompts") if row["prompt_type"] == "user"]
    assert change["reason_prompt_id"] == prompt["id"]
    [edit] = _observations(stage, work, "Edit")
    assert "originalFile" not in str(edit)
    assert scripts.FAR_LINE not in str(edit) + str(change)
    [read] = _observations(stage, work, "Read")
    assert scripts.FAR_LINE in read["content"]


def test_a_subagent_is_under_its_session(stage: Stage, work: Turn) -> None:
    """Its command, its last text, the task it was given, and the call that started it."""
    [look] = [row for row in _observations(stage, work, "Bash") if row["subagent_id"]]
    assert look["command"] == "echo aardvark"
    assert look["metadata"]["agent_type"] == "general-purpose"
    assert _texts(stage, work, "assistant", subagents=True) == [scripts.HELPER_FINAL]
    [task] = _texts(stage, work, "system", subagents=True)
    assert task.startswith("Look for other mistakes in the folder.")
    assert len(_observations(stage, work, "Agent")) == 1


def test_search_finds_a_word_of_the_output(stage: Stage, work: Turn) -> None:
    """Right away, without waiting for anything else."""
    found = stage.ours("search", scripts.OUTPUT_WORD)["results"]
    ours = stage.session(work.session)["id"]
    assert ours in {item["source_session"] for item in found if item["type"] == "observation"}


def test_tokens_and_model_and_importing_adds_nothing(stage: Stage, work: Turn) -> None:
    """Every model call is counted once, however often its transcript is read."""
    stage.let_transcripts_settle()
    stage.ours("import", "--yes")
    before = _recorded(stage)
    stage.forget_imports()
    report = stage.ours("import", "--yes")
    assert report["events"] > 0
    assert report["new"] == 0, report
    derived = ("summaries", "learnings")
    assert {report["added"][name] for name in report["added"] if name not in derived} == {0}, report
    assert _recorded(stage) == before
    session = stage.session(work.session)
    assert session["token_count"] == TOKENS_A_CALL * len(work.played)
    assert session["model_used"] == MODEL
    test_prompt_and_texts_are_there_once(stage, work)


def _recorded(stage: Stage) -> dict[str, list[str]]:
    """Ids by kind; but for what is derived, whose jobs run when they come to their turn."""
    rows = stage.exported()
    return {kind: sorted(row["id"] for row in rows if row["kind"] == kind) for kind in KINDS}


def test_a_background_subagent_and_its_notification(stage: Stage) -> None:
    """The client prompts itself when the subagent is done: no person wrote that.

    A subagent that is done before the turn is makes it, now and then, not prompt itself (2 of 43 turns): what was said
    must be recorded in either case, and one turn must have gone the way that this is about.
    """
    prompt = "Send somebody. (script:errand)"
    for _ in range(5):
        turn = stage.turn(prompt)
        _silent(turn)
        said = turn.said()
        stage.wait(lambda: _texts(stage, turn, "assistant") == said, f"what was said: {said}")  # noqa: B023
        assert _texts(stage, turn, "user") == [prompt]
        assert "task-notification" not in str(stage.rows(turn.session, "prompts"))
        if scripts.NOTIFIED in said:
            return
    pytest.fail("the client has never prompted itself")


def test_a_compaction_leaves_its_summary(stage: Stage) -> None:
    """The summary is kept once, as a summary: not also as what a subagent said."""
    first = stage.turn("Say it. (script:short)")
    turn = stage.turn("/compact", resume=first.session)
    _silent(turn)
    assert turn.played == ["compaction"]

    def told() -> list[Row]:
        rows = stage.rows(first.session, "summaries")
        return [row for row in rows if row["content"] == scripts.SUMMARY]

    stage.wait(told, "the summary")
    stage.let_transcripts_settle()
    stage.ours("import", "--yes")
    assert len(told()) == 1
    assert scripts.SUMMARY not in str(stage.rows(first.session, "prompts"))


# --- when things go wrong, and when a person says no -------------------------------------------------


def test_a_killed_worker_costs_nothing(stage: Stage, work: Turn) -> None:
    """Events are spooled, SessionStart brings supervisor and worker back, everything arrives once."""
    old = stage.kill_worker()
    turn = stage.turn("Go on without it. (script:short)")
    _silent(turn)
    stage.wait(lambda: "The pangolin was told." in _texts(stage, turn, "assistant"), "the reply")
    stage.wait(lambda: _tokens(stage, turn) == 2 * TOKENS_A_CALL, "the token counts")
    health = stage.let_hooks_be_taken_over()
    assert health["pid"] not in old
    assert health["checks"]["spool"]["taken"] >= 1
    assert health["checks"]["spool"]["events"] == 0
    assert _texts(stage, turn, "user") == ["Go on without it. (script:short)"]
    assert _texts(stage, turn, "assistant") == ["The pangolin was told."]
    [told] = stage.rows(turn.session, "observations")
    assert told["command"] == "echo pangolin"


def _tokens(stage: Stage, turn: Turn) -> int:
    return int(stage.session(turn.session)["token_count"])


def test_nothing_is_recorded_while_paused_nor_afterwards(stage: Stage, work: Turn) -> None:
    """Not by hooks, and not when the same session's transcript is read after capture goes on."""
    stage.ours("pause")
    before = _recorded(stage)
    secret = stage.turn("Between us. (script:secretly)")
    _silent(secret)
    with pytest.raises(ApiError, match="no session"):
        stage.session(secret.session)
    assert _recorded(stage) == before
    stage.ours("resume")
    turn = stage.turn("Now for all. (script:short)", resume=secret.session)
    stage.wait(lambda: _tokens(stage, turn) >= 2 * TOKENS_A_CALL, "the token counts")
    stage.let_transcripts_settle()
    stage.ours("import", "--yes")
    assert _tokens(stage, turn) == 2 * TOKENS_A_CALL
    assert _texts(stage, turn, "user") == ["Now for all. (script:short)"]
    everything = str(stage.exported())
    assert "pangolin" in everything
    assert "okapi" not in everything
    assert "Between us" not in everything


def test_uninstall_takes_exactly_our_hooks_out(stage: Stage, work: Turn) -> None:
    """The settings file is as it was, byte for byte, and a session leaves no trace."""
    stage.ours("uninstall")
    try:
        assert stage.settings.read_bytes() == SETTINGS
        turn = stage.turn("Is anybody there? (script:short)")
        assert {answer["hook_event"] for answer in turn.hook_answers()} == {"Stop"}
        with pytest.raises(ApiError, match="no session"):
            stage.session(turn.session)
    finally:
        stage.ours("install", "--yes", "--no-start")
