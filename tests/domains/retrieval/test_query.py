"""The query language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.query import (
    MAX_EXCLUSIONS,
    MAX_PHRASES,
    MAX_PREFIXES,
    MAX_TERMS,
    ParsedQuery,
    Prefix,
    parse,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("token refresh", ParsedQuery(terms=("token", "refresh"))),
        ("the token", ParsedQuery(terms=("token",), dropped=("the",))),
        ("to be or not", ParsedQuery(terms=("to", "be", "or", "not"))),
        ('"connection pool" full', ParsedQuery(terms=("full",), phrases=(("connect", "pool"),))),
        ("“连接池” 数据", ParsedQuery(terms=("数据",), phrases=(("连接", "接池"),))),
        ("jwt -cookie", ParsedQuery(terms=("jwt",), excluded=(("cooki",),))),
        ('jwt -"session cookie"', ParsedQuery(terms=("jwt",), excluded=(("session", "cooki"),))),
        ("jwt -cook*", ParsedQuery(terms=("jwt",), excluded_prefixes=("cook",))),
        ("-found*", ParsedQuery(excluded_prefixes=("found",))),  # not what says `find`
        ("-organis*", ParsedQuery(excluded_prefixes=("organis", "organiz"))),
        ("-precis*", ParsedQuery(excluded_prefixes=("precis",))),
        ("-break*", ParsedQuery(excluded_prefixes=("break",))),
        ("-数据", ParsedQuery(excluded=(("数据",),))),
        ("rm -rf x --force", ParsedQuery(terms=("rm", "rf", "x", "forc"))),
        ("getUser*", ParsedQuery(prefixes=(Prefix("getuser", ("getus",)),))),
        ("src/x1y*", ParsedQuery(terms=("src",), prefixes=(Prefix("x1y"),))),
        ("runn*", ParsedQuery(prefixes=(Prefix("runn", ("run",)),))),
        ("brok*", ParsedQuery(prefixes=(Prefix("brok", ("break",)),))),
        ("Colou*", ParsedQuery(prefixes=(Prefix("colou", ("color",)),))),
        ("organis*", ParsedQuery(prefixes=(Prefix("organis", ("organi", "organiz")),))),
        ("optimi*", ParsedQuery(prefixes=(Prefix("optimi", ("optim",)),))),
        ('"broke the builds"', ParsedQuery(phrases=(("break", "the", "build"),))),
        ("a1b2c3d", ParsedQuery(prefixes=(Prefix("a1b2c3d"),))),
        ("数据*", ParsedQuery(terms=("数据",))),
        ("**bold** *.ts", ParsedQuery(terms=("bold", "ts"))),
        ('say "unbalanced', ParsedQuery(terms=("say", "unbalanc"))),
        (
            "foo AND (bar OR NOT baz)",
            ParsedQuery(terms=("foo", "bar", "baz"), dropped=("and", "or", "not")),
        ),
        ("body:secret ^x", ParsedQuery(terms=("bodi", "secret", "x"))),
        ("🎉 \x00 ()", ParsedQuery()),
    ],
)
def test_parse(text: str, expected: ParsedQuery) -> None:
    assert parse(text) == expected


def test_exclusions_alone_look_for_nothing() -> None:
    assert parse("-foo").is_empty
    assert not parse("-foo bar").is_empty


def test_a_long_paste_is_text_and_bounded_to_what_tells_most() -> None:
    words = [f"common{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(200)]
    parsed = parse(" ".join(["-minus", '"quoted', 'text"', *words, "src/auth/jwt.ts", "E0308"]))
    assert len(parsed.terms) == MAX_TERMS
    assert {"auth/jwt.ts", "e0308"} <= set(parsed.terms)
    assert not parsed.excluded
    assert not parsed.phrases
    assert len(parsed.dropped) > 150


@given(st.text(max_size=300) | st.text(alphabet='ab "*-()数“”ANDOR:', max_size=200))
def test_any_text_is_a_query_of_bounded_size(text: str) -> None:
    parsed = parse(text)
    assert len(parsed.terms) <= MAX_TERMS
    assert len(parsed.prefixes) <= MAX_PREFIXES
    assert len(parsed.phrases) <= MAX_PHRASES
    assert len(parsed.excluded) <= MAX_EXCLUSIONS
    words = [*parsed.wanted, *(prefix.text for prefix in parsed.prefixes)]
    assert not [word for word in words if set(word) & set('" \x00\n')]


@pytest.mark.parametrize(
    "text", ["a" * 10_000, "a/" * 5_000 + "*", "a" * 9_998 + "!*", '"' * 10_000, "数" * 10_000]
)
def test_the_longest_query_parses(text: str) -> None:
    assert len(parse(text).terms) <= MAX_TERMS


@given(st.text(alphabet=st.characters(categories=["Ll", "Lu", "Lo", "Nd"]), max_size=30))
def test_what_a_query_looks_for_is_in_the_document_it_was_copied_from(text: str) -> None:
    stored = set(analysis.document(text).indexed.split())
    assert set(parse(text).terms) <= stored


@pytest.mark.parametrize(
    ("text", "loose"),
    [
        ("构建 失败", "构建 失败"),
        ('超时 "连接池" -重试 build*', "超时"),
        (" ".join(["超时"] * 60), ""),
    ],
)
def test_what_may_stand_in_other_words_is_neither_quoted_nor_excluded(
    text: str, loose: str
) -> None:
    assert parse(text).loose == loose
