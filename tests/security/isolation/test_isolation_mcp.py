"""The tools for models, by both of their doors: each tool's arguments are attacked as an operation's parameters are."""

from __future__ import annotations

import random
from typing import Any

import pytest
from isolation_api import ApiAttack, untouched
from isolation_openapi import Call, Operation
from isolation_spy import LEDGER
from isolation_world import World

from claude_mem.mcp.stdio import TOOLS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
ATTACKS = 300
KIND = "mcp"


class Tools(ApiAttack):
    """The tools as operations whose bodies are calls."""

    def __init__(self, world: World, chance: random.Random) -> None:
        super().__init__(world, chance)
        self.operations = [_operation(tool, door) for tool in TOOLS for door in ("short", "rpc")]


def _operation(tool: dict[str, Any], door: str) -> Operation:
    called = {
        "type": "object",
        "properties": {"name": {"const": tool["name"]}, "arguments": tool["inputSchema"]},
        "required": ["name", "arguments"],
    }
    if door == "short":
        return Operation("POST", "/mcp/call", {}, frozenset(), called)
    rpc = {"jsonrpc": {"const": "2.0"}, "id": {"const": 1}, "method": {"const": "tools/call"}}
    message = {
        "type": "object",
        "properties": {**rpc, "params": called},
        "required": [*rpc, "params"],
    }
    return Operation("POST", "/mcp", {}, frozenset(), message)


@pytest.fixture(scope="module")
def attack(world: World, seed: int) -> Tools:
    """On the file's world."""
    return Tools(world, random.Random(f"{seed} mcp"))


async def test_tools_tell_and_change_nothing_of_another_tenant(
    world: World, attack: Tools, scale: int
) -> None:
    since = len(LEDGER.leaks)
    sound: dict[str, list[Call]] = {letter: [] for letter in world.tenants}
    for letter, tenant in world.tenants.items():
        for operation in attack.operations:
            found = []
            for _ in range(40):
                call = attack.maker.call(operation, tenant)
                call.headers["accept"] = "application/json, text/event-stream"
                answer = await attack.send(call, tenant)
                if answer.status == 200 and '"isError":true' not in answer.text:
                    found.append(call)
                    break
            assert found, f"{operation.path} {operation.body}: cannot be called"
            sound[letter] += found
        await world.system.settle()
    world.look_around()
    for attacker in world.tenants.values():
        async with untouched(world, attacker, KIND):
            for turn in range(ATTACKS * scale // 3):
                calls = sound[attacker.letter]
                await attack.attempt(KIND, calls[turn % len(calls)], attacker, changes=True)
                if turn % 5 == 0:
                    await attack.forge(KIND, calls[turn % len(calls)], attacker)
    LEDGER.judge(since)
