"""The organisation by API, on both engines: made, listed, changed, refused; and what of it is noted."""

from __future__ import annotations

from typing import Any

import pytest
from access_support import OPERATOR, Server, Tenant, queue_of

from claude_mem.domains.access import service
from claude_mem.kernel.ids import new_id

CONFLICT, MISSING, FORBIDDEN = (409, "CONFLICT"), (404, "RESOURCE_NOT_FOUND"), (403, "FORBIDDEN")
INVALID = (400, "VALIDATION_ERROR")


async def key_of(tenant: Tenant, role: str, **more: Any) -> str:
    user = await tenant.add_user(f"the {role}", role)
    return (await tenant.add_key(user["id"], **more))[1]


async def all_of(server: Server, key: str, path: str, limit: int = 2) -> list[dict[str, Any]]:
    """Every row of a listing, by its cursors; the same by page numbers."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = ""
    joint = "&" if "?" in path else "?"
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        page = await server.did(key, "GET", f"{path}{joint}limit={limit}{more}")
        rows += page["data"]
        cursor = page["next_cursor"]
    numbered: list[dict[str, Any]] = []
    for number in range(1, len(rows) // limit + 2):
        page = await server.did(key, "GET", f"{path}{joint}limit={limit}&page={number}")
        numbered += page["data"]
    assert [but_its_use(it) for it in numbered] == [but_its_use(it) for it in rows]
    return rows


def but_its_use(row: dict[str, Any]) -> dict[str, Any]:
    """That a key was used is noted off the request's path: between two readings it may appear."""
    return {name: it for name, it in row.items() if name != "last_used_at"}


async def test_an_operator_makes_an_enterprise_that_can_begin(server: Server) -> None:
    body = {"name": "  Acme ", "username": "ada", "email": "ada@example.com"}
    made = await server.did(OPERATOR, "POST", "/enterprises", body)
    assert made["enterprise"]["name"] == "Acme"
    key = made["key"]["key"]
    assert key.startswith(made["key"]["key_prefix"])
    own = await server.did(key, "GET", "/enterprise")
    assert own == made["enterprise"]
    assert await server.did(key, "GET", "/users/me") == made["user"]
    assert [it["id"] for it in await all_of(server, key, "/solutions")] == [made["solution_id"]]
    [listed] = await all_of(server, key, "/keys")
    assert listed == {
        **{k: v for k, v in made["key"].items() if k != "key"},
        "last_used_at": listed["last_used_at"],
    }


async def test_an_operator_lists_names_and_reads_nothing(
    server: Server, acme: Tenant, other: Tenant
) -> None:
    rows = await all_of(server, OPERATOR, "/enterprises", limit=1)
    wanted = {it.founded.enterprise["id"]: it.founded.enterprise["name"] for it in (acme, other)}
    assert {it["id"]: it["name"] for it in rows} == wanted
    assert set(rows[0]) == {"id", "name", "created_at"}
    for path in (
        "/enterprise",
        "/solutions",
        "/users",
        "/keys",
        "/audit",
        "/projects",
        "/sessions",
    ):
        assert await server.refusal(OPERATOR, "GET", path) == FORBIDDEN
    assert await server.refusal(OPERATOR, "POST", "/keys", {"name": "mine"}) == FORBIDDEN


async def test_no_tenant_makes_or_lists_enterprises(server: Server, acme: Tenant) -> None:
    key = acme.founded.key
    assert await server.refusal(key, "GET", "/enterprises") == FORBIDDEN
    assert await server.refusal(key, "POST", "/enterprises", {"name": "Mine"}) == FORBIDDEN
    theirs = f"/enterprises/{acme.scope.enterprise_id}/keys"
    assert await server.refusal(key, "POST", theirs) == FORBIDDEN


async def test_an_enterprise_that_lost_its_keys_is_given_one(server: Server, acme: Tenant) -> None:
    path = f"/enterprises/{acme.scope.enterprise_id}/keys"
    made = await server.did(OPERATOR, "POST", path)
    assert made["user_id"] == acme.scope.user_id
    [noted, *_] = await all_of(server, made["key"], "/audit")
    assert (noted["action"], noted["resource_id"]) == ("keys.create", made["id"])
    assert noted["user_id"] == "00000000-0000-0000-0000-000000000000"
    assert await server.refusal(OPERATOR, "POST", f"/enterprises/{new_id()}/keys") == MISSING


