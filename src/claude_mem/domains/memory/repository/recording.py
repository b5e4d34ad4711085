"""Writing what was captured: one batch, one transaction, with its journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from claude_mem.domains.memory import tables as t
from claude_mem.domains.memory.model import (
    AGENT,
    EntityRef,
    LedgerRow,
    NaturalKey,
    NewCodeChange,
    NewObservation,
    NewPrompt,
    NewSession,
    NewSummary,
    Reason,
    Recording,
    SessionPatch,
    SessionRef,
    preview,
)
from claude_mem.domains.memory.repository.journal import Journal
from claude_mem.domains.sql import EpochMs, among, insert_many
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

_CHUNK = 500  # parameters a statement: well under every engine's limit


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def known_events(scope: Scope, tx: Tx, event_ids: Sequence[str]) -> set[str]:
    """Which of the events were turned into rows already."""
    table = t.ingested_events
    known: set[str] = set()
    for chunk in _chunks(list(event_ids)):
        query = sa.select(table.c.event_id).where(
            table.c.enterprise_id == scope.enterprise_id, among(tx, table.c.event_id, chunk)
        )
        known.update(tx.execute(query).scalars())
    return known


def find_keys(
    scope: Scope, tx: Tx, keys_by_session: dict[str, list[str]]
) -> dict[tuple[str, str], EntityRef]:
    """The entities behind natural keys: (session, key) -> entity."""
    table = t.natural_keys
    found: dict[tuple[str, str], EntityRef] = {}
    for session_id, keys in keys_by_session.items():
        for chunk in _chunks(keys):
            query = sa.select(table.c.key, table.c.entity_kind, table.c.entity_id).where(
                table.c.enterprise_id == scope.enterprise_id,
                table.c.session_id == session_id,
                among(tx, table.c.key, chunk),
            )
            for key, kind, entity_id in tx.execute(query):
                found[(session_id, key)] = EntityRef(kind, entity_id)
    return found


_FIND_SESSION = sa.select(
    t.sessions.c.id,
    t.sessions.c.project_id,
    t.sessions.c.last_sequence,
    t.sessions.c.status,
    t.sessions.c.title,
    t.sessions.c.version,
).where(
    t.sessions.c.enterprise_id == sa.bindparam("enterprise"),
    t.sessions.c.agent == sa.bindparam("agent"),
    t.sessions.c.agent_session == sa.bindparam("agent_session"),
)


def find_session(scope: Scope, tx: Tx, agent: str, agent_session: str) -> SessionRef | None:
    """The session of an agent's own session id."""
    wanted = {"enterprise": scope.enterprise_id, "agent": agent, "agent_session": agent_session}
    row = tx.execute(_FIND_SESSION, wanted).first()
    return None if row is None else SessionRef(*row)


def latest_prompt(scope: Scope, tx: Tx, session_id: str, before: int) -> str | None:
    """The id of the person's last prompt of the session at or before a moment."""
    table = t.prompts
    row = tx.execute(
        sa.select(table.c.id)
        .where(
            table.c.enterprise_id == scope.enterprise_id,
            table.c.session_id == session_id,
            table.c.prompt_type == "user",
            table.c.occurred_at <= before,
        )
        .order_by(table.c.occurred_at.desc(), table.c.id.desc())
        .limit(1)
    ).first()
    return None if row is None else str(row[0])


def write(scope: Scope, tx: Tx, batch: Recording, now: int) -> None:
    """Insert everything of the batch, with its journal, in the caller's transaction."""
    ent = scope.enterprise_id
    journal = Journal(scope, now)
    insert_many(tx, t.sessions, [_session_row(ent, scope, s, now, journal) for s in batch.sessions])
    insert_many(tx, t.prompts, [_prompt_row(ent, p, now, journal) for p in batch.prompts])
    insert_many(
        tx, t.observations, [_observation_row(ent, o, now, journal) for o in batch.observations]
    )
    insert_many(tx, t.code_changes, [_change_row(ent, c, now, journal) for c in batch.code_changes])
    insert_many(tx, t.summaries, [_summary_row(ent, s, now, journal) for s in batch.summaries])
    insert_many(tx, t.natural_keys, [_key_row(ent, k) for k in batch.natural_keys])
    insert_many(tx, t.ingested_events, [_ledger_row(ent, e) for e in batch.ledger])
    _patch_sessions(scope, tx, batch.patches, now, journal)
    note_changes(scope, tx, _unpatched(batch), now)
    for reason in batch.reasons:
        _explain(scope, tx, reason, journal)
    insert_many(tx, t.change_journal, journal.rows)


