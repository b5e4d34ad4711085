"""What is being typed, taken apart; and how near a word is to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval.completion import Completion
from claude_mem.domains.retrieval.typed import is_near, read


@pytest.mark.parametrize(
    ("text", "before", "needle"),
    [
        ("tok", "", "tok"),
        ("Refresh Tok", "Refresh ", "tok"),
        ("refresh tok  ", "refresh ", "tok"),
        ("-tok", "-", "tok"),
        ('"refresh tok', '"refresh ', "tok"),
        ("src/auth/jw", "", "src/auth/jw"),
        ("src\\auth\\jw", "", "src/auth/jw"),
        ("./src/a", "./", "src/a"),
        ("令", "", "令"),
        ("JWT令牌", "JWT", "令牌"),
        ("令牌jwt", "令牌", "jwt"),
        ("Résu", "", "resu"),
    ],
)
def test_the_last_word_is_what_is_written(text: str, before: str, needle: str) -> None:
    typed = read(text)
    assert typed is not None
    assert (typed.before, typed.needle) == (before, needle)


@pytest.mark.parametrize("text", ["", " ", "a", "x y", "🎉", '"', "...", "__", "tok!", "x" * 65])
def test_what_cannot_be_completed(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("word", "typed", "near"),
    [
        ("tokenizer", "token", True),
        ("tokenizer", "tokne", True),
        ("tokenizer", "tokn", True),
        ("tokenizer", "tokeen", True),
        ("tokenizer", "toxen", True),
        ("tokenizer", "toxne", False),
        ("token", "tokenx", True),
        ("token", "tokenxy", False),
        ("tok", "tokens", False),
        ("", "token", False),
    ],
)
def test_one_letter_off_is_near(word: str, typed: str, near: bool) -> None:
    assert is_near(word, typed) is near


@given(st.text(max_size=60), st.text(max_size=200))
def test_any_text_meets_any_other(typed: str, text: str) -> None:
    read_ = read(typed)
    if read_ is None:
        return
    read_.words()
    read_.phrases()
    for with_typos in (False, True):
        found = Completion(read_, with_typos=with_typos)
        found.add_titles([text])
        found.add_row({"tags_json": [text], "source_tool": text}, text, text, is_named=True)
        for it in found.best(5):
            assert it.text.strip()
            assert it.seen >= 1
