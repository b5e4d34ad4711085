"""SQL as the runtime role, generated over every table, part, view and function that there is."""

from __future__ import annotations

import random
from collections.abc import Iterator

import psycopg
import pytest
from isolation_admin import fingerprint, key_of
from isolation_api import untouched
from isolation_raw import (
    KIND,
    TELL_IDS,
    Catalogue,
    RawAttack,
    catalogue,
    hostile,
    oracles,
    reading,
    rights,
    writing,
)
from isolation_spy import LEDGER, UUID, plain
from isolation_world import Tenant, World

from servers import Urls

pytestmark = pytest.mark.anyio
CALLS = 40  # of each function


@pytest.fixture(scope="module")
def known(world: World) -> Catalogue:
    """What there is."""
    found = catalogue(world)
    assert len(found.tables) > 25
    assert found.parts
    assert found.views
    assert {name for name, _ in found.functions} >= TELL_IDS | {"search_find", "search_rank"}
    return found


@pytest.fixture
def attack(world: World, urls: Urls, chance: random.Random) -> Iterator[RawAttack]:
    """As one of the tenants."""
    made = RawAttack(world, urls, world.tenants[chance.choice("abc")], chance)
    yield made
    made.close()


def victim_of(attack: RawAttack) -> Tenant:
    return attack.chance.choice(attack.world.others(attack.attacker.letter))


async def test_nothing_that_reads_reads_another_tenants(
    attack: RawAttack, known: Catalogue, scale: int
) -> None:
    since = len(LEDGER.leaks)
    for _ in range(scale):
        for statement in reading(known, victim_of(attack), attack.chance):
            attack.attempt(statement)
    LEDGER.judge(since)


async def test_no_condition_is_asked_of_another_tenants_row(
    attack: RawAttack, known: Catalogue, scale: int
) -> None:
    since = len(LEDGER.leaks)
    for _ in range(scale):
        for statement in oracles(known):
            attack.attempt(statement)
    LEDGER.judge(since)


async def test_nothing_that_writes_reaches_another_tenants(
    attack: RawAttack, known: Catalogue, scale: int
) -> None:
    since = len(LEDGER.leaks)
    async with untouched(attack.world, attack.attacker, KIND):
        for _ in range(scale):
            for statement in writing(known, victim_of(attack)):
                # Locks and errors are the savepoint's; what it changed is looked at before it is taken back.
                told = attack.attempt(statement)
                if isinstance(told, list):
                    assert all(theirs not in plain(told) for theirs in _others(attack)), statement
            attack.end("COMMIT")  # of what was the attacker's own
            attack.begin()
    LEDGER.judge(since)


def _others(attack: RawAttack) -> list[str]:
    return [it.scope.enterprise_id for it in attack.world.others(attack.attacker.letter)]


async def test_more_rights_are_refused_and_tell_nothing(
    attack: RawAttack, known: Catalogue, scale: int
) -> None:
    since = len(LEDGER.leaks)
    async with untouched(attack.world, attack.attacker, KIND):
        for statement in rights(known):
            attack.attempt(statement)
        attack.end("COMMIT")
        attack.begin()
        role = attack.raw.execute("SELECT current_user, session_user").fetchone()
        assert role == ("cm_runtime", "cm_runtime")
        reading_it = attack.raw.execute(
            "SELECT DISTINCT enterprise_id::text FROM prompts"
        ).fetchall()
        assert reading_it in ([(attack.attacker.scope.enterprise_id,)], [])
    LEDGER.judge(since)


async def test_no_function_is_bent(attack: RawAttack, known: Catalogue, scale: int) -> None:
    since = len(LEDGER.leaks)
    async with untouched(attack.world, attack.attacker, KIND):
        for name, kinds in known.functions:
            for _ in range(
                CALLS * scale if name not in TELL_IDS and "partition" not in name else 1
            ):
                arguments = hostile(victim_of(attack), kinds, attack.chance)
                if name not in TELL_IDS:
                    attack.attempt(f"SELECT * FROM {name}({arguments}) AS t")
    LEDGER.judge(since)


