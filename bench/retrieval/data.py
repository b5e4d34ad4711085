"""Question sets: what is remembered, and what is asked about it.

A set is a folder with `corpus.jsonl` and `queries.jsonl` (or both with `.gz`), a JSON object a line.

Of the corpus: `id`, `text`; and, where there is one, `session` (what was said together), `conv` (a conversation of
several sessions, which becomes a project), `speaker`, `time`, `title` (the session's), `caption` (of a picture).
What an agent did is an event: `kind` (`tool.used`) and `data`, as in docs/schemas; `text` is then what it says as plain
text, which is what the baseline gets.
Of the questions: `qid`, `query`, `relevant` (ids); and `category`, `conv`, `labels` (any, to count by).
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_FORMATS = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d", "%B-%d-%Y", "%B %d, %Y")
_FIRST = datetime(2024, 1, 1, tzinfo=UTC)  # of what says no time
_NAMES = ("corpus", "queries")


@dataclass(frozen=True, slots=True)
class Said:
    """Something to remember; `at` in Unix ms, in the order of the corpus within a session. `kind` and `data` are an
    event's; without a kind it is something said.
    """

    id: str
    text: str
    session: str
    conversation: str
    speaker: str
    at: int
    title: str
    kind: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """Something asked; `relevant` are the ids that answer it."""

    id: str
    text: str
    relevant: frozenset[str]
    category: str
    conversation: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """`hashes` are the SHA-256 of its files as they are stored."""

    name: str
    said: list[Said]
    questions: list[Question]
    hashes: dict[str, str]


def sets(folder: Path) -> list[QuestionSet]:
    """The sets under a folder, or the folder itself if it is one. Raises FileNotFoundError with what is expected."""
    found = [each for each in (folder, *sorted(folder.iterdir())) if _is_set(each)]
    if not found:
        raise FileNotFoundError(
            f"{folder}: no folder with corpus.jsonl[.gz] and queries.jsonl[.gz]"
        )
    return [_load(each) for each in found]


def _is_set(folder: Path) -> bool:
    return folder.is_dir() and all(_file(folder, name) for name in _NAMES)


def _file(folder: Path, name: str) -> Path | None:
    return next((p for end in ("", ".gz") if (p := folder / f"{name}.jsonl{end}").is_file()), None)


def _load(folder: Path) -> QuestionSet:
    files = {name: path for name in _NAMES if (path := _file(folder, name)) is not None}
    return QuestionSet(
        name=folder.name,
        said=list(_said(_rows(files["corpus"]))),
        questions=[
            Question(
                row["qid"],
                row["query"],
                frozenset(row["relevant"]),
                row.get("category", ""),
                row.get("conv", ""),
                tuple(row.get("labels", ())),
            )
            for row in _rows(files["queries"])
        ],
        hashes={
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files.values()
        },
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    body = path.read_bytes()
    text = (gzip.decompress(body) if path.suffix == ".gz" else body).decode("utf-8")
    yield from map(json.loads, filter(str.strip, text.split("\n")))


def _said(rows: Iterator[dict[str, Any]]) -> Iterator[Said]:
    """One second apart within a session, from the moment it says."""
    counts: dict[str, int] = {}
    for row in rows:
        session = row.get("session") or row["id"]
        counts[session] = counts.get(session, 0) + 1
        caption = row.get("caption")
        yield Said(
            id=row["id"],
            text=f"{row['text']}\n(a picture: {caption})" if caption else row["text"],
            session=session,
            conversation=row.get("conv") or "all",
            speaker=row.get("speaker") or "",
            at=_moment(row.get("time") or "") + counts[session] * 1_000,
            title=row.get("title") or "",
            kind=row.get("kind") or "",
            data=row.get("data") or {},
        )


def _moment(text: str) -> int:
    for form in _FORMATS:
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp() * 1000)
        except ValueError:
            continue
    return int(_FIRST.timestamp() * 1000)
