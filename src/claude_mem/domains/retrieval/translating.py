"""Translations: what a document is worth that says what was asked in the other language.

Owns the score of a text that has a translation of a phrase of the question, and how what is looked for by translations
joins what is looked for as it was asked. Pure but for `Scripts`, which asks the index one question.

A phrase and its translations are one group, which counts once: by the asked words, or by the best translation where
that is more. A translation counts

    TRUST * f * min(W, W of the phrase's own words)      f = (present idf / W) * (sum of idf * saturation / W)

where W is the sum of its words' idf in the index: of several words one alone is little. Words of the phrase that
nobody has weigh nothing, then W alone is the most it can be. What was found by translation alone stays below every
text that has all of the words that were asked.

What translations are worth beside words (single characters, the meaning of a translated question) goes by need: 1 less
the greatest share, by weight, that a text has of the words as they were asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

from claude_mem.domains.retrieval.glossary import Phrase, Translation
from claude_mem.domains.retrieval.model import Collection, Score, Translated
from claude_mem.domains.retrieval.ranking import (
    CorpusStatistics,
    Field,
    Judged,
    Lengths,
    Scorer,
    Texts,
    Written,
)
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.lexical import Candidates, LexicalIndex, LexicalPlan

TRUST: Final = 0.8
HEARD: Final = 0.8  # of a character: it stands in a phrase that a text has in the other language
FROM_ENGLISH: Final = 0.3  # of what is asked in English most is remembered in English, too
MOST: Final = 100  # documents that are scored for their translations alone
_BELOW: Final = 0.99  # of the least text with all of the words
_MOST_KNOWN: Final = 4_096  # enterprises
# Hardly a text of some length is without all of these, in either writing.
_COMMON: Final = ("的", "是", "不", "在", "有", "用", "一")


def words_of(phrases: Sequence[Phrase]) -> tuple[str, ...]:
    """Everything their translations are looked for by, once each."""
    return tuple(
        dict.fromkeys(it for one in phrases for each in one.translations for it in each.tokens)
    )


def plan_of(plan: LexicalPlan, phrases: Sequence[Phrase]) -> LexicalPlan | None:
    """The question of the index for what has a translation, beside the plan for what was asked; None for nothing."""
    asked = frozenset(plan.words)
    words = tuple(it for it in words_of(phrases) if it not in asked)
    return replace(plan, words=words, limit=min(plan.limit, MOST)) if words else None


def joined(first: Candidates, second: Candidates | None = None) -> Candidates:
    """What either question found, that of the first before the others; each frequency as it was found first."""
    if second is None:
        return first
    numbers = tuple(dict.fromkeys((*first.numbers, *second.numbers)))
    parts = (first, second)
    is_whole = all(not it.total_is_estimate and it.total <= len(it.numbers) for it in parts)
    return Candidates(
        numbers=numbers,
        frequencies={**second.frequencies, **first.frequencies},
        total=len(numbers) if is_whole else max(first.total, second.total, len(numbers)),
        total_is_estimate=not is_whole,
    )


class Scripts:
    """Whether anything is remembered in a script without spaces: if not, English is not translated, at no cost.

    That there is something is remembered for good, that there is nothing until the index changes.
    """

    def __init__(self, lexical: LexicalIndex) -> None:
        self._lexical = lexical
        self._known: dict[str, int] = {}  # enterprise -> the generation that has none; 0: there is

    def has_chinese(self, scope: Scope, tx: Tx, plan: LexicalPlan, collection: Collection) -> bool:
        """By the most common characters, of which the index has each that stands in a text."""
        known = self._known.get(scope.enterprise_id)
        if known == 0 or known == collection.generation:
            return known == 0
        wanted = replace(plan, words=_COMMON, phrases=(), excluded=(), labels=(), limit=1)
        found = bool(self._lexical.newest(scope, tx, wanted))
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[scope.enterprise_id] = 0 if found else collection.generation
        return found


class _Choice(NamedTuple):
    """A translation, and where its words stand among all that are looked for."""

    translation: Translation
    places: tuple[int, ...]
    weight: float


class _Group(NamedTuple):
    phrase: Phrase
    own: tuple[int, ...]  # places of its words among those of the question
    own_weight: float
    trust: float
    choices: tuple[_Choice, ...]


class _Gain(NamedTuple):
    """What a translation counts beyond the asked words, not scaled; `present`: the share of its words, by weight."""

    phrase: Phrase
    translation: Translation
    words: tuple[str, ...]
    value: float
    present: float


def scorer(
    statistics: CorpusStatistics,
    own: Candidates,
    more: Sequence[Candidates],
    phrases: Sequence[Phrase],
    lengths: Lengths,
) -> Scorer | TranslatingScorer:
    """Scores by what was asked and, where anything has the translations (`more`), by these.

    A word that nobody has cannot be scored by any document: it is no part of the scale.
    """
    asked = Scorer(statistics, _present(own.frequencies), lengths)
    if not more:
        return asked
    wanted = frozenset(words_of(phrases)).difference(own.frequencies)
    counts = {it: n for it, n in _present(more[0].frequencies).items() if it in wanted}
    if not counts:
        return asked
    absent = len(own.frequencies) - len(asked.words)
    return TranslatingScorer(asked, Scorer(statistics, counts, lengths), phrases, absent)


def _present(frequencies: Mapping[str, int]) -> dict[str, int]:
    return {word: count for word, count in frequencies.items() if count}


_Read: TypeAlias = tuple[
    list[float], list[float]
]  # what the words asked give, and those of translations


class TranslatingScorer:
    """A scorer of the words that were asked, with another of the translations' words beside it. `absent` is how many
    words were asked that nobody has.

    Scores are 0..1 as a scorer's are. The scale holds a phrase that nobody has as it was asked by its translations.
    """

    def __init__(
        self, own: Scorer, translated: Scorer, phrases: Sequence[Phrase], absent: int = 0
    ) -> None:
        self._own, self._translated = own, translated
        self._groups = list(_groups(own, translated, phrases))
        more = sum(_most(it) for it in self._groups if not it.own_weight)
        self._most = own.most + more or 1.0
        self._wanted = own.most + absent * own.unknown or 1.0

    def read(self, documents: Sequence[Written]) -> list[_Read]:
        """See `ranking.Judge`."""
        return list(
            zip(self._own.values(documents), self._translated.values(documents), strict=True)
        )

    def judged(self, read: Sequence[_Read]) -> Judged:
        """See `ranking.Judge`."""
        asked: list[float] = []
        gains: list[list[_Gain]] = []
        least, said = float("inf"), 0.0
        for own, other in read:
            held = sum(
                weight for weight, value in zip(self._own.weights, own, strict=True) if value
            )
            has_all = bool(own) and all(own)
            asked.append(sum(own))
            gains.append([] if has_all else self._gains(own, other))
            least = min(least, asked[-1]) if has_all else least
            said = max(said, held)
        gained = [sum(it.value for it in found) for found in gains]
        factor = _fitting(asked, gained, least * _BELOW)
        need = 1.0 - said / self._wanted
        return Judged(
            [(own + factor * it) / self._most for own, it in zip(asked, gained, strict=True)],
            [tuple((it.phrase.text, need * HEARD * it.present) for it in found) for found in gains],
            need,
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The words looked for, then those of the translations."""
        return (*self._own.words, *self._translated.words)

    def explain(self, title: Field, body: Field) -> Score:
        """The score of the asked words with its reasons, and by which translations a document was found beside them,
        those that add the most first.
        """
        score = self._own.explain(title, body)
        [read] = self.read([Texts(*title, *body)])
        gains = self._gains(*read)
        if not gains:
            return score
        gains.sort(key=lambda it: -it.value)
        other = self._translated.explain(title, body)
        words = {word for it in gains for word in it.words}
        return replace(
            score,
            in_title=(*score.in_title, *(it for it in other.in_title if it in words)),
            in_body=(*score.in_body, *(it for it in other.in_body if it in words)),
            translated=tuple(
                Translated(it.phrase.text, it.translation.text, it.words, it.value / self._most)
                for it in gains
            ),
        )

    def _gains(self, own: Sequence[float], values: Sequence[float]) -> list[_Gain]:
        """What each group's best translation counts beyond its own words; `values` is what its words give."""
        found: list[_Gain] = []
        for group in self._groups if any(values) else ():
            had = sum(own[it] for it in group.own)
            gains = (self._gain(group, choice, values, had) for choice in group.choices)
            best = max(gains, key=lambda it: it.value)
            if best.value > 0:
                found.append(best)
        return found

    def _gain(self, group: _Group, choice: _Choice, values: Sequence[float], had: float) -> _Gain:
        """See the module."""
        there = [it for it in choice.places if values[it]]
        present = sum(self._translated.weights[it] for it in there) / choice.weight
        most = min(choice.weight, group.own_weight) if group.own_weight else choice.weight
        score = present * most * sum(values[it] for it in there) / choice.weight
        words = tuple(self._translated.words[it] for it in there)
        return _Gain(group.phrase, choice.translation, words, group.trust * score - had, present)


