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
    sizes: list[int] = []
    holders: dict[str, list[int]] = {}

    def hold(words: frozenset[str]) -> None:
        for word in words:
            holders.setdefault(word, []).append(len(sizes))
        sizes.append(len(words))

    for words in told:
        hold(words)
    for unit in sorted(units, key=lambda one: (-one.score, one.tokens, one.unit.id, one.unit.text)):
        if not _is_told(unit.words, sizes, holders):
            hold(unit.words)
            kept.append(unit)
    return kept


def _is_told(words: frozenset[str], sizes: Sequence[int], holders: dict[str, list[int]]) -> bool:
    common: dict[int, int] = {}
    for word in words:
        for number in holders.get(word, ()):
            common[number] = common.get(number, 0) + 1
    return any(_says_the_same(len(words), sizes[n], c) for n, c in common.items())


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