async def test_what_acts_before_a_tenant_is_known_tells_ids_only(
    attack: RawAttack, known: Catalogue
) -> None:
    """By design they tell ids of tenants and of jobs; a lease is all that a claim changes."""
    kinds = dict(known.functions)
    before = {
        it.letter: fingerprint(attack.world.admin, it.scope.enterprise_id)
        for it in attack.world.others(attack.attacker.letter)
    }
    for name in sorted(TELL_IDS):
        for _ in range(20):
            arguments = hostile(victim_of(attack), kinds[name], attack.chance)
            try:
                with attack.raw.transaction():
                    told = attack.raw.execute(
                        f"SELECT * FROM {name}({arguments})".encode()
                    ).fetchall()
            except psycopg.Error as error:
                told = [(str(error),)] if "oz" in str(error) else []
            LEDGER.tried(KIND)
            for row in told:
                assert all(UUID.fullmatch(str(value)) for value in row), name
    attack.end("COMMIT")
    for other in attack.world.others(attack.attacker.letter):
        after = fingerprint(attack.world.admin, other.scope.enterprise_id)
        changed = {it for it in after if after[it] != before[other.letter][it]}
        assert changed <= {"task_queue"}, changed


async def test_what_another_has_cannot_be_told_from_what_nobody_has(
    attack: RawAttack, known: Catalogue, scale: int
) -> None:
    """By unique keys, foreign keys, upserts, and the text of their errors."""
    since = len(LEDGER.leaks)
    own = attack.attacker
    mine = own.scope.enterprise_id
    for _ in range(60 * scale):
        victim = victim_of(attack)
        table = attack.chance.choice([it for it in known.tables if victim.ids.get(it)])
        one = attack.chance.choice(victim.ids[table])
        key = key_of(table)
        if not UUID.fullmatch(one):
            continue
        session = attack.chance.choice(victim.ids["sessions"])
        for template, value in (
            (f"SELECT * FROM {table} WHERE id = '{{}}'", one),
            (f"SELECT EXISTS (SELECT FROM {table} WHERE id = '{{}}' FOR SHARE)", one),
            (f"UPDATE {table} SET {key} = {key} WHERE id = '{{}}'", one),
            (f"DELETE FROM {table} WHERE id = '{{}}' RETURNING 1", one),
            (
                "INSERT INTO natural_keys (enterprise_id, session_id, key, entity_kind, entity_id)"
                f" VALUES ('{mine}', '{{}}', 'k', 'prompt', '{one}')",
                session,
            ),
            (
                "INSERT INTO projects (enterprise_id, id, solution_id, key, name, created_at)"
                f" VALUES ('{mine}', '{one}', '{{}}', 'k', 'n', now())",
                attack.chance.choice(victim.ids["solutions"]),
            ),
            (
                "INSERT INTO projects (enterprise_id, id, solution_id, key, name, created_at)"
                f" SELECT enterprise_id, '{one}', id, '{{}}', 'n', now() FROM solutions LIMIT 1"
                " ON CONFLICT (enterprise_id, key) DO NOTHING RETURNING 'made'",
                attack.chance.choice(victim.names["key"]),
            ),
            (
                "INSERT INTO enterprises (id, name, settings_json, created_at)"
                " VALUES ('{}', 'x', '{}', now())".replace(
                    "'{}', now", "jsonb_build_object(), now"
                ),
                victim.scope.enterprise_id,
            ),
        ):
            attack.compare(template, value)
    LEDGER.judge(since)


async def test_nothing_goes_along_from_one_tenants_transaction_to_the_next(
    request: pytest.FixtureRequest,
    world: World,
    urls: Urls,
    known: Catalogue,
    chance: random.Random,
) -> None:
    """Plans, cursors, settings, snapshots and locks of a connection that another tenant is given next."""
    since = len(LEDGER.leaks)
    tables = sorted(known.tables)
    attack = RawAttack(world, urls, world.tenants["a"], chance)
    request.addfinalizer(attack.close)
    attack.renews = False  # what a transaction leaves is asked for here
    for number, table in enumerate(tables):
        attack.attempt(f"PREPARE p{number} AS SELECT * FROM {table}")
        attack.attempt(f"EXECUTE p{number}")
        attack.attempt(f"DECLARE c{number} CURSOR WITH HOLD FOR SELECT * FROM {table} WHERE false")
        attack.attempt(f"DECLARE d{number} CURSOR FOR SELECT * FROM {table}")
    attack.end("COMMIT")
    for letter in ("b", "c", "a", "b"):
        attack.attacker = world.tenants[letter]
        attack.begin()
        for number in range(len(tables)):
            attack.attempt(f"EXECUTE p{number}")
            attack.attempt(f"FETCH ALL FROM c{number}")
            attack.attempt(f"FETCH ALL FROM d{number}")
        attack.end(chance.choice(["COMMIT", "ROLLBACK"]))
        left = attack.raw.execute(
            "SELECT current_setting('app.current_enterprise_id', true)"
        ).fetchone()
        assert left in ((None,), ("",)), "the setting outlived its transaction"
        for number, table in enumerate(tables):
            assert attack.raw.execute(f"EXECUTE p{number}".encode()).fetchall() == [], table
    LEDGER.judge(since)
