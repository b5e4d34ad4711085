"""The audit log: who did what to which thing, from where, and how it ended.

A change is noted in the transaction that makes it: there is none without its note, and no note without it. What was
refused for want of a permission is noted in a transaction of its own. Must never hold a secret: details are names,
roles and ids.
"""

from __future__ import annotations

import time
from typing import Any

from claude_mem.domains.access import repository
from claude_mem.domains.access.model import Origin
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx


def note(
    scope: Scope,
    tx: Tx,
    origin: Origin,
    action: str,
    resource_id: str | None,
    details: dict[str, Any] | None = None,
    *,
    refused: str | None = None,
) -> None:
    """Note an action (`users.create`: what it is done to, and what); `refused` says why it was not done."""
    now = now_ms()
    row = {
        "id": new_id(now),
        "user_id": scope.user_id,
        "action_type": action,
        "resource_type": action.partition(".")[0],
        "resource_id": resource_id,
        "action_details": {"key_id": scope.key_id, **(details or {})},
        "ip_address": origin.address,
        "user_agent": origin.agent,
        "result_status": "failure" if refused else "success",
        "error_message": refused,
        "execution_time_ms": round((time.perf_counter() - origin.started) * 1000),
        "created_at": now,
    }
    repository.add_audit(scope, tx, row)


def page(
    scope: Scope, tx: Tx, *, after: str | None, offset: int, limit: int
) -> list[dict[str, Any]]:
    """The log, newest first."""
    return repository.audit_page(scope, tx, after=after, offset=offset, limit=limit)
