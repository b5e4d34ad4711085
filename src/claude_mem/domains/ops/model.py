"""Live events: what an entry of the change journal is to somebody who watches. Pure.

Each event but those of `TRANSIENT` stands for one entry of the change journal and carries its id, whether it is told
live or read later: that id is what a stream is resumed from, and what tells a repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from claude_mem.domains.memory.model import EntityRef
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.ids import first_id
from claude_mem.ports.bus import LiveEvent

Row = dict[str, Any]

SESSION_CREATED: Final = "session.created"
SESSION_UPDATED: Final = "session.updated"
OBSERVATION_ADDED: Final = "observation.added"
LEARNING_EXTRACTED: Final = "learning.extracted"
SUMMARY_GENERATED: Final = "summary.generated"
INDEX_UPDATED: Final = "search.index_updated"
MEMORY_REMOVED: Final = "memory.removed"
# What a stream can be asked for, with what it means.
TYPES: Final[Mapping[str, str]] = {
    SESSION_CREATED: "A session is heard of for the first time.",
    SESSION_UPDATED: "A session got a prompt, a reply or a change of a file, another title or status, or its end:"
    " `kind` says which (`prompt`, `code_change`, `session`).",
    OBSERVATION_ADDED: "A tool call, an error, or something said to be worth knowing was recorded; it can be found.",
    LEARNING_EXTRACTED: "A session taught something, or what was learned is told anew.",
    SUMMARY_GENERATED: "A session was summarised, or compacted by its agent.",
    MEMORY_REMOVED: "Something was forgotten by a person, or withdrawn because it rested on that.",
    INDEX_UPDATED: "The search index was made anew.",
}
# Of the stream itself: told whatever was asked for.
BATCH: Final = "batch"
RESET: Final = "stream.reset"
STREAM_TYPES: Final[Mapping[str, str]] = {
    BATCH: "So much happened at once that only its numbers are told, by type.",
    RESET: "More happened while nobody listened than is told one by one: read lists anew. The stream goes on from now.",
}
TRANSIENT: Final = frozenset({INDEX_UPDATED})  # nowhere kept, so nothing to resume from
CHANGED: Final = (
    "journal.changed"  # between replicas only: `at` is from when on there are new entries
)
_NAMED: Final = 20  # sessions in a batch
_FORGOTTEN, _WITHDRAWN = "forgotten", "withdrawn"

_BY_KIND: Final[Mapping[str, str]] = {
    "session": SESSION_UPDATED,
    "prompt": SESSION_UPDATED,
    "code_change": SESSION_UPDATED,
    "observation": OBSERVATION_ADDED,
    "learning": LEARNING_EXTRACTED,
    "summary": SUMMARY_GENERATED,
}
# Of a state, what a list would show.
SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "session": ("title", "status", "role", "ended_at"),
    "prompt": ("prompt_type", "occurred_at"),
    "code_change": ("file_path", "operation", "lines_added", "lines_removed", "occurred_at"),
    "observation": ("observation_type", "title", "importance_score", "tags", "occurred_at"),
    "learning": ("title", "confidence_score", "occurred_at"),
    "summary": ("title", "summary_type", "occurred_at"),
}
_MOMENTS: Final = frozenset({"occurred_at", "ended_at"})
# What others of the same moment refer to comes first.
_RANK: Final = {"session": 0, "prompt": 1}


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Bounds and pace of live streams; times in seconds but `overlap_ms`.

    `pace`: between two readings of the journal for an enterprise; what happens meanwhile is told together. `sweep`:
    after so long the journal is read though nothing was said of it, for a message may be lost. `overlap_ms`: how long
    an entry may be on its way from being written to being committed. `detailed`: of a type, told one by one of what is
    read at once. `replay`: pages of `page` entries that a resumed stream is told. `queue`: events that may wait for a
    listener.
    """

    pace: float = 0.2
    sweep: float = 15.0
    overlap_ms: int = 10_000
    detailed: int = 50
    page: int = 1_000
    replay: int = 100
    queue: int = 1_000
    per_user: int = 20
    per_enterprise: int = 500
    per_process: int = 2_000


