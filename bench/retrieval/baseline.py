"""The baseline beside ours: plain BM25 over the texts, in the usual form.

k1 = 1.2, b = 0.75, lower-cased words without the usual stop words, stemmed (Porter); of CJK the pairs of neighbouring
characters. Nothing of the product is in it. Source: S. Robertson and H. Zaragoza, "The Probabilistic Relevance
Framework: BM25 and Beyond", 2009.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from Stemmer import Stemmer

_K1, _B = 1.2, 0.75
_WORD = re.compile(r"[a-z0-9_]+|[\u3400-\u9fff]+")
_STOP = frozenset(
    re.findall(
        "[a-z]+",
        "a an and are as at be been but by did do does for from had has have he her hers him his how i if in into is it"
        " its me my of on or our she so than that the their them then there these they this to too us was we were what"
        " when where which while who whom why will with would you your",
    )
)


class Bm25:
    """An index of texts; `rank` gives positions."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._stem = Stemmer("porter").stemWord
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        lengths = []
        for number, text in enumerate(texts):
            words = self._words(text)
            lengths.append(len(words))
            for word, count in Counter(words).items():
                self._postings[word].append((number, count))
        average = sum(lengths) / max(len(lengths), 1) or 1.0
        self._norms = [_K1 * (1 - _B + _B * length / average) for length in lengths]
        self._count = len(lengths)

    def rank(self, query: str, limit: int, only: frozenset[int] | None = None) -> list[int]:
        """The best positions; of equals the first."""
        scores: dict[int, float] = defaultdict(float)
        for word in set(self._words(query)):
            postings = self._postings.get(word, [])
            weight = math.log(1 + (self._count - len(postings) + 0.5) / (len(postings) + 0.5))
            for number, count in postings:
                if only is None or number in only:
                    scores[number] += weight * count * (_K1 + 1) / (count + self._norms[number])
        return sorted(scores, key=lambda number: (-scores[number], number))[:limit]

    def _words(self, text: str) -> list[str]:
        found: list[str] = []
        for word in _WORD.findall(text.lower()):
            if word[0] >= "\u3400":
                found += [word[at : at + 2] for at in range(len(word) - 1)] or [word]
            elif word not in _STOP:
                found.append(self._stem(word))
        return found
