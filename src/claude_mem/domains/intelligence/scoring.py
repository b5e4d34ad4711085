"""Which sentences of a session are worth keeping: cues, hard words, centrality, place; then a choice without repeats.

Pure. A sentence's worth grows with what it says that nothing chosen before says. Linear in the text but for the choice,
which looks at a bounded number of the best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from claude_mem.domains.intelligence import cues
from claude_mem.domains.intelligence.borrowed import is_own
from claude_mem.domains.intelligence.sentences import options
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.analysis import is_stop_word, tokens

USER, ASSISTANT, TOOL = "user", "assistant", "tool"
_KINDS: Final = {
    "decision": (cues.DECISION, 0.8),
    "rejection": (cues.REJECTION, 0.6),
    "cause": (cues.CAUSE, 0.9),
    "result": (cues.RESULT, 0.6),
    "failure": (cues.FAILURE, 0.5),
    "leftover": (cues.LEFTOVER, 0.9),
    "preference": (cues.PREFERENCE, 0.5),
    "rule": (cues.RULE, 0.7),
}
_WILLED: Final = frozenset({"decision", "rejection", "preference", "rule"})
_HARD_WORD, _HARD_WORDS = 0.16, 6  # worth of one, and how many count
_CENTRAL, _BASE = 0.8, 0.3
_NEW_WORD = 0.3  # worth of a hard word that nothing chosen so far holds
_REPEAT = 0.8  # what a full repeat of something chosen loses
_CHOOSE_FROM = 240
_DENSE = 1.5  # a character of a dense script takes the room of so many


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with where it stands: `message` counts messages, `final` is the last reply of a turn."""

    text: str
    role: str
    ref: EntityRef
    at: int
    message: int
    final: bool
    subagent: bool
    first: bool  # of its message
    own: str | None = None  # with somebody else's words masked, where there are any

    @property
    def is_own(self) -> bool:
        """Whether it is not mostly somebody else's words."""
        return self.own is None or is_own(self.own)


@dataclass(slots=True)
class Scored:
    """A sentence with what it holds and what it is worth."""

    sentence: Sentence
    kinds: frozenset[str]
    hard: frozenset[str]
    words: dict[str, float] = field(default_factory=dict)
    worth: float = 0.0
    room: float = 0.0  # what it takes

    @property
    def is_noise(self) -> bool:
        """Whether it only announces or greets."""
        if not cues.NOISE.search(self.sentence.text):
            return False
        return len(self.hard) < 2 or not self.kinds & {"cause", "leftover", "decision", "result"}


def width(text: str) -> float:
    """The room a text takes, in Latin characters."""
    if text.isascii():
        return float(len(text))
    dense = sum(1 for char in text if char >= "\u2e80")
    return len(text) + dense * (_DENSE - 1)


def score(sentences: Sequence[Sentence]) -> list[Scored]:
    """Every sentence with its worth, in the order given."""
    scored = [
        Scored(it, _kinds_of(it), cues.hard_words(it.text), _counted(it.text), room=width(it.text))
        for it in sentences
    ]
    _weigh(scored)
    middle = _centroid(scored)
    for each in scored:
        each.worth = _worth(each, _cosine(each.words, middle))
    return scored


def _kinds_of(it: Sentence) -> frozenset[str]:
    """What a sentence says; nobody wants or decides anything in somebody else's words."""
    own = it.text if it.own is None else it.own
    return frozenset(
        name
        for name, (pattern, _) in _KINDS.items()
        if pattern.search(own if name in _WILLED else it.text)
    )


def _counted(text: str) -> dict[str, float]:
    return dict(Counter(word for word in tokens(text) if not is_stop_word(word)))


def _weigh(scored: Sequence[Scored]) -> None:
    """Counts to TF-IDF vectors of length 1."""
    frequency = Counter(word for each in scored for word in each.words)
    for each in scored:
        for word, count in each.words.items():
            each.words[word] = (1 + math.log(count)) * math.log(1 + len(scored) / frequency[word])
        length = math.sqrt(sum(value * value for value in each.words.values())) or 1.0
        each.words = {word: value / length for word, value in each.words.items()}


