"""Stand-ins for sessions and projects that a damaged file lost, so that what belongs to them stays.

Owns those rows only. What the damaged file's indexes still know of a lost row (its agent's own session id, its project,
when it was last at work) goes into the stand-in, so that a session that goes on finds itself again.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import orjson

from claude_mem.adapters.sqlite.connection import Raw
from claude_mem.adapters.sqlite.recovery import DamagedFile
from claude_mem.kernel.scope import LOCAL_ENTERPRISE, LOCAL_SOLUTION, LOCAL_USER

_ORGANISATION = {
    "users": LOCAL_USER,
    "solutions": LOCAL_SOLUTION,
    "enterprises": LOCAL_ENTERPRISE,
}
_AGENT = "recovered"
_TITLE = "Recovered session"
_MADE = orjson.dumps({"recovered": True}).decode()
_LOST_SESSIONS = (
    "SELECT enterprise_id, session_id, min(occurred_at), max(occurred_at), sum(is_prompt), sum(is_seen),"
    " max(sequence) FROM ("
    " SELECT enterprise_id, session_id, occurred_at, 1 AS is_prompt, 0 AS is_seen, sequence_num AS sequence"
    " FROM prompts"
    " UNION ALL SELECT enterprise_id, session_id, occurred_at, 0, 1, 0 FROM observations"
    " UNION ALL SELECT enterprise_id, session_id, occurred_at, 0, 0, 0 FROM code_changes"
    " UNION ALL SELECT enterprise_id, session_id, occurred_at, 0, 0, 0 FROM summaries) AS content"
    " WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.enterprise_id = content.enterprise_id"
    " AND s.id = content.session_id) GROUP BY enterprise_id, session_id"
)
_LOST_PROJECTS = (
    "SELECT DISTINCT enterprise_id, project_id FROM ("
    " SELECT enterprise_id, project_id FROM sessions"
    " UNION SELECT enterprise_id, project_id FROM learnings WHERE project_id IS NOT NULL) AS named"
    " WHERE NOT EXISTS (SELECT 1 FROM projects p WHERE p.enterprise_id = named.enterprise_id"
    " AND p.id = named.project_id)"
)
_CONTENT = ("prompts", "observations", "code_changes", "summaries")
_HANGING_ON_SESSIONS = (
    "SELECT t.name FROM pragma_table_list t JOIN pragma_foreign_key_list(t.name) f"
    " WHERE t.schema = 'main' AND t.type = 'table' AND f.\"table\" = 'sessions' AND f.\"from\" = 'session_id'"
)
_PROJECT_OF_CHANGES = (
    "SELECT project_id FROM code_changes WHERE enterprise_id = ? AND session_id = ? LIMIT 1"
)


def mend(raw: Raw, damaged: DamagedFile, now: int, new_id: str) -> dict[str, int]:
    """Add the stand-ins to the open new file; how many of each. `new_id` names the project of the homeless."""
    raw.execute("BEGIN IMMEDIATE")
    _clear_half_an_organisation(raw)
    sessions = _mend_sessions(raw, damaged, now, new_id)
    projects = _mend_projects(raw, damaged, now)
    loose = _drop_loose(raw)
    raw.execute("COMMIT")
    return {"sessions": sessions, "projects": projects, "loose_keys": loose}


def _clear_half_an_organisation(raw: Raw) -> None:
    """The one enterprise, its solution and its user are made together: of two, or one, nothing is kept."""
    there = [
        raw.execute(f"SELECT count(*) FROM {table} WHERE id = ?", (key,)).fetchone()[0]  # noqa: S608 - fixed names
        for table, key in _ORGANISATION.items()
    ]
    if not all(there):
        for table, key in _ORGANISATION.items():
            raw.execute(f"DELETE FROM {table} WHERE id = ?", (key,))  # noqa: S608 - fixed names


def _mend_sessions(raw: Raw, damaged: DamagedFile, now: int, new_id: str) -> int:
    lost = raw.execute(_LOST_SESSIONS).fetchall()
    known = _by_id(damaged.index_entries(raw, "sessions")) if lost else {}
    for enterprise, session, first, last, prompts, observations, sequence in lost:
        found = known.get(session, {})
        _insert(
            raw,
            "sessions",
            {
                "enterprise_id": enterprise,
                "id": session,
                "project_id": found.get("project_id")
                or _project_of(raw, enterprise, session)
                or new_id,
                "user_id": LOCAL_USER,
                "agent": found.get("agent") or _AGENT,
                "agent_session": found.get("agent_session") or session,
                "title": _first_words(raw, enterprise, session),
                "status": "active",
                "metadata_json": _MADE,
                "token_count": 0,
                "prompt_count": prompts,
                "observation_count": observations,
                "last_sequence": sequence,
                "version": 1,
                "started_at": first,
                "last_activity_at": max(last, found.get("last_activity_at") or last),
                "created_at": first,
                "updated_at": now,
            },
        )
    return len(lost)


def _mend_projects(raw: Raw, damaged: DamagedFile, now: int) -> int:
    lost = raw.execute(_LOST_PROJECTS).fetchall()
    known = _by_id(damaged.index_entries(raw, "projects")) if lost else {}
    for enterprise, project in lost:
        key = known.get(project, {}).get("key") or f"recovered:{project}"
        _insert(
            raw,
            "projects",
            {
                "enterprise_id": enterprise,
                "id": project,
                "solution_id": LOCAL_SOLUTION,
                "key": key,
                "name": PurePath(key).name or key,
                "created_at": now,
            },
        )
    return len(lost)


def _drop_loose(raw: Raw) -> int:
    """Keys and marks of sessions nothing else is left of."""
    gone = 0
    for (table,) in raw.execute(_HANGING_ON_SESSIONS).fetchall():
        if table in _CONTENT:
            continue
        cursor = raw.execute(
            f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM sessions s"  # noqa: S608 - our schema's names
            f" WHERE s.enterprise_id = {table}.enterprise_id AND s.id = {table}.session_id)"
        )
        gone += cursor.rowcount
    return gone


def _by_id(entries: dict[int, dict[str, object]]) -> dict[str, dict[str, Any]]:
    return {str(entry["id"]): entry for entry in entries.values() if "id" in entry}


def _project_of(raw: Raw, enterprise: str, session: str) -> str | None:
    row = raw.execute(_PROJECT_OF_CHANGES, (enterprise, session)).fetchone()
    return str(row[0]) if row else None


def _first_words(raw: Raw, enterprise: str, session: str) -> str:
    row = raw.execute(
        "SELECT content FROM prompts WHERE enterprise_id = ? AND session_id = ? AND prompt_type = 'user'"
        " ORDER BY occurred_at, id LIMIT 1",
        (enterprise, session),
    ).fetchone()
    return " ".join(row[0].split())[:80] if row else _TITLE


def _insert(raw: Raw, table: str, values: dict[str, object]) -> None:
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    raw.execute(
        f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})",  # noqa: S608 - fixed names
        tuple(values.values()),
    )
