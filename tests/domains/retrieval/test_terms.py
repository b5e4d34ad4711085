"""Packed terms: every count is what counting in the text itself gives."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.terms import EMPTY, Needle, Needles, pack

WORDS = ["a", "auth", "author", "auth/jwt.ts", "get", "getuser", "h", "i", "t", "tt", "z", "é", "7", "_x", "数据库", "库", "ไทย"]  # fmt: skip


def counted(text: str, word: str) -> int:
    """The plain way."""
    if analysis.is_dense(word):
        return text.count(word)
    tokens = text.split()
    if word.endswith("*"):
        return sum(token.startswith(word[:-1]) for token in tokens)
    return tokens.count(word)


def test_nothing_has_nothing() -> None:
    assert pack("") == EMPTY
    assert Needle("a").count(EMPTY) == Needle("a*").count(EMPTY) == Needle("数").count(EMPTY) == 0


@given(
    st.lists(st.sampled_from(WORDS), max_size=60),
    st.sampled_from([*WORDS, "aut", "au*", "auth*", "getuser*", "数据", "zz", "zz*", "é*", "ti"]),
    st.booleans(),
)
def test_counts_are_those_of_the_text(words: list[str], wanted: str, long: bool) -> None:
    # What makes a field long enough for a header, and surrounds every range with neighbours.
    filler = [f"{letter}{n}q" for letter in "abcdefghijklmnopqrstuvwxyz_7é" for n in range(8)]
    text = " ".join([*words, *filler] if long else words)
    assert Needle(wanted).count(pack(text)) == counted(text, wanted)


@given(
    st.lists(st.sampled_from(WORDS), max_size=60),
    st.lists(st.sampled_from([*WORDS, "aut", "au*", "auth*", "数据", "zz", "zz*", "é*", "ti"])),
    st.booleans(),
)
def test_several_are_counted_as_each_by_itself(
    words: list[str], wanted: list[str], long: bool
) -> None:
    filler = [f"{letter}{n}q" for letter in "abcdefghijklmnopqrstuvwxyz_7é" for n in range(8)]
    packed = pack(" ".join([*words * 30, *filler] if long else words))
    needles = [Needle(word) for word in wanted]
    assert Needles(needles).counts(packed) == [needle.count(packed) for needle in needles]


@given(
    st.lists(st.tuples(st.lists(st.sampled_from(WORDS), max_size=40), st.booleans()), max_size=8),
    st.lists(st.sampled_from([*WORDS, "aut", "au*", "auth*", "数据", "zz", "zz*", "é*", "ti"])),
)
def test_many_fields_are_counted_as_each_by_itself(
    fields: list[tuple[list[str], bool]], wanted: list[str]
) -> None:
    filler = [f"{letter}{n}q" for letter in "abcdefghijklmnopqrstuvwxyz_7é" for n in range(8)]
    packed = [pack(" ".join([*words * 30, *filler] if long else words)) for words, long in fields]
    needles = [Needle(word) for word in wanted]
    counts = [
        [(row, needle.count(field)) for row, field in enumerate(packed)] for needle in needles
    ]
    expected = [[(row, count) for row, count in each if count] for each in counts]
    assert [sorted(each) for each in Needles(needles).hits(packed)] == expected


def test_counts_beyond_a_letter() -> None:
    for count in (1, 25, 26, 27, 675, 676, 20_000):
        packed = pack("token " * count + "tokens tok")
        assert Needle("token").count(packed) == count
        assert Needle("tok*").count(packed) == count + 2
        assert Needles([Needle("token"), Needle("tok*")]).counts(packed) == [count, count + 2]


def test_a_word_at_the_border_of_each_range_is_found() -> None:
    pick = random.Random(3)
    letters = "0-_abcdefghijklmnopqrstuvwxyzßд"
    words = sorted({"".join(pick.choices(letters, k=pick.randint(1, 9))) for _ in range(3_000)})
    packed = pack(" ".join(words))
    assert all(Needle(word).count(packed) == 1 for word in words)
    assert not any(Needle(f"{word}x0").count(packed) for word in words if f"{word}x0" not in words)


def test_a_packed_text_is_smaller_than_the_text() -> None:
    text = " ".join(random.Random(5).choices(["alpha", "beta", "gamma", "delta"], k=400))
    assert len(pack(text)) < len(text) / 10
