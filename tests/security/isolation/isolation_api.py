"""Attacks by the API: own sound calls with something of another tenant's put into them, and what came back.

The twin of an attack asks for what nobody has, in a value of the same shape: whoever gets the same answer to both, at
the same cost, has learned nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from isolation_admin import fingerprint
from isolation_client import STREAM, Answer
from isolation_openapi import Call, Maker, Operation, operations, places, replaced
from isolation_spy import KNOWN, LEDGER, UUID, as_json, plain, twin
from isolation_world import Tenant, World

# Answers that differ from one moment to the next, whoever asks and whatever for.
_VOLATILE = re.compile(
    r'"(?:took_ms|latency_ms|duration_ms|uptime|timestamp|relevance_score|score)":\s*[-0-9.e"TZ:]+'
)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T[0-9:.]+(?:Z|[+-]\d{2}:\d{2})")
_HEX = re.compile(r"\b(?=[a-f]*[0-9])[0-9a-f]{4,}(?:-[0-9a-f]{3,})*\b")
_ELIDED = re.compile(r"ozk\w*\.{3}\w*")  # a long text in an error, without its middle
_FLOAT = re.compile(r"(?<![\w.])\d{1,9}\.\d+(?![\w.])")
_UNLIKE = frozenset({"x-request-id", "content-length", "date", "x-ratelimit-remaining"})
_UNLIKE_PREFIX = ("x-ratelimit-", "ratelimit")
_BASELINE_TRIES = 120
_REPEATED = 8
ODD = ("\0", "\ud800", "\u202e", "%00", "%2e%2e%2f", "../", "'", '"', "\\", ";--", "*", "\uffff")


class ApiAttack:
    """One world's API under attack."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self._written: set[tuple[str, str]] = set()  # by whom, what of another's
        document = world.system.openapi()
        self.operations = operations(document)
        self.maker = Maker(document, chance)

    # -- sound calls ------------------------------------------------------------------------------

    async def sound(
        self, operation: Operation, tenant: Tenant, wanted: int = 2, token: str | None = None
    ) -> list[Call]:
        """Calls of a tenant's with its own values that are answered with success; none if there is no such call."""
        found: list[Call] = []
        refused = 0
        for turn in range(_BASELINE_TRIES):
            call = self.maker.call(operation, tenant, share=0.0 if turn % 3 == 0 else 0.4)
            told = f"{call.target} {call.body}"
            if operation.method != "GET" and any(one in told for one in tenant.guarded):
                continue  # it would shut itself out
            answer = await self.send(call, tenant, token)
            self._take_cursors(tenant, answer)
            refused += answer.status == 403
            if refused == turn + 1 > 6:
                break  # not a tenant's to call
            if 200 <= answer.status < 300:
                found.append(call)
                if len(found) >= wanted:
                    break
        return found

    async def send(self, call: Call, tenant: Tenant, token: str | None = None) -> Answer:
        """As the tenant."""
        return await self.world.client.call(
            call.operation.method,
            call.target,
            token=token or tenant.token,
            body=call.body,
            headers=call.sent_headers,
        )

    @staticmethod
    def _take_cursors(tenant: Tenant, answer: Answer) -> None:
        body = as_json(answer.text)
        if isinstance(body, dict):
            for name, value in body.items():
                if "cursor" in name and isinstance(value, str) and value not in tenant.cursors:
                    tenant.cursors.append(value)

    # -- attacks ----------------------------------------------------------------------------------

    def foreign(self, name: str, victim: Tenant, path: str) -> str:
        """Something of the victim's for a parameter of this name, or anything of the victim's."""
        if self.chance.random() < 0.7:
            return self.chance.choice(self.maker.candidates(name, victim, path))
        names = [value for values in victim.names.values() for value in values]
        return self.chance.choice([*names, *victim.every_id, *victim.cursors])

    @staticmethod
    def has_aim(operation: Operation) -> bool:
        """Whether an operation takes anything in which a tenant's could stand."""
        fields = [schema for (place, _), schema in operation.fields.items() if place != "cookie"]
        return operation.body is not None or any(map(_is_text, fields))

    def aimed(self, sound: Call, victim: Tenant) -> tuple[Call, Call, str]:
        """A sound call with a value of the victim's in it, its twin, and the value."""
        operation = sound.operation
        fields = [
            it for it, schema in operation.fields.items() if it[0] != "cookie" and _is_text(schema)
        ]
        spots = [*places(sound.body)] if isinstance(sound.body, dict) else []
        choices: list[tuple[str, Any]] = [("field", it) for it in fields]
        choices += [("body", it) for it in spots]
        kind, place = self.chance.choice(choices)
        name = (
            place[1]
            if kind == "field"
            else next((it for it in reversed(place) if isinstance(it, str)), "")
        )
        value = self.foreign(name, victim, operation.path)
        calls = []
        for one in (value, twin(value, self.chance)):
            call = sound.copy()
            if kind == "field":
                call.values[place] = one
            else:
                call.body = replaced(call.body, place, one)
            calls.append(call)
        return calls[0], calls[1], value

    async def attempt(self, kind: str, sound: Call, attacker: Tenant, *, changes: bool) -> None:
        """One attack and its twin. What `changes` rows is answered by what was written before, too: there it is the
        status that must not differ, and the text of a refusal.
        """
        victim = self.chance.choice(self.world.others(attacker.letter))
        attack, other, value = self.aimed(sound, victim)
        if changes:
            self.world.spy.says(attacker.letter, [attack.target, attack.body, attack.sent_headers])
        answer = await self.send(attack, attacker)
        self.judge(kind, attacker, attack, answer)
        written = (attacker.letter, " ".join(value.split()).casefold())  # as a name is cleaned
        seen = written in self._written
        if changes:
            self._written.add(written)
        if seen:
            return  # what it wrote itself may answer it
        if not (KNOWN.search(value) or UUID.search(value)):
            return
        difference = ""
        # What was cached in between, or a second that passed, makes two answers differ once; a leak does each time.
        for _ in range(_REPEATED):
            twins = await self.send(other, attacker)
            self.judge(kind, attacker, other, twins)
            difference = unlike(answer, twins, changes=changes)
            if not difference:
                return
            await self.world.system.settle()  # what else was still under way asked something, too
            answer = await self.send(attack, attacker)
        where = f"{attack.operation.method} {attack.target} {attack.body}"
        LEDGER.leaked(
            kind, f"{where}: {value!r} of {victim.letter} is told from nothing: {difference}"
        )

    async def aim(self, kind: str, sound: Call, attacker: Tenant) -> None:
        """One attack, without a twin: for where the program is broken on purpose, and answers as it likes."""
        victim = self.chance.choice(self.world.others(attacker.letter))
        attack, _, _ = self.aimed(sound, victim)
        self.world.spy.says(attacker.letter, [attack.target, attack.body, attack.sent_headers])
        self.look(kind, attacker, attack, await self.send(attack, attacker))

    def look(self, kind: str, attacker: Tenant, call: Call, answer: Answer) -> None:
        """Count it, and look through everything that came of it."""
        LEDGER.tried(kind)
        where = f"{call.operation.method} {call.target} {str(call.body)[:300]} {call.headers}"
        said = [call.target, call.body, call.sent_headers]
        for leak in self.world.spy.leaks(attacker.letter, f"{answer.told}\n{answer.logs}", said):
            LEDGER.leaked(kind, f"as {attacker.letter}, {where}: {leak}")

    def judge(self, kind: str, attacker: Tenant, call: Call, answer: Answer) -> None:
        """The same; and nothing may break the program."""
        self.look(kind, attacker, call, answer)
        if answer.status >= 500 or answer.status == 0:
            where = f"{call.operation.method} {call.target} {str(call.body)[:300]} {call.headers}"
            LEDGER.leaked(kind, f"{where}: {answer.status} {answer.text[:200]} {answer.logs[:600]}")

    async def forge(self, kind: str, sound: Call, attacker: Tenant) -> None:
        """The same call with headers that name the victim, or a key that is half of the victim's."""
        victim = self.chance.choice(self.world.others(attacker.letter))
        enterprise, own = victim.scope.enterprise_id, attacker.token.split("_")[2]
        theirs = enterprise.replace("-", "")
        keys = (
            f"cm_sk_{theirs}_{attacker.secret}",
            f"cm_sk_{enterprise}_{attacker.secret}",
            f"cm_sk_{theirs}_",
            f"{attacker.token} {theirs}",
            f"{theirs}",
            f"cm_sk_{theirs.upper()}_{attacker.secret}",
            f"cm_sk_{theirs}_{own}_{attacker.secret}",
            f"cm_sk_{theirs}_{'0' * 43}",
        )
        call = sound.copy()
        if self.chance.random() < 0.35:
            token = self.chance.choice(keys)
            self.world.spy.says(attacker.letter, token)
            answer = await self.send(call, attacker, token)
            self.judge(kind, attacker, call, answer)
            if answer.status < 400 and not is_open(call.operation):
                LEDGER.leaked(
                    kind, f"{call.operation.name}: let in by {token[:60]}: {answer.status}"
                )
            return
        name = self.chance.choice(FORGED)
        call.headers[name] = {"Host": "127.0.0.1", "Cookie": f"enterprise_id={enterprise}"}.get(
            name, self.chance.choice([enterprise, victim.scope.user_id, victim.known])
        )
        self.world.spy.says(attacker.letter, call.headers)
        self.judge(kind, attacker, call, await self.send(call, attacker))

    async def odd(self, kind: str, sound: Call, attacker: Tenant) -> None:
        """Fields that nobody declared, paths that climb, characters that break things."""
        victim = self.chance.choice(self.world.others(attacker.letter))
        call = sound.copy()
        enterprise = victim.scope.enterprise_id
        strange = self.chance.choice(ODD)
        value = self.foreign("id", victim, call.operation.path)
        wild = self.chance.choice(
            [f"{strange}{value}", f"{value}{strange}", f"../{value}", strange]
        )
        texts = [it for it, schema in call.operation.fields.items() if _is_text(schema)]
        turn = self.chance.randrange(4)
        if turn == 0 and isinstance(call.body, dict):
            name = self.chance.choice(["enterprise_id", "tenant", "scope", "user_id", "enterprise"])
            call.body = {**call.body, name: enterprise}
        elif turn == 1 and isinstance(call.body, dict) and (spots := [*places(call.body)]):
            call.body = replaced(call.body, self.chance.choice(spots), wild)
        elif turn == 2 and texts:
            call.values[self.chance.choice(texts)] = wild.encode("utf-8", "replace").decode()
        else:
            call.values["query", "enterprise_id"] = enterprise
        self.world.spy.says(attacker.letter, [call.target, call.body, value, enterprise])
        self.judge(kind, attacker, call, await self.send(call, attacker))


