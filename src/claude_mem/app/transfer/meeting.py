"""Where a store meets an enterprise: who its person becomes, and which of its things are there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final

from claude_mem.app.transfer.convert import NO_NUL, Fault
from claude_mem.app.transfer.source import Source
from claude_mem.domains.access import service as access
from claude_mem.kernel.errors import Invalid, NotFound
from claude_mem.kernel.scope import LOCAL_ENTERPRISE, LOCAL_USER, Scope
from claude_mem.ports.database import Database, Tx

_PAGE: Final = 1_000
# The journal's first word of a session has an id of its own wherever it was recorded: by it a session that this store
# brought before is told from one that another store, or the server itself, recorded.
_SESSIONS_HERE = """
SELECT s.id, s.agent, s.agent_session, (
  SELECT j.id FROM change_journal j
  WHERE j.enterprise_id = s.enterprise_id AND j.entity_id = s.id AND j.kind = 'session' AND j.version = 1)
FROM sessions s WHERE s.enterprise_id = ?
"""
_SESSIONS_THERE = """
SELECT k.id::text, s.id::text
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::uuid[]) AS k (id, agent, agent_session, first)
JOIN sessions s ON s.enterprise_id = %s::uuid AND s.agent = k.agent AND s.agent_session = k.agent_session
LEFT JOIN change_journal j
  ON j.enterprise_id = s.enterprise_id AND j.entity_id = s.id AND j.kind = 'session' AND j.version = 1
WHERE s.id <> k.id OR j.id <> k.first
"""
_LEARNINGS_THERE = """
SELECT k.id::text, l.id::text FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS k (id, project_id, fingerprint)
JOIN learnings l ON l.enterprise_id = %s::uuid AND l.project_id = k.project_id AND l.fingerprint = k.fingerprint
  AND l.id <> k.id
"""


@dataclass(slots=True)
class Meeting:
    """What was found. `ids` are those of the store that become others of the target."""

    ids: dict[str, str] = field(default_factory=dict)
    projects_met: int = 0
    projects_new: int = 0
    learnings: dict[str, str] = field(default_factory=dict)  # that the target has under another id
    sessions: set[str] = field(default_factory=set)  # all of the store
    left_out: set[str] = field(default_factory=set)  # sessions that do not come along
    conflicts: list[Fault] = field(default_factory=list)


async def find_user(database: Database, scope: Scope, wanted: str | None) -> str:
    """The id of the user whose the store's content becomes: by id, name or address, or the only one there is.

    Raises NotFound where there is no such enterprise or user, Invalid where there are several and none is named.
    """

    def work(tx: Tx) -> tuple[bool, list[Any]]:
        found = tx.exec_driver_sql(
            "SELECT FROM enterprises WHERE id = %s::uuid", (scope.enterprise_id,)
        )
        users = tx.exec_driver_sql(
            "SELECT id::text, username, email FROM users WHERE enterprise_id = %s::uuid ORDER BY username",
            (scope.enterprise_id,),
        )
        return found.first() is not None, list(users.all())

    exists, users = await database.read(scope, work)
    if not exists:
        raise NotFound(f"there is no enterprise {scope.enterprise_id} in that database")
    if wanted is not None:
        users = [row for row in users if wanted in (row[0], row[1], row[2])]
    if len(users) == 1:
        return str(users[0][0])
    if wanted is not None or not users:
        raise NotFound(f"the enterprise has no user {wanted or ''}".rstrip())
    names = ", ".join(row[1] for row in users)
    raise Invalid(f"the enterprise has several users ({names}): name one with --user")


async def meet(source: Source, database: Database, scope: Scope, *, write: bool) -> Meeting:
    """Look at everything once; with `write`, projects that are missing are made."""
    found = Meeting(ids={LOCAL_ENTERPRISE: scope.enterprise_id, LOCAL_USER: scope.user_id})
    await _projects(source, database, scope, found, write=write)
    await _sessions(source, database, scope, found)
    await _learnings(source, database, scope, found)
    return found


async def _projects(
    source: Source, database: Database, scope: Scope, found: Meeting, *, write: bool
) -> None:
    rows = list(
        source.select(
            "SELECT id, key, name, created_at FROM projects WHERE enterprise_id = ? ORDER BY id"
        )
    )

    def look(tx: Tx) -> dict[str, str]:
        return {row["key"]: row["id"] for row in access.projects(scope, tx)}

    known = await database.read(scope, look)
    for project_id, key, name, created_at in rows:
        key, name = key.replace("\0", NO_NUL), name.replace("\0", NO_NUL)
        if key in known:
            found.projects_met += known[key] != project_id
            found.ids[project_id] = known[key]
            continue
        found.projects_new += 1
        if write:

            def make(
                tx: Tx,
                mine: str = project_id,
                key: str = key,
                name: str = name,
                at: int = created_at,
            ) -> str:
                return access.bring_project(
                    scope, tx, project_id=mine, key=key, name=name, created_at=at
                )

            found.ids[project_id] = await database.write(scope, make)


async def _sessions(source: Source, database: Database, scope: Scope, found: Meeting) -> None:
    """One of the agent's sessions is in an enterprise once: ours is left out, with all of it, if others recorded it."""
    for page in _pages(source.select(_SESSIONS_HERE)):
        ids, agents, names, firsts = zip(*page, strict=True)
        found.sessions.update(ids)
        values = (list(ids), _plain(agents), _plain(names), list(firsts), scope.enterprise_id)
        met = await database.read(scope, partial(_ask, _SESSIONS_THERE, values))
        for mine, there in met:
            found.left_out.add(mine)
            what = f"recorded elsewhere too, and there already as {there}: left out with all of it"
            found.conflicts.append(Fault("sessions", mine, what))


async def _learnings(source: Source, database: Database, scope: Scope, found: Meeting) -> None:
    """The same learning of the same project is one: ours becomes one more source of the one that is there."""
    rows = source.select(
        "SELECT id, project_id, fingerprint FROM learnings"
        " WHERE enterprise_id = ? AND project_id IS NOT NULL AND fingerprint IS NOT NULL"
    )
    for page in _pages(rows):
        ids, projects, prints = zip(*page, strict=True)
        mapped = [found.ids.get(it, it) for it in projects]
        values = (list(ids), mapped, list(prints), scope.enterprise_id)
        met = await database.read(scope, partial(_ask, _LEARNINGS_THERE, values))
        found.learnings.update((row[0], row[1]) for row in met)
    found.ids.update(found.learnings)


def _ask(sql: str, values: tuple[Any, ...], tx: Tx) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in tx.exec_driver_sql(sql, values)]


def _plain(values: Sequence[str]) -> list[str]:
    return [it.replace("\0", NO_NUL) for it in values]


def _pages(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while page := list(islice(rows, _PAGE)):
        yield page
