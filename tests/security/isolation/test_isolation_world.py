"""What the attacks rest on: the worlds hold what they should, and a leak would be seen."""

from __future__ import annotations

import base64
import random

import pytest
from isolation_admin import fingerprint, key_of
from isolation_spy import KNOWN, Spy, mark, plain, twin
from isolation_world import World

from claude_mem.kernel.ids import new_id

pytestmark = pytest.mark.anyio


async def test_every_tenant_has_a_row_with_its_mark_in_every_table(world: World) -> None:
    tables = world.admin.tables()
    assert len(tables) > 25
    for tenant in world.tenants.values():
        for table in tables:
            rows = world.admin.rows(table, tenant.scope.enterprise_id)
            assert rows, f"{table} of {tenant.letter}"
            assert all(row[key_of(table)] == tenant.scope.enterprise_id for row in rows)
            others = {it.letter for it in world.others(tenant.letter)}
            assert {it[1] for it in KNOWN.finditer(plain(rows))} & others == set(), table
        assert len(tenant.every_id) > 100


async def test_a_changed_row_changes_the_fingerprint(world: World) -> None:
    victim = world.tenants["b"].scope.enterprise_id
    before = fingerprint(world.admin, victim)
    await world.write(
        world.tenants["b"], lambda tx: tx.exec_driver_sql("UPDATE projects SET name = name || '.'")
    )
    after = fingerprint(world.admin, victim)
    assert {table for table in before if before[table] != after[table]} == {"projects"}


def test_a_leak_is_seen_in_whatever_shape_it_comes() -> None:
    chance = random.Random(1)
    one, known, secret = new_id(), mark("k", "b", chance), mark("s", "b", chance)
    spy = Spy({"a": {new_id()}, "b": {one}})
    cursor = base64.urlsafe_b64encode(f'[1,"{one}"]'.encode()).decode().rstrip("=")
    for told in (
        known,
        secret,
        secret[:5],
        secret.upper(),
        one,
        one.upper(),
        one.replace("-", ""),
        {"next_cursor": cursor},
        [{"deep": (secret.encode(),)}],
        ValueError(f"no {one}"),
    ):
        assert spy.leaks("a", told), told
        assert spy.leaks("b", told) == [], told
    assert spy.leaks("a", f"nothing at /x/{one} {known}", [f"/x/{one}", known]) == []
    assert spy.leaks("a", f"/x/{secret}", [f"/x/{secret}"]), "nobody says a secret"


def test_a_twin_is_alike_and_nobodys() -> None:
    chance = random.Random(2)
    known, one = mark("k", "c", chance), new_id()
    for value in (known, one, f"/srv/{known}/{one}", f"-{known[:4]}{known[4:]}*"):
        other = twin(value, chance)
        assert other != value
        assert len(other) == len(value)
    cursor = base64.urlsafe_b64encode(f'[1,"{one}"]'.encode()).decode().rstrip("=")
    other = twin(cursor, chance)
    assert other != cursor
    assert len(other) == len(cursor)
    assert twin("shared-session", chance) == "shared-session"
