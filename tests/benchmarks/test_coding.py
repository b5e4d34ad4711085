"""The question set about coding work: that it is whole, as large and as mixed as its README says, and always the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from bench.coding import corpus, questions, sessions
from bench.coding.__main__ import write
from bench.coding.rows import Row
from bench.retrieval.data import sets
from pydantic import TypeAdapter

from claude_mem.domains.capture.schemas import Event
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.ids import new_id


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return corpus.rows()


@pytest.fixture(scope="module")
def asked() -> list[questions.Asked]:
    return questions.load()


def test_the_pool_is_large_and_ids_are_unique(
    rows: list[Row], asked: list[questions.Asked]
) -> None:
    assert len(rows) >= 2_000
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({one.id for one in asked}) == len(asked)
    assert len({one.text for one in asked}) == len(asked)


def test_what_answers_exists_and_was_written_by_hand(asked: list[questions.Asked]) -> None:
    known = {row["id"] for row in sessions.rows()}
    for one in asked:
        assert one.relevant, one.id
        assert len(set(one.relevant)) == len(one.relevant), one.id
        assert set(one.relevant) <= known, one.id


def test_no_question_is_a_copy_of_its_answer(rows: list[Row], asked: list[questions.Asked]) -> None:
    texts = {row["id"]: " ".join(row["text"].casefold().split()) for row in rows}
    for one in asked:
        for id_ in one.relevant:
            assert one.text.casefold() not in texts[id_], (one.id, id_)


def test_it_is_as_mixed_as_it_is_said_to_be(asked: list[questions.Asked]) -> None:
    assert len(asked) == 229
    assert Counter(one.category for one in asked) == {
        "error": 43,
        "decision": 41,
        "identifier": 38,
        "paraphrase": 37,
        "command": 23,
        "preference": 20,
        "file": 14,
        "time": 13,
    }
    assert Counter(one.language for one in asked) == {"en": 152, "zh-id": 34, "zh": 29, "cross": 14}
    assert Counter(one.difficulty for one in asked) == {"medium": 116, "easy": 68, "hard": 45}
    assert set(questions.CATEGORIES) == {one.category for one in asked}
    assert set(questions.LANGUAGES) == {one.language for one in asked}
    assert set(questions.DIFFICULTIES) == {one.difficulty for one in asked}


def test_languages_are_what_they_say(rows: list[Row], asked: list[questions.Asked]) -> None:
    texts = {row["id"]: row["text"] for row in rows}
    for one in asked:
        chinese = any("\u4e00" <= sign <= "\u9fff" for sign in one.text)
        assert chinese == one.language.startswith("zh"), one.id
        if one.language == "zh-id":
            assert any(sign.isascii() and sign.isalpha() for sign in one.text), one.id
        if one.language == "cross":
            assert any("\u4e00" <= s <= "\u9fff" for id_ in one.relevant for s in texts[id_]), (
                one.id
            )


def test_a_third_of_the_sessions_are_chinese(rows: list[Row]) -> None:
    first = {row["session"]: row["text"] for row in reversed(list(sessions.rows()))}
    chinese = [text for text in first.values() if any("\u4e00" <= s <= "\u9fff" for s in text)]
    assert (len(chinese), len(first)) == (9, 27)
    assert len({row["conv"] for row in rows}) == 8  # six projects and the sample's two


def test_every_row_is_an_event_that_is_accepted(rows: list[Row]) -> None:
    accepts = TypeAdapter(Event)
    for row in rows:
        accepts.validate_python(
            {
                "id": new_id(),
                "type": row["kind"],
                "occurred_at": to_iso(1_767_000_000_000),
                "agent": "claude-code",
                "session": row["session"],
                "project": row["conv"],
                "data": row["data"],
            }
        )


def test_the_same_sources_make_the_same_bytes(tmp_path: Path) -> None:
    made = [write(tmp_path / name) for name in ("a", "b")]
    sums = [
        [hashlib.sha256((folder / f"{name}.jsonl").read_bytes()).hexdigest() for folder in made]
        for name in ("corpus", "queries")
    ]
    assert all(one == other for one, other in sums)
    [data] = sets(tmp_path / "a")
    assert data.name == "coding"
    assert len(data.questions) == 229


def test_what_is_not_understood_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.txt").write_text(
        "@@ session s project=p start=2026-01-01T10:00 branch=b by=B\n@@ sing\nla\n"
    )
    monkeypatch.setattr(sessions, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="not understood: @@ sing"):
        list(sessions.rows())
