"""Whoever gives rights gives no more than they hold: a key that is cut to some of a role's stays so."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from claude_mem.app.build import System
from claude_mem.domains.access import keys, users
from claude_mem.domains.access.model import NewKey, NewUser, Origin
from claude_mem.kernel.errors import Forbidden
from claude_mem.kernel.scope import ROLES, Scope, local_scope

ORIGIN = Origin(None, None, time.perf_counter())
ADMIN = local_scope()
CUT = replace(ADMIN, permissions=ROLES["viewer"] | {"users:write", "keys:write"})


async def as_(system: System, scope: Scope, work: object) -> object:
    database = system.parts.state["database"]
    return await database.write(scope, lambda tx: work(scope, tx))  # type: ignore[operator]


@pytest.mark.parametrize("role", ["user", "admin"])
async def test_nobody_is_made_who_may_more(system: System, role: str) -> None:
    with pytest.raises(Forbidden, match="what this key does not"):
        await as_(system, CUT, lambda s, tx: users.make(s, tx, ORIGIN, NewUser("mallory", role)))


async def test_nobody_is_raised_to_more(system: System) -> None:
    made = await as_(
        system, CUT, lambda s, tx: users.make(s, tx, ORIGIN, NewUser("mallory", "viewer"))
    )
    with pytest.raises(Forbidden):
        await as_(
            system,
            CUT,
            lambda s, tx: users.change(s, tx, ORIGIN, made["id"], {"role": "admin"}),  # type: ignore[index]
        )
    whole = await as_(
        system,
        ADMIN,
        lambda s, tx: users.change(s, tx, ORIGIN, made["id"], {"role": "admin"}),  # type: ignore[index]
    )
    assert whole["role"] == "admin"  # type: ignore[index]


async def test_a_cut_key_gives_names_and_not_whatever_the_role_will_hold(system: System) -> None:
    made = await as_(
        system, ADMIN, lambda s, tx: users.make(s, tx, ORIGIN, NewUser("vera", "viewer"))
    )
    new = NewKey(made["id"], "theirs")  # type: ignore[index]
    row, _ = await as_(system, CUT, lambda s, tx: keys.make(s, tx, ORIGIN, new))  # type: ignore[misc]
    assert row["permissions_json"] == sorted(ROLES["viewer"])
    row, _ = await as_(system, ADMIN, lambda s, tx: keys.make(s, tx, ORIGIN, new))  # type: ignore[misc]
    assert row["permissions_json"] == ["*"]