def note_changes(scope: Scope, tx: Tx, session_ids: Iterable[str], now: int) -> None:
    """Let whoever keeps a copy of something of these sessions know that it is out of date."""
    s = t.sessions
    for chunk in _chunks(sorted(session_ids)):
        tx.execute(
            sa.update(s)
            .where(s.c.enterprise_id == scope.enterprise_id, s.c.id.in_(chunk))
            .values(changes=s.c.changes + 1, updated_at=now)
        )


def _unpatched(batch: Recording) -> set[str]:
    """Sessions of which something was written while nothing of their own changed."""
    written = {row.session_id for row in batch.prompts}
    written |= {row.session_id for row in batch.observations}
    written |= {row.session_id for row in batch.code_changes}
    written |= {row.session_id for row in batch.summaries}
    return written - {patch.session_id for patch in batch.patches}


def _session_row(
    ent: str, scope: Scope, s: NewSession, now: int, journal: Journal
) -> tuple[Any, ...]:
    journal.add(
        "session",
        s.id,
        1,
        {"project_id": s.project_id, "title": s.title, "status": "active", "role": s.role},
    )
    return (
        *(ent, s.id, s.project_id, scope.user_id, s.role, s.agent, s.agent_session, s.title),
        *(None, "active", s.metadata, None, 0, 0, 0, 0, 1),
        *(s.started_at, s.started_at, None, now, now, 0),
    )


def _prompt_row(ent: str, p: NewPrompt, now: int, journal: Journal) -> tuple[Any, ...]:
    journal.add(
        "prompt",
        p.id,
        1,
        {
            "session_id": p.session_id,
            "prompt_type": p.prompt_type,
            "content_hash": p.content_hash,
            "occurred_at": p.occurred_at,
        },
    )
    return (
        *(ent, p.id, p.session_id, p.event_id, p.sequence_num, p.prompt_type, p.content),
        *(p.content_hash, p.token_count, p.agent_prompt_id, p.subagent_id, p.metadata),
        *(p.occurred_at, now),
    )


def _observation_row(ent: str, o: NewObservation, now: int, journal: Journal) -> tuple[Any, ...]:
    journal.add(
        "observation",
        o.id,
        1,
        {
            "session_id": o.session_id,
            "observation_type": o.observation_type,
            "title": o.title,
            "content_hash": o.content_hash,
            "importance_score": o.importance,
            "is_flagged": False,
            "tags": list(o.tags),
            "occurred_at": o.occurred_at,
        },
    )
    return (
        *(ent, o.id, o.session_id, o.prompt_id, o.event_id, o.observation_type, o.source_tool),
        *(o.title, o.content, preview(o.content), o.content_hash, o.command, o.exit_status),
        *(o.importance, False, list(o.tags), o.metadata, o.subagent_id, 1, o.occurred_at, now),
    )


def _change_state(c: NewCodeChange) -> dict[str, Any]:
    return {
        "session_id": c.session_id,
        "file_path": c.file_path,
        "operation": c.operation,
        "lines_added": c.lines_added,
        "lines_removed": c.lines_removed,
        "reason_text": c.reason_text,
        "occurred_at": c.occurred_at,
    }


def _change_row(ent: str, c: NewCodeChange, now: int, journal: Journal) -> tuple[Any, ...]:
    journal.add("code_change", c.id, 1, _change_state(c))
    return (
        *(ent, c.id, c.session_id, c.project_id, c.observation_id, c.event_id, c.file_path),
        *(c.operation, c.lines_added, c.lines_removed, c.diff, c.reason_prompt_id, c.reason_text),
        *(c.tool_use_id, 1, c.occurred_at, now),
    )


