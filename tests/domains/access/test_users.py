"""Users, and what the engines are asked about them: the same on both."""

from __future__ import annotations

from typing import Any

import pytest
from access_support import ORIGIN, Tenant

from claude_mem.domains.access import keys, repository, users
from claude_mem.domains.access.model import NewKey, NewUser, clean_email, clean_name
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ROLES, Scope


async def change(tenant: Tenant, user_id: str, **changes: Any) -> dict[str, Any]:
    return await tenant.write(lambda tx: users.change(tenant.scope, tx, ORIGIN, user_id, changes))


async def page(tenant: Tenant, **more: Any) -> list[dict[str, Any]]:
    asked = {"active": None, "after": None, "offset": 0, "limit": 100, **more}
    return await tenant.read(lambda tx: users.page(tenant.scope, tx, **asked))


async def test_a_project_that_is_there_already_is_the_one(acme: Tenant) -> None:
    """How many rows an insertion made is told truly: whoever comes second is given the first one's id."""
    scope, place = acme.scope, acme.founded.solution_id
    first, second = new_id(), new_id()
    more = {"solution_id": place, "key": "/one", "name": "one", "now": now_ms()}
    for project_id in (first, second):
        got = await acme.write(
            lambda tx, its=project_id: repository.add_project(scope, tx, project_id=its, **more)
        )
        assert got == first


async def test_a_user_is_listed_by_the_order_of_making(acme: Tenant) -> None:
    made = [(await acme.add_user(f"user {it}"))["id"] for it in range(5)]
    everybody = [acme.scope.user_id, *made]
    assert [it["id"] for it in await page(acme)] == everybody
    seen: list[str] = []
    while rows := await page(acme, after=seen[-1] if seen else None, limit=2):
        seen += [it["id"] for it in rows]
    assert seen == everybody
    assert [it["id"] for it in await page(acme, offset=4, limit=9)] == everybody[4:]
    assert all("password_hash" not in it for it in await page(acme))


async def test_a_name_or_an_address_is_one_users(acme: Tenant, other: Tenant) -> None:
    grace = await acme.add_user("grace")
    await other.add_user("grace")  # of another enterprise: nobody's business
    with pytest.raises(Conflict):
        await acme.add_user("  grace ")
    new = NewUser("third", "user", "ada@example.com")
    with pytest.raises(Conflict):
        await acme.write(lambda tx: users.make(acme.scope, tx, ORIGIN, new))
    with pytest.raises(Conflict):
        await change(acme, grace["id"], username="ada")
    with pytest.raises(Conflict):
        await change(acme, grace["id"], email="ada@example.com")
    await acme.add_user("fourth")  # without an address, as grace
    assert (await change(acme, grace["id"], username="grace"))["username"] == "grace"


async def test_the_last_active_administrator_stays(acme: Tenant) -> None:
    ada = acme.scope.user_id
    for changes in ({"role": "user"}, {"is_active": False}):
        with pytest.raises(Conflict, match="last active administrator"):
            await change(acme, ada, **changes)
    grace = await acme.add_user("grace", "admin")
    await change(acme, ada, role="viewer")
    with pytest.raises(Conflict):
        await change(acme, grace["id"], is_active=False)
    await change(acme, ada, role="admin", is_active=False)
    with pytest.raises(Conflict):
        await change(acme, grace["id"], is_active=False)
    await change(acme, ada, is_active=True)
    await change(acme, grace["id"], is_active=False)


async def test_another_enterprises_user_is_not_there(acme: Tenant, other: Tenant) -> None:
    theirs = other.scope.user_id
    said = set()
    for wanted in (theirs, new_id(), "nonsense"):
        with pytest.raises(NotFound) as missing:
            await acme.read(lambda tx, its=wanted: users.get(acme.scope, tx, its))
        said.add(missing.value.message)
        with pytest.raises(NotFound) as missing:
            await change(acme, wanted, role="viewer")
        said.add(missing.value.message)
        with pytest.raises(NotFound) as missing:
            await acme.add_key(wanted)
        said.add(missing.value.message)
    assert len(said) == 1, "nothing tells whether it is there"
    assert [it["id"] for it in await page(acme)] == [acme.scope.user_id]


async def test_every_change_is_noted_with_who_and_what(acme: Tenant) -> None:
    grace = await acme.add_user("grace")
    await change(acme, grace["id"], role="viewer", username="Grace H.")
    await change(acme, grace["id"], role="viewer")  # changes nothing, and is no action
    row, _ = await acme.add_key(grace["id"])
    await acme.write(lambda tx: keys.revoke(acme.scope, tx, ORIGIN, row["id"]))
    await acme.write(lambda tx: keys.revoke(acme.scope, tx, ORIGIN, row["id"]))
    noted = await acme.audit()
    assert [it["action_type"] for it in noted] == [
        "enterprises.create",
        "keys.create",
        "users.create",
        "users.change",
        "keys.create",
        "keys.revoke",
    ]
    changed = noted[3]
    assert changed["user_id"] == acme.scope.user_id
    assert changed["resource_id"] == grace["id"]
    assert changed["ip_address"] == ORIGIN.address
    assert changed["action_details"] == {
        "key_id": acme.scope.key_id,
        "role": "viewer",
        "username": "Grace H.",
    }