async def test_ones_own_enterprise_is_renamed_and_keeps_settings(
    server: Server, acme: Tenant
) -> None:
    key = acme.founded.key
    body = {"name": "Acme & Sons", "settings": {"zone": "Europe/Berlin", "retention.days": 90}}
    await server.did(key, "PATCH", "/enterprise", body)
    await server.did(key, "PATCH", "/enterprise", {"settings": {"zone": None, "strict": True}})
    own = await server.did(key, "GET", "/enterprise")
    assert own["name"] == "Acme & Sons"
    assert own["settings"] == {"retention.days": 90, "strict": True}
    for wrong in ({}, {"settings": {"Zone": "x"}}, {"settings": {"a": {"b": 1}}}, {"id": new_id()}):
        assert await server.refusal(key, "PATCH", "/enterprise", wrong) == INVALID
    many = {f"s{number}": number for number in range(100)}
    assert await server.refusal(key, "PATCH", "/enterprise", {"settings": many}) == INVALID


async def test_solutions_and_projects(server: Server, acme: Tenant) -> None:
    key = acme.founded.key
    shop = await server.did(key, "POST", "/solutions", {"name": "Shop"})
    assert await server.refusal(key, "POST", "/solutions", {"name": " Shop"}) == CONFLICT
    renamed = await server.did(key, "PATCH", f"/solutions/{shop['id']}", {"name": "Store"})
    assert renamed == {**shop, "name": "Store"}
    taken = {"name": acme.founded.enterprise["name"]}
    assert await server.refusal(key, "PATCH", f"/solutions/{shop['id']}", taken) == CONFLICT
    assert await server.did(key, "GET", f"/solutions/{shop['id']}") == renamed

    placed = {"name": "ledger", "solution_id": shop["id"]}
    ledger = await server.did(key, "POST", "/projects", placed)
    assert (ledger["solution_id"], ledger["key"]) == (shop["id"], "ledger")
    assert await server.refusal(key, "POST", "/projects", {"name": "ledger"}) == CONFLICT
    web = await server.did(key, "POST", "/projects", {"name": "web"})
    assert web["solution_id"] == acme.founded.solution_id
    path = f"/projects/{web['id']}"
    assert await server.refusal(key, "PATCH", path, {"name": "ledger"}) == CONFLICT
    moved = await server.did(key, "PATCH", path, {"name": "site", "solution_id": shop["id"]})
    assert moved == {**web, "name": "site", "solution_id": shop["id"]}
    assert await server.did(key, "GET", path) == moved
    nowhere = {"solution_id": new_id()}
    assert await server.refusal(key, "PATCH", path, nowhere) == MISSING
    listed = await server.did(key, "GET", "/projects")
    assert [it["name"] for it in listed["data"]] == ["ledger", "site"]


async def test_roles_and_members(server: Server, acme: Tenant) -> None:
    key = acme.founded.key
    one = await server.did(key, "POST", "/projects", {"name": "one"})
    two = await server.did(key, "POST", "/projects", {"name": "two"})
    roles, members = f"/projects/{one['id']}/roles", f"/projects/{one['id']}/members"
    reviewer = await server.did(key, "POST", roles, {"name": "reviewer", "is_supervisor": True})
    assert reviewer["is_supervisor"] is True
    assert await server.refusal(key, "POST", roles, {"name": "reviewer"}) == CONFLICT
    elsewhere = await server.did(key, "POST", f"/projects/{two['id']}/roles", {"name": "reviewer"})
    people = [await acme.add_user(f"user {number}") for number in range(3)]
    for user in people:
        path = f"{members}/{user['id']}"
        await server.did(key, "PUT", path, {})
        made = await server.did(key, "PUT", path, {"role_id": reviewer["id"]})
        assert made["role_id"] == reviewer["id"]
        wrong = {"role_id": elsewhere["id"]}
        assert await server.refusal(key, "PUT", path, wrong) == MISSING, "another project's role"
    assert await server.refusal(key, "PUT", f"{members}/{new_id()}", {}) == MISSING
    rows = await all_of(server, key, members)
    assert [it["user_id"] for it in rows] == [it["id"] for it in people]
    await server.did(key, "DELETE", f"{members}/{people[0]['id']}")
    assert await server.refusal(key, "DELETE", f"{members}/{people[0]['id']}") == MISSING
    assert (
        await server.refusal(key, "DELETE", f"/projects/{two['id']}/roles/{reviewer['id']}")
        == MISSING
    )
    await server.did(key, "DELETE", f"{roles}/{reviewer['id']}")
    assert [it["role_id"] for it in await all_of(server, key, members)] == [None, None]
    assert await all_of(server, key, roles) == []


