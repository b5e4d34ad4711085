"""Streams that stay open: while all tenants are at work, each hears of its own work and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from isolation_api import ApiAttack
from isolation_client import STREAM
from isolation_openapi import Call
from isolation_spy import LEDGER
from isolation_world import API, WORD, Tenant, World

pytestmark = pytest.mark.anyio
TURNS = 4  # for each tenant and stream
KIND = "stream"
_PATIENCE_S, _LOOK_S = 15.0, 0.02


@pytest.fixture
async def attack(world: World, seed: int) -> AsyncIterator[ApiAttack]:
    """On the file's world."""
    yield ApiAttack(world, random.Random(f"{seed} streams"))
    world.client.stir = None


async def test_a_stream_tells_its_own_tenant_only(
    attack: ApiAttack, world: World, scale: int
) -> None:
    since = len(LEDGER.leaks)
    document = world.system.openapi()["paths"]
    streams = [
        it
        for it in attack.operations
        if STREAM
        in document[it.path][it.method.lower()]["responses"].get("200", {}).get("content", {})
    ]
    assert streams, "nothing is tried here"
    for attacker in world.tenants.values():
        for turn in range(TURNS * scale):
            operation = streams[turn % len(streams)]
            call = attack.maker.call(operation, attacker, share=0.0)
            if turn % 2:
                victim = attack.chance.choice(world.others(attacker.letter))
                call.headers["last-event-id"] = attack.chance.choice(victim.every_id)
            await _listen(attack, world, attacker, call)
    LEDGER.judge(since)


async def _listen(attack: ApiAttack, world: World, attacker: Tenant, call: Call) -> None:
    async def stir(heard: bytearray) -> None:
        """Everybody saves something, the listener last; until the listener has heard of that."""
        for tenant in [*world.others(attacker.letter), attacker]:
            note = {"content": f"{WORD} {tenant.known} noted", "project": f"/srv/{tenant.known}"}
            saved = await world.client.call(
                "POST", f"{API}/memories", token=tenant.token, body=note
            )
            assert saved.status == 201, saved.text
            await world.system.settle()
        async with asyncio.timeout(_PATIENCE_S):
            while b"data:" not in heard:  # noqa: ASYNC110 - the stream has no other way to say so
                await asyncio.sleep(_LOOK_S)

    world.client.stir = stir
    answer = await attack.send(call, attacker)
    world.client.stir = None
    assert answer.status == 200, answer.text
    world.look_around()  # what was just made is somebody's, too
    attack.look(KIND, attacker, call, answer)
    own = [it for it in world.spy.ids[attacker.letter] if it in answer.text]
    assert own, f"{attacker.letter} heard nothing of its own: {answer.text[:300]}"
