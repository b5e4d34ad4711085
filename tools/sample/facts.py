"""Owns facts.json: what a summary of each session should hold, and questions with their evidence.

Reads `questions.txt`: `kind | language | session#label ... | question | needed; words`. A question
whose place is `-` is answered nowhere in the sample: the right answer is that it isn't known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.sample.compose import Composer


def facts_document(composers: dict[str, Composer], questions: Path) -> dict[str, Any]:
    """The whole document; ValueError when a question points at a session or label unknown."""
    lines = questions.read_text(encoding="utf-8").split("\n")
    asked = [line for line in lines if line and not line.startswith("#")]
    return {
        "version": 1,
        "sessions": [_session(composer) for composer in composers.values()],
        "questions": [
            _question(f"q{number:03d}", line, composers) for number, line in enumerate(asked, 1)
        ],
    }


def _session(composer: Composer) -> dict[str, Any]:
    head = composer.source.head
    return {
        "session_id": composer.place.session_id,
        "source": composer.source.name,
        "project": composer.place.cwd,
        "date": head["start"][:10],
        "language": head["lang"],
        "developer": head["by"],
        "title": head["title"],
        "facts": [{"text": text, "must": list(must)} for text, must in composer.source.facts],
    }


def _question(number: str, line: str, composers: dict[str, Composer]) -> dict[str, Any]:
    kind, language, places, question, needed = (part.strip() for part in line.split(" | "))
    evidence = [] if places == "-" else [_evidence(place, composers) for place in places.split()]
    return {
        "id": number,
        "kind": kind,
        "language": language,
        "question": question,
        "sessions": list(dict.fromkeys(entry["session_id"] for entry in evidence)),
        "evidence": evidence,
        "needed": [word.strip() for word in needed.split(";") if word.strip() != "-"],
    }


def _evidence(place: str, composers: dict[str, Composer]) -> dict[str, str]:
    name, _, label = place.partition("#")
    found = [composer for key, composer in composers.items() if key.startswith(f"{name}-")]
    if len(found) != 1 or label not in found[0].labels:
        raise ValueError(f"no such evidence: {place}")
    target = found[0].labels[label]
    return {"session_id": found[0].place.session_id, "kind": target.kind, "id": target.id}
