"""Reading on: whatever is cut off, and wherever, the events come out the same, once each."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transcript_craft import SAMPLE, Script, long_session

from claude_mem.domains.capture.transcripts import (
    Position,
    find_transcripts,
    read_new,
    read_transcript,
)
from claude_mem.domains.capture.transcripts.position import is_read

Event = dict[str, Any]
QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CRAFTED = long_session().bytes()
SAMPLES = [file.path for file in find_transcripts(SAMPLE)]


def is_prefix(part: list[Event], whole: list[Event]) -> bool:
    return whole[: len(part)] == part


def cuts_of(content: bytes) -> list[int]:
    """Every place near a line's end, and every seventh byte."""
    ends = [at for at, byte in enumerate(content) if byte == ord("\n")]
    near = {at + offset for at in ends for offset in (-1, 0, 1, 2)}
    return sorted(near | set(range(0, len(content) + 1, 7)) & set(range(len(content) + 1)))


def by_id(*parts: list[Event]) -> dict[str, Event]:
    """The events as a store keeps them: the first of an id stays."""
    kept: dict[str, Event] = {}
    for part in parts:
        for event in part:
            kept.setdefault(event["id"], event)
    return kept


def test_any_truncation_of_a_small_file_is_mended_by_reading_on(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(CRAFTED)
    whole = list(read_transcript(path, settled=True))
    for cut in cuts_of(CRAFTED):
        path.write_bytes(CRAFTED[:cut])
        first = read_transcript(path, settled=False)
        part = list(first)
        assert is_prefix(part, whole), cut
        path.write_bytes(CRAFTED)
        second = list(read_transcript(path, first.position, settled=True))
        assert by_id(part, second) == by_id(whole), cut


@QUICK
@given(data=st.data())
def test_any_truncations_of_the_sample_are_mended_by_reading_on(
    tmp_path: Path, data: st.DataObject
) -> None:
    content = data.draw(st.sampled_from(SAMPLES)).read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), min_size=1, max_size=4)))
    path = tmp_path / "s.jsonl"
    path.write_bytes(content)
    whole = list(read_transcript(path, settled=True))
    position: Position | None = None
    parts: list[list[Event]] = []
    for cut in cuts:
        path.write_bytes(content[:cut])
        fresh = read_new(path, position)
        position = Position.from_dict(fresh.position.to_dict())
        assert position == fresh.position
        parts.append(fresh.events)
        assert by_id(*parts).items() <= by_id(whole).items()
    path.write_bytes(content)
    parts.append(list(read_transcript(path, position, settled=True)))
    assert by_id(*parts) == by_id(whole)


@QUICK
@given(cut=st.integers(0, len(CRAFTED)))
def test_a_file_that_settled_too_early_still_gives_every_event(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(CRAFTED)
    whole = list(read_transcript(path, settled=True))
    path.write_bytes(CRAFTED[:cut])
    first = read_transcript(path, settled=True)
    part = list(first)
    path.write_bytes(CRAFTED)
    second = list(read_transcript(path, first.position, settled=True))
    assert by_id(part, second).keys() == by_id(whole).keys()


@QUICK
@given(seed=st.integers(0, 2**32), junk=st.lists(st.binary(max_size=200), max_size=8))
def test_shuffled_lines_and_garbage_never_raise(
    tmp_path: Path, seed: int, junk: list[bytes]
) -> None:
    chance = random.Random(seed)
    rows = CRAFTED.splitlines() + junk
    chance.shuffle(rows)
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"\n".join(rows))
    first = list(read_transcript(path, settled=True))
    assert first == list(read_transcript(path, settled=True))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@QUICK
