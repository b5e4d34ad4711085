"""Every function of every repository, in one tenant's scope with another's things, on both engines.

On PostgreSQL the policies stand behind the conditions; on SQLite the conditions stand alone.
"""

from __future__ import annotations

import random

import pytest
from isolation_api import untouched
from isolation_repositories import RepositoryAttack
from isolation_spy import LEDGER
from isolation_world import World

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
TURNS = 18  # for each function and engine; half of them with a twin


async def _attack(world: World, kind: str, seed: int, turns: int) -> None:
    attack = RepositoryAttack(world, random.Random(f"{seed} {kind}"), kind)
    assert len(attack.functions) >= 50
    wrong = {}
    for name in attack.functions:
        if said := await attack.sound(name, world.tenants["a"]):
            wrong[name] = said
    assert not wrong, f"{wrong}: these cannot be called, so are not attacked"
    reads = [name for name in attack.functions if name not in attack.changing]
    writes = [name for name in attack.functions if name in attack.changing]
    assert len(reads) >= 25
    assert len(writes) >= 15
    since = len(LEDGER.leaks)
    for attacker in world.tenants.values():
        async with untouched(world, attacker, kind):
            for name in reads * (turns // 6):
                await attack.attempt(name, attacker, twins=True)
    for attacker in world.tenants.values():
        async with untouched(world, attacker, kind):
            for name in writes * (turns // 3):
                await attack.attempt(name, attacker, twins=False)
    LEDGER.judge(since)


async def test_on_postgresql(world: World, seed: int, scale: int) -> None:
    await _attack(world, "repository on PostgreSQL", seed, TURNS * scale)


async def test_on_sqlite(world_on_sqlite: World, seed: int, scale: int) -> None:
    await _attack(world_on_sqlite, "repository on SQLite", seed, TURNS * scale)
