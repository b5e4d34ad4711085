"""Fusion: one order, and one relevance, out of everything that speaks for a candidate.

Owns the score of a hit. Pure, and the same on every engine: it sees numbers, never texts. `fuse` is a weighted sum of
parts in 0..1; `fuse_by_rank` is reciprocal rank fusion, for who wants the legs and nothing else. A leg that is missing
is a part that nobody has.

docs/ranking.md says what each part is, what each weight does, and how the weights were found. Reciprocal ranks:
G. Cormack, C. Clarke and S. Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
Methods", SIGIR 2009.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from claude_mem.domains.retrieval import traits
from claude_mem.domains.retrieval.repeats import WINDOW

LEXICAL: Final = "lexical"
MEANING: Final = "meaning"
SESSION: Final = "session"
SPEECH: Final = "speech"
SPEAKER: Final = "speaker"
DATE: Final = "date"
RULE: Final = "rule"
FILE: Final = "file"
TOOL: Final = "tool"
IMPORTANCE: Final = "importance"
RECENCY: Final = "recency"
USE: Final = "use"
PARTS: Final = (
    LEXICAL,
    MEANING,
    SESSION,
    SPEECH,
    SPEAKER,
    DATE,
    RULE,
    FILE,
    TOOL,
    IMPORTANCE,
    RECENCY,
    USE,
)

W_LEXICAL: Final = 1.0
W_CHARACTERS: Final = 1.0
W_MEANING: Final = 1.0
W_SESSION_LEXICAL: Final = 0.75
W_SESSION_MEANING: Final = 0.55
W_SPEECH: Final = 0.35
W_SPEECH_ABOUT_ME: Final = 0.25
W_SPEAKER: Final = 0.13
W_DATE: Final = 0.25
W_DAY: Final = 1.0
W_TIMED: Final = 0.2
W_RULE: Final = 0.45
W_PREFERENCE: Final = 0.5
W_FILE: Final = 0.25
W_TOOL: Final = 0.13
# What is known of a thing whatever is asked. Together less than a tenth of a perfect match of the words.
W_IMPORTANCE: Final = 0.04
W_FLAG: Final = 0.02
W_RECENCY: Final = 0.02
W_USE: Final = 0.015

SESSION_REACH: Final = 16.0  # turns after which what was found beside a turn counts 1/e
_FADED: Final = tuple(math.exp(-turns / SESSION_REACH) for turns in range(128))
RECENT_MS: Final = 30 * 86_400_000  # half-life
MANY_USES: Final = 16
RANK_CONSTANT: Final = 10

Repeats: TypeAlias = Callable[[Sequence[int]], Sequence[float]]  # keys, the best first -> shares


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the question bears on the order. `trust` is what the model's opinion is worth, 0..1; `now` is in Unix ms.

    `wants_speech`: what a person said is likelier meant than what an assistant answered; `is_when`: it asks for a
    time; `is_of_rules`: for what is allowed or preferred.
    """

    now: int
    trust: float = 1.0
    wants_speech: bool = True
    is_first_person: bool = False
    is_when: bool = False
    is_of_rules: bool = False


class Candidate(NamedTuple):
    """What one or both legs found, with what is known of it. A tuple, because a search makes many.

    `key` tells it from the others. `lexical` is the scorer's relevance, 0..1, 0 for a text with none of the words;
    `characters` is as the module of that name says, 0 where the question has none. `meaning` is the cosine of its
    nearest chunk, None where it is not known. `place` is its number in its session: 1, 2, 3 in order. `traits` are as
    in that module, `occurred_at` is in Unix ms; `importance` is 0..1, `uses` counts. `voice` is 1 for what a person
    said or a tool showed, and of an assistant's answer the less, the longer it is. `is_named`, `is_in_time`,
    `is_on_day`, `has_file` and `has_tool` say that the question names who spoke, a time it falls in, the very day, a
    file it is about, the tool that made it.
    """

    key: int
    lexical: float
    meaning: float | None = None
    characters: float = 0.0
    session: str | None = None
    place: int | None = None
    occurred_at: int = 0
    traits: int = 0
    voice: float = 0.0
    is_named: bool = False
    is_in_time: bool = False
    is_on_day: bool = False
    has_file: bool = False
    has_tool: bool = False
    importance: float = 0.0
    is_flagged: bool = False
    uses: int = 0


@dataclass(frozen=True, slots=True)
class Fused:
    """A hit: `relevance` in 0..1, and its parts, which add up to it. Parts of 0 are left out."""

    key: int
    relevance: float
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Leg:
    """One leg's scores, the best of them 1, and each candidate's best of what stands around it in its session."""

    own: list[float]
    around: list[float]
    best: float  # before scaling


