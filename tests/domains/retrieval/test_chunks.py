"""A thing's text in pieces that a small model sees whole."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval.chunks import (
    MOST,
    OVERLAP,
    WIDTH,
    fingerprint,
    pieces_of,
    split,
)
from claude_mem.domains.retrieval.model import IndexEntry

NOTE = IndexEntry(
    kind="observation",
    entity_id="1",
    title="Rounding of invoices",
    body="Half a cent went missing.",
    project_id=None,
    session_id=None,
    type="tool_result",
    tool=None,
    role=None,
    tags=(),
    files=(),
    occurred_at=0,
)
SENTENCES = [f"Sentence {n} says that step {n} of the plan was done well." for n in range(200)]


def test_what_is_short_is_one_piece_under_its_title() -> None:
    assert pieces_of(NOTE) == ["Rounding of invoices\nHalf a cent went missing."]


def test_a_prompt_says_who_spoke_and_not_what_its_session_is_called() -> None:
    prompt = replace(NOTE, kind="prompt", type="assistant")
    assert pieces_of(prompt) == ["Half a cent went missing."]
    assert pieces_of(replace(prompt, speaker="Ada")) == ["Ada: Half a cent went missing."]
    answer = replace(prompt, before="user: Where is it?")
    assert pieces_of(answer) == ["user: Where is it?\nHalf a cent went missing."]
    assert fingerprint(answer) == fingerprint(prompt)
    assert fingerprint(prompt) == fingerprint(replace(prompt, title="Another title"))


def test_what_says_nothing_has_no_piece() -> None:
    assert pieces_of(replace(NOTE, title="", body=" \n ")) == []
    assert pieces_of(replace(NOTE, body="")) == ["Rounding of invoices"]
    assert pieces_of(replace(NOTE, kind="prompt", type="user", body="")) == []


def test_pieces_end_with_sentences_and_overlap_by_whole_ones() -> None:
    pieces = list(split(" ".join(SENTENCES[:60])))
    assert len(pieces) > 3
    for piece in pieces:
        assert len(piece) <= WIDTH
        assert piece.endswith("well.")
        assert piece.startswith("Sentence")
    for one, other in itertools.pairwise(pieces):
        shared = other.split(".")[0]
        assert shared in one, "the end of one is the beginning of the next"
        assert one.index(shared) >= len(one) - OVERLAP - len(shared)


def test_paragraphs_go_before_sentences() -> None:
    text = f"{' '.join(SENTENCES[:9])}\n\n{' '.join(SENTENCES[9:18])}"
    assert next(iter(split(text))) == " ".join(SENTENCES[:9])


def test_chinese_counts_as_much_as_a_model_sees_of_it() -> None:
    sentence = "发票的金额按照规则四舍五入到分。"
    pieces = list(split(sentence * 60))
    assert all(len(piece) * 4 <= WIDTH for piece in pieces)
    assert all(piece.endswith("。") for piece in pieces)
    assert all(piece.startswith("发票") for piece in pieces)


def test_of_what_is_very_long_head_and_tail_are_kept() -> None:
    text = " ".join(f"line{n}" for n in range(200_000))
    pieces = list(split(text))
    assert len(pieces) == MOST
    assert pieces[0].startswith("line0 ")
    assert pieces[-1].endswith("line199999")


def test_text_without_any_end_is_cut_all_the_same() -> None:
    pieces = list(split("x" * 5_000))
    assert all(len(piece) <= WIDTH for piece in pieces)
    assert sum(map(len, pieces)) >= 5_000


@pytest.mark.parametrize("change", [{"title": "Other"}, {"body": "Other"}, {"kind": "prompt"}])
def test_another_text_has_another_fingerprint(change: dict[str, str]) -> None:
    assert fingerprint(replace(NOTE, **change)) != fingerprint(NOTE)  # type: ignore[arg-type]


def test_halves_of_surrogates_have_a_fingerprint() -> None:
    assert fingerprint(replace(NOTE, body="\ud83d")) != fingerprint(replace(NOTE, body="\ud83e"))


@given(st.text(alphabet="ab .。\n发票,", max_size=6_000))
def test_every_word_is_in_some_piece(text: str) -> None:
    pieces = list(split(text))
    joined = "\n".join(pieces)
    assert len(pieces) <= MOST
    for part in text.split():
        if len(part) < 40:
            assert part in joined or len(pieces) == MOST