def _summary_row(ent: str, s: NewSummary, now: int, journal: Journal) -> tuple[Any, ...]:
    journal.add(
        "summary",
        s.id,
        1,
        {"session_id": s.session_id, "title": s.title, "summary_type": "session"},
    )
    return (
        *(ent, s.id, s.session_id, s.event_id, "session", s.title, s.content, [], []),
        *(s.model_used, 0.0, 0.0, 1, False, s.occurred_at, now, now, AGENT, {}, {}),
    )


def _key_row(ent: str, k: NaturalKey) -> tuple[Any, ...]:
    return (ent, k.session_id, k.key, k.entity_kind, k.entity_id)


def _ledger_row(ent: str, e: LedgerRow) -> tuple[Any, ...]:
    return (ent, e.event_id, e.type, e.session_id, e.made, e.occurred_at)


def _larger(column: Any, value: Any) -> Any:
    return sa.case((column > value, column), else_=value)


def _smaller(column: Any, value: Any) -> Any:
    return sa.case((column < value, column), else_=value)


def _touch_values() -> dict[str, Any]:
    c = t.sessions.c
    return {
        "prompt_count": c.prompt_count + sa.bindparam("b_prompts"),
        "observation_count": c.observation_count + sa.bindparam("b_observations"),
        "token_count": c.token_count + sa.bindparam("b_tokens"),
        "last_sequence": _larger(c.last_sequence, sa.bindparam("b_sequence")),
        "last_activity_at": _larger(c.last_activity_at, sa.bindparam("b_last", type_=EpochMs)),
        "started_at": _smaller(c.started_at, sa.bindparam("b_first", type_=EpochMs)),
        "model_used": sa.func.coalesce(sa.bindparam("b_model"), c.model_used),
        "updated_at": sa.bindparam("b_now", type_=EpochMs),
        "changes": c.changes + 1,
    }


# Counters are derived, not tracked: they change with every batch and would flood the journal.
_TOUCH = (
    sa.update(t.sessions)
    .where(
        t.sessions.c.enterprise_id == sa.bindparam("b_enterprise"),
        t.sessions.c.id == sa.bindparam("b_session"),
    )
    .values(_touch_values())
)


def _patch_sessions(
    scope: Scope, tx: Tx, patches: Sequence[SessionPatch], now: int, journal: Journal
) -> None:
    if not patches:
        return
    tx.execute(_TOUCH, [_touch_parameters(scope, patch, now) for patch in patches])
    for patch in patches:
        tracked = {
            name: getattr(patch, name)
            for name in ("title", "status", "ended_at")
            if getattr(patch, name) is not None
        }
        if tracked:
            _change_session(scope, tx, patch.session_id, tracked, journal)


def _touch_parameters(scope: Scope, patch: SessionPatch, now: int) -> dict[str, Any]:
    return {
        "b_enterprise": scope.enterprise_id,
        "b_session": patch.session_id,
        "b_prompts": patch.prompts,
        "b_observations": patch.observations,
        "b_tokens": patch.tokens,
        "b_sequence": patch.last_sequence,
        "b_last": patch.last_activity_at,
        "b_first": patch.started_at,
        "b_model": patch.model,
        "b_now": now,
    }


def _change_session(
    scope: Scope, tx: Tx, session_id: str, tracked: dict[str, Any], journal: Journal
) -> None:
    table = t.sessions
    row = tx.execute(
        sa.update(table)
        .where(table.c.enterprise_id == scope.enterprise_id, table.c.id == session_id)
        .values(version=table.c.version + 1, **tracked)
        .returning(table.c.version, table.c.title, table.c.status, table.c.ended_at)
    ).one()
    state = {"title": row[1], "status": row[2], "ended_at": row[3]}
    journal.add("session", session_id, row[0], state)


def _explain(scope: Scope, tx: Tx, reason: Reason, journal: Journal) -> None:
    table = t.code_changes
    rows = tx.execute(
        sa.update(table)
        .where(
            table.c.enterprise_id == scope.enterprise_id,
            table.c.session_id == reason.session_id,
            table.c.tool_use_id == reason.tool_use_id,
            table.c.reason_text.is_(None),
        )
        .values(reason_text=reason.text, version=table.c.version + 1)
        .returning(table.c.id, table.c.version)
    ).all()
    for entity_id, version in rows:
        journal.add("code_change", entity_id, version, {"reason_text": reason.text})