async def test_users_and_keys(server: Server, acme: Tenant) -> None:
    key = acme.founded.key
    grace = await server.did(key, "POST", "/users", {"username": "grace", "role": "viewer"})
    assert await server.refusal(key, "POST", "/users", {"username": "grace"}) == CONFLICT
    path = f"/users/{grace['id']}"
    assert (await server.did(key, "PATCH", path, {"email": "g@example.com"}))["email"]
    assert (await server.did(key, "PATCH", path, {"email": None}))["email"] is None
    assert await server.refusal(key, "PATCH", path, {"role": None}) == INVALID
    made = await server.did(
        key,
        "POST",
        "/keys",
        {
            "name": "laptop",
            "user_id": grace["id"],
            "permissions": ["search:read", "keys:own"],
            "expires_at": "2999-01-01T00:00:00Z",
            "rate_limit_rpm": 30,
        },
    )
    theirs = made["key"]
    assert (await server.did(theirs, "GET", "/users/me"))["id"] == grace["id"]
    assert [it["id"] for it in await all_of(server, theirs, "/keys")] == [made["id"]]
    assert len(await all_of(server, key, "/keys")) == 2
    assert len(await all_of(server, key, f"/keys?user={grace['id']}")) == 1
    assert await server.refusal(theirs, "GET", f"/keys?user={acme.scope.user_id}") == FORBIDDEN
    assert await server.refusal(theirs, "GET", f"/keys/{acme.scope.key_id}") == FORBIDDEN
    assert await server.refusal(theirs, "GET", "/enterprise") == FORBIDDEN, "it holds less"
    revoked = await server.did(theirs, "DELETE", f"/keys/{made['id']}")
    assert revoked["is_revoked"] is True
    last = f"/users/{acme.scope.user_id}"
    assert await server.refusal(key, "PATCH", last, {"is_active": False}) == CONFLICT
    await server.did(key, "PATCH", path, {"is_active": False})
    assert [it["id"] for it in await all_of(server, key, "/users?active=true")] == [
        acme.scope.user_id
    ]


async def test_what_is_refused_is_noted_with_who_and_where(server: Server, acme: Tenant) -> None:
    theirs = await key_of(acme, "user")
    assert await server.refusal(theirs, "POST", "/solutions", {"name": "Mine"}) == FORBIDDEN
    path = f"/keys/{acme.scope.key_id}"
    assert await server.refusal(theirs, "DELETE", path) == FORBIDDEN
    refused = [it for it in await acme.audit() if it["result_status"] == "failure"]
    assert [it["action_type"] for it in refused] == ["solutions.create", "keys.revoke"]
    assert refused[1]["resource_id"] == acme.scope.key_id
    assert {it["user_agent"] for it in refused} == {"tests"}
    assert {it["ip_address"] for it in refused} == {"127.0.0.1"}
    assert all("permission" in it["error_message"] for it in refused)
    assert await server.refusal(theirs, "GET", "/audit") == FORBIDDEN


