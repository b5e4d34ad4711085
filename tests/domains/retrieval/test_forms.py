"""Forms: that the list is well-formed and needed, and which words the rule for `-ise` is for."""

from __future__ import annotations

from importlib import resources
from itertools import pairwise

import pytest
import Stemmer

from claude_mem.domains.retrieval import analysis, forms

TEXT = resources.files("claude_mem.assets").joinpath("forms", "en.txt").read_text("utf-8")
LINES = [line.split() for line in TEXT.splitlines() if line and not line.startswith("#")]
LOOK_ALIKE = """
advertise advertising arise clockwise comprise compromise concise demise despise devise disable disguise enterprise
exercise exercising expertise franchise improvisation likewise merchandise noise otherwise paradise practise praise
precise premises promise promises raise raised raises reraise reversed rise size supervisor surprised televise
treatise turquoise unraisable wise
"""
snowball = Stemmer.Stemmer("english", 0).stemWord


def test_every_line_is_a_base_with_forms_and_each_word_stands_once() -> None:
    words = [word for line in LINES for word in line]
    assert len(LINES) > 200
    assert [line for line in LINES if len(line) < 2] == []
    assert sorted(set(words)) == sorted(words)
    assert [word for word in words if not (word.isascii() and word.isalpha())] == []
    assert [word for word in words if word != word.lower()] == []
    assert len(forms.BASES) == len(words) - len(LINES)


def test_lines_stand_in_the_order_of_the_alphabet_under_each_heading() -> None:
    blocks = [block for block in TEXT.split("\n\n")[1:] if block.strip()]
    assert len(blocks) == 3
    for block in blocks:
        bases = [line.split()[0] for line in block.splitlines() if not line.startswith("#")]
        assert [pair for pair in pairwise(bases) if pair[0] > pair[1]] == []


def test_no_form_is_listed_that_the_stemmer_or_the_rule_leads_to_its_base() -> None:
    for base, *others in LINES:
        assert [it for it in others if snowball(it) == snowball(base)] == [], base
        ruled = [forms._ISE.fullmatch(it) for it in others]
        assert not [it for it in ruled if it and snowball(f"{it[1]}z{it[2]}") == snowball(base)]


def test_a_form_is_stemmed_as_its_base_is_and_a_base_as_ever() -> None:
    for base, *others in LINES:
        assert {analysis.stem(word) for word in (base, *others)} == {snowball(base)}, base


@pytest.mark.parametrize(
    ("british", "american"),
    [
        ("initialise", "initialize"),
        ("initialising", "initializing"),
        ("serialisation", "serialization"),
        ("tokenisers", "tokenizers"),
        ("customisable", "customizable"),
        ("organisational", "organizational"),
        ("optimised", "optimized"),
        ("criticises", "criticizes"),
        ("itemise", "itemize"),
        ("standardise", "standardize"),
        ("sanitises", "sanitizes"),
        ("behaviours", "behavior"),
        ("memoised", "memoized"),
        ("greyscale", "grayscale"),
        ("catalogue", "catalog"),
        ("defence", "defense"),
        ("programme", "program"),
    ],
)
def test_british_spellings_meet_american_ones(british: str, american: str) -> None:
    assert snowball(british) != snowball(american)
    assert analysis.stem(british) == analysis.stem(american)


@pytest.mark.parametrize(
    "word",
    LOOK_ALIKE.split(),
)
def test_what_only_looks_like_the_ending_keeps_its_s(word: str) -> None:
    assert forms._ISE.fullmatch(word) is None


def test_words_of_one_stem_that_are_no_verbs_in_ise_stay_together() -> None:
    for words in (
        "precise precisely",
        "advertise advertisement",
        "promise promisingly",
        "wise wisely",
    ):
        assert len({analysis.stem(word) for word in words.split()}) == 1


def test_of_the_forms_only_those_of_function_words_are_stop_words() -> None:
    stops = {form for form in forms.BASES if analysis.is_stop_word(analysis.stem(form))}
    assert stops == {"did", "done", "got"}


def test_every_stop_word_is_one_still() -> None:
    for word in analysis._load("en.txt"):
        assert analysis.is_stop_word(analysis.stem(word)), word


def test_the_forms_of_a_token_and_the_bases_of_a_beginning() -> None:
    assert analysis.forms_of("break") == ("broke", "broken")
    assert analysis.forms_of("broke") == ()
    assert forms.begun("brok") == {"break"}
    assert forms.begun("indices") == {"index"}
    assert forms.begun("zq") == frozenset()
    assert set(forms.shortest(("broken", "wrote", "broke"))) == {"broke", "wrote"}


def test_what_is_derived_from_a_british_spelling_stays_with_it() -> None:
    for one, other in (
        ("honour", "honourably"),
        ("honor", "honourably"),
        ("neighbor", "neighbourly"),
        ("labor", "labourer"),
        ("armour", "armourer"),
        ("catalog", "cataloguer"),
        ("analyze", "analysable"),
        ("tantalize", "tantalisingly"),
    ):
        assert analysis.stem(one) == analysis.stem(other), (one, other)
    for word in ("hour", "four", "tour", "contour", "vogue", "rogue"):
        assert analysis.stem(word)[:3] == word[:3]
        assert analysis.stem(word) == analysis.stem(f"{word}s"), word


def test_beginnings_of_british_words() -> None:
    assert forms.respelt("organis") == forms.respelt("organise") == "organiz"
    for other in ("precis", "promis", "runn", "is", "", "optimiz"):
        assert forms.respelt(other) == "", other
