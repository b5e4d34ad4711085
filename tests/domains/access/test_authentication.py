"""API keys open the door for as long as they should, and say nothing about why they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from access_support import ORIGIN, Tenant

from claude_mem.domains.access import authentication, keys, repository, users
from claude_mem.domains.access.authentication import FRESH_S, NOTE_USE_MS, ServerTokens
from claude_mem.domains.access.model import NewKey, digest, make_key_text
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import AuthInvalid, AuthMissing, MemError, Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import NOBODY, OPERATOR_PERMISSIONS, ROLES, Scope
from claude_mem.ports.database import Database, Tx

T = TypeVar("T")
OPERATOR = "operator-" + "x" * 32


class Watched:
    """A database that counts what is asked of it, and can be held up or be away."""

    def __init__(self, database: Database) -> None:
        self._inner = database
        self.tenants: list[str] = []
        self.asked: asyncio.Queue[None] = asyncio.Queue()  # one entry a read that was begun
        self.writes = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_away = False

    async def read(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        self.tenants.append(scope.enterprise_id)
        self.asked.put_nowait(None)
        await self.gate.wait()
        if self.is_away:
            raise Unavailable("away")
        return await self._inner.read(scope, work)

    async def write(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        self.writes += 1
        if self.is_away:
            raise Unavailable("away")
        return await self._inner.write(scope, work)

    async def close(self) -> None:
        await self._inner.close()


class Door:
    """The authentication with clocks of the test's own."""

    def __init__(self, database: Database) -> None:
        self.database = Watched(database)
        self.now, self.wall = 1000.0, now_ms()
        self.tokens = ServerTokens(
            self.database, OPERATOR, clock=lambda: self.now, wall_ms=lambda: self.wall
        )

    async def knock(self, key: str) -> Scope:
        found = self.tokens.authenticate(f"Bearer {key}")
        return found if isinstance(found, Scope) else await found

    async def refusal(self, key: str) -> tuple[str, int, str]:
        with pytest.raises(AuthInvalid) as refused:
            await self.knock(key)
        return refused.value.code, refused.value.status, refused.value.message


@pytest.fixture
def door(database: Database) -> Door:
    return Door(database)


def test_a_secret_is_random_of_256_bits_and_its_key_can_be_taken_apart() -> None:
    from claude_mem.domains.access import model

    assert len(model.LETTERS) == len(set(model.LETTERS)) == 62
    assert len(model.LETTERS) ** model.SECRET_LENGTH >= 2**256
    enterprise_id = new_id()
    text = make_key_text(enterprise_id, "A" * 43)
    assert model.enterprise_of_key(text) == enterprise_id
    assert text.count("_") == 3
    assert model.key_prefix(text) == text[:-39]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key + "\n",
        lambda key: key.replace("cm_sk_", "cm_pk_"),
        lambda key: key.upper(),
        lambda key: key[:-1] + "_",
        lambda key: key[:-1] + "é",
        lambda key: key[:0],
        lambda key: "cm_sk_local_" + key[-43:],
        lambda key: make_key_text(NOBODY, key[-43:]),
    ],
)
def test_what_is_no_key_names_no_enterprise(spoil: Callable[[str], str]) -> None:
    from claude_mem.domains.access import model

    assert model.enterprise_of_key(spoil(make_key_text(new_id(), "A" * 43))) is None


async def test_a_key_opens_its_owners_scope(door: Door, acme: Tenant) -> None:
    scope = await door.knock(acme.founded.key)
    assert scope == acme.scope
    user = await acme.add_user("grace", "viewer")
    row, key = await acme.add_key(user["id"], rate_limit_rpm=7)
    scope = await door.knock(key)
    assert (scope.user_id, scope.role) == (user["id"], "viewer")
    assert (scope.key_id, scope.rate_limit_rpm) == (row["id"], 7)
    assert scope.permissions == ROLES["viewer"]


