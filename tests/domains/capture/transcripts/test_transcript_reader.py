"""What a transcript's lines become."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from transcript_craft import SAMPLE, SESSION, Script, long_session

from claude_mem.domains.capture.keys import natural_keys
from claude_mem.domains.capture.schemas import check_events
from claude_mem.domains.capture.transcripts import (
    Reading,
    find_transcripts,
    read_transcript,
    reasons,
)
from claude_mem.domains.capture.transcripts import lines as line_reading

Event = dict[str, Any]


def read(script: Script, path: Path, **options: Any) -> tuple[list[Event], Reading]:
    reading = read_transcript(script.write(path), **({"settled": True} | options))
    return list(reading), reading


def of_type(events: list[Event], kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event["type"] == kind]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / f"{SESSION}.jsonl"


def test_a_session_is_told_in_order(file: Path) -> None:
    events, reading = read(long_session(), file)
    assert [event["type"] for event in events] == [
        "session.started",
        "prompt.submitted",
        "assistant.replied",
        "tool.used",
        "assistant.replied",
        "tool.used",
        "tool.used",
        "session.started",
        "assistant.replied",
        "prompt.submitted",
        "assistant.replied",
        "tool.failed",
        "context.compacted",
        "assistant.replied",
        "prompt.submitted",
        "session.started",
        "assistant.replied",
        "prompt.submitted",
        "assistant.replied",
    ]
    check_events(events)
    assert {event["session"] for event in events} == {SESSION}
    assert {event["project"] for event in events} == {"/home/dev/ledger"}
    assert reading.skipped == {
        "queue-operation line": 1,
        "last-prompt line": 1,
        reasons.SYSTEM: 2,
    }


def test_blocks_of_a_message_are_one_reply_whatever_comes_between(file: Path) -> None:
    events, _ = read(long_session(), file)
    first, second, third = of_type(events, "assistant.replied")[:3]
    assert (first["content"], first["tool_use_ids"]) == ("Let me look.", ["toolu_1", "toolu_2"])
    assert first["final"] is False
    assert (second["content"], second["tool_use_ids"]) == ("", ["toolu_3"])
    assert third["content"] == "It compares dates as text.\n\nThe fix is one line."
    assert third["final"] is True
    assert first["usage"] == {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
    }


def test_usage_counts_once_as_the_last_line_tells_it(file: Path) -> None:
    script = Script()
    script.ask("go")
    script.say("msg_1", "one", out=1)
    script.say("msg_1", "two", out=88)
    events, _ = read(script, file)
    assert [data["usage"]["output_tokens"] for data in of_type(events, "assistant.replied")] == [88]


def test_a_call_meets_its_result(file: Path) -> None:
    events, _ = read(long_session(), file)
    used = {data["tool_use_id"]: data for data in of_type(events, "tool.used")}
    assert used["toolu_1"]["response"] == {"stdout": "a.py", "stderr": "", "interrupted": False}
    assert used["toolu_1"]["input"] == {"command": "ls"}
    assert used["toolu_1"]["reason"] == "Let me look."
    assert used["toolu_3"]["reason"] == "Let me look.", "the words that led to a silent message"
    assert used["toolu_2"]["response"] == "1\tx = 1", "without toolUseResult the content is it"
    (failed,) = of_type(events, "tool.failed")
    assert (failed["error"], failed["tool"]) == ("Exit code 1", "Bash")


def test_a_result_in_words_that_begin_with_error_is_a_failure(file: Path) -> None:
    script = Script()
    script.ask("go")
    script.call("msg_1", "toolu_1")
    script.result("toolu_1", "", "Error: no such file")
    events, _ = read(script, file)
    assert [data["error"] for data in of_type(events, "tool.failed")] == ["no such file"]


def test_a_refused_call_says_so(file: Path) -> None:
    script = Script()
    script.ask("go")
    script.call("msg_1", "toolu_1")
    said = "The user doesn't want to proceed with this tool use. The tool use was rejected."
    script.result("toolu_1", said, "User rejected tool use", is_error=True)
    events, _ = read(script, file)
    (failed,) = of_type(events, "tool.failed")
    assert failed["is_interrupt"] is True
    assert failed["error"] == said


def test_whole_files_and_images_are_left_out(file: Path) -> None:
    script = Script()
    script.ask("go")
    script.call("msg_1", "toolu_1", "Edit", file_path="/a")
    patch = [{"oldStart": 1, "lines": ["-a", "+b"]}]
    script.result("toolu_1", "ok", {"originalFile": "x" * 9000, "structuredPatch": patch})
    script.call("msg_2", "toolu_2", "Read", file_path="/a.png")
    script.result("toolu_2", "ok", {"type": "image", "file": {"base64": "A" * 5000}})
    deep: Any = "core"
    for _ in range(200):
        deep = [deep]
    script.call("msg_3", "toolu_3", "Odd")
    script.result("toolu_3", "ok", {"deep": deep})
    events, _ = read(script, file)
    edit, image, odd = of_type(events, "tool.used")
    assert edit["response"] == {"structuredPatch": patch}
    assert image["response"]["file"]["base64"] == "[5000 characters of encoded data left out]"
    assert "[nested too deeply]" in json.dumps(odd["response"])


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        ("plain words", "plain words"),
        ([{"type": "text", "text": "in a block"}], "in a block"),
        (
            "<command-message>memo:keep</command-message>\n<command-name>/memo:keep</command-name>"
            "\n<command-args>apples and pears</command-args>",
            "/memo:keep apples and pears",
        ),
        ("<command-name>/deploy</command-name>", "/deploy"),
        ("look <system-reminder>be nice</system-reminder> here", "look  here"),
        ("<ide_opened_file>a.py is open</ide_opened_file>\nwhat is this?", "what is this?"),
        ("what does <command-name> mean?", "what does <command-name> mean?"),
        ("never closed <ide_selection> is mine", "never closed <ide_selection> is mine"),
    ],
)
def test_prompts(file: Path, content: Any, asked: str) -> None:
    script = Script()
    script.ask(content)
    events, _ = read(script, file)
    (data,) = of_type(events, "prompt.submitted")
    assert data["content"] == asked
    assert "machine" not in data


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "<command-name>/compact</command-name>\n<command-args></command-args>",
            "built-in command",
        ),
        (
            "<command-name>/model</command-name><command-args>opus</command-args>",
            "built-in command",
        ),
        ("<local-command-stdout>Bye!</local-command-stdout>", "output of a local command"),
        ("<task-notification>done</task-notification>", "nothing a person wrote"),
        ("<system-reminder>x</system-reminder>", "nothing a person wrote"),
        ("<bash-input>ls</bash-input>", "shell mode"),
        ("[Request interrupted by user for tool use]", "interruption"),
        ([{"type": "image", "source": {}}], "prompt without text"),
    ],
)
def test_what_is_no_prompt_is_counted(file: Path, content: Any, reason: str) -> None:
    script = Script()
    script.ask(content)
    events, reading = read(script, file)
    assert of_type(events, "prompt.submitted") == []
    assert reading.skipped == {reason: 1}


def test_meta_lines_and_errors_of_the_api_are_skipped(file: Path) -> None:
    script = Script()
    script.ask("expanded command", isMeta=True)
    script.say("msg_1", "API Error: overloaded")["isApiErrorMessage"] = True
    events, reading = read(script, file)
    assert events == []
    assert reading.skipped == {reasons.META: 1, reasons.API_ERROR: 1}


def test_machine_made_prompts_are_marked(file: Path) -> None:
    script = Script()
    script.ask("wake up and look", promptSource="loop_wakeup")
    script.ask("mine", promptSource="sdk")
    events, _ = read(script, file)
    assert [data.get("machine") for data in of_type(events, "prompt.submitted")] == [True, None]


def test_a_second_text_of_a_turn_is_kept_as_a_follow_up(file: Path) -> None:
    script = Script()
    script.ask("first", promptId="p1")
    script.ask("and then", promptId="p1")
    events, _ = read(script, file)
    first, second = [event for event in events if event["type"] == "prompt.submitted"]
    assert natural_keys(first) == ["prompt:p1"]
    assert second["data"]["source"] == "follow-up"
    assert not set(natural_keys(first)) & set(natural_keys(second))


def test_older_files_without_prompt_ids_get_one_for_each_turn(file: Path) -> None:
    script = Script()
    for word in ("one", "two"):
        script.ask(word, promptId="")
        script.say(f"msg_{word}", f"did {word}", stop=None)
    events, _ = read(script, file)
    prompts, replies = of_type(events, "prompt.submitted"), of_type(events, "assistant.replied")
    assert len({data["prompt_id"] for data in prompts}) == 2
    assert [data["prompt_id"] for data in replies] == [data["prompt_id"] for data in prompts]
    assert [data["final"] for data in replies] == [True, True]


def test_our_own_tools_are_not_recorded(file: Path) -> None:
    script = Script()
    script.ask("what did we do?")
    script.call("msg_1", "toolu_1", "mcp__claude-mem__search", query="x")
    script.result("toolu_1", "found")
    script.call("msg_2", "toolu_2", "mcp__other__search", query="x")
    script.result("toolu_2", "found")
    events, reading = read(script, file)
    (used,) = of_type(events, "tool.used")
    assert (used["tool"], used["mcp_server"]) == ("mcp__other__search", "other")
    assert reading.skipped == {reasons.OWN_TOOL: 1}


def test_copies_of_lines_are_skipped_and_counted(file: Path) -> None:
    script = long_session()
    once, _ = read(script, file)
    copies = [row for row in script.rows if "uuid" in row]
    script.rows += copies
    twice, reading = read(script, file)
    assert twice == once
    assert reading.skipped[reasons.DUPLICATE] == len(copies)


def test_a_resumed_session_that_copies_another_makes_the_same_events(tmp_path: Path) -> None:
    original = long_session()
    other = Script("6a6a6a6a-0000-4000-8000-000000000002")
    other.rows = [
        row | {"sessionId": other.session} if "sessionId" in row else row for row in original.rows
    ]
    other.seconds = 900
    other.ask("something new")
    first, _ = read(original, tmp_path / "a.jsonl")
    second, _ = read(other, tmp_path / "b.jsonl")
    known = {event["id"] for event in first}
    fresh = [event["type"] for event in second if event["id"] not in known]
    assert fresh == ["session.started"] * 3 + ["prompt.submitted"]


def test_a_subagents_file_belongs_to_its_parents_session(tmp_path: Path) -> None:
    script = Script()
    script.agent_id = "a75ca2331d28017fd"
    script.ask("Find the slow query", promptId="p1")
    script.call("msg_1", "toolu_1")
    script.result("toolu_1", "ok")
    script.say("msg_2", "It is the calendar.")
    folder = tmp_path / SESSION / "subagents"
    path = script.write(folder / "agent-a75ca2331d28017fd.jsonl")
    path.with_suffix(".meta.json").write_text('{"agentType": "Explore"}')
    events = list(read_transcript(path, settled=True))
    check_events(events)
    assert [event["type"] for event in events] == [
        "prompt.submitted",
        "assistant.replied",
        "tool.used",
        "assistant.replied",
        "subagent.stopped",
    ]
    assert {event["session"] for event in events} == {SESSION}
    for event in events:
        assert event["data"]["agent_id"] == "a75ca2331d28017fd"
        assert event["data"]["agent_type"] == "Explore"
    assert events[0]["data"]["machine"] is True
    assert natural_keys(events[4])[0] in natural_keys(events[3]), "one row, whichever comes first"
    parent = {"type": "prompt.submitted", "data": {"content": "x", "prompt_id": "p1"}}
    assert not set(natural_keys(parent)) & set(natural_keys(events[0]))


def test_subagent_lines_inside_a_sessions_file_are_counted(file: Path) -> None:
    script = Script()
    script.ask("in the old way", isSidechain=True)
    events, reading = read(script, file)
    assert events == []
    assert reading.skipped == {reasons.SIDECHAIN: 1}


def test_titles_the_persons_own_wins(file: Path) -> None:
    script = Script()
    script.plain(type="summary", summary="an old summary", leafUuid="x")
    script.ask("go")
    script.plain(type="ai-title", aiTitle="made by the client", sessionId=SESSION)
    script.plain(type="custom-title", customTitle="mine", sessionId=SESSION)
    script.plain(type="ai-title", aiTitle="made again", sessionId=SESSION)
    script.plain(type="custom-title", customTitle="of another", sessionId="other")
    events, _ = read(script, file)
    titles = [data["title"] for data in of_type(events, "session.started")]
    assert titles == ["an old summary", "made by the client", "mine"]


def test_a_compactions_summary_is_what_the_model_wrote(file: Path) -> None:
    events, _ = read(long_session(), file)
    (data,) = of_type(events, "context.compacted")
    assert (data["summary"], data["phase"], data["trigger"]) == ("We mend dates.", "after", "auto")
    live = {
        "type": "context.compacted",
        "data": {
            "phase": "after",
            "trigger": "auto",
            "prompt_id": "p9",
            "summary": "<analysis>think</analysis>\n<summary>\nWe mend  dates.\n</summary>",
        },
    }
    imported = next(event for event in events if event["type"] == "context.compacted")
    assert natural_keys(live)[0] == natural_keys(imported)[0]


BAD_LINES = [
    (b"", line_reading.EMPTY),
    (b"{", line_reading.NOT_JSON),
    (b"\xff\xfe{}", line_reading.NOT_UTF8),
    (b"[1]", line_reading.NOT_OBJECT),
    (b"[" * 100_000, line_reading.NOT_JSON),
    (b'{"a": ' + b"9" * 5000 + b"}", line_reading.NOT_JSON),
    (b"{}", reasons.NO_TYPE),
    (b'{"type": "user", "message": "x"}', reasons.NO_MESSAGE),
    (b'{"type": "user", "message": {}}', reasons.NO_SESSION),
    (b'{"type": "user", "message": {}, "sessionId": "s"}', reasons.NO_TIME),
    (b'{"type": "user", "message": {}, "sessionId": "s", "timestamp": "soon"}', reasons.NO_TIME),
]


@pytest.mark.parametrize(("raw", "reason"), BAD_LINES)
def test_a_bad_line_is_counted_and_the_rest_is_read(file: Path, raw: bytes, reason: str) -> None:
    script = long_session()
    expected = list(read_transcript(script.write(file), settled=True))
    file.write_bytes(raw + b"\n" + script.bytes())
    reading = read_transcript(file, settled=True)
    assert list(reading) == expected
    assert reading.skipped[reason] == 1


def test_a_50_mb_line_is_skipped_in_bounded_memory(file: Path) -> None:
    import tracemalloc

    script = long_session()
    expected = list(read_transcript(script.write(file), settled=True))
    file.write_bytes(b'{"type": "user", "x": "' + b"x" * 50_000_000 + b'"}\n' + script.bytes())
    tracemalloc.start()
    reading = read_transcript(file, settled=True)
    events = list(reading)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert events == expected
    assert reading.skipped[line_reading.TOO_LONG] == 1
    assert peak < 45_000_000


def test_lone_surrogates_become_writable(file: Path) -> None:
    script = Script()
    script.ask("half \ud83d and whole 😀")
    file.write_bytes(json.dumps(script.rows[0]).encode() + b"\n")
    (data,) = of_type(list(read_transcript(file, settled=True)), "prompt.submitted")
    assert data["content"] == "half ? and whole 😀"


def test_age_decides_whether_the_tail_is_told(file: Path) -> None:
    script = long_session()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    for row in script.rows[-2:]:
        row["timestamp"] = moment
    young, _ = read(script, file, settled=None)
    assert young[-1]["type"] == "prompt.submitted", "the last message may still grow"
    os.utime(file, (time.time() - 61,) * 2)
    old = list(read_transcript(file))
    assert old[:-1] == young
    assert old[-1]["data"]["content"] == "Gladly."


def test_a_message_of_thoughts_only_waits_even_in_an_old_file(file: Path) -> None:
    script = Script()
    script.ask("go")
    script.block("msg_1", {"type": "thinking", "thinking": "hm"}, "end_turn")
    before, reading = read(script, file)
    assert [event["type"] for event in before] == ["session.started", "prompt.submitted"]
    script.say("msg_1", "At last.")
    script.write(file)
    after = list(read_transcript(file, reading.position, settled=True))
    assert [data["content"] for data in of_type(after, "assistant.replied")] == ["At last."]


def test_the_bundled_sample_is_read_whole() -> None:
    files = find_transcripts(SAMPLE)
    assert len(files) >= 12
    assert [file.path for file in files if file.is_subagent]
    events: list[Event] = []
    for file in files:
        assert file.project.startswith("/home/dev/")
        reading = read_transcript(file.path, settled=True)
        events += reading
        faults = set(reading.skipped) - {
            reason for reason in reading.skipped if reason.endswith(" line")
        }
        assert faults <= {"built-in command", "output of a local command"}
    for at in range(0, len(events), 1000):
        check_events(events[at : at + 1000])
    kinds = {event["type"] for event in events}
    assert kinds == {
        "session.started",
        "prompt.submitted",
        "assistant.replied",
        "tool.used",
        "tool.failed",
        "context.compacted",
        "subagent.stopped",
    }
    assert len({event["id"] for event in events}) == len(events)
