"""Every condition on the tenant gone from every statement: PostgreSQL still gives nothing of another's.

The same breakage on SQLite, which has nothing behind the conditions, leaks: so the attacks here are such as find a leak.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import Any

import pytest
from isolation_api import ApiAttack, untouched
from isolation_breaking import broken_conditions, without_tenants
from isolation_openapi import Call
from isolation_repositories import RepositoryAttack
from isolation_spy import LEDGER
from isolation_world import World

from claude_mem.adapters.postgres import database as postgres_database

pytestmark = pytest.mark.anyio
TURNS, REQUESTS, ON_SQLITE = 9, 450, 2
KIND = "broken WHERE"


@pytest.fixture(scope="module")
async def repositories(world: World, seed: int) -> RepositoryAttack:
    """Every function, known to be callable."""
    attack = RepositoryAttack(world, random.Random(f"{seed} broken"), KIND)
    for name in attack.functions:
        assert await attack.sound(name, world.tenants["a"]) == "", name
    return attack


@pytest.fixture(scope="module")
async def requests(world: World, seed: int) -> tuple[ApiAttack, dict[str, list[Call]]]:
    """Sound calls of every operation by tenant."""
    attack = ApiAttack(world, random.Random(f"{seed} broken"))
    found: dict[str, list[Call]] = {}
    for letter, tenant in world.tenants.items():
        found[letter] = [
            call for it in attack.operations for call in await attack.sound(it, tenant, 1)
        ]
    await world.system.settle()
    world.look_around()
    return attack, found


@pytest.mark.parametrize(
    ("sound", "broken"),
    [
        ("SELECT 1 FROM a WHERE a.enterprise_id = %(x_1)s::UUID AND b = 1", 1),
        ("SELECT 1 FROM a WHERE enterprise_id = ? AND b IN (?)", 1),
        ("SELECT 1 FROM a JOIN b ON a.enterprise_id = b.enterprise_id WHERE c = %s", 1),
        ("UPDATE a SET enterprise_id = %s WHERE enterprise_id = %s", 1),
        ("INSERT INTO a (enterprise_id) VALUES (%s)", 0),
        ("DELETE FROM a WHERE a.enterprise_id = %(e)s::uuid", 1),
        ("SELECT 1 FROM enterprises WHERE enterprises.id = %(e)s::UUID", 1),
    ],
)
def test_what_breaking_does(sound: str, broken: int) -> None:
    statement, number = without_tenants(sound)
    assert number == broken
    assert (" OR true)" in statement) == bool(broken)


async def test_no_endpoint_gets_another_tenants_rows(
    world: World, requests: tuple[ApiAttack, dict[str, list[Call]]], scale: int
) -> None:
    attack, calls = requests
    since = len(LEDGER.leaks)
    for attacker in world.tenants.values():
        mine = [it for it in calls[attacker.letter] if attack.has_aim(it.operation)]
        async with untouched(world, attacker, KIND):
            with broken_conditions(world.system.engines) as broken:
                for turn in range(REQUESTS * scale // 3):
                    await attack.aim(KIND, mine[turn % len(mine)], attacker)
            assert broken.statements > 50 * scale, "nothing was broken"
    LEDGER.judge(since)


async def test_no_repository_gets_another_tenants_rows(
    world: World, repositories: RepositoryAttack, scale: int
) -> None:
    since = len(LEDGER.leaks)
    for attacker in world.tenants.values():
        async with untouched(world, attacker, KIND):
            with broken_conditions(world.system.engines) as broken:
                for name in sorted(repositories.functions) * (TURNS * scale // 3):
                    await repositories.attempt(name, attacker, twins=False)
            assert broken.statements > 50 * scale, "nothing was broken"
    LEDGER.judge(since)


@contextmanager
def no_tenant() -> Any:
    """The program forgets to say for whom."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_database, "_begin", lambda how, *_: how)
        yield


async def test_without_a_tenant_there_is_nothing_and_nothing_is_taken(
    world: World, repositories: RepositoryAttack, scale: int
) -> None:
    since = len(LEDGER.leaks)
    attacker = world.tenants["a"]
    async with untouched(world, attacker, "no tenant"):
        with no_tenant(), broken_conditions(world.system.engines):
            for name in sorted(repositories.functions) * (2 * scale):
                told = await repositories.tell(
                    name,
                    attacker,
                    repositories.arguments.make(
                        repositories.functions[name], attacker, attacker, 0.0
                    ),
                    keep=True,
                )
                own = world.spy.leaks("nobody", told if isinstance(told, BaseException) else "")
                assert own == [], f"{name}: {own}"
                if not isinstance(told, BaseException):
                    assert "ozs" not in repr(told), f"{name} told {told}"
                LEDGER.tried("no tenant")
    LEDGER.judge(since)


async def test_the_attacks_find_what_leaks_where_nothing_stands_behind_the_conditions(
    world_on_sqlite: World, seed: int
) -> None:
    attack = RepositoryAttack(world_on_sqlite, random.Random(f"{seed} leaky"), "self-test")
    for name in attack.functions:
        await attack.sound(name, world_on_sqlite.tenants["a"])
    since, attacker = len(LEDGER.leaks), world_on_sqlite.tenants["a"]
    try:
        with broken_conditions(world_on_sqlite.system.engines):
            for name in sorted(set(attack.functions) - attack.changing) * ON_SQLITE:
                await attack.attempt(name, attacker, twins=False)
        found = LEDGER.leaks[since:]
    finally:
        del LEDGER.leaks[since:]
        del LEDGER.attempts["self-test"]
    leaking = {leak.split("(")[0].split()[-1] for leak in found}
    assert len(leaking) > 15, "the attacks would miss a leak"