async def test_another_tenants_things_are_as_though_they_were_not(
    server: Server, acme: Tenant, other: Tenant
) -> None:
    """Whether an id is another's or nobody's, the answer is the same to the byte, but for its request id."""
    mine, theirs = acme.founded.key, other.founded.key
    project = await server.did(theirs, "POST", "/projects", {"name": "secret"})
    role = await server.did(theirs, "POST", f"/projects/{project['id']}/roles", {"name": "r"})
    own = await server.did(mine, "POST", "/projects", {"name": "own"})
    real = {
        "solution": other.founded.solution_id,
        "project": project["id"],
        "role": role["id"],
        "user": other.scope.user_id,
        "key": str(other.scope.key_id),
        "own": own["id"],
    }
    asked = [
        ("GET", "/solutions/{solution}", None),
        ("PATCH", "/solutions/{solution}", {"name": "x"}),
        ("GET", "/projects/{project}", None),
        ("PATCH", "/projects/{project}", {"name": "x"}),
        ("PATCH", "/projects/{own}", {"solution_id": "{solution}"}),
        ("POST", "/projects", {"name": "x", "solution_id": "{solution}"}),
        ("GET", "/projects/{project}/roles", None),
        ("POST", "/projects/{project}/roles", {"name": "x"}),
        ("DELETE", "/projects/{project}/roles/{role}", None),
        ("DELETE", "/projects/{own}/roles/{role}", None),
        ("GET", "/projects/{project}/members", None),
        ("PUT", "/projects/{project}/members/{user}", {}),
        ("PUT", "/projects/{own}/members/{user}", {}),
        ("DELETE", "/projects/{own}/members/{user}", None),
        ("GET", "/users/{user}", None),
        ("PATCH", "/users/{user}", {"role": "viewer"}),
        ("GET", "/keys/{key}", None),
        ("DELETE", "/keys/{key}", None),
        ("POST", "/keys", {"name": "x", "user_id": "{user}"}),
    ]
    nobodys = {name: new_id() for name in real} | {"own": own["id"]}
    for method, path, body in asked:
        bodies = []
        for ids in (real, nobodys):
            filled = body and {
                name: value.format(**ids) if isinstance(value, str) else value
                for name, value in body.items()
            }
            answer = await server.ask(mine, method, path.format(**ids), filled)
            assert answer.status_code == 404, f"{method} {path}: {answer.text}"
            said = answer.json()
            bodies.append(answer.text.replace(said["request_id"], ""))
        assert bodies[0] == bodies[1], f"{method} {path}"
    assert (await server.did(theirs, "GET", f"/projects/{project['id']}"))["name"] == "secret"
    assert await server.did(mine, "GET", f"/keys?user={real['user']}") == {
        "data": [],
        "next_cursor": None,
    }


async def test_a_cursor_is_of_one_listing(server: Server, acme: Tenant, other: Tenant) -> None:
    for tenant in (acme, other):
        for number in range(3):
            await tenant.add_user(f"u{number}")
    page = await server.did(acme.founded.key, "GET", "/users?limit=1")
    cursor = page["next_cursor"]
    await server.did(acme.founded.key, "GET", f"/users?limit=1&cursor={cursor}")
    for key, path in (
        (acme.founded.key, f"/users?active=true&cursor={cursor}"),
        (acme.founded.key, f"/keys?cursor={cursor}"),
        (other.founded.key, f"/users?cursor={cursor}"),
        (acme.founded.key, "/users?cursor=nonsense"),
        (acme.founded.key, f"/users?cursor={cursor}&page=2"),
        (acme.founded.key, "/users?limit=0"),
        (acme.founded.key, "/users?page=1001"),
    ):
        assert await server.refusal(key, "GET", path) == INVALID, path


REFUSED: list[tuple[str, Any]] = [
    ("/enterprises", {"name": "x", "id": "00000000-0000-7000-8000-000000000001"}),
    ("/solutions", {"name": "x", "enterprise_id": "00000000-0000-7000-8000-000000000001"}),
    ("/projects", {"name": "x", "key": "/root"}),
    ("/users", {"username": "x", "password_hash": "y"}),
    ("/users", {"username": "x", "quota_daily": 5}),
    ("/users", {"username": "x", "role": "operator"}),
    ("/users", {"username": "x", "role": "root"}),
    ("/users", {"username": ["x"]}),
    ("/users", {"username": 5}),
    ("/keys", {"name": "x", "key_hash": "0" * 64}),
    ("/keys", {"name": "x", "is_revoked": False}),
    ("/keys", {"name": "x", "permissions": ["enterprises:write"]}),
    ("/keys", {"name": "x", "permissions": ["nothing:known"]}),
    ("/keys", {"name": "x", "permissions": []}),
    ("/keys", {"name": "x", "rate_limit_rpm": 0}),
    ("/keys", {"name": "x", "rate_limit_rpm": "60"}),
    ("/keys", {"name": "x", "rate_limit_rpm": True}),
    ("/keys", {"name": "x", "expires_at": "2001-01-01T00:00:00Z"}),
    ("/keys", {"name": "x", "expires_at": "soon"}),
    ("/solutions", {"name": "x\r\nSet-Cookie: a=b"}),
    ("/solutions", {"name": "\u202eevil"}),
    ("/solutions", {"name": "   "}),
    ("/solutions", {"name": "x" * 201}),
    ("/solutions", {}),
    ("/solutions", []),
]