def _groups(own: Scorer, translated: Scorer, phrases: Sequence[Phrase]) -> list[_Group]:
    """Each word of the question in one group; translations by words that were asked themselves are left out."""
    places = {word: it for it, word in enumerate(own.words)}
    others = {word: it for it, word in enumerate(translated.words)}
    weights, used, found = own.weights, set[int](), []
    for phrase in phrases:
        mine = tuple(places[it] for it in phrase.own if it in places and places[it] not in used)
        used.update(mine)
        choices = [
            _choice(it, others, translated)
            for it in phrase.translations
            if places.keys().isdisjoint(it.tokens) and not others.keys().isdisjoint(it.tokens)
        ]
        if choices:
            weight = sum(weights[it] for it in mine)
            trust = FROM_ENGLISH if phrase.text.isascii() else TRUST
            found.append(_Group(phrase, mine, weight, trust, tuple(choices)))
    return found


def _choice(translation: Translation, places: Mapping[str, int], scorer: Scorer) -> _Choice:
    there = tuple(places[it] for it in translation.tokens if it in places)
    missing = len(translation.tokens) - len(there)
    weight = sum(scorer.weights[it] for it in there) + missing * scorer.unknown
    return _Choice(translation, there, weight)


def _most(group: _Group) -> float:
    return max(it.weight for it in group.choices)


def _fitting(asked: Sequence[float], gained: Sequence[float], ceiling: float) -> float:
    """What gains are multiplied by so that none comes above the ceiling by them; their order stays."""
    over = [
        max(ceiling - own, 0.0) / more
        for own, more in zip(asked, gained, strict=True)
        if more and own < ceiling < own + more
    ]
    return min(over, default=1.0)
