"""What the rest of the product may do with memory.

Every function takes the scope first and works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from claude_mem.domains.memory.model import (
    Derived,
    EntityRef,
    ForgottenTurns,
    Material,
    NewLearning,
    Recording,
    SessionRef,
    SessionSummary,
    summary_ref,
)
from claude_mem.domains.memory.recent import full_id
from claude_mem.domains.memory.repository import (
    distilled,
    forgetting,
    journal,
    material,
    reading,
    recording,
)
from claude_mem.domains.memory.repository import learnings as taught
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
_EXPORTED = ("sessions", "prompts", "observations", "code_changes", "summaries", "learnings")
_PAGE = 500


def known_events(scope: Scope, tx: Tx, event_ids: Sequence[str]) -> set[str]:
    """Which events were turned into rows already."""
    return recording.known_events(scope, tx, event_ids)


def find_keys(
    scope: Scope, tx: Tx, keys_by_session: dict[str, list[str]]
) -> dict[tuple[str, str], EntityRef]:
    """The entities behind natural keys."""
    return recording.find_keys(scope, tx, keys_by_session)


def find_session(scope: Scope, tx: Tx, agent: str, agent_session: str) -> SessionRef | None:
    """The session of an agent's own session id."""
    return recording.find_session(scope, tx, agent, agent_session)


def latest_prompt(scope: Scope, tx: Tx, session_id: str, before: int) -> str | None:
    """The id of the person's last prompt of a session up to a moment."""
    return recording.latest_prompt(scope, tx, session_id, before)


def record(scope: Scope, tx: Tx, batch: Recording) -> None:
    """Write a batch with its journal."""
    recording.write(scope, tx, batch, now_ms())