async def test_nothing_is_taken_but_what_was_asked_for(server: Server, acme: Tenant) -> None:
    before = await acme.audit()
    for path, asked in REFUSED:
        key = OPERATOR if path == "/enterprises" else acme.founded.key
        assert await server.refusal(key, "POST", path, asked) == INVALID, (path, asked)
    assert await acme.audit() == before


@pytest.mark.parametrize(
    "body", [{}, {"password_hash": "x"}, {"id": "x"}, {"enterprise_id": "x"}, {"is_active": "no"}]
)
async def test_a_change_is_of_what_may_be_changed(server: Server, acme: Tenant, body: Any) -> None:
    path = f"/users/{acme.scope.user_id}"
    assert await server.refusal(acme.founded.key, "PATCH", path, body) == INVALID


async def test_names_that_steer_a_header_never_get_into_one(server: Server, acme: Tenant) -> None:
    answer = await server.ask(acme.founded.key, "GET", "/users/%0d%0aX-Injected:%20yes", None)
    assert answer.status_code == 404
    assert "x-injected" not in answer.headers


async def test_a_wrong_key_is_told_how_to_come_in(server: Server, acme: Tenant) -> None:
    answer = await server.ask(acme.founded.key[:-1] + "!", "GET", "/users/me")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["code"] == "AUTH_INVALID"
    [row, *_] = (await server.did(acme.founded.key, "GET", "/keys"))["data"]
    assert await server.refusal(row["key_prefix"], "GET", "/users/me") == (401, "AUTH_INVALID")


async def test_an_administrator_sets_the_time_zone_and_the_index_is_made_anew(
    server: Server, acme: Tenant
) -> None:
    async def rebuilds() -> int:
        queue = queue_of(acme.database)
        waiting = await acme.read(lambda tx: queue.waiting(acme.scope, tx))
        return waiting.get("index.rebuild", 0)

    key = acme.founded.key
    assert (await server.did(key, "GET", "/enterprise"))["timezone"] is None
    await server.did(key, "PATCH", "/enterprise", {"name": "Acme & Co"})
    assert await rebuilds() == 0
    row = await server.did(key, "PATCH", "/enterprise", {"timezone": "Asia/Shanghai"})
    assert row["timezone"] == "Asia/Shanghai"
    assert await server.did(key, "GET", "/enterprise") == row
    assert await rebuilds() == 1
    noted = (await acme.audit())[-1]
    assert noted["action_type"] == "enterprise.change"
    assert noted["action_details"]["timezone"] == "Asia/Shanghai"
    assert (await server.did(key, "PATCH", "/enterprise", {"name": "A"}))["timezone"] is not None
    assert (await server.did(key, "PATCH", "/enterprise", {"timezone": None}))["timezone"] is None


@pytest.mark.parametrize("zone", ["Berlin", "Europe", "../UTC", "UTC+2", "x" * 65, 8])
async def test_what_is_no_time_zone_is_refused_naming_the_field(
    server: Server, acme: Tenant, zone: Any
) -> None:
    answer = await server.ask(acme.founded.key, "PATCH", "/enterprise", {"timezone": zone})
    assert answer.status_code == 400
    assert [it["field"].rpartition(".")[2] for it in answer.json()["details"]] == ["timezone"]
    assert (await server.did(acme.founded.key, "GET", "/enterprise"))["timezone"] is None


async def test_a_time_zone_is_the_enterprises_own(
    server: Server, acme: Tenant, other: Tenant
) -> None:
    await server.did(acme.founded.key, "PATCH", "/enterprise", {"timezone": "Asia/Shanghai"})
    assert (await server.did(other.founded.key, "GET", "/enterprise"))["timezone"] is None
    for tenant, zone in ((acme, "Asia/Shanghai"), (other, "UTC")):
        scope = tenant.scope
        assert await tenant.read(lambda tx, its=scope: service.timezone(its, tx, "UTC")) == zone


async def test_only_an_administrator_sets_the_time_zone(server: Server, acme: Tenant) -> None:
    for role in ("user", "viewer"):
        body = {"timezone": "Asia/Shanghai"}
        assert (
            await server.refusal(await key_of(acme, role), "PATCH", "/enterprise", body)
            == FORBIDDEN
        )
