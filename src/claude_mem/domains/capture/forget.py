"""Letting go for good: rows, search index and journal in one transaction; titles that repeated the forgotten too."""

from __future__ import annotations

from claude_mem.domains.capture import reindex
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx


def forget_last(
    scope: Scope, tx: Tx, indexing: IndexingService, project_id: str | None
) -> list[EntityRef]:
    """Forget the newest prompt and everything since. Raises NotFound."""
    return _forget(scope, tx, indexing, memory.last_turn(scope, tx, project_id))


def forget_session(
    scope: Scope, tx: Tx, indexing: IndexingService, session_id: str
) -> list[EntityRef]:
    """Forget everything a session holds. Raises NotFound."""
    return _forget(scope, tx, indexing, memory.whole_session(scope, tx, session_id))


def forget_entity(
    scope: Scope, tx: Tx, indexing: IndexingService, ref: EntityRef
) -> list[EntityRef]:
    """Forget one thing. Raises NotFound."""
    memory.get_entity(scope, tx, ref.kind, ref.id)
    return _forget(scope, tx, indexing, [ref])


def _forget(
    scope: Scope, tx: Tx, indexing: IndexingService, refs: list[EntityRef]
) -> list[EntityRef]:
    indexing.remove(scope, tx, refs)
    for session_id in memory.erase(scope, tx, refs):
        # Prompts are indexed under their session's title: it must not live on there.
        indexing.index(
            scope, tx, list(reindex.entries(scope, tx, session_id=session_id, kinds=("prompt",)))
        )
    return refs