def get_many(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> dict[EntityRef, Row]:
    """The one hydrate read of a search: rows by reference, tenancy applied."""
    return reading.get_many(scope, tx, refs)


def get_with_before(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> dict[EntityRef, Row]:
    """As `get_many`; prompts with what a person said just before them (`before`)."""
    return reading.with_before(scope, tx, refs)


def said_after(scope: Scope, tx: Tx, session_id: str, gone: Collection[str]) -> list[EntityRef]:
    """Prompts whose vectors are made of one of the prompts `gone` too, as what was said before them."""
    return reading.said_after(scope, tx, session_id, gone)


def list_sessions(
    scope: Scope, tx: Tx, *, project_id: str | None, after: tuple[int, str] | None, limit: int
) -> list[Row]:
    """Sessions, latest activity first."""
    return reading.sessions(scope, tx, project_id=project_id, after=after, limit=limit)


def marks(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> dict[EntityRef, Row]:
    """{"tags", "files"} of those references whose rows have any place for them."""
    return reading.marks(scope, tx, refs)


def recent_titles(scope: Scope, tx: Tx, project_ids: Sequence[str] | None, limit: int) -> list[str]:
    """Titles of sessions, latest activity first; of some projects, or of all."""
    return reading.recent_titles(scope, tx, project_ids, limit)


def get_session(scope: Scope, tx: Tx, session_id: str) -> Row:
    """One session, by our id, its short form or the agent's. Raises NotFound."""
    found = reading.session(scope, tx, session_id)
    if found is None and (own_id := full_id(scope, tx, "session", session_id)) != session_id:
        found = reading.session(scope, tx, own_id)
    if found is None:
        raise NotFound(f"no session {session_id}")
    return found


def list_of_session(
    scope: Scope,
    tx: Tx,
    table: str,
    session_id: str,
    *,
    after: tuple[int, str] | None,
    limit: int,
) -> list[Row]:
    """Prompts, observations, changes or summaries of a session, in the order they happened."""
    return reading.of_session(scope, tx, table, session_id, after=after, limit=limit)


def get_entity(scope: Scope, tx: Tx, kind: str, entity_id: str) -> Row:
    """One row, by its id or the short form of it that contexts show. Raises NotFound."""
    ref = EntityRef(kind, full_id(scope, tx, kind, entity_id))
    found = reading.get_many(scope, tx, [ref]).get(ref)
    if found is None:
        raise NotFound(f"no {kind} {entity_id}")
    return found


def counts(scope: Scope, tx: Tx) -> dict[str, int]:
    """Rows by table."""
    return {table: reading.count(scope, tx, table) for table in _EXPORTED}


def export_page(
    scope: Scope,
    tx: Tx,
    table: str,
    *,
    after: str | None,
    since: int | None,
    project_id: str | None,
) -> list[Row]:
    """The next rows of a table in order of id; an empty list ends it."""
    return reading.page(
        scope, tx, table, after=after, limit=_PAGE, since=since, project_id=project_id
    )


def exported_tables() -> tuple[str, ...]:
    """What an export holds, in an order in which references resolve."""
    return _EXPORTED


def history(scope: Scope, tx: Tx, kind: str, entity_id: str) -> Iterator[Row]:
    """The journal of an entity, oldest version first."""
    return journal.states(scope, tx, EntityRef(kind, entity_id))


def changes(scope: Scope, tx: Tx, after: str, limit: int) -> list[Row]:
    """Entries of the journal of everything (id, kind, entity_id, version, at, state) after an id, in order of id.

    Ids carry when an entry was written, not when it was committed: one may appear before an entry that was seen.
    """
    return journal.after(scope, tx, after, limit)


def last_turn(scope: Scope, tx: Tx, project_id: str | None) -> tuple[str, int]:
    """(session id, moment in Unix ms) of the newest prompt a person wrote. Raises NotFound."""
    found = forgetting.last_turn(scope, tx, project_id)
    if found is None:
        raise NotFound("there is nothing to forget")
    return found


def entities_since(scope: Scope, tx: Tx, session_id: str, since: int) -> list[EntityRef]:
    """Everything a session holds from a moment on."""
    return forgetting.entities_since(scope, tx, session_id, since)


def changes_of(scope: Scope, tx: Tx, observation_id: str) -> list[EntityRef]:
    """The changes of files that a tool call made."""
    return forgetting.changes_of(scope, tx, observation_id)


def keep_out(scope: Scope, tx: Tx, session_id: str, since: int) -> None:
    """Let what a session holds from a moment on never come back; to be called before `erase`."""
    forgetting.keep_out(scope, tx, session_id, since, now_ms())


def forgotten_turns(scope: Scope, tx: Tx, session_ids: Sequence[str]) -> dict[str, ForgottenTurns]:
    """What must not come back, of those of the sessions that have something forgotten."""
    return forgetting.forgotten_turns(scope, tx, session_ids)


def prompted_since(scope: Scope, tx: Tx, session_id: str, since: int, until: int) -> bool:
    """Whether the person wrote in a session from a moment to another one."""
    return forgetting.prompted_since(scope, tx, session_id, since, until)


def erase(
    scope: Scope, tx: Tx, refs: Sequence[EntityRef], untitled: Sequence[str] = ()
) -> list[str]:
    """Delete rows and what the journal says of them; returns the sessions whose title went with them.

    Sessions of `untitled` lose theirs in any case. The search index is not memory's: whoever calls this takes the
    entities out of it in the same transaction.
    """
    return forgetting.erase(scope, tx, refs, now_ms(), untitled)


def empty_session(scope: Scope, tx: Tx, session_id: str) -> None:
    """Forget a session itself: no reading shows it, and nothing of it is recorded any more."""
    forgetting.empty_session(scope, tx, session_id, now_ms())


def session_rows(
    scope: Scope, tx: Tx, kind: str, after: str | None, session_id: str | None
) -> list[Row]:
    """The next rows of a kind in order of id, with session and project: what an index is made from."""
    return reading.index_page(scope, tx, kind, after=after, session_id=session_id, limit=_PAGE)


def session_material(scope: Scope, tx: Tx, session_id: str) -> Material | None:
    """What a summary of a session is made from, bounded however long the session; None when there is none."""
    return material.material(scope, tx, session_id)


def save_summary(scope: Scope, tx: Tx, summary: SessionSummary) -> str:
    """Our summary of a session as its next version; nothing happens when it says what it said. Returns its id."""
    distilled.save_summary(scope, tx, summary, now_ms())
    return summary_ref(summary.session_id).id


def summary_of(scope: Scope, tx: Tx, session_id: str) -> Row | None:
    """Our summary of a session (by our id), with session and project."""
    return distilled.summary_of(scope, tx, session_id)


def summaries_of(scope: Scope, tx: Tx, session_ids: Sequence[str]) -> dict[str, Row]:
    """Our summaries of a few sessions (by our ids) by session, as `summary_of`; those without one are left out."""
    return distilled.summaries_of(scope, tx, session_ids)


def latest_summaries(scope: Scope, tx: Tx, project_id: str | None, limit: int) -> list[Row]:
    """Our summaries, the latest session first, with session and project."""
    return distilled.latest_summaries(scope, tx, project_id, limit)


def summary_versions(scope: Scope, tx: Tx, summary_id: str) -> list[Row]:
    """Every version of a summary that is still told: {"version", "at", and what it said}, newest first."""
    entries = journal.states(scope, tx, EntityRef("summary", summary_id))
    told = [entry for entry in entries if (entry["state"] or {}).get("title") is not None]
    return [
        {"version": entry["version"], "at": entry["at"], **entry["state"]}
        for entry in reversed(told)
    ]


def summary_is_forgotten(scope: Scope, tx: Tx, session_id: str) -> bool:
    """Whether a person had our summary of a session forgotten, so that none is made again."""
    return distilled.is_forgotten(scope, tx, summary_ref(session_id))


def save_learning(scope: Scope, tx: Tx, learning: NewLearning) -> tuple[str, bool]:
    """(id, whether anything changed): one learning a project and fingerprint, with every session that taught it."""
    return taught.save(scope, tx, learning, now_ms())


def replace_learnings(
    scope: Scope, tx: Tx, session_id: str, found: Sequence[NewLearning]
) -> Derived:
    """Let a session be a source of exactly these."""
    saved = dict(save_learning(scope, tx, learning) for learning in found)
    gone = [it for it in taught.learned_in(scope, tx, session_id) if it not in saved]
    dropped = taught.drop_source(scope, tx, session_id, gone, now_ms())
    changed = [EntityRef("learning", it) for it, is_new in saved.items() if is_new]
    return Derived((*changed, *dropped.changed), dropped.removed)


def learnings(
    scope: Scope,
    tx: Tx,
    project_id: str | None,
    *,
    category: str | None = None,
    after: tuple[int, str] | None = None,
    limit: int = 50,
) -> list[Row]:
    """Learnings, newest first; `after` is the (occurred_at, id) of the last one seen."""
    return taught.learnings(scope, tx, project_id, category=category, after=after, limit=limit)


def note_use(scope: Scope, tx: Tx, refs: Sequence[EntityRef], now: int) -> None:
    """Count one more use of things that were shown to a model or opened by a person."""
    distilled.note_use(scope, tx, refs, now)


def uses(scope: Scope, tx: Tx, refs: Sequence[EntityRef]) -> dict[EntityRef, int]:
    """How often each was used; those never used are left out."""
    return distilled.uses(scope, tx, refs)


def withdraw(scope: Scope, tx: Tx, session_id: str) -> Derived:
    """Take out what we derived from a session, with all the journal holds of it; it may be made anew."""
    now = now_ms()
    summary = distilled.withdraw_summary(scope, tx, session_id, now)
    told = taught.learned_in(scope, tx, session_id)
    dropped = taught.drop_source(scope, tx, session_id, told, now)
    removed = (*dropped.removed, *([summary] if summary else []))
    distilled.drop_uses(scope, tx, removed)
    return Derived(dropped.changed, removed)


def compactions_since(scope: Scope, tx: Tx, session_id: str, since: int) -> list[EntityRef]:
    """Summaries that the agent made of a session from a moment on."""
    return distilled.compactions_since(scope, tx, session_id, since)
