"""How much of a text stands in another: whether evidence is in a context. Pure.

A word of the evidence is there if it stands in the context within a run of RUN words as they follow each other in the
evidence; of shorter evidence all words must stand together. Case, signs and line breaks count for nothing, so that text
which was put on one line and fenced is still the same; words alone, scattered, are no evidence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

RUN = 5  # words: a shorter run could be anybody's
HALF, WHOLE = 0.5, 0.95
_WORD = re.compile(r"[\u3400-\u9fff]|\w+")


def words(text: str) -> list[str]:
    """Lower-cased words; of CJK the characters."""
    return _WORD.findall(text.casefold())


def share(evidence: str, context: str) -> float:
    """The share of the words of `evidence` that `context` shows, 0..1; 0 of evidence without a word."""
    wanted, shown = words(evidence), words(context)
    if not wanted:
        return 0.0
    size = min(RUN, len(wanted))
    runs = set(_runs(shown, size))
    covered: set[int] = set()
    for at, run in enumerate(_runs(wanted, size)):
        if run in runs:
            covered.update(range(at, at + size))
    return len(covered) / len(wanted)


def outcome(shares: Collection[float]) -> dict[str, float]:
    """Of one question, from the shares of its relevant texts: any and all of them shown, by half and whole."""
    return {
        "any_half": float(any(one >= HALF for one in shares)),
        "all_half": float(all(one >= HALF for one in shares)),
        "any_whole": float(any(one >= WHOLE for one in shares)),
        "all_whole": float(all(one >= WHOLE for one in shares)),
        "shown": sum(shares) / len(shares),
    }


def until_full(texts: Iterable[str], costs: Iterable[int], budget: int) -> list[str]:
    """The texts in their order as long as the budget holds them whole; one that it does not hold ends it."""
    taken: list[str] = []
    for text, cost in zip(texts, costs, strict=True):
        budget -= cost
        if budget < 0:
            break
        taken.append(text)
    return taken


def _runs(found: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return zip(*(found[at:] for at in range(size)), strict=False)
