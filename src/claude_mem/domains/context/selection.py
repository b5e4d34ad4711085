"""Which units are shown: no two that say the same, and the best subset that the budget holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from claude_mem.domains.context.model import Scored

ALIKE: Final = 0.6  # Jaccard likeness of the words from which two units say the same
CONTAINED: Final = 0.8  # share of the smaller one's words that the larger one has
STEPS: Final = 300  # of the budget: what a unit costs is rounded up to a step
_FEW_WORDS = 3


def distinct(units: Sequence[Scored], told: Sequence[frozenset[str]] = ()) -> list[Scored]:
    """The units without near-duplicates: of those that say the same the best stays, in order of score.

    Nor is there one that says the same as what was `told` before (the words of each). Two say the same when their words
    are alike (Jaccard >= ALIKE), or the one's are nearly all among the other's (>= CONTAINED), or the lesser one's all
    among the better one's. Words are those of the text analysis, without stop-words.
    """
    kept: list[Scored] = []
    said = _Said(told)
    for unit in sorted(units, key=_order):
        if not said.has(unit.words):
            said.add(unit.words)
            kept.append(unit)
    return kept


def _order(one: Scored) -> tuple[object, ...]:
    """The best first; of equals never by the id alone, which chance made: the same memory has the same context."""
    unit = one.unit
    return -one.score, one.tokens, unit.kind, unit.text, -unit.occurred_at, unit.id


def whole_hits(
    units: Sequence[Scored],
    room: tuple[float, float],
    most: float,
    told: Sequence[frozenset[str]] = (),
) -> list[Scored]:
    """Of the hits that can be told whole, the best ranked that `room` holds (in tokens and characters), none of them
    of more than `most` tokens.

    What repeats something that was `told` is none, as in `distinct`; what adds to another hit is one all the same,
    however much of that it says again: an answer often does of its question. What is too long for the room that is
    left makes way for the next.
    """
    kept: list[Scored] = []
    before, said = _Said(told), _Said(())
    tokens, characters = room
    for one in sorted(units, key=lambda it: it.unit.rank or 0):
        length = len(one.unit.text)
        if one.tokens > min(tokens, most) or length > characters:
            continue
        if not before.has(one.words) and not said.covers(one.words):
            said.add(one.words)
            tokens, characters = tokens - one.tokens, characters - length
            kept.append(one)
    return kept


def unsaid(units: Sequence[Scored], told: Sequence[frozenset[str]]) -> list[Scored]:
    """Those that say more than one of the texts of these words does."""
    said = _Said(told)
    return [unit for unit in units if not said.covers(unit.words)]


class _Said:
    """The words of texts, and whether another one says the same as any of them."""

    def __init__(self, texts: Sequence[frozenset[str]]) -> None:
        self._sizes: list[int] = []
        self._holders: dict[str, list[int]] = {}
        for words in texts:
            self.add(words)

    def add(self, words: frozenset[str]) -> None:
        for word in words:
            self._holders.setdefault(word, []).append(len(self._sizes))
        self._sizes.append(len(words))

    def has(self, words: frozenset[str]) -> bool:
        """Whether one of them says the same: see `distinct`."""
        common = self._common(words)
        return any(_says_the_same(len(words), self._sizes[n], c) for n, c in common.items())

    def covers(self, words: frozenset[str]) -> bool:
        """Whether one of them says nearly all of it."""
        return any(c >= CONTAINED * len(words) for c in self._common(words).values())

    def _common(self, words: frozenset[str]) -> dict[int, int]:
        """How many of the words each text has that has any."""
        common: dict[int, int] = {}
        for word in words:
            for number in self._holders.get(word, ()):
                common[number] = common.get(number, 0) + 1
        return common


def _says_the_same(one: int, other: int, common: int) -> bool:
    """Of the numbers of words of a new text, of one that is held, and of both."""
    if common == one or common / (one + other - common) >= ALIKE:
        return True
    return min(one, other) >= _FEW_WORDS and common / min(one, other) >= CONTAINED


def best_subset(values: Sequence[float], costs: Sequence[int], budget: int) -> list[int]:
    """Numbers of the subset with the greatest sum of values whose costs are within the budget (0/1 knapsack).

    Exact by dynamic programming over the budget in at most STEPS steps; costs are rounded up to a step, so the budget
    is never exceeded. Time: units x steps.
    """
    if budget <= 0:
        return []
    step = max(-(-budget // STEPS), 1)
    room = budget // step
    best = [0.0] * (room + 1)
    taken: list[bytearray] = []
    for value, cost in zip(values, costs, strict=True):
        weight = max(-(-cost // step), 1)
        choice = bytearray(room + 1)
        if value > 0 and weight <= room:
            new = [kept + value for kept in best[: room + 1 - weight]]
            for at, candidate in enumerate(new, weight):
                if candidate > best[at]:
                    choice[at] = 1
            merged = best[:weight] + [max(a, b) for a, b in zip(best[weight:], new, strict=True)]
            best = merged
        taken.append(choice)
    chosen: list[int] = []
    left = room
    for number in range(len(values) - 1, -1, -1):
        if taken[number][left]:
            chosen.append(number)
            left -= max(-(-costs[number] // step), 1)
    return chosen[::-1]
