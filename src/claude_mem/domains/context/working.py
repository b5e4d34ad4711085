"""Working memory: where a running session stands. Its last messages, its task, the files in hand, what failed last.

A few reads by index whatever the session's length. Where a cache is given what they found is kept there, with the
number of changes that the session had seen: another number, and it is as if it were not there. That number and the
session itself are read each time, so what is shown was true at that moment, and forgotten is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from claude_mem import __version__
from claude_mem.domains.context.model import Unit
from claude_mem.domains.context.passages import shorten
from claude_mem.domains.memory import recent
from claude_mem.domains.memory import service as memory
from claude_mem.kernel.scope import Scope
from claude_mem.ports.cache import Cache
from claude_mem.ports.database import Database, Tx

Row = dict[str, Any]
MESSAGES: Final = 20
FILES: Final = 12
_LOOKED_AT = 60  # changes and results from which files and failures are taken
_FAILURES = 3
_TASK_CHARS, _MESSAGE_CHARS = 600, 240
_KEEP_S = 120  # what is brought from another store comes in pieces, and counts its changes there


@dataclass(frozen=True, slots=True)
class Working:
    """`messages` oldest first; `task` is the person's last prompt; `failures` are errors since it, newest first."""

    session: Row
    task: Row | None
    messages: tuple[Row, ...]
    files: tuple[str, ...]
    failures: tuple[Row, ...]


def working_memory(scope: Scope, tx: Tx, session_id: str, messages: int = MESSAGES) -> Working:
    """Of a session, by our id or the agent's. Raises NotFound."""
    session = memory.get_session(scope, tx, session_id)
    own = session["id"]
    said = recent.latest_messages(scope, tx, own, MESSAGES)
    changed = recent.latest_changes(scope, tx, own, _LOOKED_AT)
    results = recent.latest_observations(scope, tx, own, _LOOKED_AT)
    task = next((row for row in said if row["prompt_type"] == "user"), None)
    since = task["occurred_at"] if task else 0
    failed = [
        row for row in results if row["observation_type"] == "error" and row["occurred_at"] >= since
    ]
    return Working(
        session=session,
        task=task,
        messages=tuple(said[:messages][::-1]),
        files=tuple(dict.fromkeys(row["file_path"] for row in changed))[:FILES],
        failures=tuple(failed[:_FAILURES]),
    )


class WorkingMemory:
    """Working memory, asked for by itself."""

    def __init__(self, database: Database, cache: Cache | None = None) -> None:
        self._database = database
        self._cache = cache

    async def get(self, scope: Scope, session_id: str) -> Working:
        """Of a session, by our id or the agent's. Raises NotFound."""
        if self._cache is None:
            return await self._read(scope, session_id)
        session = await self._database.read(
            scope, lambda tx: memory.get_session(scope, tx, session_id)
        )
        name = _name(session["id"])
        found = _decode(session, await self._cache.get(scope, name))
        if found is None:
            found = await self._read(scope, session_id)
            await self._cache.put(scope, name, _encode(found), _KEEP_S)
        return found

    async def drop(self, scope: Scope, session_ids: Sequence[str]) -> None:
        """Take out what is kept of sessions (by our ids), so that its bytes are nowhere either."""
        if self._cache is not None:
            await self._cache.drop(scope, [_name(session_id) for session_id in session_ids])

    async def _read(self, scope: Scope, session_id: str) -> Working:
        return await self._database.read(scope, lambda tx: working_memory(scope, tx, session_id))


def _name(session_id: str) -> str:
    return f"working {session_id}"


def _version(session: Row) -> list[Any]:
    """Another one after every change of the session; the moment, because a backup that is brought back counts anew."""
    return [__version__, session["id"], session["changes"], session["updated_at"]]


def _encode(working: Working) -> bytes:
    return orjson.dumps(
        (
            _version(working.session),
            working.task,
            working.messages,
            working.files,
            working.failures,
        ),
        option=orjson.OPT_NON_STR_KEYS,  # names of columns are texts of a kind of their own
    )


def _decode(session: Row, kept: bytes | None) -> Working | None:
    """What is kept, if that is of this state of the session."""
    if kept is None:
        return None
    try:
        version, task, messages, files, failures = orjson.loads(kept)
    except (ValueError, TypeError):
        return None
    if version != _version(session):
        return None
    return Working(session, task, tuple(messages), tuple(files), tuple(failures))


def units(working: Working) -> list[Unit]:
    """As units of a context, for a conversation that was cut short."""
    own = working.session["id"]
    found: list[Unit] = []
    if working.task is not None:
        found.append(
            _unit(
                own,
                "prompt",
                working.task,
                "task",
                "Current task: " + _text(working.task, _TASK_CHARS),
            )
        )
    if working.files:
        at = {"id": own, "occurred_at": working.session["last_activity_at"]}
        found.append(
            _unit(own, "session", at, "task", "Files in hand: " + ", ".join(working.files))
        )
    for row in working.failures:
        text = f"Failed last: {row['title']}: {_text(row, _MESSAGE_CHARS)}"
        found.append(_unit(own, "observation", row, "task", text))
    for row in working.messages:
        if working.task is None or row["id"] != working.task["id"]:
            who = "user" if row["prompt_type"] == "user" else "you"
            found.append(
                _unit(own, "prompt", row, "message", f"{who}: {_text(row, _MESSAGE_CHARS)}")
            )
    return found


def _unit(session_id: str, kind: str, row: Row, about: str, text: str) -> Unit:
    return Unit(
        kind=kind,
        id=row["id"],
        about=about,
        text=text,
        session_id=session_id,
        occurred_at=row["occurred_at"],
        importance=0.0,
        closeness=1.0,
        reason="the running session",
    )


def _text(row: Row, limit: int) -> str:
    return shorten(str(row["content"]), limit)
