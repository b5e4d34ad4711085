"""The latest of a session, and ids from their short forms. Works in the caller's transaction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.memory.repository import recent
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
_SHORT = re.compile(r"[0-9a-f]{12}")


def short_id(entity_id: str) -> str:
    """Twelve characters that stand for an id: enough to find it, at a third of its tokens."""
    return entity_id[: recent.SHORT_HEAD] + entity_id[-recent.SHORT_TAIL :]


def full_ids(scope: Scope, tx: Tx, shorts: Sequence[str]) -> dict[str, EntityRef]:
    """short form -> what it stands for, of those of `shorts` that are one and stand for one thing."""
    return recent.full_ids(scope, tx, [it for it in shorts if _SHORT.fullmatch(it)])


def full_id(scope: Scope, tx: Tx, kind: str, given: str) -> str:
    """The id of a thing of a kind by its short form; anything else is given back as it is."""
    found = full_ids(scope, tx, [given]).get(given)
    return found.id if found is not None and found.kind == kind else given


def latest_messages(scope: Scope, tx: Tx, session_id: str, limit: int) -> list[Row]:
    """What the person and the agent said last, newest first."""
    return recent.latest_messages(scope, tx, session_id, limit)


def latest_observations(scope: Scope, tx: Tx, session_id: str, limit: int) -> list[Row]:
    """What tools gave last, newest first."""
    return recent.latest_observations(scope, tx, session_id, limit)


def latest_changes(scope: Scope, tx: Tx, session_id: str, limit: int) -> list[Row]:
    """Which files were changed last, newest first."""
    return recent.latest_changes(scope, tx, session_id, limit)