async def test_only_a_hash_is_kept(acme: Tenant) -> None:
    def everything(tx: Tx) -> str:
        tables = ("api_keys", "audit_logs", "users", "enterprises")
        return str([tx.exec_driver_sql(f"SELECT * FROM {it}").all() for it in tables])

    kept = await acme.read(everything)
    secret = acme.founded.key.rpartition("_")[2]
    assert digest(acme.founded.key) in kept
    assert secret not in kept
    assert secret[:5] not in kept


async def test_every_refusal_is_the_same(door: Door, acme: Tenant, other: Tenant) -> None:
    user = await acme.add_user("grace")
    revoked_row, revoked = await acme.add_key(user["id"])
    await acme.write(lambda tx: keys.revoke(acme.scope, tx, ORIGIN, revoked_row["id"]))
    _, expired = await acme.add_key(user["id"], expires_at=door.wall + 60_000)
    idle = await acme.add_user("idle")
    _, idles = await acme.add_key(idle["id"])
    out = {"is_active": False}
    await acme.write(lambda tx: users.change(acme.scope, tx, ORIGIN, idle["id"], out))
    door.wall += 60_000
    mine = acme.founded.key
    tried = {
        "wrong secret": mine[:-1] + ("A" if mine[-1] != "A" else "B"),
        "unknown enterprise": make_key_text(new_id(), "A" * 43),
        "of another enterprise": make_key_text(
            other.founded.enterprise["id"], mine.rpartition("_")[2]
        ),
        "revoked": revoked,
        "expired": expired,
        "inactive": idles,
    }
    answers = {}
    for what, key in tried.items():
        before = len(door.database.tenants)
        answers[what] = await door.refusal(key)
        assert len(door.database.tenants) - before == 1, f"{what}: one query, as for any other"
    assert len(set(answers.values())) == 1, answers
    assert next(iter(answers.values()))[:2] == ("AUTH_INVALID", 401)
    assert await door.refusal("nonsense") == next(iter(answers.values()))


async def test_a_key_is_looked_for_in_the_enterprise_it_names_only(
    door: Door, acme: Tenant, other: Tenant
) -> None:
    await door.knock(other.founded.key)
    await door.refusal(make_key_text(acme.scope.enterprise_id, "B" * 43))
    assert door.database.tenants == [other.scope.enterprise_id, acme.scope.enterprise_id]


async def test_a_revoked_key_is_out_within_two_seconds_and_not_before_it_is_asked_again(
    door: Door, acme: Tenant
) -> None:
    assert FRESH_S <= 2.0
    _, key = row_and_key = await acme.add_key(acme.scope.user_id)
    await door.knock(key)
    await acme.write(lambda tx: keys.revoke(acme.scope, tx, ORIGIN, row_and_key[0]["id"]))
    door.now += FRESH_S - 0.01
    await door.knock(key)  # what is known still holds
    assert len(door.database.tenants) == 1
    door.now += 0.02
    await door.refusal(key)


async def test_time_counts_from_before_the_lookup(door: Door, acme: Tenant) -> None:
    """A slow answer is an old one: it must not hold two seconds more."""
    row, key = await acme.add_key(acme.scope.user_id)
    door.database.gate.clear()
    asked = asyncio.ensure_future(door.knock(key))
    await door.database.asked.get()
    door.now += FRESH_S + 0.01
    door.database.gate.set()
    await asked
    await acme.write(lambda tx: keys.revoke(acme.scope, tx, ORIGIN, row["id"]))
    await door.refusal(key)


async def test_a_user_who_is_put_out_or_changed_is_so_within_two_seconds(
    door: Door, acme: Tenant
) -> None:
    user = await acme.add_user("grace", "user")
    _, key = await acme.add_key(user["id"])
    assert (await door.knock(key)).role == "user"
    less = {"role": "viewer"}
    await acme.write(lambda tx: users.change(acme.scope, tx, ORIGIN, user["id"], less))
    door.now += FRESH_S
    assert (await door.knock(key)).permissions == ROLES["viewer"]
    out = {"is_active": False}
    await acme.write(lambda tx: users.change(acme.scope, tx, ORIGIN, user["id"], out))
    door.now += FRESH_S
    await door.refusal(key)