def _centroid(scored: Sequence[Scored]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for each in scored:
        total.update(each.words)
    length = math.sqrt(sum(value * value for value in total.values())) or 1.0
    return {word: value / length for word, value in total.items()}


def _cosine(one: dict[str, float], other: dict[str, float]) -> float:
    if len(one) > len(other):
        one, other = other, one
    return sum(value * other.get(word, 0.0) for word, value in one.items())


def _worth(each: Scored, centrality: float) -> float:
    it = each.sentence
    told = sum(weight for name, (_, weight) in _KINDS.items() if name in each.kinds)
    if it.role != USER and "rule" in each.kinds:
        told -= _KINDS["rule"][1]
    hard = min(len(each.hard), _HARD_WORDS)
    worth = _BASE + min(told, 2.2) + _HARD_WORD * hard + _CENTRAL * centrality
    if it.role == USER:
        worth *= 1.25
    elif it.final:
        worth *= 1.15
    if it.subagent:
        worth *= 0.5
    if it.role == TOOL:
        worth *= 0.6
    if each.is_noise:
        worth *= 0.2
    if it.text.endswith((":", "：")) and len(it.text) < 80:
        worth *= 0.4
    if it.text.endswith(("?", "？")):
        worth *= 0.6
    return worth * min(1.0, each.room / 30)


def decides(each: Scored) -> bool:
    """Whether somebody chose or rejected something. In an assistant's words it takes who chose: "not" alone tells
    what is wrong.
    """
    text = each.sentence.text
    if "chosen" in each.kinds:
        return True
    if not each.kinds & {"decision", "rejection"} or cues.NO_CHOICE.search(text):
        return False
    return each.sentence.role == USER or cues.CHOICE.search(text) is not None


def lift_chosen_options(scored: Sequence[Scored], prompts: Sequence[dict[str, Any]]) -> None:
    """ "Number 4": the item of the list before it is what was decided, and the pointer alone says nothing."""
    for each in scored:
        it = each.sentence
        pointer = cues.OPTION.search(it.text) if it.message > 0 and width(it.text) < 80 else None
        if pointer is None:
            continue
        number = pointer[1] or str(" 一二三四五六七八九".find(pointer[2])).replace("-1", pointer[2])
        for row in reversed(prompts[max(it.message - 3, 0) : it.message + 1]):
            item = options(row["head"]).get(number)
            if item is not None:
                _lift(scored, item, row["id"])
                each.worth *= 0.3
                break


def _lift(scored: Sequence[Scored], item: str, prompt_id: str) -> None:
    for each in scored:
        if each.sentence.ref.id == prompt_id and item.startswith(each.sentence.text[:40]):
            each.worth += 1.5
            each.kinds |= {"decision", "chosen"}
            return


def choose(scored: Iterable[Scored], room: float, told: Iterable[str] = ()) -> list[Scored]:
    """The sentences that together tell most in `room` (see `width`); `told` is said elsewhere already."""
    held = {word for text in told for word in cues.hard_words(text)}
    left = sorted(
        (it for it in scored if _says_something(it, held)),
        key=lambda each: -each.worth,
    )[:_CHOOSE_FROM]
    alike = dict.fromkeys(map(id, left), 0.0)
    chosen: list[Scored] = []
    while left:
        best = max(left, key=lambda each: _gain(each, alike[id(each)], held))
        left.remove(best)
        cost = best.room + 4
        if alike[id(best)] > 0.75 or cost > room:
            continue
        room -= cost
        chosen.append(best)
        held |= best.hard
        for each in left:
            alike[id(each)] = max(alike[id(each)], _cosine(each.words, best.words))
    return chosen


def _says_something(each: Scored, held: set[str]) -> bool:
    """Neither an announcement nor too short to stand alone, nor short and said already."""
    room = each.room
    if each.sentence.final and "leftover" in each.kinds and room >= 8 and not each.is_noise:
        return True  # what is left is told at the end, and in few words
    if each.is_noise or room < 14 or (room < 24 and not (each.hard or each.kinds)):
        return False
    return room > 60 or not each.hard or not each.hard <= held


def _gain(each: Scored, alike: float, held: set[str]) -> float:
    fresh = min(sum(1 for word in each.hard if word not in held), _HARD_WORDS)
    worth = each.worth * (1 - _REPEAT * alike) + _NEW_WORD * fresh
    return float(worth / (each.room + 40) ** 0.55)
