"""The comparison with other systems: what they are given, how they are scored, that a failure is said."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.retrieval.data import Question, QuestionSet, Said
from bench.rivals import __main__ as rivals
from bench.rivals import drive, embedding_server


def _said(number: int, text: str) -> Said:
    return Said(f"t{number}", text, "s", "c", "Ann", number, "")


def _set() -> QuestionSet:
    said = [_said(1, "Hello"), _said(2, "We leave on Monday"), _said(3, "Hello"), _said(4, "Bye")]
    questions = [
        Question("q1", "When?", frozenset({"t2"}), "", "c"),
        Question("q2", "Who greets?", frozenset({"t3"}), "", "c"),
        Question("q3", "Both?", frozenset({"t2", "t4"}), "", "c"),
    ]
    return QuestionSet("toy", said, questions, {})


def test_who_spoke_is_in_what_a_rival_is_given() -> None:
    assert rivals.spoken(_said(1, "Hello")) == "Ann: Hello"


def test_the_same_words_count_as_one_whichever_is_given() -> None:
    data = _set()
    same = rivals.one_each(data.said)
    assert same == {"t1": "t1", "t2": "t2", "t3": "t1", "t4": "t4"}
    found = {"q1": ["t1", "t3", "t2"], "q2": ["t1"], "q3": ["t4"]}
    scored = rivals.recall(found, data, same)
    assert scored["any@5"]["percent"] == 100.0
    assert scored["fraction@10"]["percent"] == pytest.approx(83.3)


def test_a_part_keeps_only_questions_that_it_answers_in_full() -> None:
    assert [one.id for one in rivals.part(_set(), 3).questions] == ["q1", "q2"]
    assert rivals.part(_set(), None).said == _set().said


def test_latency_is_of_the_ordered_times() -> None:
    assert rivals.latency([0.003, 0.001, 0.002]) == {"p50": 2.0, "p99": 3.0}


def test_what_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no vectors here"):
        rivals.run([sys.executable, "-c", "raise SystemExit('no vectors here')"], home=tmp_path)


def test_a_failure_is_in_the_table() -> None:
    result = {
        "texts": 1,
        "questions": 1,
        "embedding_server_rss_mb": 1,
        "systems": {"chromadb": {"version": "1", "failed": "no wheel"}},
    }
    assert "chromadb  DID NOT RUN: no wheel" in rivals.table(result)


def test_vectors_come_in_the_encoding_that_was_asked_for() -> None:
    raw = b"\x00\x00\x80\x3f\x00\x00\x00\xbf"  # 1.0 and -0.5
    plain = embedding_server.answer([raw], {"model": "m"})
    assert plain["data"][0]["embedding"] == [1.0, -0.5]
    coded = embedding_server.answer([raw], {"encoding_format": "base64"})
    assert base64.b64decode(coded["data"][0]["embedding"]) == raw


def test_the_driver_asks_after_it_has_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        def __init__(self) -> None:
            self.kept: list[tuple[str, str]] = []

        def remember(self, texts: list[tuple[str, str]]) -> None:
            self.kept = texts

        def ask(self, question: str, k: int) -> list[str]:
            return [one for one, text in self.kept if question in text][:k] * 2

    class Answer:
        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self) -> bytes:
            return json.dumps({"took": [0.5]}).encode()

    asked: list[str] = []

    def urlopen(url: str, **_: Any) -> Answer:
        asked.append(url)
        return Answer()

    monkeypatch.setattr(drive.urllib.request, "urlopen", urlopen)
    task = {
        "texts": [["a", "red sky"], ["b", "blue sky"], ["c", "sea"]],
        "questions": [["q", "sky"]],
        "k": 2,
        "warm": 1,
        "endpoint": "http://127.0.0.1:1/v1/embeddings",
    }
    result = drive.drive(Memory(), task)
    assert result["found"] == {"q": ["a", "b"]}
    assert len(result["took_s"]) == 1
    assert result["embedding_s"] == [0.5]
    assert asked == ["http://127.0.0.1:1/took"] * 2
