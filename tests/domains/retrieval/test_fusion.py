"""Fusion: what may move a hit, and by how much; and what must hold whatever the candidates are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval import fusion, traits
from claude_mem.domains.retrieval.fusion import Asked, Candidate, fuse, fuse_by_rank

NOW = 1_700_000_000_000
DAY = 86_400_000
ASKED = Asked(now=NOW)
SILENT = Asked(now=NOW, wants_speech=False)


def order(candidates: Sequence[Candidate], asked: Asked = ASKED) -> list[int]:
    return [hit.key for hit in fuse(candidates, asked)]


def best(asked: Asked = ASKED, **changes: Any) -> int:
    """Which of two that are the same but for the second's changes comes first, the older being the second."""
    plain = Candidate(1, lexical=0.5, meaning=0.5, occurred_at=NOW - DAY)
    leader = Candidate(9, lexical=0.9, meaning=0.9, occurred_at=NOW - DAY)  # the scale of both legs
    other = plain._replace(key=2, occurred_at=NOW - DAY - 1, **changes)
    return next(key for key in order([leader, plain, other], asked) if key != 9)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"lexical": 0.51}, ASKED),
        ({"meaning": 0.51}, ASKED),
        ({"characters": 0.1}, ASKED),
        ({"voice": 1.0}, ASKED),
        ({"is_named": True}, ASKED),
        ({"is_in_time": True}, ASKED),
        ({"is_on_day": True}, ASKED),
        ({"has_file": True}, ASKED),
        ({"has_tool": True}, ASKED),
        ({"traits": traits.RULE}, ASKED),
        ({"traits": traits.PREFERENCE}, ASKED),
        ({"traits": traits.TIMED}, Asked(now=NOW, is_when=True)),
        ({"traits": traits.WISH}, Asked(now=NOW, is_of_rules=True)),
        ({"importance": 0.2}, ASKED),
        ({"is_flagged": True}, ASKED),
        ({"uses": 1}, ASKED),
    ],
)
def test_each_part_decides_between_equals(changes: dict[str, Any], asked: Asked) -> None:
    assert best(asked, **changes) == 2
    assert best(asked) == 1, "without it the newer comes first"


def test_what_does_not_fit_the_question_counts_nothing() -> None:
    assert best(SILENT, voice=1.0) == 1
    assert best(ASKED, traits=traits.TIMED) == 1
    assert best(ASKED, traits=traits.WISH) == 1
    assert best(Asked(now=NOW, trust=0.0), meaning=0.8) == 1


def test_a_turn_beside_a_good_one_of_its_session_is_moved_up_the_more_the_nearer() -> None:
    found = [
        Candidate(1, lexical=0.9, session="a", place=10),
        Candidate(2, lexical=0.2, session="b", place=11),
        Candidate(3, lexical=0.2, session="a", place=24),
        Candidate(4, lexical=0.2, session="a", place=11),
        Candidate(5, lexical=0.2, session="a", place=900),
    ]
    assert order(found, SILENT)[:3] == [1, 4, 3]
    by_key = {hit.key: hit for hit in fuse(found, SILENT)}
    assert by_key[2].relevance == by_key[5].relevance, "too far to count"
    assert fusion.SESSION in by_key[4].parts
    assert fusion.SESSION not in by_key[1].parts, "it is the good one itself"


def test_without_places_a_session_counts_in_the_order_of_time() -> None:
    found = [
        Candidate(1, lexical=0.9, session="a", occurred_at=1),
        Candidate(2, lexical=0.2, session="a", occurred_at=2),
        Candidate(3, lexical=0.2, session="a", occurred_at=3),
        Candidate(4, lexical=0.2, occurred_at=4),
    ]
    assert order(found, SILENT) == [1, 2, 3, 4]


def test_what_is_known_of_a_thing_never_outweighs_the_words() -> None:
    match = Candidate(1, lexical=0.8, meaning=0.7)
    dear = Candidate(
        2, lexical=0.6, meaning=0.6, importance=1.0, is_flagged=True, uses=10_000, occurred_at=NOW
    )
    assert order([dear, match]) == [1, 2]
    most = fusion.W_IMPORTANCE + fusion.W_FLAG + fusion.W_RECENCY + fusion.W_USE
    assert most < fusion.W_LEXICAL / 10


