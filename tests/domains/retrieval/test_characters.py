"""The share of a question's characters that a text has."""

from __future__ import annotations

import pytest

from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.characters import Characters
from claude_mem.domains.retrieval.terms import EMPTY, pack


def document(text: str) -> tuple[bytes, bytes]:
    return EMPTY, pack(analysis.document(text).stored)


def test_a_rare_character_tells_more_than_a_common_one_wherever_it_stands() -> None:
    texts = [document("血红拟蛇鱼又名蟒属"), document("白鳗鱼"), document("红色鱼"), document("鱼")]
    shares = Characters("蟒鱼是什么？").shares(texts)
    assert shares[0] == 1.0
    assert 0.0 < shares[1] == shares[2] == shares[3] < 0.5


def test_the_title_counts_and_question_words_do_not() -> None:
    title = (pack(analysis.document("蟒").stored), EMPTY)
    assert Characters("蟒是什么").shares([title, document("什么")]) == [1.0, 0.0]


@pytest.mark.parametrize("question", ["", "which fish is it", "什么", "12"])
def test_a_question_without_such_characters_has_none(question: str) -> None:
    characters = Characters(question)
    assert not characters
    assert characters.shares([document("鱼")]) == [0.0]


def test_characters_that_no_text_has_are_no_part_of_the_scale() -> None:
    assert Characters("鱼龙").shares([document("鱼"), document("x")]) == [1.0, 0.0]
    assert Characters("鱼龙").shares([]) == []


def test_what_is_said_in_another_language_counts_less_than_the_characters_themselves() -> None:
    texts = [document("超时"), document("timeout"), document("x")]
    shares = Characters("超时").shares(texts, [(), (("超时", 0.8),), ()])
    assert shares == pytest.approx([1.0, 0.8, 0.0])
    both = Characters("超时").shares([document("超时")], [(("超时", 0.8),)])
    assert both == [1.0]
