"""The questions, read from `questions.txt`: `ID CATEGORY DIFFICULTY LANGUAGE | question | ids of all that answer it`.

Empty lines and those that begin with `#` are not read. Languages: `en`, `zh` (a Chinese question, its answer in
Chinese), `zh-id` (Chinese around an English identifier), `cross` (English; its answer is in Chinese, an
identifier is in both).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("questions.txt")
CATEGORIES = (
    "error",
    "file",
    "decision",
    "command",
    "identifier",
    "paraphrase",
    "time",
    "preference",
)
DIFFICULTIES = ("easy", "medium", "hard")
LANGUAGES = ("en", "zh", "zh-id", "cross")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question; `relevant` are the ids of all events that answer it."""

    id: str
    category: str
    difficulty: str
    language: str
    text: str
    relevant: tuple[str, ...]
    project: str

    def row(self) -> dict[str, Any]:
        """As bench.retrieval reads it."""
        return {
            "qid": self.id,
            "query": self.text,
            "relevant": list(self.relevant),
            "category": self.category,
            "conv": self.project,
            "labels": [self.language, self.difficulty],
        }


_PROJECTS = {
    "p": "parcelhub",
    "l": "lumen-web",
    "c": "coldbox",
    "w": "orders-warehouse",
    "i": "harbor-infra",
    "f": "thermo-fw",
}


def load(path: Path = FILE) -> list[Asked]:
    """All of them. Raises ValueError for a line that is not understood."""
    return [
        _asked(line)
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]


def _asked(line: str) -> Asked:
    head, text, relevant = (part.strip() for part in line.split(" | "))
    id_, category, difficulty, language = head.split()
    ids = tuple(relevant.split())
    projects = {_PROJECTS[each[0]] for each in ids}
    # A question about several projects is asked of all of them.
    return Asked(
        id_,
        category,
        difficulty,
        language,
        text,
        ids,
        projects.pop() if len(projects) == 1 else "",
    )