def test_words_alone_and_meaning_alone_are_enough() -> None:
    words = [Candidate(key, lexical=key / 10) for key in range(1, 5)]
    assert order(words) == [4, 3, 2, 1]
    meaning = [Candidate(key, lexical=0.0, meaning=key / 10) for key in range(1, 5)]
    assert order(meaning) == [4, 3, 2, 1]
    assert all(hit.relevance > 0 for hit in fuse(meaning, ASKED))


def test_an_unknown_cosine_is_taken_for_the_least_that_is_known() -> None:
    found = [
        Candidate(1, lexical=0.5, meaning=0.8),
        Candidate(2, lexical=0.5, meaning=0.4),
        Candidate(3, lexical=0.5),
    ]
    by_key = {hit.key: hit.parts for hit in fuse(found, ASKED)}
    assert by_key[3][fusion.MEANING] == by_key[2][fusion.MEANING] < by_key[1][fusion.MEANING]


def test_the_best_of_a_bad_lot_is_not_near_one() -> None:
    good, bad = (
        fuse([Candidate(1, lexical=0.9)], SILENT),
        fuse([Candidate(1, lexical=0.05)], SILENT),
    )
    assert good[0].relevance > 0.7
    assert bad[0].relevance < 0.1


def test_a_page_is_the_beginning_of_the_whole() -> None:
    found = [Candidate(key, lexical=key % 7 / 7, meaning=key % 5 / 5) for key in range(40)]
    assert fuse(found, ASKED, limit=10) == fuse(found, ASKED)[:10]
    assert fuse_by_rank(found, limit=10) == fuse_by_rank(found)[:10]
    assert fuse([], ASKED) == []
    assert fuse_by_rank([]) == []


def test_reciprocal_ranks() -> None:
    found = [
        Candidate(1, lexical=0.9, meaning=0.1),
        Candidate(2, lexical=0.8, meaning=0.9),
        Candidate(3, lexical=0.0, meaning=0.2),
    ]
    hits = fuse_by_rank(found)
    assert [hit.key for hit in hits] == [2, 1, 3]
    k = fusion.RANK_CONSTANT
    assert hits[0].relevance == pytest.approx((1 / (k + 2) + 1 / (k + 1)) / (2 / (k + 1)))
    assert hits[2].parts == {fusion.MEANING: pytest.approx(1 / (k + 2) / (2 / (k + 1)))}
    assert [hit.key for hit in fuse_by_rank(found, trust=0.0)] == [1, 2, 3]


def test_sessions_come_in_the_order_of_their_best_hits() -> None:
    hits = fuse([Candidate(key, lexical=key / 10) for key in range(1, 6)], SILENT)
    of = {1: "a", 2: "b", 3: None, 4: "c", 5: "b"}
    assert fusion.sessions(hits, of) == ["b", "c", "a"]


_SHARES = st.floats(0.0, 1.0)
_CANDIDATES = st.lists(
    st.builds(
        Candidate,
        key=st.integers(0, 10**6),
        lexical=_SHARES,
        meaning=st.none() | st.floats(-1.0, 1.0),
        characters=_SHARES,
        session=st.none() | st.sampled_from("abc"),
        place=st.none() | st.integers(1, 60),
        occurred_at=st.integers(0, 2 * NOW),
        traits=st.integers(0, 15),
        voice=st.floats(0, 1),
        is_named=st.booleans(),
        is_in_time=st.booleans(),
        is_on_day=st.booleans(),
        has_file=st.booleans(),
        has_tool=st.booleans(),
        importance=_SHARES,
        is_flagged=st.booleans(),
        uses=st.integers(0, 1_000),
    ),
    max_size=12,
    unique_by=lambda candidate: candidate.key,
)
_ASKED = st.builds(
    Asked,
    now=st.just(NOW),
    trust=_SHARES,
    wants_speech=st.booleans(),
    is_first_person=st.booleans(),
    is_when=st.booleans(),
    is_of_rules=st.booleans(),
)


