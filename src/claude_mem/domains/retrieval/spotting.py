"""Spotting: which of a few words a text has, without analysing all of it.

Pure. A word's letters stand in whatever the word was made of (see `letters`), so a text without them has not the word,
and of a text with them only the places are analysed where they stand. The answer is that of the analysis, at a small
part of its cost: of the words of a question a text has one or two, and its other words are none of anybody's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from claude_mem.domains.retrieval import analysis, forms

# Stems that have fewer letters in common with the words they are made of: sky of skies, die of dying.
_IRREGULAR: Final = {"sky": "sk", "die": "d", "lie": "l", "tie": "t"}
_MIXED: Final = re.compile(r"(?=\w*\d)(?=\w*[^\W\d])[^\W_]+")
_GROUPS: Final = re.compile(r"_\d")
_FIRST: Final = re.compile(r"\d+|[^\W\d_]+")


def letters(token: str) -> tuple[str, ...]:
    """Of which one stands, folded and in lower case, in every text that has the token: its own letters, and those of
    the forms that it is the stem of (`broke` of break).
    """
    return forms.shortest((_letters(token), *analysis.forms_of(token)))


def _letters(token: str) -> str:
    """A stem is the beginning of its words but for a last letter that the stemmer turned into `i`, or put there (`tri`
    of try, `use` of using, `sensibl` of sensibility), or that is the `z` of an `s` (`realiz` of realise); letters and
    digits can have an underscore between them.
    """
    if token in _IRREGULAR:
        return _IRREGULAR[token]
    if _MIXED.fullmatch(token) and (first := _FIRST.match(token)):
        return first.group()
    is_bent = len(token) > 2 and (token[-1] in "ie" or token.endswith(("bl", "iz")))
    return token[:-1] if is_bent else token


class Spotter:
    """Looks for words, as the analysis writes them, that are each worth something."""

    __slots__ = ("_dense", "_spaced")

    def __init__(self, weights: Mapping[str, float]) -> None:
        marked = [(word, letters(word), weight) for word, weight in weights.items()]
        self._dense = [it for it in marked if analysis.is_dense(it[0])]
        self._spaced = [it for it in marked if not analysis.is_dense(it[0])]

    def glance(self, texts: Iterable[str]) -> list[float]:
        """What the words whose letters are in each text are worth: seldom less than `worth`."""
        words = [(marks, weight) for _, marks, weight in (*self._spaced, *self._dense)]
        sought = [(marks[0], weight) for marks, weight in words if len(marks) == 1]
        more = [(marks, weight) for marks, weight in words if len(marks) > 1]
        lowered = [text.lower() for text in texts]
        return [
            sum([weight for mark, weight in sought if mark in it])
            + sum([weight for marks, weight in more if any(mark in it for mark in marks)])
            for it in lowered
        ]

    def worth(self, text: str) -> float:
        """What the words that a text has are worth together."""
        folded = analysis.fold(text)
        total = 0.0
        for word, _, weight in self._dense:
            if word in folded and (len(word) > 1 or word in analysis.words(text)):
                total += weight
        pieces = analysis.spaced(folded)
        lowered = pieces.lower()
        if len(lowered) != len(pieces):  # letters that change their number: places would be wrong
            found = analysis.words(text)
            return total + sum(weight for word, _, weight in self._spaced if word in found)
        odd = _odd(pieces)
        for word, marks, weight in self._spaced:
            if word in odd or any(_stands(word, mark, pieces, lowered) for mark in marks):
                total += weight
        return total


def _stands(word: str, mark: str, pieces: str, lowered: str) -> bool:
    """Whether the word is one of those that the pieces with its letters make."""
    place = lowered.find(mark)
    while place >= 0:
        end = pieces.find(" ", place)
        end = len(pieces) if end < 0 else end
        if word in analysis.words_of_piece(pieces[pieces.rfind(" ", 0, place) + 1 : end]):
            return True
        place = lowered.find(mark, end)
    return False


def _odd(pieces: str) -> frozenset[str]:
    """The words of the pieces that lose a character in their middle: `don't` is dont, `30_000` is 30000."""
    if not _has_apostrophe(pieces) and not _GROUPS.search(pieces):
        return frozenset()
    odd = [it for it in pieces.split() if _has_apostrophe(it) or _GROUPS.search(it)]
    return frozenset().union(*map(analysis.words_of_piece, odd))


def _has_apostrophe(text: str) -> bool:
    return "'" in text or "\N{RIGHT SINGLE QUOTATION MARK}" in text
