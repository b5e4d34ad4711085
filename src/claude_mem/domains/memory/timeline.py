"""Reading step by step: what happened around a thing, and things of any kind by their ids.

What a reader with a small budget needs between a search and the whole text. Works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from claude_mem.domains.memory import service
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.memory.recent import full_ids
from claude_mem.domains.memory.repository import timeline as repository
from claude_mem.kernel.errors import Detail, Invalid, NotFound
from claude_mem.kernel.ids import is_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
# In the order in which an id is looked for; ids are unique across kinds.
KINDS = ("observation", "prompt", "summary", "code_change", "learning", "session")


@dataclass(frozen=True, slots=True)
class Timeline:
    """A stretch of a session; `earlier` and `later` say whether it goes on beyond."""

    session: Row
    anchor: EntityRef | None
    entries: list[Row]
    earlier: bool
    later: bool


def find_any(scope: Scope, tx: Tx, ids: Sequence[str]) -> dict[str, tuple[str, Row]]:
    """id -> (kind, row) of what is there, whatever its kind; an id may be in its short form, as contexts show it."""
    shorts = full_ids(scope, tx, ids)
    # What is no id is nobody's; an engine with a type for ids would not even compare it.
    sound = [each for each in dict.fromkeys(ids) if is_id(each)]
    wanted = [EntityRef(kind, each) for kind in KINDS for each in sound]
    found = service.get_many(scope, tx, [*wanted, *shorts.values()])
    rows = {ref.id: (ref.kind, row) for ref, row in found.items()}
    rows |= {short: rows[ref.id] for short, ref in shorts.items() if ref.id in rows}
    return {
        each: rows[each]
        for each in ids
        if each in rows and rows[each][1].get("status") != "deleted"
    }  # a forgotten session keeps its row, and nothing else


def read_in_full(scope: Scope, tx: Tx, ids: Sequence[str], now: int) -> dict[str, tuple[str, Row]]:
    """`find_any`, for somebody who reads them whole: that is noted, for what is used is worth more."""
    found = find_any(scope, tx, ids)
    used = [EntityRef(kind, row["id"]) for kind, row in found.values() if kind != "session"]
    service.note_use(scope, tx, used, now)
    return found


def around(scope: Scope, tx: Tx, entity_id: str, before: int, after: int) -> Timeline:
    """What happened before and after a thing in its session. Raises NotFound, or Invalid for a session's id."""
    found = find_any(scope, tx, [entity_id]).get(entity_id)
    if found is None:
        raise NotFound(f"no memory {entity_id}")
    kind, row = found
    entity_id = row["id"]
    session_id = row.get("session_id")
    if session_id is None:
        message = f"{entity_id} is a {kind}, which stands in no timeline"
        step = ": give it as session" if kind == "session" else ""
        raise Invalid(f"around: {message}{step}", details=(Detail("around", message + step),))
    at = int(row.get("occurred_at") or row["created_at"])
    earlier = repository.beside(scope, tx, session_id, at, entity_id, before + 1, later=False)
    later = repository.beside(scope, tx, session_id, at, entity_id, after + 1, later=True)
    entries = [*earlier[-before:] * bool(before), _entry(kind, row), *later[:after]]
    return Timeline(
        service.get_session(scope, tx, session_id),
        EntityRef(kind, entity_id),
        entries,
        len(earlier) > before,
        len(later) > after,
    )


def of_session(scope: Scope, tx: Tx, session_id: str, limit: int) -> Timeline:
    """The beginning of a session. Raises NotFound."""
    session = service.get_session(scope, tx, session_id)
    found = repository.beside(scope, tx, session["id"], -1, session["id"], limit + 1, later=True)
    return Timeline(session, None, found[:limit], False, len(found) > limit)


def made_of(scope: Scope, tx: Tx, event_id: str) -> EntityRef | None:
    """The row an event was turned into; None while it waits, and where it only repeated what was there."""
    return repository.made_of(scope, tx, event_id)


def _entry(kind: str, row: Row) -> Row:
    """A whole row as an entry of a timeline."""
    text = str(row.get("content") or row.get("description") or row.get("diff") or "")
    subtype = row.get("prompt_type") or row.get("observation_type") or row.get("summary_type")
    return {
        "kind": kind,
        "id": row["id"],
        "occurred_at": row.get("occurred_at") or row["created_at"],
        "subtype": subtype or row.get("operation") or row.get("category"),
        "title": row.get("title") or row.get("file_path") or "",
        "text": text[: repository.LINE_CHARS],
        "chars": len(text),
    }
