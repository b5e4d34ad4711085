"""Owns tasks.json: follow-up tasks, each with the facts a developer would have to repeat without a memory.

Reads `tasks.txt` (its form is described at its head). Tasks with an even number are for tuning, those with an odd
number are kept back.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.sample.compose import Composer

Json = dict[str, Any]
_PROJECTS = {"slotwise": "/home/dev/slotwise", "kilnlog": "/home/dev/kilnlog"}


def tasks_document(composers: dict[str, Composer], source: Path) -> Json:
    """The whole document; ValueError when a task names a session or project unknown, or has no fact."""
    places = {name.partition("-")[0]: c.place.session_id for name, c in composers.items()}
    blocks = enumerate(_blocks(source.read_text(encoding="utf-8")), 1)
    return {"version": 1, "tasks": [_task(number, block, places) for number, block in blocks]}


def _blocks(text: str) -> Iterator[list[str]]:
    block: list[str] = []
    for line in text.splitlines():
        if line.startswith("@@ ") and block:
            yield block
            block = []
        if line and not line.startswith("#"):
            block.append(line)
    yield block


def _task(number: int, block: list[str], places: dict[str, str]) -> Json:
    head, prompt, *facts = block
    _, language, project, day, *rest = head.split()
    sessions = [name for name in rest if name != "changed"]
    unknown = [name for name in sessions if name not in places]
    if unknown or not sessions or not facts or not prompt or prompt.startswith("- "):
        raise ValueError(f"task {number} ({prompt!r}): sessions {sessions}, facts {len(facts)}")
    return {
        "id": f"t{number:02d}",
        "half": "held out" if number % 2 else "dev",
        "language": language,
        "project": _PROJECTS[project],
        "at": f"{day}T09:00:00Z",
        "changed": "changed" in rest,
        "sessions": [places[name] for name in sessions],
        "prompt": prompt,
        "facts": [_fact(line) for line in facts],
    }


def _fact(line: str) -> Json:
    text, found, words = line.removeprefix("- ").partition(" || ")
    if not found:
        raise ValueError(f"no words: {line!r}")
    must = [[way.strip() for way in word.split(" // ")] for word in words.split(" | ")]
    return {"text": text, "must": must}