@given(_CANDIDATES, _ASKED, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(
    candidates: list[Candidate], asked: Asked, chance: random.Random
) -> None:
    shuffled = list(candidates)
    chance.shuffle(shuffled)
    assert fuse(shuffled, asked) == fuse(candidates, asked)
    assert fuse_by_rank(shuffled, asked.trust) == fuse_by_rank(candidates, asked.trust)


def test_a_wish_that_is_a_rule_counts_once() -> None:
    asked = Asked(now=NOW, is_of_rules=True)
    one = fuse([Candidate(1, lexical=1.0, meaning=1.0, traits=traits.RULE)], asked)
    both = fuse([Candidate(1, lexical=1.0, meaning=1.0, traits=traits.RULE | traits.WISH)], asked)
    assert both[0].parts["rule"] == pytest.approx(one[0].parts["rule"])


def test_a_repeat_goes_behind_what_is_a_little_worse_and_its_parts_still_add_up() -> None:
    found = [Candidate(key, lexical=share) for key, share in ((1, 1.0), (2, 0.95), (3, 0.9))]
    told: list[Sequence[int]] = []

    def repeats(keys: Sequence[int]) -> list[float]:
        told.append(keys)
        return [0.7 if key == 2 else 1.0 for key in keys]

    hits = fuse(found, SILENT, repeats=repeats)
    assert told == [[1, 2, 3]]
    assert [hit.key for hit in hits] == [1, 3, 2]
    assert hits[2].relevance == pytest.approx(0.7 * fuse(found, SILENT)[1].relevance)
    assert sum(hits[2].parts.values()) == pytest.approx(hits[2].relevance)


@given(_CANDIDATES, _ASKED, st.integers(1, 12))
def test_pages_of_what_repeats_follow_each_other(
    candidates: list[Candidate], asked: Asked, limit: int
) -> None:
    def repeats(keys: Sequence[int]) -> list[float]:
        return [1.0 - 0.3 * (number % 2) for number, _ in enumerate(keys)]

    assert fuse(candidates, asked, limit, repeats) == fuse(candidates, asked, None, repeats)[:limit]


@given(_CANDIDATES, _ASKED)
def test_relevance_is_a_share_and_its_parts_add_up_to_it(
    candidates: list[Candidate], asked: Asked
) -> None:
    for hits in (fuse(candidates, asked), fuse_by_rank(candidates, asked.trust)):
        assert sorted(hit.key for hit in hits) == sorted(it.key for it in candidates)
        shares = [hit.relevance for hit in hits]
        assert all(0.0 <= share <= 1.0 for share in shares)
        assert all(a >= b - 1e-12 for a, b in pairwise(shares))
        for hit in hits:
            assert sum(hit.parts.values()) == pytest.approx(hit.relevance, abs=1e-9)
            assert all(part > 0 for part in hit.parts.values())


@given(_CANDIDATES, _ASKED, st.integers(0, 11), _SHARES, st.sampled_from(("lexical", "meaning")))
def test_more_evidence_in_a_leg_never_moves_a_hit_down(
    candidates: list[Candidate], asked: Asked, number: int, raised: float, leg: str
) -> None:
    """While another holds the best of the legs: it is what all are measured by."""
    leader = Candidate(-1, lexical=1.0, meaning=1.0)
    rest = candidates[:number] + candidates[number + 1 :]
    least = Candidate(
        -2, lexical=0.0, meaning=0.0
    )  # and the least, which stands for what is not known
    changed = candidates[number] if number < len(candidates) else Candidate(-3, 0.3, 0.3)
    before = [leader, least, *rest, changed]
    more = max(raised, getattr(changed, leg) or 0.0)
    raised_one = (
        changed._replace(lexical=more) if leg == "lexical" else changed._replace(meaning=more)
    )
    after = [leader, least, *rest, raised_one]
    assert order(after, asked).index(changed.key) <= order(before, asked).index(changed.key)


@given(_CANDIDATES, _ASKED, _SHARES)
def test_what_all_have_alike_changes_no_order(
    candidates: list[Candidate], asked: Asked, importance: float
) -> None:
    plain = [it._replace(importance=0.0, uses=0, occurred_at=NOW) for it in candidates]
    alike = [it._replace(importance=importance, uses=3, is_flagged=True) for it in plain]
    bare = [it._replace(is_flagged=False) for it in plain]
    shares = {hit.key: hit.relevance for hit in fuse(bare, asked)}
    for before, after in zip(order(bare, asked), order(alike, asked), strict=True):
        assert before == after or shares[before] == pytest.approx(shares[after], abs=1e-9)