async def test_a_key_ends_at_its_moment_although_it_was_just_let_in(
    door: Door, acme: Tenant
) -> None:
    _, key = await acme.add_key(acme.scope.user_id, expires_at=door.wall + 1_000)
    await door.knock(key)
    door.wall += 999
    await door.knock(key)
    door.wall += 1
    await door.refusal(key)


async def test_who_asks_at_once_is_answered_by_one_lookup(door: Door, acme: Tenant) -> None:
    door.database.gate.clear()
    asked = [asyncio.ensure_future(door.knock(acme.founded.key)) for _ in range(50)]
    await door.database.asked.get()
    asked[0].cancel()  # who began it goes away: the others are answered all the same
    door.database.gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [acme.scope] * 49
    assert len(door.database.tenants) == 1
    assert isinstance(door.tokens.authenticate(f"Bearer {acme.founded.key}"), Scope), "at once"


async def test_a_lookup_that_hangs_is_not_joined_for_ever(door: Door, acme: Tenant) -> None:
    door.database.gate.clear()
    first = asyncio.ensure_future(door.knock(acme.founded.key))
    await door.database.asked.get()
    door.now += FRESH_S
    second = asyncio.ensure_future(door.knock(acme.founded.key))
    await door.database.asked.get()
    door.database.gate.set()
    assert await asyncio.gather(first, second) == [acme.scope, acme.scope]


async def test_guessing_costs_no_memory_and_pushes_no_good_key_out(
    door: Door, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "_REFUSED", 8)
    await door.knock(acme.founded.key)
    for number in range(40):
        await door.refusal(make_key_text(acme.scope.enterprise_id, f"{number:043d}"))
    tokens: Any = door.tokens
    assert len(tokens._refused) == 8
    assert len(tokens._known) == 1
    assert tokens._flights == {}
    asked = len(door.database.tenants)
    await door.knock(acme.founded.key)
    await door.refusal(make_key_text(acme.scope.enterprise_id, f"{39:043d}"))
    assert len(door.database.tenants) == asked, "both answers were kept"


async def test_good_keys_are_bounded_too(
    door: Door, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "_KNOWN", 2)
    made = [(await acme.add_key(acme.scope.user_id))[1] for _ in range(4)]
    for key in made:
        await door.knock(key)
    tokens: Any = door.tokens
    assert list(tokens._known) == [digest(key) for key in made[-2:]]


async def test_nobody_is_let_in_while_the_database_is_away(door: Door, acme: Tenant) -> None:
    await door.knock(acme.founded.key)
    door.database.is_away = True
    door.now += FRESH_S
    for _ in range(2):
        with pytest.raises(Unavailable):
            await door.knock(acme.founded.key)
    door.database.is_away = False
    assert await door.knock(acme.founded.key) == acme.scope, "a failure is no answer to be kept"


async def last_use(tenant: Tenant) -> int | None:
    scope, key_id = tenant.scope, tenant.founded.key_row["id"]
    row = await tenant.read(lambda tx: repository.key(scope, tx, key_id))
    assert row is not None
    used: int | None = row["last_used_at"]
    return used


async def test_use_is_noted_once_a_minute_and_never_waited_for(door: Door, acme: Tenant) -> None:
    assert await last_use(acme) is None
    first = door.wall
    for _ in range(10):
        await door.knock(acme.founded.key)
        await door.tokens.close()
        door.now += FRESH_S
        door.wall += int(FRESH_S * 1000)
    assert door.database.writes == 1
    assert await last_use(acme) == first
    door.wall = first + NOTE_USE_MS
    await door.knock(acme.founded.key)
    await door.tokens.close()
    assert await last_use(acme) == first + NOTE_USE_MS


