"""Ranking: BM25F from term statistics, and its scaling to 0..1.

Owns the score of a lexical hit. Pure: the same numbers give the same score on every engine.

Source: S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond",
Foundations and Trends in Information Retrieval 3(4), 2009, section 3.6 (BM25F): per term, the
fields' frequencies are weighted and length-normalised before one saturation,

    tf~(t) = sum over fields s of  v_s * tf_s(t) / ((1 - b_s) + b_s * length_s / average_length_s)
    score  = sum over terms t of   idf(t) * tf~(t) / (k1 + tf~(t))

with k1 = 1.2 and b = 0.75, the middle of what that paper recommends, where the words are all there is to go by (PLAIN).
For fusion with other evidence (FOR_FUSION) bodies are normalised in full, b = 1, and one of fewer than 60 tokens as if
it had so many: of a long answer and a short remark with the same words the remark is about them, but of two remarks the
shorter is not the better one. Titles are not: they hold who spoke and when, which says as much in a long title.
docs/ranking.md has the figures. The inverse document frequency is ln(1 + (N - df + 0.5) / (df + 0.5)), which cannot be
negative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from claude_mem.domains.retrieval.model import Score
from claude_mem.domains.retrieval.terms import Needle, Needles

K1: Final = 1.2
TITLE_WEIGHT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Lengths:
    """How much length counts: b of either field; a body counts as `floor` tokens at least, also on average."""

    title: float
    body: float
    floor: float


# Phrases of a question that a document has in another language, and what each counts, 0..1.
Heard = tuple[tuple[str, float], ...]


class Judged(NamedTuple):
    """Documents against a question: the score of each, 0..1, and what it has of the question in another language.

    `need` is how much of the question no text says as it was asked, 0..1: what translations are worth beside it.
    """

    relevances: list[float]
    heard: Sequence[Heard] = ()
    need: float = 0.0


class Written(Protocol):
    """A document as it is read: the packed terms of its title and its body (see `terms`), and their tokens."""

    @property
    def title(self) -> bytes:
        """Its terms."""
        ...

    @property
    def title_length(self) -> int:
        """Its number of tokens."""
        ...

    @property
    def body(self) -> bytes:
        """Its terms."""
        ...

    @property
    def body_length(self) -> int:
        """Its number of tokens."""
        ...


class Texts(NamedTuple):
    """A `Written` of nothing else."""

    title: bytes
    title_length: int
    body: bytes
    body_length: int


class Judge(Protocol):
    """Who judges documents: `read` is the costly part, which may be done in pieces."""

    def read(self, documents: Sequence[Written]) -> list[Any]:
        """What `judged` takes of each of some documents."""
        ...

    def judged(self, read: Sequence[Any]) -> Judged:
        """All documents of a search together, in the order they were read."""
        ...


PLAIN: Final = Lengths(title=0.75, body=0.75, floor=0.0)
FOR_FUSION: Final = Lengths(title=0.0, body=1.0, floor=60.0)


@dataclass(frozen=True, slots=True)
class CorpusStatistics:
    """Of one enterprise: how many documents, and the average lengths of their fields in tokens."""

    documents: int
    average_title: float
    average_body: float

    @classmethod
    def of(cls, documents: int, title_tokens: int, body_tokens: int) -> CorpusStatistics:
        """From sums; of nothing they are those of one empty document."""
        many = max(documents, 1)
        return cls(many, title_tokens / many, body_tokens / many)


class Field(NamedTuple):
    """A field's packed terms (see `terms`), and its number of tokens."""

    terms: bytes
    length: int


def inverse_document_frequency(documents: int, frequency: int) -> float:
    """ln(1 + (N - df + 0.5) / (df + 0.5)); frequency is held to 0..N, because it may be an
    estimate.
    """
    frequency = min(max(frequency, 0), documents)
    return math.log(1 + (documents - frequency + 0.5) / (frequency + 0.5))


