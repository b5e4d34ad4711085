"""What counts as evidence in a context, and how top-k is filled."""

from __future__ import annotations

import pytest
from bench.context_share import cut
from bench.retrieval.evidence import outcome, share, until_full, words
from hypothesis import given
from hypothesis import strategies as st

_TEXT = "Caroline went to the support group on Sunday, and she was glad of it."


def test_a_text_that_stands_in_the_context_is_there_whatever_its_signs_and_case() -> None:
    context = f"# 7 May\n- asked: {_TEXT.upper().replace(',', ' /')} [0189]"
    assert share(_TEXT, context) == 1.0


def test_scattered_words_and_short_runs_are_none() -> None:
    assert share(_TEXT, " ".join(sorted(words(_TEXT)))) == 0.0
    assert share(_TEXT, "Caroline went to the beach; the support group was there") == 0.0


def test_a_part_counts_by_its_words() -> None:
    assert share("a b c d e f g h i j", "x a b c d e f y") == 0.6
    assert share("好 的 去 年 我 们 去 了", "去年我们去了") == 0.75


def test_short_evidence_must_stand_together() -> None:
    assert share("Uplifting nature!", "it was uplifting nature") == 1.0
    assert share("Uplifting nature!", "nature was uplifting") == 0.0
    assert share("!?", "anything") == 0.0


@given(st.text(), st.text())
def test_it_is_a_share_and_nothing_is_lost_by_more_context(evidence: str, more: str) -> None:
    alone = share(evidence, evidence)
    assert alone in (0.0, 1.0)
    assert share(evidence, f"{more} \n {evidence}") >= alone


def test_a_question_is_answered_by_any_and_by_all() -> None:
    found = outcome([1.0, 0.6, 0.0])
    assert found == pytest.approx(
        {"any_half": 1, "all_half": 0, "any_whole": 1, "all_whole": 0, "shown": 1.6 / 3}
    )
    assert outcome([0.5, 0.94]) == pytest.approx(
        {"any_half": 1, "all_half": 1, "any_whole": 0, "all_whole": 0, "shown": 0.72}
    )


def test_top_k_ends_at_what_finds_no_room() -> None:
    assert until_full(["a", "b", "c"], [400, 300, 1], 700) == ["a", "b"]
    assert until_full(["a", "b", "c"], [400, 301, 1], 700) == ["a"]
    assert until_full(["a"], [701], 700) == []


def test_a_cut_text_costs_what_there_is_and_no_word_more() -> None:
    def cost(text: str) -> int:
        return len(text.split())

    assert cut("one two three four", cost, 3) == "one two three"
    assert cut("one two three", cost, 3) == "one two three"
    assert cut("one two", cost, 0) == ""