def type_of(row: Row) -> str | None:
    """The type of a journal entry's event; None for one that is not told (emptied since, or of another kind)."""
    kind, state = row["kind"], row["state"]
    if kind not in _BY_KIND or not isinstance(state, dict):
        return None
    if _gone(state) is not None:
        return MEMORY_REMOVED
    return SESSION_CREATED if kind == "session" and row["version"] == 1 else _BY_KIND[kind]


def _gone(state: Row) -> str | None:
    if state.get("status") == "deleted":
        return _FORGOTTEN
    return next((why for why in (_FORGOTTEN, _WITHDRAWN) if state.get(why) is True), None)


def session_of(row: Row) -> str | None:
    """The session an entry belongs to, where it says so."""
    found = row["entity_id"] if row["kind"] == "session" else row["state"].get("session_id")
    return found if isinstance(found, str) else None


def wanted_sessions(rows: Iterable[Row]) -> list[EntityRef]:
    """The sessions that are to be named with the events of these entries."""
    ids = {session_of(row) for row in rows if type_of(row) not in (None, MEMORY_REMOVED)}
    return [EntityRef("session", each) for each in sorted(it for it in ids if it is not None)]


def event_of(row: Row, sessions: Mapping[str, Row]) -> LiveEvent | None:
    """The event of an entry; `sessions` are those that are there, by id. None when its session is gone."""
    kind = type_of(row)
    if kind is None:
        return None
    state = row["state"]
    data: Row = {"kind": row["kind"], "id": row["entity_id"], "version": row["version"]}
    if kind == MEMORY_REMOVED:
        data["why"] = _gone(state)
        return LiveEvent(row["id"], kind, row["at"], data)
    session_id = session_of(row)
    if session_id is not None:
        session = sessions.get(session_id)
        if session is None:
            return None
        data |= {
            "session_id": session_id,
            "session_title": session["title"],
            "project_id": session["project_id"],
        }
    for name in SHOWN[row["kind"]]:
        if name in state:
            data[name] = _shown(name, state[name])
    return LiveEvent(row["id"], kind, row["at"], data)


def _shown(name: str, value: Any) -> Any:
    return to_iso(value) if name in _MOMENTS and isinstance(value, int) else value


def in_order(rows: Sequence[Row]) -> list[Row]:
    """As they are told: by moment, and a session before what happened in it."""
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[int, int, int, str]:
    return row["at"], _RANK.get(row["kind"], 2), row["version"], row["id"]


def split(rows: Sequence[Row], most: int) -> tuple[list[Row], list[Row]]:
    """Of the entries that are told: those told one by one, and those of types of which there are more than `most`."""
    told = [(type_of(row), row) for row in rows]
    numbers = Counter(kind for kind, _ in told if kind is not None)
    single = [row for kind, row in told if kind is not None and numbers[kind] <= most]
    many = [row for kind, row in told if kind is not None and numbers[kind] > most]
    return single, many


def batch_of(rows: Sequence[Row]) -> LiveEvent:
    """One event for many entries; its id is that of the last, so that a stream resumes after all of them."""
    last = max(rows, key=lambda row: row["id"])
    sessions = dict.fromkeys(found for row in rows if (found := _named_session(row)) is not None)
    data = {
        "types": dict(sorted(Counter(str(type_of(row)) for row in rows).items())),
        "sessions": list(sessions)[:_NAMED],
    }
    return LiveEvent(last["id"], BATCH, last["at"], data)


def _named_session(row: Row) -> str | None:
    return None if type_of(row) == MEMORY_REMOVED else session_of(row)


def reset_at(moment: int) -> LiveEvent:
    """Tells a listener that it has missed what is not told any more; it resumes from that moment."""
    return LiveEvent(first_id(moment), RESET, moment, {})


def chosen(event: LiveEvent, types: frozenset[str] | None) -> LiveEvent | None:
    """The event as who asked for `types` (None: all) gets it; None when it does not."""
    if types is None or event.type == RESET or event.type in types:
        return event
    if event.type != BATCH:
        return None
    numbers = {kind: count for kind, count in event.data["types"].items() if kind in types}
    if not numbers:
        return None
    return LiveEvent(event.id, BATCH, event.at, {**event.data, "types": numbers})
