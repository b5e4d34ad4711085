"""What failed and how it was mended, in words: the error, what was said of it and changed after it, what then held.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from claude_mem.domains.intelligence import outcomes
from claude_mem.domains.intelligence.model import Point
from claude_mem.domains.intelligence.scoring import TOOL, USER, Scored
from claude_mem.domains.intelligence.sentences import clip
from claude_mem.domains.memory.model import EntityRef

Row = dict[str, Any]
_COMMAND: Final = 90
_FILES: Final = 3
_EXPLAINS = frozenset({"cause", "decision", "failure", "result", "rejection", "rule"})


@dataclass(frozen=True, slots=True)
class Mended:
    """An error with what ended it; `why` is the sentence that explains it."""

    point: Point
    mend: outcomes.Mend
    why: Scored | None
    files: tuple[str, ...]


def mended(
    observations: Sequence[Row], changes: Sequence[Row], said: Sequence[Scored], dense: bool
) -> list[Mended]:
    """The failures of a session, those that teach most first: ended and explained."""
    found = [_one(mend, changes, said, dense) for mend in outcomes.mends(observations)]
    found.sort(key=lambda it: (it.mend.succeeded is None, it.why is None, -it.point.at))
    return found


def _one(
    mend: outcomes.Mend, changes: Sequence[Row], said: Sequence[Scored], dense: bool
) -> Mended:
    start = mend.failed["occurred_at"]
    end = mend.succeeded["occurred_at"] if mend.succeeded else start
    between = [row for row in changes if start <= row["occurred_at"] <= end]
    names = list(dict.fromkeys(row["file_path"].rsplit("/", 1)[-1] for row in between))
    why = _explanation(said, start, end if mend.succeeded else start + 600_000)
    said_failed = "失败：" if dense else "failed: "
    parts = [f"`{clip(_shown(mend.failed['command']), _COMMAND)}` {said_failed}{mend.error}"]
    counted = outcomes.test_result(mend.failed)
    if counted and counted not in mend.error:
        parts.append(f"({counted})")
    if why is not None:
        parts.append(f"→ {why.sentence.text}")
    if names:
        parts.append(f"({', '.join(names[:_FILES])})")
    refs = [EntityRef("observation", mend.failed["id"])]
    refs += [EntityRef("code_change", row["id"]) for row in between[:_FILES]]
    if mend.succeeded is not None:
        result = outcomes.test_result(mend.succeeded)
        parts.append(
            f"→ {result}"
            if result
            else f"→ `{clip(_shown(mend.succeeded['command']), 60)}` {'成功' if dense else 'succeeded'}"
        )
        refs.append(EntityRef("observation", mend.succeeded["id"]))
    if why is not None:
        refs.append(why.sentence.ref)
    point = Point(" ".join(parts), tuple(refs), start, 0.8 if mend.succeeded else 0.5)
    return Mended(point, mend, why, tuple(names))


def _explanation(said: Sequence[Scored], start: int, end: int) -> Scored | None:
    """What was said of an error: the most telling sentence that opens one of the two messages after it."""
    after = [
        each for each in said if start <= each.sentence.at <= end and each.sentence.role != TOOL
    ]
    messages = list(dict.fromkeys(each.sentence.message for each in after))[:2]
    if after and after[0].sentence.role != USER:
        messages = messages[:1]  # what a person said later is about something else
    opening = [it for number in messages for it in _opening(after, number)]
    telling = [it for it in opening if it.kinds & _EXPLAINS or it.hard]
    return telling[0] if telling else None


def _opening(said: Sequence[Scored], message: int) -> list[Scored]:
    mine = [each for each in said if each.sentence.message == message]
    return [each for each in mine[:2] if not each.is_noise]


def _shown(command: str) -> str:
    return " ".join(command.split())
