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
from typing import Any, Final, NamedTuple, TypeAlias

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
    words = _leg([candidate.lexical for candidate in candidates], order)
    meaning = _leg(_known([candidate.meaning for candidate in candidates]), order)
    found = _parts(candidates, asked, trust, words, meaning)
    strength = _bounded(max(words.best, trust * meaning.best)) or _spelled(candidates)
    most = _most(candidates, asked, trust)
    return _best(list(zip(candidates, found, strict=True)), strength / most, limit, repeats)


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


def _parts(
    candidates: Sequence[Candidate], asked: Asked, trust: float, words: _Leg, meaning: _Leg
) -> list[tuple[float, ...]]:
    """What speaks for each, in the order of PARTS: its own evidence; by how much that around it in its session is
    better; what the question asks for beside its words; what is known of it whatever is asked.

    One loop over tuples taken apart, and nothing called for what a candidate has not: a search weighs hundreds.
    """
    now, speech, rules = asked.now, _of_speech(asked), _rule_weights(asked)
    when = W_TIMED if asked.is_when else 0.0
    found: list[tuple[float, ...]] = []
    legs = zip(words.own, words.around, meaning.own, meaning.around, strict=True)
    for candidate, (own_words, near_words, own_meaning, near_meaning) in zip(
        candidates, legs, strict=True
    ):
        # fmt: off
        (_, _, _, characters, _, _, moment, marks, voice,
         is_named, is_in_time, is_on_day, has_file, has_tool, importance, flag, uses) = candidate
        # fmt: on
        beside = W_SESSION_LEXICAL * (near_words - own_words)
        beside += W_SESSION_MEANING * trust * (near_meaning - own_meaning)
        date = W_DAY if is_on_day else W_DATE if is_in_time else 0.0
        rule = 0.0
        if marks:
            date += when if marks & traits.TIMED else 0.0
            # A rule counts by how close it is to what is asked.
            rule = _of_rules(marks, rules) * (own_meaning if trust else own_words)
        spelled = W_CHARACTERS * _bounded(characters) if characters else 0.0
        found.append(
            (
                W_LEXICAL * own_words + spelled,
                W_MEANING * trust * own_meaning,
                beside,
                speech * (voice if 0.0 <= voice <= 1.0 else _bounded(voice)),
                W_SPEAKER if is_named else 0.0,
                date,
                rule,
                W_FILE if has_file else 0.0,
                W_TOOL if has_tool else 0.0,
                W_IMPORTANCE * (importance if 0.0 <= importance <= 1.0 else _bounded(importance))
                + W_FLAG * flag,
                W_RECENCY * (math.exp2((moment - now) / RECENT_MS) if moment < now else 1.0),
                W_USE * _of_uses(uses) if uses else 0.0,
            )
        )
    return found


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
    # By columns: asking every candidate costs as much as weighing it.
    columns: Any = zip(*candidates, strict=True)
    _, _, meant, spelled, _, _, _, traits_of, _, named, timed, of_day, of_file, of_tool, *_ = (
        columns
    )
    marks = 0
    for each in set(traits_of):
        marks |= each
    most += _of_rules(marks, _rule_weights(asked))
    most += W_TIMED if asked.is_when and marks & traits.TIMED else 0.0
    most += W_MEANING * trust if any(it is not None for it in meant) else 0.0
    most += W_CHARACTERS if max(spelled) > 0 else 0.0
    most += W_SPEAKER if any(named) else 0.0
    most += W_DAY if any(of_day) else (W_DATE if any(timed) else 0.0)
    most += W_FILE if any(of_file) else 0.0
    return most + (W_TOOL if any(of_tool) else 0.0)


# -- legs -------------------------------------------------------------------------------------------


def _leg(scores: Sequence[float], order: Sequence[_Session]) -> _Leg:
    best = max(scores)
    own = [max(score, 0.0) / best for score in scores] if best > 0 else [0.0] * len(scores)
    around = list(own)
    for session in order:
        _spread(around, session.numbers, session.fading)
        _spread(around, session.numbers[::-1], session.fading[::-1])
    return _Leg(own, around, best)


def _spread(around: list[float], numbers: Sequence[int], fading: Sequence[float]) -> None:
    """Carry the best so far along a session, fading with every turn."""
    carried = around[numbers[0]]
    for number, share in zip(numbers[1:], fading, strict=True):
        carried *= share
        here = around[number]
        if carried > here:
            around[number] = carried
        else:
            carried = here


class _Session(NamedTuple):
    """The numbers of its candidates in their order, and what is left of one's score at the next."""

    numbers: list[int]
    fading: list[float]


def _in_sessions(candidates: Sequence[Candidate]) -> list[_Session]:
    """Those sessions that have several candidates."""
    by_session: dict[str, list[tuple[int, int, int, int]]] = {}
    for number, candidate in enumerate(candidates):
        if (session := candidate.session) is not None:
            where = candidate.occurred_at, candidate.place or 0, candidate.key, number
            by_session.setdefault(session, []).append(where)
    found = []
    for places in by_session.values():
        if len(places) > 1:
            places.sort()
            fading = [_fading(one[1], next_one[1]) for one, next_one in pairwise(places)]
            found.append(_Session([place[3] for place in places], fading))
    return found


def _fading(here: int, there: int) -> float:
    """From one place in a session to another; without places (0) they count as they follow each other in time."""
    distance = abs(here - there) if here and there else 1
    return _FADED[distance] if distance < len(_FADED) else 0.0


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
