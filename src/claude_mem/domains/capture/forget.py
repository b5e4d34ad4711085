"""Letting go for good: rows, search index and journal in one transaction; titles that repeated the forgotten too."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from claude_mem.domains.capture import reindex
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.clock import from_iso
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.inbox import Inbox

_ALL_LETTERS = 1_000_000  # they are few: each is an error that somebody has to see


def forget_last(
    scope: Scope, tx: Tx, indexing: IndexingService, project_id: str | None
) -> list[EntityRef]:
    """Forget the newest prompt and everything since, recorded or not. Raises NotFound."""
    session_id, since = memory.last_turn(scope, tx, project_id)
    refs = memory.entities_since(scope, tx, session_id, since)
    memory.keep_out(scope, tx, session_id, since)
    # A title that the agent made of the whole talk may repeat what is forgotten.
    _forget(scope, tx, indexing, refs, untitled=[session_id])
    return refs


def forget_session(
    scope: Scope, tx: Tx, indexing: IndexingService, session_id: str
) -> list[EntityRef]:
    """Forget a session and everything it holds; nothing of it is recorded any more. Raises NotFound."""
    own_id = memory.get_session(scope, tx, session_id)["id"]
    refs = memory.entities_since(scope, tx, own_id, 0)
    _forget(scope, tx, indexing, refs)
    memory.empty_session(scope, tx, own_id)
    return refs


def forget_entity(
    scope: Scope, tx: Tx, indexing: IndexingService, ref: EntityRef
) -> list[EntityRef]:
    """Forget one thing; a tool call with the changes of files it made. Raises NotFound."""
    memory.get_entity(scope, tx, ref.kind, ref.id)
    refs = [ref]
    if ref.kind == "observation":
        refs += memory.changes_of(scope, tx, ref.id)
    _forget(scope, tx, indexing, refs)
    return refs


def _forget(
    scope: Scope,
    tx: Tx,
    indexing: IndexingService,
    refs: Sequence[EntityRef],
    untitled: Sequence[str] = (),
) -> None:
    indexing.remove(scope, tx, refs)
    for session_id in memory.erase(scope, tx, refs, untitled):
        # Prompts are indexed under their session's title: it must not live on there.
        indexing.index(
            scope, tx, list(reindex.entries(scope, tx, session_id=session_id, kinds=("prompt",)))
        )
    indexing.purge(scope, tx)


async def drop_dead_letters(
    scope: Scope, inbox: Inbox, agent: str, agent_session: str, since: int
) -> int:
    """Delete what could not become rows of an agent's session from a moment (Unix ms) on; returns how many."""
    doomed = []
    for letter in await inbox.dead_letters(scope, _ALL_LETTERS):
        event = orjson.loads(letter.body)
        mine = (event["agent"], event["session"]) == (agent, agent_session)
        if mine and from_iso(event["occurred_at"]) >= since:
            doomed.append(letter.event_id)
    return await inbox.drop_dead_letters(scope, doomed)
