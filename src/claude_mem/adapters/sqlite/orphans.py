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
_NAMED_BY_CONTENT = (
    "SELECT enterprise_id, session_id, occurred_at, 1 AS is_prompt, 0 AS is_seen, sequence_num AS sequence"
    " FROM prompts"
    " UNION ALL SELECT enterprise_id, session_id, occurred_at, 0, 1, 0 FROM observations"
    " UNION ALL SELECT enterprise_id, session_id, occurred_at, 0, 0, 0 FROM code_changes"
    " UNION ALL SELECT enterprise_id, session_id, occurred_at, 0, 0, 0 FROM summaries"
)
# A learning is found, shown and forgotten by the session that says it: without it, it would lie there unseen.
_NAMED_BY_LEARNINGS = (
    " UNION ALL SELECT enterprise_id, session_id, coalesce(occurred_at, created_at), 0, 0, 0 FROM learnings"
    " WHERE session_id IS NOT NULL"
    " UNION ALL SELECT enterprise_id, session_id, occurred_at, 0, 0, 0 FROM learning_sources"
)
_LOST_SESSIONS = (
    "SELECT enterprise_id, session_id, min(occurred_at), max(occurred_at), sum(is_prompt), sum(is_seen),"
    " max(sequence) FROM ({named}) AS content"
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
_HAS_SOURCES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'learning_sources'"
_REFERENCES = (
    'SELECT t.name, f.id, f."table", f."from", f."to" FROM pragma_table_list t'
    " JOIN pragma_foreign_key_list(t.name) f WHERE t.schema = 'main' AND t.type = 'table'"
    " ORDER BY t.name, f.id, f.seq"
)
_PROJECT_OF_CHANGES = (
    "SELECT project_id FROM code_changes WHERE enterprise_id = ? AND session_id = ? LIMIT 1"
)
_PROJECT_OF_LEARNINGS = (
    "SELECT l.project_id FROM learnings l JOIN learning_sources s ON s.enterprise_id = l.enterprise_id"
    " AND s.learning_id = l.id WHERE s.enterprise_id = ? AND s.session_id = ? AND l.project_id IS NOT NULL"
    " UNION ALL SELECT project_id FROM learnings WHERE enterprise_id = ? AND session_id = ?"
    " AND project_id IS NOT NULL LIMIT 1"
)


def mend(raw: Raw, damaged: DamagedFile, now: int, new_id: str) -> dict[str, int]:
    """Add the stand-ins to the open new file; how many of each. `new_id` names the project of the homeless."""
    raw.execute("BEGIN IMMEDIATE")
    _clear_half_an_organisation(raw)
    # What a learning that is lost was told by must not call for a session.
    loose = _drop_dangling(raw, {*_ORGANISATION, "sessions", "projects"})
    sessions = _mend_sessions(raw, damaged, now, new_id)
    projects = _mend_projects(raw, damaged, now)
    loose += _drop_dangling(raw, set(_ORGANISATION))
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
    learns = raw.execute(_HAS_SOURCES).fetchone() is not None  # older revisions do not
    named = _NAMED_BY_CONTENT + (_NAMED_BY_LEARNINGS if learns else "")
    lost = raw.execute(_LOST_SESSIONS.format(named=named)).fetchall()
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
                or _project_of(raw, enterprise, session, learns=learns)
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


def _drop_dangling(raw: Raw, kept: set[str]) -> int:
    """Rows whose parent is lost, as keys, marks and links are; not those of parents in `kept`. How many."""
    references = [it for it in _references(raw) if it[1] not in kept]
    gone = 0
    while True:  # what goes may have been somebody's parent
        before = gone
        for table, parent, columns in references:
            named = " AND ".join(f'child."{name}" IS NOT NULL' for name, _ in columns)
            same = " AND ".join(f'parent."{to}" = child."{name}"' for name, to in columns)
            cursor = raw.execute(
                f'DELETE FROM "{table}" AS child WHERE {named} AND NOT EXISTS'  # noqa: S608 - our schema's names
                f' (SELECT 1 FROM "{parent}" AS parent WHERE {same})'
            )
            gone += cursor.rowcount
        if gone == before:
            return gone


def _references(raw: Raw) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Every foreign key: (table, its parent, pairs of columns)."""
    found: dict[tuple[str, int], tuple[str, str, list[tuple[str, str]]]] = {}
    for table, number, parent, name, to in raw.execute(_REFERENCES):
        found.setdefault((table, number), (table, parent, []))[2].append((name, to))
    return list(found.values())


def _by_id(entries: dict[int, dict[str, object]]) -> dict[str, dict[str, Any]]:
    return {str(entry["id"]): entry for entry in entries.values() if "id" in entry}


def _project_of(raw: Raw, enterprise: str, session: str, *, learns: bool) -> str | None:
    row = raw.execute(_PROJECT_OF_CHANGES, (enterprise, session)).fetchone()
    if row is None and learns:
        row = raw.execute(_PROJECT_OF_LEARNINGS, (enterprise, session) * 2).fetchone()
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