@given(data=st.data())
def test_fields_of_any_type_never_raise(tmp_path: Path, data: st.DataObject) -> None:
    """Every field of every line in turn holds something else than it should."""
    import json

    script = long_session()
    row = data.draw(st.sampled_from(script.rows))
    target = data.draw(st.sampled_from([row, row.get("message", row)]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    content = target.get("content")
    if isinstance(content, list) and content and isinstance(content[0], dict) and content[0]:
        content[0][data.draw(st.sampled_from(sorted(content[0])))] = data.draw(JSON)
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in script.rows))
    assert len(list(read_transcript(path, settled=True))) > 3


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem[:8])
def test_two_readings_of_a_sample_make_the_same_ids(path: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / path.name
    moved.parent.mkdir()
    moved.write_bytes(path.read_bytes())
    if path.parent.name == "subagents":
        moved = moved.rename(moved.with_name(path.name))
    first = [event["id"] for event in read_transcript(path, settled=True)]
    assert first == [event["id"] for event in read_transcript(path, settled=True)]


def test_a_file_read_to_its_end_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(CRAFTED)
    first = read_transcript(path, settled=True)
    assert list(first)
    assert is_read(path, first.position)
    second = read_transcript(path, first.position, settled=True)
    assert list(second) == []
    assert second.lines == 0
    assert second.position == first.position


def test_a_file_that_grew_is_read_from_its_last_turn(tmp_path: Path) -> None:
    script = long_session()
    path = script.write(tmp_path / "s.jsonl")
    first = read_transcript(path, settled=True)
    before = list(first)
    script.ask("One more thing")
    script.write(path)
    assert not is_read(path, first.position)
    second = read_transcript(path, first.position, settled=True)
    after = list(second)
    assert second.lines == 5, "the last turn again, and the new line"
    known = {event["id"] for event in before}
    assert [event["data"]["content"] for event in after if event["id"] not in known] == [
        "One more thing"
    ]


def test_another_file_in_the_same_place_is_read_from_its_start(tmp_path: Path) -> None:
    path = long_session().write(tmp_path / "s.jsonl")
    first = read_transcript(path, settled=True)
    assert list(first)
    other = Script("77777777-0000-4000-8000-000000000003")
    for number in range(40):
        other.ask(f"question {number}")
    other.write(path)
    again = list(read_transcript(path, first.position, settled=True))
    assert len([event for event in again if event["type"] == "prompt.submitted"]) == 40


def test_a_shrunken_file_is_read_from_its_start(tmp_path: Path) -> None:
    script = long_session()
    path = script.write(tmp_path / "s.jsonl")
    first = read_transcript(path, settled=True)
    assert list(first)
    script.rows = script.rows[:3]
    script.write(path)
    assert [event["type"] for event in read_transcript(path, first.position, settled=True)] == [
        "session.started",
        "prompt.submitted",
    ]


def test_a_call_left_open_keeps_its_turn_open_for_one_more(tmp_path: Path) -> None:
    script = Script()
    script.ask("one")
    script.call("msg_1", "toolu_1")
    script.ask("two")
    path = script.write(tmp_path / "s.jsonl")
    first = read_new(path, None)
    script.result("toolu_1", "late")
    script.ask("three")
    script.ask("four")
    script.write(path)
    second = read_new(path, first.position)
    assert [event["type"] for event in second.events].count("tool.used") == 1
    whole = list(read_transcript(path, settled=True))
    assert by_id(first.events, second.events) == by_id(whole)


def test_a_call_without_a_result_is_counted_and_given_up(tmp_path: Path) -> None:
    script = Script()
    script.ask("one")
    script.call("msg_1", "toolu_1")
    for word in ("two", "three", "four"):
        script.ask(word)
    path = script.write(tmp_path / "s.jsonl")
    fresh = read_new(path, None)
    assert fresh.skipped == {"tool call without a result": 1}
    assert fresh.position.complete


def test_catching_up_stops_at_a_turn_and_goes_on(tmp_path: Path) -> None:
    script = Script()
    for number in range(30):
        script.ask(f"question {number}")
        script.say(f"msg_{number}", f"answer {number}")
    path = script.write(tmp_path / "s.jsonl")
    whole = list(read_transcript(path, settled=True))
    position: Position | None = None
    parts: list[list[Event]] = []
    while position is None or not position.complete:
        fresh = read_new(path, position, settled=True, limit=7)
        parts.append(fresh.events)
        position = fresh.position
        assert len(parts) < 100
    assert len(parts) > 3
    assert by_id(*parts) == by_id(whole)


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"offset": 1}, {"offset": "1", "known": {}}, {"known": {"new_field": 1}}],
)
def test_a_position_of_another_make_is_no_position(value: object) -> None:
    assert Position.from_dict(value) is None or value == {"known": {}}


def test_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_new(tmp_path / "none.jsonl", None)


SECRET = "sk-ant-api03-" + "k3y9" * 12


def test_a_kept_position_holds_no_words_of_the_transcript(tmp_path: Path) -> None:
    script = Script(cwd=f"/home/dev/{SECRET}")
    script.ask("One?", promptId=SECRET)
    script.plain(type="custom-title", customTitle=f"Our title {SECRET}", sessionId=script.session)
    script.say("msg_1", "Yes.")
    script.ask("Two?", promptId=f"{SECRET}2")
    reading = read_transcript(script.write(tmp_path / "s.jsonl"), settled=True)
    list(reading)
    kept = str(reading.position.to_dict())
    assert reading.position.known.title_rank == 3
    assert SECRET not in kept
    assert "Our title" not in kept


def test_a_title_is_told_once_though_only_its_fingerprint_is_kept(tmp_path: Path) -> None:
    script = Script()
    title = {"type": "custom-title", "customTitle": "Bookings", "sessionId": script.session}
    script.ask("One?")
    script.plain(**title)
    script.say("msg_1", "Yes.")
    script.ask("Two?")
    path = script.write(tmp_path / "s.jsonl")
    first = read_transcript(path, settled=True)
    assert "Bookings" in [event["data"].get("title") for event in first]
    script.plain(**title)
    script.plain(type="summary", summary="Worse", sessionId=script.session)
    script.write(path)
    position = Position.from_dict(first.position.to_dict())
    again = list(read_transcript(path, position, settled=True))
    assert [
        event["data"].get("title") for event in again if event["type"] == "session.started"
    ] == []


def test_a_title_before_its_session_is_not_lost_between_two_readings(tmp_path: Path) -> None:
    script = Script()
    script.plain(type="summary", summary="Bookings")
    script.ask("One?")
    path = tmp_path / "s.jsonl"
    path.write_bytes(script.bytes())
    whole = list(read_transcript(path, settled=True))
    first = read_transcript(path, settled=True)
    next(iter(first))
    rest = read_transcript(path, Position.from_dict(first.position.to_dict()), settled=True)
    assert list(rest) == whole
    assert whole[0]["data"]["title"] == "Bookings"


def test_a_project_that_masking_would_change_is_learnt_again(tmp_path: Path) -> None:
    folder = "/home/jane.doe@corp.com/ledger"
    script = Script(cwd=folder)
    script.ask("One?")
    script.say("msg_1", "Yes.")
    script.ask("Two?")
    path = script.write(tmp_path / "s.jsonl")
    first = read_transcript(path, settled=True)
    assert {event["project"] for event in first} == {folder}
    script.say("msg_2", "No.")
    script.ask("Three?")
    script.write(path)
    kept = first.position.to_dict()
    assert "jane.doe" not in str(kept)
    again = list(read_transcript(path, Position.from_dict(kept), settled=True))
    assert {event["project"] for event in again} == {folder}
