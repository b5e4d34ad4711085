"""What a follow-up task needs to know, and whether a text says it. Pure: no worker, no clock, no files but tasks.json.

A fact is there when each of its words is, in one of its ways of being said, as a whole word; Markdown's marks, letter
case and line breaks do not count.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

TASKS = Path(__file__).parents[1] / "src/claude_mem/assets/sample/tasks.json"
Estimator = Callable[[str], int]
_MARKS = str.maketrans("", "", "`*")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something to be known; `must`: each of these, said in one of its ways."""

    text: str
    must: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Task:
    """The first prompt of a new session, and what it takes to do it without asking again."""

    id: str
    half: str  # "dev" or "held out"
    language: str
    project: str
    changed: bool
    sessions: tuple[str, ...]
    prompt: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """Of one task and one text."""

    success: bool
    share: float
    missing: tuple[str, ...]


def load(path: Path = TASKS) -> list[Task]:
    """The bundled tasks."""
    return [
        Task(
            id=made["id"],
            half=made["half"],
            language=made["language"],
            project=made["project"],
            changed=made["changed"],
            sessions=tuple(made["sessions"]),
            prompt=made["prompt"],
            facts=tuple(
                Fact(fact["text"], tuple(tuple(ways) for ways in fact["must"]))
                for fact in made["facts"]
            ),
        )
        for made in json.loads(path.read_text(encoding="utf-8"))["tasks"]
    ]


def plain(text: str) -> str:
    """`text` as it is compared."""
    folded = unicodedata.normalize("NFKC", text).translate(_MARKS).casefold()
    return " ".join(folded.split())


def says(text: str, way: str) -> bool:
    """Whether `text`, made plain, holds these words."""
    return _pattern(way).search(text) is not None


@lru_cache(maxsize=1024)
def _pattern(way: str) -> re.Pattern[str]:
    """As a whole word where it begins or ends with a Latin letter or digit."""
    words = plain(way)
    before = r"(?<![0-9a-z])" if re.match(r"[0-9a-z]", words) else ""
    after = r"(?![0-9a-z])" if re.search(r"[0-9a-z]\Z", words) else ""
    return re.compile(before + re.escape(words) + after)


def knows(text: str, fact: Fact) -> bool:
    """Whether `text`, made plain, holds `fact`."""
    return all(any(says(text, way) for way in ways) for ways in fact.must)


def score(task: Task, context: str) -> Score:
    """How much of what `task` needs is in `context`."""
    text = plain(context)
    missing = tuple(fact.text for fact in task.facts if not knows(text, fact))
    return Score(not missing, 1 - len(missing) / len(task.facts), missing)


def fill(texts: Sequence[str], budget: int, estimate: Estimator) -> str:
    """`texts` in this order until `budget` tokens are used; the one that does not fit any more is cut to fit."""
    taken: list[str] = []
    left = budget
    for text in texts:
        cost = estimate(text + "\n\n")
        if cost > left:
            taken.append(_cut(text, left, estimate))
            break
        taken.append(text)
        left -= cost
    return "\n\n".join(taken)


def _cut(text: str, budget: int, estimate: Estimator) -> str:
    """The longest beginning of `text` that costs at most `budget`."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if estimate(text[:middle]) <= budget:
            low = middle
        else:
            high = middle - 1
    return text[:low]
