"""Highlights: what is marked, and that nothing of the text can become HTML."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.highlight import WINDOW_CHARS, Wanted, highlights


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Users are running", ["user", "run"], "<mark>Users</mark> are <mark>running</mark>"),
        ("call getUserById()", ["user"], "call <mark>getUserById</mark>()"),
        ("in src/auth/jwt.ts:3", ["jwt.ts"], "in <mark>src/auth/jwt.ts</mark>:3"),
        ("数据库连接失败", ["数据", "据库"], "<mark>数据库</mark>连接失败"),
        ("数据库", ["库"], "数据<mark>库</mark>"),
        ("connections", ["conn*"], "<mark>connections</mark>"),
        (
            "it went, gone or going",
            ["go"],
            "it <mark>went</mark>, <mark>gone</mark> or <mark>going</mark>",
        ),
        ("broken brokers broke it", ["break"], "<mark>broken</mark> brokers <mark>broke</mark> it"),
        ("a wentworth, an Indices", ["go", "index"], "a wentworth, an <mark>Indices</mark>"),
        ("in lastWroteAt", ["write"], "in <mark>lastWroteAt</mark>"),
        (
            "a build done: didactic",
            ["build", "do"],
            "a <mark>build</mark> <mark>done</mark>: didactic",
        ),
        ("its colours", ["color"], "its <mark>colours</mark>"),
        (
            "realised, realized, real",
            ["realiz"],
            "<mark>realised</mark>, <mark>realized</mark>, real",
        ),
        ("a < b & token", ["token"], "a &lt; b &amp; <mark>token</mark>"),
        ('<script x="token">', ["token"], "&lt;script x=&quot;<mark>token</mark>&quot;&gt;"),
    ],
)
def test_marks(text: str, words: list[str], expected: str) -> None:
    assert highlights(text, Wanted(words)) == [expected]


def test_forms_are_found_by_a_quick_look_beside_other_words() -> None:
    text = "the build " + "x " * 4_000 + "and it broke"  # no thorough look goes so far
    first, second = highlights(text, Wanted(["build", "break"]), windows=2)
    assert "<mark>build</mark>" in first
    assert "<mark>broke</mark>" in second


def test_a_form_beside_its_base_is_no_further_word_of_the_query() -> None:
    text = ("it breaks, it broke " + "x " * 300) * 7 + "the build breaks"
    (passage,) = highlights(text, Wanted(["break", "build"]))
    assert "<mark>build</mark> <mark>breaks</mark>" in passage


def test_nothing_matches() -> None:
    assert highlights("some text", Wanted(["other"])) == []


def test_the_passage_with_most_of_the_query_is_chosen() -> None:
    text = "pool " + "x " * 300 + "the connection pool was exhausted " + "y " * 300
    (passage,) = highlights(text, Wanted(["connect", "pool", "exhaust"]))
    assert passage.count("<mark>") == 3
    assert passage.startswith("…")
    assert passage.endswith("…")
    assert len(re.sub("<[^>]+>|…", "", passage)) <= WINDOW_CHARS + 24


def test_further_passages_in_the_order_of_the_text() -> None:
    text = "alpha " + "x " * 300 + "beta alpha " + "y " * 300
    first, second = highlights(text, Wanted(["alpha", "beta"]), windows=2)
    assert "<mark>beta</mark>" in second
    assert first.startswith("<mark>alpha</mark>")


@given(st.text(max_size=500), st.integers(0, 20))
def test_the_text_cannot_break_out(text: str, pick: int) -> None:
    words = analysis.tokens(text)
    wanted = Wanted(words[pick : pick + 3] or ["x"])
    for passage in highlights(text, wanted, windows=2):
        assert not re.search(r"<(?!/?mark>)", passage)
        assert passage.count("<mark>") == passage.count("</mark>") > 0
