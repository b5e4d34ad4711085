"""Spotting gives what the analysis gives: on the sample, on what is odd, and on whatever letters there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import claude_mem
from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.spotting import Spotter, letters

SAMPLE = Path(claude_mem.__file__).parent / "assets" / "sample"
ODD = [
    "We'll don’t they'd user's rock'n'roll",
    "30_000 iso8859_7 utf_8 MAX_RETRY_2 b'L'",
    "skies dying lying tying cries tries using hoping ages owing",
    "sensibility frequency relational digitizer hopefulness agreed happily",
    "went gone broke unbroken chosen wroteLog BROKEN_BUILDS index indices theses children",
    "behaviour colourful analyses realised customisable tokenisers memoise promise raiseError",
    "getUserById TS2345 auth/jwt.ts v1.2.3 2026-11-20 fe80ab1 foo-bar",
    "Größe naïve ÉCOLE ﬁle Ｆｕｌｌ İstanbul",
    "退款规则 修复jwt错误。锁 表里有getUser方法 の ไทย",
]


def texts() -> Iterator[str]:
    """What was said and shown in the sample."""

    def strings(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from strings(inner)

    for path in sorted(SAMPLE.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield from strings(json.loads(line))


def expected(weights: dict[str, float], text: str) -> float:
    """The plain way."""
    return sum(weights.get(word, 0.0) for word in analysis.words(text))


def test_the_words_are_the_tokens_without_stop_words() -> None:
    for text in [*ODD, "The user's tokens are in the store, and 的 了"]:
        kept = {token for token in analysis.tokens(text) if not analysis.is_stop_word(token)}
        assert analysis.words(text) == set(analysis.each_word(text)) == kept


@pytest.mark.parametrize("text", ODD)
def test_every_word_of_what_is_odd_is_spotted_alone(text: str) -> None:
    words = analysis.words(text)
    assert words
    for word in words:
        assert Spotter({word: 1.0}).worth(text) == 1.0
        assert Spotter({f"{word}zq": 1.0}).worth(text) == 0.0


def test_on_the_sample_it_is_worth_what_the_analysis_finds() -> None:
    said = [text for text in texts() if 20 < len(text) < 600][::7]
    assert len(said) > 300
    for number, text in enumerate(said):
        other = said[(number * 31 + 7) % len(said)]
        mine = sorted(analysis.words(text))[::5]
        words = {*mine, *sorted(analysis.words(other))[:20]}
        weights = {word: 1.0 + place for place, word in enumerate(sorted(words))}
        assert Spotter(weights).worth(text) == pytest.approx(expected(weights, text))


def test_the_letters_of_the_sample_stand_where_their_words_were_made_of() -> None:
    for text in texts():
        for piece in text[:4_000].split():
            if re.search(r"['’]|_\d", piece):
                continue  # lose a character: looked at whole
            folded = analysis.fold(piece).lower()
            for word in analysis.words_of_piece(piece):
                assert any(mark in folded for mark in letters(word)), piece


@given(
    st.lists(
        st.one_of(
            st.sampled_from([word for text in ODD for word in text.split()]),
            st.text(max_size=12),
        ),
        max_size=12,
    ),
    st.sampled_from([" ", "\n", "; ", "，", "/"]),
)
def test_on_whatever_text_it_is_worth_what_the_analysis_finds(
    pieces: list[str], joint: str
) -> None:
    text = joint.join(pieces)
    weights = dict.fromkeys(analysis.words(text), 1.0)
    weights |= dict.fromkeys(("zebra", "库", "退款", "well", "use", "30000", "sky"), 2.0)
    assert Spotter(weights).worth(text) == pytest.approx(expected(weights, text))


def test_a_glance_sees_what_a_closer_look_finds() -> None:
    weights = {"use": 1.0, "退款": 2.0, "tri": 4.0, "zebra": 8.0, "break": 16.0}
    texts = ["Using it", "退款规则: try", "It broke", "none"]
    assert Spotter(weights).glance(texts) == [1.0, 6.0, 16.0, 0.0]