def fuse(
    candidates: Sequence[Candidate],
    asked: Asked,
    limit: int | None = None,
    repeats: Repeats | None = None,
) -> list[Fused]:
    """The best `limit` of them (all when None), the best first; of equals the newer, then the greater key.

    `repeats` is told the keys of the best, in order, and says what each keeps of its relevance; see that module.

    Keys must differ. Relevance is the share of what the question allows at most, times how well anything at all was
    found: the best share of the words, or the best cosine. So it can be compared between questions, and the best of a
    bad lot is not near 1.
    """
    if not candidates:
        return []
    trust = _bounded(asked.trust)
    order = _in_sessions(candidates)
    words = _leg([candidate.lexical for candidate in candidates], order, candidates)
    meaning = _leg(_known([candidate.meaning for candidate in candidates]), order, candidates)
    judge = _Judge(asked, trust, words, meaning)
    found = [(candidate, judge.parts(it, candidate)) for it, candidate in enumerate(candidates)]
    strength = _bounded(max(words.best, trust * meaning.best)) or _spelled(candidates)
    return _best(found, strength / _most(candidates, asked, trust), limit, repeats)


def fuse_by_rank(
    candidates: Sequence[Candidate], trust: float = 1.0, limit: int | None = None
) -> list[Fused]:
    """Reciprocal rank fusion of the two legs alone; `limit`, order of equals and conditions as in `fuse`.

    Candidates that are equal in a leg share the best rank of theirs.
    """
    trust = _bounded(trust)
    lexical = _ranks([it.lexical if it.lexical > 0 else None for it in candidates])
    meaning = _ranks([it.meaning if trust else None for it in candidates])
    found = [
        (
            candidate,
            (
                1 / (RANK_CONSTANT + by_words) if by_words else 0.0,
                trust / (RANK_CONSTANT + by_meaning) if by_meaning else 0.0,
            ),
        )
        for candidate, by_words, by_meaning in zip(candidates, lexical, meaning, strict=True)
    ]
    most = (any(lexical) + trust * any(meaning)) / (RANK_CONSTANT + 1)
    return _best(found, 1 / most if most else 0.0, limit)


def sessions(hits: Sequence[Fused], session_of: Mapping[int, str | None]) -> list[str]:
    """Sessions in the order of their best hits, each once."""
    found = (session_of.get(hit.key) for hit in hits)
    return list(dict.fromkeys(session for session in found if session is not None))


# -- parts ------------------------------------------------------------------------------------------


class _Judge:
    """What speaks for a candidate of one question, in the order of PARTS."""

    __slots__ = ("_meaning", "_now", "_rules", "_speech", "_timed", "_trust", "_words")

    def __init__(self, asked: Asked, trust: float, words: _Leg, meaning: _Leg) -> None:
        self._trust, self._words, self._meaning, self._now = trust, words, meaning, asked.now
        self._speech = _of_speech(asked)
        self._timed = W_TIMED if asked.is_when else 0.0
        self._rules = _rule_weights(asked)

    def parts(self, number: int, candidate: Candidate) -> tuple[float, ...]:
        """Its own evidence; by how much that around it in its session is better; what the question asks for beside its
        words; what is known of it whatever is asked.
        """
        own_words, own_meaning = self._words.own[number], self._meaning.own[number]
        beside = W_SESSION_LEXICAL * (self._words.around[number] - own_words)
        beside += W_SESSION_MEANING * self._trust * (self._meaning.around[number] - own_meaning)
        date = W_DATE if candidate.is_in_time else 0.0
        date = W_DAY if candidate.is_on_day else date
        rule = 0.0
        if candidate.traits:
            date += self._timed if candidate.traits & traits.TIMED else 0.0
            # A rule counts by how close it is to what is asked.
            closeness = own_meaning if self._trust else own_words
            rule = _of_rules(candidate.traits, self._rules) * closeness
        characters = W_CHARACTERS * _bounded(candidate.characters) if candidate.characters else 0.0
        return (
            W_LEXICAL * own_words + characters,
            W_MEANING * self._trust * own_meaning,
            beside,
            self._speech * _bounded(candidate.voice) if candidate.voice else 0.0,
            W_SPEAKER if candidate.is_named else 0.0,
            date,
            rule,
            W_FILE if candidate.has_file else 0.0,
            W_TOOL if candidate.has_tool else 0.0,
            W_IMPORTANCE * _bounded(candidate.importance) + W_FLAG * candidate.is_flagged,
            W_RECENCY * math.exp2(-max(self._now - candidate.occurred_at, 0) / RECENT_MS),
            W_USE * _of_uses(candidate.uses) if candidate.uses else 0.0,
        )


def _of_speech(asked: Asked) -> float:
    if not asked.wants_speech:
        return 0.0
    return W_SPEECH + (W_SPEECH_ABOUT_ME if asked.is_first_person else 0.0)


def _rule_weights(asked: Asked) -> Mapping[int, float]:
    """By mark."""
    wish = {traits.WISH: W_RULE} if asked.is_of_rules else {}
    return {traits.RULE: W_RULE, traits.PREFERENCE: W_PREFERENCE, **wish}


def _of_rules(marks: int, weights: Mapping[int, float]) -> float:
    """A wish that is a rule as well counts once."""
    if marks & traits.RULE:
        marks &= ~traits.WISH
    return sum(weight for mark, weight in weights.items() if marks & mark)


def _of_uses(uses: int) -> float:
    return math.log1p(min(max(uses, 0), MANY_USES)) / math.log1p(MANY_USES)


