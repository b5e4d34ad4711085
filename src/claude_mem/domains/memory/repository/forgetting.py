"""Taking things out for good: rows, natural keys, and every body the journal holds of them.

The journal keeps one tombstone an entity (its last version, no state), so that a later reading of the past says
"forgotten" instead of showing what was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import (
    EXTRACTIVE,
    TITLE_CHARS,
    UNTITLED,
    EntityRef,
    ForgottenTurns,
    preview,
)
from claude_mem.domains.memory.repository import distilled, journal, learnings, recording
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

_CHUNK = 500
_BY_KIND = {
    "prompt": t.prompts,
    "observation": t.observations,
    "code_change": t.code_changes,
    "summary": t.summaries,
}


def last_turn(scope: Scope, tx: Tx, project_id: str | None) -> tuple[str, int] | None:
    """(session id, start of its last turn): the newest prompt a person wrote, whatever happened elsewhere since."""
    p, s = t.prompts, t.sessions
    query = (
        sa.select(p.c.session_id, p.c.occurred_at)
        .join(s, sa.and_(s.c.enterprise_id == p.c.enterprise_id, s.c.id == p.c.session_id))
        .where(
            p.c.enterprise_id == scope.enterprise_id,
            p.c.prompt_type == "user",
            p.c.subagent_id.is_(None),
        )
        .order_by(p.c.occurred_at.desc(), p.c.id.desc())
        .limit(1)
    )
    if project_id is not None:
        query = query.where(s.c.project_id == project_id)
    row = tx.execute(query).first()
    return None if row is None else (row[0], row[1])


def entities_since(scope: Scope, tx: Tx, session_id: str, since: int) -> list[EntityRef]:
    """Everything of a session from a moment on."""
    refs: list[EntityRef] = []
    for kind, table in _BY_KIND.items():
        query = sa.select(table.c.id).where(
            table.c.enterprise_id == scope.enterprise_id,
            table.c.session_id == session_id,
            table.c.occurred_at >= since,
        )
        if table is t.summaries:  # ours are withdrawn and made anew from what is left
            query = query.where(table.c.source != EXTRACTIVE)
        refs.extend(EntityRef(kind, row_id) for row_id in tx.execute(query).scalars())
    return refs


def changes_of(scope: Scope, tx: Tx, observation_id: str) -> list[EntityRef]:
    """The changes of files that a tool call made: they hold its words too."""
    o, c = t.observations, t.code_changes
    query = (
        sa.select(c.c.id)
        .join(o, sa.and_(o.c.enterprise_id == c.c.enterprise_id, o.c.session_id == c.c.session_id))
        .where(
            o.c.enterprise_id == scope.enterprise_id,
            o.c.id == observation_id,
            c.c.observation_id == o.c.id,
        )
    )
    return [EntityRef("code_change", row_id) for row_id in tx.execute(query).scalars()]


def keep_out(scope: Scope, tx: Tx, session_id: str, since: int, now: int) -> None:
    """Note that what a session holds from a moment on must not come back; before the rows are erased.

    A turn that began earlier (a person may write again while the agent works) is kept out from that moment on only.
    """
    turns = _turns(scope, tx, session_id)
    last = max([since, *_last_moments(scope, tx, session_id)])
    rows = [
        _tombstone(scope, session_id, prompt_id, since if first < since else 0, None, now)
        for prompt_id, first, latest in turns
        if latest >= since
    ]
    tx.execute(
        sa.insert(t.forgotten), [*rows, _tombstone(scope, session_id, None, since, last, now)]
    )


def _turns(scope: Scope, tx: Tx, session_id: str) -> list[tuple[str, int, int]]:
    """(the agent's prompt id, first moment, last moment) of a session's turns."""
    p = t.prompts
    query = (
        sa.select(p.c.agent_prompt_id, sa.func.min(p.c.occurred_at), sa.func.max(p.c.occurred_at))
        .where(
            p.c.enterprise_id == scope.enterprise_id,
            p.c.session_id == session_id,
            p.c.agent_prompt_id.is_not(None),
        )
        .group_by(p.c.agent_prompt_id)
    )
    return [(row[0], row[1], row[2]) for row in tx.execute(query)]


def _last_moments(scope: Scope, tx: Tx, session_id: str) -> list[int]:
    found = (
        tx.execute(
            sa.select(sa.func.max(table.c.occurred_at)).where(
                table.c.enterprise_id == scope.enterprise_id, table.c.session_id == session_id
            )
        ).scalar()
        for table in _BY_KIND.values()
    )
    return [moment for moment in found if moment is not None]


def _tombstone(
    scope: Scope, session_id: str, prompt_id: str | None, since: int, until: int | None, now: int
) -> dict[str, Any]:
    return {
        "enterprise_id": scope.enterprise_id,
        "id": new_id(now),
        "session_id": session_id,
        "agent_prompt_id": prompt_id,
        "since": since,
        "until": until,
    }


def forgotten_turns(scope: Scope, tx: Tx, session_ids: Sequence[str]) -> dict[str, ForgottenTurns]:
    """What must not come back, of those of the sessions that have something forgotten."""
    f = t.forgotten
    found: dict[str, ForgottenTurns] = {}
    for start in range(0, len(session_ids), _CHUNK):
        query = sa.select(f.c.session_id, f.c.agent_prompt_id, f.c.since, f.c.until).where(
            f.c.enterprise_id == scope.enterprise_id,
            f.c.session_id.in_(session_ids[start : start + _CHUNK]),
        )
        for session_id, prompt_id, since, until in tx.execute(query):
            known = found.get(session_id, ForgottenTurns((), {}))
            if prompt_id is None:
                found[session_id] = ForgottenTurns((*known.spans, (since, until)), known.prompts)
            else:
                since = min(since, known.prompts.get(prompt_id, since))
                found[session_id] = ForgottenTurns(known.spans, known.prompts | {prompt_id: since})
    return found


def prompted_since(scope: Scope, tx: Tx, session_id: str, since: int, until: int) -> bool:
    """Whether the person wrote in a session from a moment to another one."""
    p = t.prompts
    query = sa.select(p.c.id).where(
        p.c.enterprise_id == scope.enterprise_id,
        p.c.session_id == session_id,
        p.c.prompt_type == "user",
        p.c.subagent_id.is_(None),
        p.c.occurred_at >= since,
        p.c.occurred_at <= until,
    )
    return tx.execute(query.limit(1)).first() is not None


def erase(
    scope: Scope, tx: Tx, refs: Sequence[EntityRef], now: int, untitled: Sequence[str] = ()
) -> list[str]:
    """Delete the rows, and what the journal says of them; returns the sessions that lost their title.

    Sessions of `untitled` lose theirs in any case. The ledger of event ids and the natural keys stay (ids and hashes,
    nothing of what was said), so that a late second delivery does not bring the forgotten back.
    """
    titles = list(dict.fromkeys([*untitled, *_titles_taken(scope, tx, refs)]))
    prompts = _prompts_of(scope, tx, refs)
    sessions: set[str] = set()
    for ref in refs:
        if ref.kind == "learning":
            learnings.forget(scope, tx, ref.id, now)
            continue
        table = _BY_KIND[ref.kind]
        mine = sa.and_(table.c.enterprise_id == scope.enterprise_id, table.c.id == ref.id)
        session_id = tx.execute(sa.delete(table).where(mine).returning(table.c.session_id)).scalar()
        if session_id is not None:
            sessions.add(session_id)
            journal.blank(scope, tx, ref, journal.FORGOTTEN, now)
    recording.note_changes(scope, tx, sessions, now)
    for session_id, gone in prompts.items():
        _unlink(scope, tx, session_id, gone, now)
    for session_id in titles:
        _retitle(scope, tx, session_id, now)
    distilled.drop_uses(scope, tx, refs)
    return titles


def empty_session(scope: Scope, tx: Tx, session_id: str, now: int) -> None:
    """Leave of a session what keeps it from coming back: its ids, its project and its times."""
    s = t.sessions
    values: dict[str, Any] = {
        "title": UNTITLED,
        "summary": None,
        "status": "deleted",
        "metadata_json": {},
        "model_used": None,
        "token_count": 0,
        "prompt_count": 0,
        "observation_count": 0,
        "last_sequence": 0,
        "updated_at": now,
        "changes": s.c.changes + 1,
    }
    emptied = tx.execute(
        sa.update(s)
        .where(s.c.enterprise_id == scope.enterprise_id, s.c.id == session_id)
        .values(version=s.c.version + 1, **values)
    )
    if emptied.rowcount:
        journal.blank(scope, tx, EntityRef("session", session_id), {"status": "deleted"}, now)


def _prompts_of(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> dict[str, dict[str, str]]:
    """Session -> prompt id -> words, of the prompts and replies among references."""
    p = t.prompts
    ids = [ref.id for ref in refs if ref.kind == "prompt"]
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(ids), _CHUNK):
        query = sa.select(p.c.session_id, p.c.id, p.c.content).where(
            p.c.enterprise_id == scope.enterprise_id, p.c.id.in_(ids[start : start + _CHUNK])
        )
        for session_id, prompt_id, content in tx.execute(query):
            found.setdefault(session_id, {})[prompt_id] = " ".join(content.split())
    return found


def _unlink(scope: Scope, tx: Tx, session_id: str, gone: dict[str, str], now: int) -> None:
    """Take forgotten prompts, and the words of forgotten replies, from what is left of their session."""
    o, c = t.observations, t.code_changes
    linked = tx.execute(
        sa.select(o.c.id, o.c.prompt_id).where(
            o.c.enterprise_id == scope.enterprise_id,
            o.c.session_id == session_id,
            o.c.prompt_id.is_not(None),
        )
    ).all()
    for row_id, prompt_id in linked:
        if prompt_id in gone:
            mine = sa.and_(o.c.enterprise_id == scope.enterprise_id, o.c.id == row_id)
            tx.execute(sa.update(o).where(mine).values(prompt_id=None))
    changes = tx.execute(
        sa.select(c).where(c.c.enterprise_id == scope.enterprise_id, c.c.session_id == session_id)
    ).mappings()
    for row in changes.all():
        reason = (row["reason_text"] or "").removesuffix("…")
        told = bool(reason) and any(words.startswith(reason) for words in gone.values())
        if told or row["reason_prompt_id"] in gone:
            _take_reason(scope, tx, dict(row), now)


def _take_reason(scope: Scope, tx: Tx, row: dict[str, Any], now: int) -> None:
    c = t.code_changes
    tx.execute(
        sa.update(c)
        .where(c.c.enterprise_id == scope.enterprise_id, c.c.id == row["id"])
        # By its tool call a reading of the transcript would find the change and explain it again.
        .values(reason_text=None, reason_prompt_id=None, tool_use_id=None, version=c.c.version + 1)
    )
    kept = ("session_id", "file_path", "operation", "lines_added", "lines_removed", "occurred_at")
    state = {name: row[name] for name in kept} | {"reason_text": None}
    journal.blank(scope, tx, EntityRef("code_change", row["id"]), state, now)


def _titles_taken(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> list[str]:
    """Sessions whose title repeats a prompt that is about to go."""
    p, s = t.prompts, t.sessions
    taken = []
    for ref in refs:
        if ref.kind != "prompt":
            continue
        row = tx.execute(
            sa.select(p.c.content, s.c.id, s.c.title)
            .join(s, sa.and_(s.c.enterprise_id == p.c.enterprise_id, s.c.id == p.c.session_id))
            .where(p.c.enterprise_id == scope.enterprise_id, p.c.id == ref.id)
        ).first()
        if row is not None and preview(row[0], TITLE_CHARS) == row[2]:
            taken.append(str(row[1]))
    return taken


def _retitle(scope: Scope, tx: Tx, session_id: str, now: int) -> None:
    """Name a session after the first prompt that is left, and forget its earlier names."""
    p, s = t.prompts, t.sessions
    first = tx.execute(
        sa.select(p.c.content)
        .where(
            p.c.enterprise_id == scope.enterprise_id,
            p.c.session_id == session_id,
            p.c.prompt_type == "user",
        )
        .order_by(p.c.occurred_at, p.c.id)
        .limit(1)
    ).scalar()
    title = UNTITLED if first is None else preview(first, TITLE_CHARS)
    tx.execute(
        sa.update(s)
        .where(s.c.enterprise_id == scope.enterprise_id, s.c.id == session_id)
        .values(title=title, version=s.c.version + 1)
    )
    journal.blank(scope, tx, EntityRef("session", session_id), {"title": title}, now)