async def test_what_fails_is_not_noted_as_done(acme: Tenant) -> None:
    before = await acme.audit()
    with pytest.raises(Conflict):
        await acme.add_user("ada")
    assert await acme.audit() == before


def less(acme: Tenant, user_id: str, key_id: str | None = None, role: str = "user") -> Scope:
    return Scope(acme.scope.enterprise_id, user_id, ROLES[role], role=role, key_id=key_id)


async def test_a_user_minds_their_own_keys_only(acme: Tenant) -> None:
    grace = await acme.add_user("grace")
    row, _ = await acme.add_key(grace["id"])
    mine = less(acme, grace["id"], row["id"])
    theirs = acme.founded.key_row["id"]
    with pytest.raises(Forbidden):
        await acme.write(lambda tx: keys.revoke(mine, tx, ORIGIN, theirs))
    new = NewKey(acme.scope.user_id, "not mine")
    with pytest.raises(Forbidden):
        await acme.write(lambda tx: keys.make(mine, tx, ORIGIN, new))
    asked: dict[str, Any] = {"after": None, "offset": 0, "limit": 9}
    with pytest.raises(Forbidden):
        await acme.read(lambda tx: keys.page(mine, tx, user_id=acme.scope.user_id, **asked))
    listed = await acme.read(lambda tx: keys.page(mine, tx, user_id=None, **asked))
    assert [it["id"] for it in listed] == [row["id"]]
    new = NewKey(grace["id"], "second")
    second, _ = await acme.write(lambda tx: keys.make(mine, tx, ORIGIN, new))
    await acme.write(lambda tx: keys.revoke(mine, tx, ORIGIN, second["id"]))


async def test_a_key_makes_none_that_is_more_than_itself(acme: Tenant) -> None:
    grace = await acme.add_user("grace")
    end = now_ms() + 3_600_000
    held = ("keys:own", "search:read")
    row, _ = await acme.add_key(grace["id"], permissions=held, expires_at=end, rate_limit_rpm=60)
    mine = Scope(acme.scope.enterprise_id, grace["id"], frozenset(held), "user", row["id"], 60)

    async def make(**more: Any) -> dict[str, Any]:
        asked: dict[str, Any] = {"expires_at": end, "rate_limit_rpm": 60} | more
        new = NewKey(grace["id"], "made", **asked)
        return (await acme.write(lambda tx: keys.make(mine, tx, ORIGIN, new)))[0]

    assert (await make())["permissions_json"] == sorted(held)
    assert (await make(permissions=("search:read",)))["permissions_json"] == ["search:read"]
    for more in ({"expires_at": None}, {"expires_at": end + 1}, {"rate_limit_rpm": 61}):
        with pytest.raises(Invalid):
            await make(**more)
    with pytest.raises(Forbidden):
        await make(permissions=("events:write",))
    with pytest.raises(Invalid, match="does not hold"):
        await make(permissions=("keys:write",))
    with pytest.raises(Invalid, match="past"):
        await make(expires_at=now_ms() - 1)


async def test_nobody_has_keys_without_end(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST_KEYS", 3)
    rows = [acme.founded.key_row, *[(await acme.add_key(acme.scope.user_id))[0] for _ in "ab"]]
    with pytest.raises(Conflict):
        await acme.add_key(acme.scope.user_id)
    await acme.write(lambda tx: keys.revoke(acme.scope, tx, ORIGIN, rows[1]["id"]))
    await acme.add_key(acme.scope.user_id)


@pytest.mark.parametrize(
    "name",
    ["", "   ", "a\nb", "a\r\nX-Header: b", "a\0", "a\x1b[31m", "a\u202eb", "x" * 201, "a\ud800"],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(Invalid):
        clean_name("name", name)


@pytest.mark.parametrize("name", ["a", "x" * 200, "Größe 大小", "O'Brien; --", "می\u200cخواهم"])
def test_what_is_one(name: str) -> None:
    assert clean_name("name", f" {name} ") == name


def test_a_name_has_one_spelling() -> None:
    assert clean_name("name", "e\u0301") == "é"


@pytest.mark.parametrize(
    "address", ["", "ada", "a@b@c", "a b@c", "a@b\nc", "@", "x" * 251 + "@a.b"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(Invalid):
        clean_email(address)