FORGED = (
    "X-Enterprise-Id",
    "X-Tenant",
    "X-Tenant-Id",
    "X-User-Id",
    "X-Forwarded-User",
    "X-Forwarded-Host",
    "X-Original-URL",
    "X-Claude-Mem-Enterprise",
    "Forwarded",
    "Cookie",
    "Host",
    "app.current_enterprise_id",
    "X-Agent-Session",
    "X-Project-Dir",
    "Last-Event-ID",
)


def is_open(operation: Operation) -> bool:
    """Whether an operation answers strangers: a status word, and what lets people in."""
    return "/health" in operation.path or "/auth/" in operation.path


def _is_text(schema: dict[str, Any]) -> bool:
    ways = schema.get("anyOf", [schema])
    return any(it.get("type", "string") == "string" for it in ways)


def unlike(answer: Answer, other: Answer, *, changes: bool = False) -> str:
    """In what two answers differ, but for what each was asked; "" for nothing."""
    if answer.status != other.status:
        return f"{answer.status} and {other.status}: {answer.text[:200]} and {other.text[:200]}"
    # What was written before answers too; and a stream says what happens while it is open, and looks for it.
    if answer.status < 400 and (changes or STREAM in dict(answer.headers).get("content-type", "")):
        return ""
    if not changes and answer.statements != other.statements:
        return f"{answer.statements} and {other.statements} statements"
    one, two = _evened(answer), _evened(other)
    if one != two:
        at = next(
            (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b),
            min(len(one), len(two)),
        )
        return f"{one[max(0, at - 60) : at + 120]!r} and {two[max(0, at - 60) : at + 120]!r}"
    return ""


