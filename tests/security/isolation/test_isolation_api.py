"""Every operation of the OpenAPI document, attacked by one tenant with what is another's."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from isolation_admin import fingerprint
from isolation_api import ApiAttack, is_open, untouched
from isolation_openapi import Call, Operation
from isolation_spy import LEDGER
from isolation_system import OPERATOR
from isolation_world import Tenant, World

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

READS, WRITES, FORGED, ODD = 1_000, 500, 350, 350  # attacks in all; most with a twin each


@pytest.fixture(scope="module")
def attack(world: World, seed: int) -> ApiAttack:
    """On the file's world."""
    return ApiAttack(world, random.Random(f"{seed} api"))


@dataclass
class Sound:
    """Sound calls by operation and tenant: what attacks are made of; and which operations change rows."""

    calls: dict[str, dict[str, list[Call]]] = field(default_factory=dict)
    changing: set[str] = field(default_factory=set)

    def of(self, operation: Operation, tenant: Tenant, chance: random.Random) -> Call:
        """One of a tenant's."""
        return chance.choice(self.calls[operation.name][tenant.letter])


@pytest.fixture(scope="module")
async def sound(world: World, attack: ApiAttack) -> Sound:
    """Found by trying. What takes things away comes last."""
    found = Sound()
    for operation in sorted(attack.operations, key=_order):
        before = fingerprint(world.admin, world.tenants["a"].scope.enterprise_id)
        found.calls[operation.name] = {
            letter: await attack.sound(operation, tenant)
            or await attack.sound(operation, tenant, token=OPERATOR)
            for letter, tenant in world.tenants.items()
        }
        if operation.method != "GET":
            await world.system.settle()
            after = fingerprint(world.admin, world.tenants["a"].scope.enterprise_id)
            if before != after:
                found.changing.add(operation.name)
    world.look_around()
    return found


def _order(operation: Operation) -> tuple[bool, bool, str]:
    words = ("forget", "delete", "erase", "revoke", "rotate")
    takes = operation.method == "DELETE" or any(word in operation.path for word in words)
    return takes, operation.method != "GET", operation.name


async def test_every_operation_can_be_called(attack: ApiAttack, sound: Sound) -> None:
    """Or it would not be attacked: give `isolation_openapi` a value for what it takes."""
    assert len(attack.operations) >= 25
    assert not [name for name, calls in sound.calls.items() if not all(calls.values())]


async def test_a_read_tells_nothing_of_another_tenant(
    attack: ApiAttack, world: World, sound: Sound, scale: int
) -> None:
    since = len(LEDGER.leaks)
    reads = [it for it in attack.operations if it.name not in sound.changing and attack.has_aim(it)]
    for turn in range(READS * scale):
        operation = reads[turn % len(reads)]
        attacker = attack.chance.choice([*world.tenants.values()])
        call = sound.of(operation, attacker, attack.chance)
        await attack.attempt("api read", call, attacker, changes=False)
    LEDGER.judge(since)


async def test_a_write_changes_and_tells_nothing_of_another_tenant(
    attack: ApiAttack, world: World, sound: Sound, scale: int
) -> None:
    since = len(LEDGER.leaks)
    writes = [it for it in attack.operations if it.name in sound.changing and attack.has_aim(it)]
    writes.sort(key=_order)
    for attacker in world.tenants.values():
        async with untouched(world, attacker, "api write"):
            for turn in range(WRITES * scale // 3):
                operation = writes[turn % len(writes)]
                call = sound.of(operation, attacker, attack.chance)
                await attack.attempt("api write", call, attacker, changes=True)
    LEDGER.judge(since)


async def test_forged_headers_and_keys_open_nothing(
    attack: ApiAttack, world: World, sound: Sound, scale: int
) -> None:
    since = len(LEDGER.leaks)
    for attacker in world.tenants.values():
        async with untouched(world, attacker, "api forged"):
            for turn in range(FORGED * scale // 3):
                operation = attack.operations[turn % len(attack.operations)]
                call = sound.of(operation, attacker, attack.chance)
                await attack.forge("api forged", call, attacker)
    LEDGER.judge(since)


async def test_odd_requests_tell_nothing_and_break_nothing(
    attack: ApiAttack, world: World, sound: Sound, scale: int
) -> None:
    since = len(LEDGER.leaks)
    for attacker in world.tenants.values():
        async with untouched(world, attacker, "api odd"):
            for turn in range(ODD * scale // 3):
                operation = attack.operations[turn % len(attack.operations)]
                call = sound.of(operation, attacker, attack.chance)
                await attack.odd("api odd", call, attacker)
    LEDGER.judge(since)


async def test_within_a_tenant_what_is_not_allowed_is_said_to_be(
    attack: ApiAttack, world: World, sound: Sound
) -> None:
    """403, not 404: a person of one's own enterprise may know what there is."""
    for tenant in world.tenants.values():
        for operation in attack.operations:
            call = sound.calls[operation.name][tenant.letter][0]
            answer = await attack.send(call, tenant, tenant.bare)
            attack.judge("api forbidden", tenant, call, answer)
            if not is_open(operation):
                assert answer.status == 403, f"{operation.name}: {answer.status} {answer.text}"
                assert "ozs" not in answer.text


async def test_strangers_are_told_that_they_are(
    attack: ApiAttack, world: World, sound: Sound
) -> None:
    tenant = world.tenants["a"]
    for operation in attack.operations:
        call = sound.calls[operation.name]["a"][0]
        for token in ("cm_sk_", "x", f"{tenant.token[:-1]}!", f"{tenant.token[:-4]}0000"):
            answer = await attack.send(call, tenant, token)
            LEDGER.tried("api stranger")
            if not is_open(operation):
                assert answer.status == 401, f"{operation.name}: {answer.status}"
            assert world.spy.leaks("x", answer.told) == []
