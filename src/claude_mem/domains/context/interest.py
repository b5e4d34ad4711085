"""What somebody wants to know, as weighted words; and how much of it a text speaks of. Pure.

With a prompt the words are its own, weighted by what the search found each to be worth (its share of the relevance,
which goes by inverse document frequency). Without one they are what the project is about now: titles, open points and
files of its latest sessions, the newest most, and the branch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from claude_mem.domains.context.errands import is_common, subject
from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.spotting import Spotter

ENOUGH: Final = (
    6  # words of the greatest weight that together are all of it: a long prompt has many more
)
MAX_FOCUS_WORDS: Final = 60
QUERY_CHARS: Final = 2_000
_OPERATORS = re.compile(r"[\"“”„‟«»「」『』〝〞〟*]")
_EXCLUSION = re.compile(r"(?<!\S)-(?=\S)")
_FALLBACK: Final = 0.5
FEW_WORDS: Final = 4  # with fewer a prompt is about what is rare in it, or about nothing: "go on"
_RARE: Final = (
    0.85  # what few words must come to that a hit has, where 1 is a word that nobody has,
)
_STRONG: Final = 0.45  # and how much it must speak of them,
_NEARLY_ALL: Final = 0.8  # unless it has this share of them;
_DWELT: Final = 0.55  # or what it says of them, of what saying them without end would give,
_WEAK: Final = 0.2  # is this much and no less than this,
_STRETCH: Final = 1.15  # times its share
_ALL: Final = 2.5  # what counts as all of it; of a long prompt
_ALL_AT_LEAST, _ALL_PER_WORD = 1.5, 0.185


@dataclass(frozen=True, slots=True)
class Interest:
    """Words and what each is worth; `enough` is the sum that counts as all of it."""

    weights: Mapping[str, float]
    enough: float
    _spotter: Spotter = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_spotter", Spotter(self.weights))

    def glance(self, texts: Iterable[str]) -> list[float]:
        """What the words whose letters are in each text are worth: near `share`, at a small part of its cost."""
        return self._spotter.glance(texts)

    def share_of(self, text: str) -> float:
        """How much of it a text speaks of, 0..1: the `share` of its words."""
        return min(self._spotter.worth(text) / self.enough, 1.0) if self.enough else 0.0

    def share(self, words: frozenset[str]) -> float:
        """How much of it the words cover, 0..1."""
        if not self.enough:
            return 0.0
        small, large = (
            (words, self.weights) if len(words) < len(self.weights) else (self.weights, words)
        )
        total = sum(self.weights[word] for word in small if word in large)
        return min(total / self.enough, 1.0)


@lru_cache(maxsize=2048)  # what a store says of itself comes back with every prompt
def words_of(text: str) -> frozenset[str]:
    """The words of a text by which it is compared: tokens of the analysis without stop-words."""
    return analysis.words(text)


def is_mostly_of(text: str, known: frozenset[str], share: float) -> bool:
    """Whether at least `share` of a text's words are among those that are known; a text without words is.

    Reads no further than it takes to know: a passage of many words is seldom made of those of a question.
    """
    too_many = len(known) * (1 - share) / share
    seen: set[str] = set()
    strange = 0
    for word in analysis.each_word(text):
        if word not in seen:
            seen.add(word)
            strange += word not in known
            if strange > too_many + 1:
                return False
    return len(seen) - strange >= share * len(seen)


def plain_query(prompt: str) -> str:
    """A prompt as words to search for: what it quotes or begins with a dash is no operator."""
    if len(prompt) > QUERY_CHARS:
        prompt = f"{prompt[: QUERY_CHARS // 2]} {prompt[-QUERY_CHARS // 2 :]}"
    return _EXCLUSION.sub(" ", _OPERATORS.sub(" ", prompt))


def evidence(
    rarity: Mapping[str, float], hit_shares: Iterable[Sequence[tuple[str, float]]]
) -> float:
    """How surely memory speaks of a prompt, 0..1: by how rare the words are that the best hit has together.

    Words that only say what is to be done count neither way (see `errands`). A common word or two among unknown ones
    are no evidence: the prompt is about something else. Nor are many common ones among the many of a long prompt. Of
    few words it counts how much a hit speaks of them: common ones are what the project is about where a hit dwells on
    them, and a rare one that is only mentioned is none; nor are any that are no project's own.
    """
    weights = subject(rarity)
    if not weights:
        return 0.0
    hits = [{word.removesuffix("*"): share for word, share in shares} for shares in hit_shares]
    # Scripts without spaces are looked for by overlapping pairs of characters: two of them are about a word.
    words = sum(1.0 if word.isascii() else 0.5 for word in weights)
    if words < FEW_WORDS:
        return _of_few(weights, _relevance_of_all(rarity), hits)
    best = max((_worth(weights, shares) for shares in hits), default=0.0)
    return min(best / max(_ALL, _ALL_AT_LEAST + _ALL_PER_WORD * words), 1.0)


def _of_few(
    weights: Mapping[str, float], scale: float, hits: Iterable[Mapping[str, float]]
) -> float:
    """The evidence of few words, by the hit that is most about them."""
    total, found = sum(weights.values()), 0.0
    for shares in hits:
        held = _worth(weights, shares)
        if all(is_common(word) for word in weights if word in shares):
            continue
        strength = sum(shares.get(word, 0.0) for word in weights) * scale
        if held >= _RARE and (strength >= _STRONG or held >= _NEARLY_ALL * total):
            found = max(found, held / total)
        if strength >= max(_DWELT * held, _WEAK):
            found = max(found, _STRETCH * strength / total)
    return min(found, 1.0)


def _worth(weights: Mapping[str, float], held: Iterable[str]) -> float:
    return sum(weights.get(word, 0.0) for word in held)


def _relevance_of_all(rarity: Mapping[str, float]) -> float:
    """What turns a word's share of a hit's relevance into its rarity times how much the hit speaks of it."""
    return sum(weight for weight in rarity.values() if weight < 1.0)


def of_query(
    words: Iterable[str], hit_shares: Iterable[Sequence[tuple[str, float]]], enough: int = ENOUGH
) -> Interest:
    """The interest behind a search: each word that was found weighs what it gave its best hit."""
    found: dict[str, float] = {}
    for shares in hit_shares:
        for word, share in shares:
            plain = word.removesuffix("*")
            found[plain] = max(found.get(plain, 0.0), share)
    typical = sorted(found.values())[len(found) // 2] if found else 0.0
    for word in words:
        # Looked for, and in none of the best hits: worth something if it turns up elsewhere.
        found.setdefault(word.removesuffix("*").strip('"'), typical * _FALLBACK)
    return _made(found, enough)


def of_focus(texts: Iterable[tuple[str, float]]) -> Interest:
    """The interest of a project's present focus: (text, weight) of what it is about, the most telling first."""
    found: dict[str, float] = {}
    for text, weight in texts:
        for word in words_of(text):
            found[word] = min(found.get(word, 0.0) + weight, 2.0)
    heaviest = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_FOCUS_WORDS]
    return _made(dict(heaviest), ENOUGH)


def _made(weights: dict[str, float], enough: int) -> Interest:
    top = sorted(weights.values(), reverse=True)[:enough]
    return Interest(weights, sum(top))