def _evened(answer: Answer) -> str:
    headers = [
        f"{name}: {value}"
        for name, value in answer.headers
        if name not in _UNLIKE and not name.startswith(_UNLIKE_PREFIX)
    ]
    text = "\n".join([*headers, answer.text])
    text = _FLOAT.sub(lambda it: f"{float(it[0]):.2f}", text)
    for pattern, stand_in in (
        (_VOLATILE, "<v>"),
        (_MOMENT, "<t>"),
        (UUID, "<id>"),
        (_ELIDED, "<m>"),
        (KNOWN, "<m>"),
        (_HEX, "<h>"),
    ):
        text = pattern.sub(stand_in, text)
    return text


@asynccontextmanager
async def untouched(world: World, attacker: Tenant, kind: str) -> AsyncIterator[None]:
    """Whatever an attacker does inside: afterwards the others' rows are as they were, and their dead letters."""
    before = {it.letter: await _all_of(world, it) for it in world.others(attacker.letter)}
    yield
    own = await world.client.call("GET", "/api/v1/sessions", token=attacker.token)
    assert own.status == 200, f"{attacker.letter} has shut itself out: it attacked nothing"
    for other in world.others(attacker.letter):
        after = await _all_of(world, other)
        for table, rows in before[other.letter].items():
            if after[table] != rows:
                LEDGER.leaked(
                    kind,
                    f"as {attacker.letter}: {table} of {other.letter} changed: {rows}, {after[table]}",
                )


async def _all_of(world: World, tenant: Tenant) -> dict[str, str]:
    await world.system.settle()
    letters = (await world.system.inbox.dead_letters(tenant.scope, 1_000)).letters
    found = fingerprint(world.admin, tenant.scope.enterprise_id)
    return {**found, "dead letters": plain(sorted(it.event_id for it in letters))}
