"""Forms: what is stemmed in place of a word that no stemmer leads to its base: `break` for broke, `color` for colour.

Owns the reading of `assets/forms/en.txt`, and the rule for British `-ise`. Pure but for the file, which is read once by
the import, as the stop-words are: every text needs it. Must never change without a rebuild of the index
(`analysis.ANALYSIS_VERSION`).

The rule writes `z` for the `s` of `-ise`, `-ised`, `-isation` and so on, since only of `-ize` the stemmer knows that it
is an ending. It leaves out what mostly is none: with fewer than four letters before it (wise, raise, noise), with a
vowel, `p`, `v` or `w` there (disguise, despise, revise, likewise), or with what stands before no such ending (precise,
enterprise, promise, merchandise), for their stem must stay that of their other words (precisely, advertisement). One
that it takes for all that (mortise) is no harm: it is written so wherever it stands, and no other word is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Final

_ISE: Final = re.compile(
    r"([a-z]{3,}[b-df-hj-nq-tx-z]"
    r"(?<![^i]c)(?<!pr)(?<!nr)(?<!nch)(?<!rad)(?<!and)(?<!act)(?<!ast)(?<!eat)(?<!ert)(?<!dem)(?<!prem)(?<!prom)i)"
    r"s(e[ds]?|ers?|ing|ingly|edly|ements?|(?<!dis)abl[ey]|(?<!dis)ability|ations?|ational|ationally)"
)


def _load() -> dict[str, str]:
    text = resources.files("claude_mem.assets").joinpath("forms", "en.txt").read_text("utf-8")
    lines = (line.split("#", 1)[0].split() for line in text.splitlines())
    return {form: words[0] for words in lines for form in words[1:]}


BASES: Final[Mapping[str, str]] = _load()


def plain(word: str) -> str:
    """What is stemmed in place of a word in lower case: mostly the word itself."""
    base = BASES.get(word)
    if base is not None:
        return base
    found = _ISE.fullmatch(word) if "is" in word else None
    return f"{found[1]}z{found[2]}" if found else word


def respelt(beginning: str) -> str:
    """The beginning of words in `-ise` as it is of those in `-ize`: `organiz` for `organis`; empty for all others."""
    found = _ISE.fullmatch(f"{beginning.rstrip('e')}e")
    return f"{found[1]}z" if found else ""


def begun(beginning: str) -> frozenset[str]:
    """The bases of the forms that begin so: `break` for `brok`."""
    return frozenset(base for form, base in BASES.items() if form.startswith(beginning))


def shortest(texts: Iterable[str]) -> tuple[str, ...]:
    """Those that begin with none of the others: who looks for them finds the others too."""
    kept: list[str] = []
    for text in sorted(texts, key=len):
        if not text.startswith(tuple(kept)):
            kept.append(text)
    return tuple(kept)
