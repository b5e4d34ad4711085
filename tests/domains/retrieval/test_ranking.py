"""BM25F against numbers worked out by hand, and its scale."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval.ranking import (
    FOR_FUSION,
    K1,
    TITLE_WEIGHT,
    CorpusStatistics,
    Field,
    Scorer,
    inverse_document_frequency,
)
from claude_mem.domains.retrieval.terms import EMPTY, pack

NOTHING = Field(EMPTY, 0)
STATISTICS = CorpusStatistics(documents=100, average_title=4.0, average_body=10.0)


def field(text: str) -> Field:
    return Field(pack(text), len(text.split()))


def test_one_term_in_a_body_of_average_length() -> None:
    body = field("jwt a b c d e f g h i")
    scorer = Scorer(STATISTICS, {"jwt": 9})
    assert scorer.relevance(NOTHING, body) == pytest.approx(1 / (K1 + 1))


def test_title_and_body_are_added_before_saturation() -> None:
    title, body = field("jwt a b c"), field("jwt b jwt d e f g h i j")
    frequency = TITLE_WEIGHT + 2
    scorer = Scorer(STATISTICS, {"jwt": 9})
    assert scorer.relevance(title, body) == pytest.approx(frequency / (K1 + frequency))


def test_idf_is_the_published_one_and_never_negative() -> None:
    assert inverse_document_frequency(100, 9) == pytest.approx(math.log(1 + 91.5 / 9.5))
    assert inverse_document_frequency(100, 100) > 0
    assert inverse_document_frequency(100, 1_000) == inverse_document_frequency(100, 100)


def test_rare_words_weigh_more_and_short_texts_win() -> None:
    scorer = Scorer(STATISTICS, {"rare": 1, "common": 90})
    rare, common = field("rare b c d"), field("common b c d")
    long = field("rare " + "x " * 40)
    assert scorer.relevance(NOTHING, rare) > scorer.relevance(NOTHING, common)
    assert scorer.relevance(NOTHING, rare) > scorer.relevance(NOTHING, long)


def test_a_prefix_counts_beginnings_only() -> None:
    scorer = Scorer(STATISTICS, {"get*": 5})
    assert scorer.relevance(NOTHING, field("getuser a")) > 0
    assert scorer.relevance(NOTHING, field("forget a")) == 0


def test_words_are_matched_whole() -> None:
    scorer = Scorer(STATISTICS, {"auth": 5})
    assert scorer.relevance(NOTHING, field("auth/jwt.ts author")) == 0


def test_pairs_of_characters_are_counted_inside_their_runs() -> None:
    scorer = Scorer(STATISTICS, {"据库": 5})
    assert scorer.relevance(NOTHING, field("数据库 a")) > 0
    assert scorer.relevance(NOTHING, field("数据 库")) == 0


def test_reasons_add_up() -> None:
    scorer = Scorer(STATISTICS, {"jwt": 5, "token": 20, "absent": 1})
    score = scorer.explain(field("jwt fix"), field("the jwt token"))
    assert score.relevance == pytest.approx(sum(share for _, share in score.parts))
    assert [word for word, _ in score.parts] == ["jwt", "token"]
    assert score.in_title == ("jwt",)
    assert score.in_body == ("jwt", "token")


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 200), min_size=1),
    st.lists(st.sampled_from("abcdefxyz"), max_size=60),
    st.lists(st.sampled_from("abcdefxyz"), max_size=10),
)
def test_relevance_is_in_zero_to_one(
    frequencies: dict[str, int], body: list[str], title: list[str]
) -> None:
    scorer = Scorer(STATISTICS, frequencies)
    found = scorer.relevance(field(" ".join(title)), field(" ".join(body)))
    assert 0 <= found <= 1
    more = scorer.relevance(
        field(" ".join(title)), Field(pack(" ".join([*body, *frequencies])), len(body))
    )
    assert more >= found


def test_for_fusion_of_two_short_texts_the_shorter_is_not_the_better_and_long_ones_lose() -> None:
    statistics = CorpusStatistics(documents=100, average_title=4.0, average_body=80.0)
    scorer = Scorer(statistics, {"jwt": 9}, FOR_FUSION)
    short, longer = field("jwt a"), field("jwt " + "a " * 59)
    long = field("jwt " + "a " * 159)
    assert scorer.relevance(NOTHING, short) == scorer.relevance(NOTHING, longer)
    assert scorer.relevance(NOTHING, long) == pytest.approx(0.5 / (K1 + 0.5))
    assert scorer.relevance(NOTHING, longer) == pytest.approx((80 / 60) / (K1 + 80 / 60))


def test_for_fusion_a_long_title_says_as_much_as_a_short_one() -> None:
    scorer = Scorer(STATISTICS, {"jwt": 9}, FOR_FUSION)
    short = scorer.relevance(field("jwt"), NOTHING)
    assert short == scorer.relevance(field("jwt a b c d"), NOTHING)
    assert short == pytest.approx(TITLE_WEIGHT / (K1 + TITLE_WEIGHT))


def test_for_fusion_an_empty_document_is_worth_nothing_and_raises_nothing() -> None:
    assert Scorer(STATISTICS, {"jwt": 9}, FOR_FUSION).relevance(NOTHING, NOTHING) == 0.0