class Scorer:
    """Scores documents against one query.

    The keys of `frequencies` are the words looked for: a token as a whole, or, ending in `*`, the
    beginning of one; its values are document frequencies in the enterprise (exact or estimated).

    `relevance` is score / (sum of idf): the share of what a document could score at most, with
    every word in it without end. Within a query that is a monotone scale, in 0..1. A bonus for the
    nearness of the words was tried and left out: it moved recall at 5 and 10 by less than half a
    point, either way.
    """

    def __init__(
        self,
        statistics: CorpusStatistics,
        frequencies: Mapping[str, int],
        lengths: Lengths = PLAIN,
    ) -> None:
        count = max(statistics.documents, 1)
        weights = {word: inverse_document_frequency(count, df) for word, df in frequencies.items()}
        self._most = sum(weights.values()) or 1.0
        self._documents = count
        self._words = list(weights.items())
        self._quick = Needles([Needle(word) for word in weights])
        self._weights = list(weights.values())
        average = max(statistics.average_title, 1.0)
        self._in_title = _Units(TITLE_WEIGHT, lengths.title, average, 0.0)
        least = max(lengths.floor, 1.0)
        average = max(statistics.average_body, least)
        self._in_body = _Units(1.0, lengths.body, average, least)

    @property
    def words(self) -> tuple[str, ...]:
        """The words looked for."""
        return tuple(word for word, _ in self._words)

    @property
    def weights(self) -> list[float]:
        """Their inverse document frequencies, in the same order."""
        return self._weights

    @property
    def most(self) -> float:
        """What a document could have of all words together; 0 of none."""
        return sum(self._weights)

    @property
    def unknown(self) -> float:
        """The weight of a word that no document has."""
        return inverse_document_frequency(self._documents, 0)

    def read(self, documents: Sequence[Written]) -> list[float]:
        """See `Judge`."""
        totals = [0.0] * len(documents)
        for weight, found in zip(self._weights, self._frequencies(documents), strict=True):
            for number, frequency in found.items():
                totals[number] += weight * frequency / (K1 + frequency)
        most = self._most
        return [total / most for total in totals]

    def judged(self, read: Sequence[float]) -> Judged:
        """See `Judge`."""
        return Judged(list(read))

    def relevance(self, title: Field, body: Field) -> float:
        """The score of one document alone, 0..1."""
        return self.read([Texts(*title, *body)])[0]

    def values(self, documents: Sequence[Written]) -> list[list[float]]:
        """What each word gives each document, in their order, not scaled."""
        values = [[0.0] * len(self._weights) for _ in documents]
        for at, found in enumerate(self._frequencies(documents)):
            weight = self._weights[at]
            for number, frequency in found.items():
                values[number][at] = weight * frequency / (K1 + frequency)
        return values

    def _frequencies(self, documents: Sequence[Written]) -> list[dict[int, float]]:
        """By word: the documents that have it, by their places, with its weighted frequency there."""
        in_title = [self._in_title[it.title_length] for it in documents]
        in_body = [self._in_body[it.body_length] for it in documents]
        titles = self._quick.hits([it.title for it in documents])
        bodies = self._quick.hits([it.body for it in documents])
        by_word: list[dict[int, float]] = []
        for of_titles, of_bodies in zip(titles, bodies, strict=True):
            found = {number: count * in_body[number] for number, count in of_bodies}
            for number, count in of_titles:
                found[number] = found.get(number, 0.0) + count * in_title[number]
            by_word.append(found)
        return by_word

    def explain(self, title: Field, body: Field) -> Score:
        """The score with its reasons: the form for the few that are shown."""
        title_unit, body_unit = self._in_title[title.length], self._in_body[body.length]
        parts: list[tuple[str, float]] = []
        in_title: list[str] = []
        in_body: list[str] = []
        counts = zip(self._quick.counts(title.terms), self._quick.counts(body.terms), strict=True)
        for (word, weight), (title_count, body_count) in zip(self._words, counts, strict=True):
            if title_count:
                in_title.append(word)
            if body_count:
                in_body.append(word)
            if title_count or body_count:
                frequency = title_count * title_unit + body_count * body_unit
                parts.append((word, weight * frequency / (K1 + frequency) / self._most))
        return Score(
            relevance=sum(share for _, share in parts),
            parts=tuple(sorted(parts, key=lambda part: -part[1])),
            in_title=tuple(in_title),
            in_body=tuple(in_body),
        )


class _Units(dict[int, float]):
    """What one occurrence counts for in a field of so many tokens: v_s / ((1 - b_s) + b_s * length / average)."""

    def __init__(self, weight: float, share: float, average: float, floor: float) -> None:
        super().__init__()
        self._weight, self._share, self._floor = weight, share, floor
        self._rate = share / average

    def __missing__(self, length: int) -> float:
        reach = 1 - self._share + self._rate * max(length, self._floor)
        found = self[length] = self._weight / reach
        return found