def _most(candidates: Sequence[Candidate], asked: Asked, trust: float) -> float:
    """The greatest sum of parts that a candidate of this question can have."""
    most = W_LEXICAL + W_IMPORTANCE + W_FLAG + W_RECENCY + W_USE + _of_speech(asked)
    marks = 0
    meant = spelled = named = timed = of_day = of_file = of_tool = False
    for candidate in candidates:  # one walk: a search has hundreds
        marks |= candidate.traits
        meant = meant or candidate.meaning is not None
        spelled = spelled or candidate.characters > 0
        named = named or candidate.is_named
        timed = timed or candidate.is_in_time
        of_day = of_day or candidate.is_on_day
        of_file = of_file or candidate.has_file
        of_tool = of_tool or candidate.has_tool
    most += _of_rules(marks, _rule_weights(asked))
    most += W_TIMED if asked.is_when and marks & traits.TIMED else 0.0
    most += W_MEANING * trust if meant else 0.0
    most += W_CHARACTERS if spelled else 0.0
    most += W_SPEAKER if named else 0.0
    most += W_DAY if of_day else (W_DATE if timed else 0.0)
    most += W_FILE if of_file else 0.0
    return most + (W_TOOL if of_tool else 0.0)


# -- legs -------------------------------------------------------------------------------------------


def _leg(
    scores: Sequence[float], order: Sequence[Sequence[int]], candidates: Sequence[Candidate]
) -> _Leg:
    best = max(scores)
    own = [max(score, 0.0) / best for score in scores] if best > 0 else [0.0] * len(scores)
    around = list(own)
    for numbers in order:
        _spread(around, numbers, candidates)
        _spread(around, numbers[::-1], candidates)
    return _Leg(own, around, best)


def _spread(around: list[float], numbers: Sequence[int], candidates: Sequence[Candidate]) -> None:
    """Carry the best so far along a session, fading with every turn."""
    for before, number in pairwise(numbers):
        here, there = candidates[number].place, candidates[before].place
        # Without places the candidates count as they follow each other in time.
        distance = 1 if here is None or there is None else abs(here - there)
        carried = around[before] * (_FADED[distance] if distance < len(_FADED) else 0.0)
        if carried > around[number]:
            around[number] = carried


def _in_sessions(candidates: Sequence[Candidate]) -> list[list[int]]:
    """The numbers of the candidates of each session that has several, in their order there."""
    by_session: dict[str, list[int]] = {}
    for number, candidate in enumerate(candidates):
        if candidate.session is not None:
            by_session.setdefault(candidate.session, []).append(number)

    def place(number: int) -> tuple[int, int, int]:
        candidate = candidates[number]
        return candidate.occurred_at, candidate.place or 0, candidate.key

    return [sorted(numbers, key=place) for numbers in by_session.values() if len(numbers) > 1]


def _known(meanings: Sequence[float | None]) -> list[float]:
    """Cosines from 0; one that is not known is at most the least that is: its vector was not among the nearest."""
    known = [meaning for meaning in meanings if meaning is not None]
    least = max(min(known, default=0.0), 0.0)
    return [least if meaning is None else max(meaning, 0.0) for meaning in meanings]


def _spelled(candidates: Sequence[Candidate]) -> float:
    """How well the best was found by single characters alone: half of what as many words would be."""
    return 0.5 * _bounded(max(candidate.characters for candidate in candidates))


def _bounded(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _best(
    found: Sequence[tuple[Candidate, tuple[float, ...]]],
    scale: float,
    limit: int | None,
    repeats: Repeats | None = None,
) -> list[Fused]:
    """Only what is shown is taken apart by name."""
    ranked = sorted(
        ((sum(parts), candidate.occurred_at, candidate.key, parts) for candidate, parts in found),
        reverse=True,
    )
    if repeats is None:
        return [_fused(key, parts, scale) for _, _, key, parts in ranked[:limit]]
    kept = repeats([key for _, _, key, _ in ranked[:WINDOW]])
    head = sorted(
        (
            (hit[0] * share, *hit[1:3], share, hit[3])
            for hit, share in zip(ranked, kept, strict=False)
        ),
        reverse=True,
    )
    best = [_fused(key, parts, scale * share) for _, _, key, share, parts in head[:limit]]
    rest = ranked[len(head) : limit]
    return best + [_fused(key, parts, scale) for _, _, key, parts in rest]


def _fused(key: int, parts: Sequence[float], scale: float) -> Fused:
    shown = {
        name: part * scale for name, part in zip(PARTS, parts, strict=False) if part * scale > 0
    }
    return Fused(key, _bounded(math.fsum(shown.values())), MappingProxyType(shown))


def _ranks(values: Sequence[float | None]) -> list[int]:
    """1 for the greatest; equals share a rank; 0 for what has none."""
    known = sorted((value for value in values if value is not None), reverse=True)
    first: dict[float, int] = {}
    for rank, value in enumerate(known, 1):
        first.setdefault(value, rank)
    return [0 if value is None else first[value] for value in values]
