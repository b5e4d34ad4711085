"""Who is asking, and in which project: the local token, the local organisation, the project directory."""

from __future__ import annotations

import hmac
from pathlib import PurePath
from typing import Any

from claude_mem.domains.access import repository
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import AuthInvalid, AuthMissing
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import (
    LOCAL_ENTERPRISE,
    LOCAL_SOLUTION,
    LOCAL_USER,
    Scope,
    local_scope,
)
from claude_mem.ports.database import Tx


class LocalTokens:
    """Authentication of the local profile: one token, made at install, kept in a file of mode 0600."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._scope = local_scope()

    def authenticate(self, authorization: str | None) -> Scope:
        """The scope behind an `Authorization` header. Raises AuthMissing or AuthInvalid."""
        if not authorization:
            raise AuthMissing(
                "this needs the token: send 'Authorization: Bearer <token>' (the file `token` in the data folder)"
            )
        kind, _, given = authorization.partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            raise AuthInvalid(
                "the token is not right: read it anew from the file `token` in the data folder"
            )
        return self._scope


def make_local_organisation(tx: Tx) -> None:
    """One enterprise, one solution, one user: already there before the first event."""
    repository.make_enterprise(
        tx,
        enterprise_id=LOCAL_ENTERPRISE,
        solution_id=LOCAL_SOLUTION,
        user_id=LOCAL_USER,
        now=now_ms(),
    )


def ensure_project(scope: Scope, tx: Tx, key: str) -> str:
    """The id of the project known by `key` (its git root, or a stable name), made if new."""
    found = repository.find_project(scope, tx, key)
    if found is not None:
        return found
    project_id = new_id()
    repository.add_project(
        scope,
        tx,
        project_id=project_id,
        solution_id=repository.first_solution(scope, tx),
        key=key,
        name=PurePath(key).name or key,
        now=now_ms(),
    )
    return project_id


def bring_project(
    scope: Scope, tx: Tx, *, project_id: str, key: str, name: str, created_at: int
) -> str:
    """The id of the project known by `key`; if it is new it is made as it was elsewhere, under the first solution."""
    found = repository.find_project(scope, tx, key)
    if found is not None:
        return found
    return repository.add_project(
        scope,
        tx,
        project_id=project_id,
        solution_id=repository.first_solution(scope, tx),
        key=key,
        name=name,
        now=created_at,
    )


def projects(scope: Scope, tx: Tx) -> list[dict[str, Any]]:
    """Every project of the scope's enterprise."""
    return repository.projects(scope, tx)


def named_project(scope: Scope, tx: Tx, key: str) -> tuple[str, str] | None:
    """(id, name) of the project known by `key`; None where it was never heard of."""
    return repository.named_project(scope, tx, key)


def match_projects(scope: Scope, tx: Tx, wanted: str) -> list[str]:
    """Projects whose id, key or name is `wanted`; several can share a name."""
    return repository.match_projects(scope, tx, wanted)


def timezone(scope: Scope, tx: Tx, otherwise: str) -> str:
    """The IANA zone in which the enterprise means "yesterday"; `otherwise` where it has none of its own."""
    return repository.timezone(scope, tx) or otherwise