async def test_two_replicas_note_a_use_once(database: Database, acme: Tenant) -> None:
    doors = [Door(database), Door(database)]
    doors[1].wall = doors[0].wall + 5
    await asyncio.gather(*(it.knock(acme.founded.key) for it in doors))
    for it in doors:
        await it.tokens.close()
    assert await last_use(acme) in {doors[0].wall, doors[1].wall}
    scope, key_id = acme.scope, acme.founded.key_row["id"]
    late = doors[0].wall + NOTE_USE_MS - 10
    await acme.write(lambda tx: repository.note_key_use(scope, tx, key_id, late, NOTE_USE_MS))
    assert await last_use(acme) != late


async def test_a_use_that_cannot_be_noted_hinders_nobody(door: Door, acme: Tenant) -> None:
    class Full(Watched):
        async def write(self, scope: Scope, work: Callable[[Tx], T]) -> T:
            raise Unavailable("full")

    tokens = ServerTokens(Full(acme.database))
    found = tokens.authenticate(f"Bearer {acme.founded.key}")
    assert not isinstance(found, Scope)
    assert await found == acme.scope
    await tokens.close()


async def test_the_operator_is_of_no_tenant(door: Door, acme: Tenant) -> None:
    scope = await door.knock(OPERATOR)
    assert scope.permissions == OPERATOR_PERMISSIONS
    assert door.database.tenants == []
    row = await acme.database.read(scope, lambda tx: repository.enterprise(scope, tx))
    assert row is None
    listed = await acme.database.read(
        scope,
        lambda tx: repository.users_page(scope, tx, active=None, after=None, offset=0, limit=9),
    )
    assert listed == []
    await door.refusal(OPERATOR[:-1])


async def test_without_an_operator_there_is_none(database: Database) -> None:
    with pytest.raises(AuthInvalid):
        ServerTokens(database).authenticate(f"Bearer {OPERATOR}")
    with pytest.raises(AuthInvalid):
        ServerTokens(database).authenticate("Bearer ")
    with pytest.raises(MemError, match="32"):
        ServerTokens(database, "too-short")


@pytest.mark.parametrize("given", [None, ""])
async def test_no_header_is_a_missing_key(given: str | None, door: Door) -> None:
    with pytest.raises(AuthMissing):
        door.tokens.authenticate(given)


async def test_another_kind_of_authorization_is_refused(door: Door, acme: Tenant) -> None:
    with pytest.raises(AuthInvalid):
        door.tokens.authenticate(f"Basic {acme.founded.key}")


async def test_a_restricted_key_does_less_and_never_more_than_its_owner(
    door: Door, acme: Tenant
) -> None:
    user = await acme.add_user("grace", "user")
    _, key = await acme.add_key(user["id"], permissions=("events:write", "search:read"))
    assert (await door.knock(key)).permissions == {"events:write", "search:read"}
    less = {"role": "viewer"}
    await acme.write(lambda tx: users.change(acme.scope, tx, ORIGIN, user["id"], less))
    door.now += FRESH_S
    assert (await door.knock(key)).permissions == {"search:read"}


async def test_one_key_made_by_another(acme: Tenant) -> None:
    """What is made is told once, and listed without its hash."""
    row, key = await acme.add_key(acme.scope.user_id)
    scope = acme.scope
    listed = await acme.read(
        lambda tx: keys.page(scope, tx, user_id=None, after=None, offset=0, limit=9)
    )
    assert [it["id"] for it in listed] == [acme.founded.key_row["id"], row["id"]]
    assert listed[1] == {**row, "enterprise_id": scope.enterprise_id}
    assert key.startswith(row["key_prefix"])
    new = NewKey(scope.user_id, "again")
    again = await acme.write(lambda tx: keys.make(scope, tx, ORIGIN, new))
    assert again[1] != key
