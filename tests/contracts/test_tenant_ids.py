"""The contract of the `Tenants` port, run on every implementation; and of what passes row-level security for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from claude_mem.adapters.sqlite.tenants import SqliteTenants
from claude_mem.app.build import System
from claude_mem.domains.access import founding
from claude_mem.domains.access.model import Origin
from claude_mem.kernel.scope import LOCAL_ENTERPRISE
from claude_mem.ports.database import Database
from claude_mem.ports.tenants import Tenants
from servers import Urls

ORIGIN = Origin(None, None, 0.0)


@pytest.fixture
async def postgres_tenants(postgres_urls: Urls) -> AsyncIterator[tuple[Database, Tenants]]:
    from claude_mem.adapters.postgres.database import PostgresDatabase
    from claude_mem.adapters.postgres.tenants import PostgresTenants

    database = PostgresDatabase(postgres_urls.runtime)
    yield database, PostgresTenants(database)
    await database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def tenants(request: pytest.FixtureRequest) -> tuple[Database, Tenants]:
    if request.param == "postgres":
        found: tuple[Database, Tenants] = request.getfixturevalue("postgres_tenants")
        return found
    system: System = request.getfixturevalue("system")
    database = system.parts.state["database"]
    return database, SqliteTenants(database)


async def found_some(database: Database, count: int) -> list[str]:
    made = [await founding.found(database, ORIGIN, f"E{it}", "ada", None) for it in range(count)]
    return sorted(str(it.enterprise["id"]) for it in made)


async def test_every_enterprise_once_page_by_page(tenants: tuple[Database, Tenants]) -> None:
    database, listed = tenants
    made = await found_some(database, 5)
    seen: list[str] = []
    while page := await listed.ids(seen[-1] if seen else None, 2):
        assert len(page) <= 2
        seen += page
    assert [it for it in seen if it != LOCAL_ENTERPRISE] == made
    assert await listed.ids(made[-1], 1000) == []


async def test_what_is_behind_an_id_is_read_in_its_own_scope(
    tenants: tuple[Database, Tenants],
) -> None:
    database, listed = tenants
    made = await found_some(database, 3)
    ids = [it for it in await listed.ids(None, 1000) if it != LOCAL_ENTERPRISE]
    named = await founding.names(database, [*ids, "00000000-0000-7000-8000-00000000dead"])
    assert [it["id"] for it in named] == made
    assert {it["name"] for it in named} == {"E0", "E1", "E2"}
    assert set(named[0]) == {"id", "name", "created_at"}


def as_role(address: str) -> Any:
    return psycopg.connect(address.replace("+psycopg", ""), autocommit=True)


@pytest.mark.parametrize(
    "attempt",
    [
        "ALTER FUNCTION tenant_ids RESET search_path",
        "ALTER FUNCTION tenant_ids OWNER TO CURRENT_USER",
        "DROP FUNCTION tenant_ids",
        "CREATE OR REPLACE FUNCTION tenant_ids(uuid, integer) RETURNS SETOF uuid"
        " LANGUAGE sql AS 'SELECT NULL::uuid'",
    ],
)
def test_the_runtime_role_cannot_bend_the_listing(postgres_urls: Urls, attempt: str) -> None:
    with as_role(postgres_urls.runtime) as raw, pytest.raises(psycopg.Error) as refused:
        raw.execute(attempt)
    assert refused.value.sqlstate == "42501", "insufficient privilege"


def test_who_owns_the_listing_may_read_ids_and_nothing_else(postgres_urls: Urls) -> None:
    with as_role(postgres_urls.admin) as raw:
        columns = raw.execute(
            "SELECT grantee, column_name, privilege_type FROM information_schema.column_privileges"
            " WHERE grantee LIKE '%_definer' AND table_name IN ('enterprises', 'users', 'api_keys')"
        ).fetchall()
    assert [it[1:] for it in columns] == [("id", "SELECT")]


def test_nobody_but_the_runtime_role_may_list(postgres_urls: Urls) -> None:
    with as_role(postgres_urls.admin) as raw:
        grantees = raw.execute(
            "SELECT a.grantee::regrole::text FROM pg_proc p, aclexplode(p.proacl) a"
            " WHERE p.proname = 'tenant_ids' AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner"
        ).fetchall()
    runtime = postgres_urls.runtime.split("//")[1].split(":")[0]
    assert grantees == [(runtime,)]


@pytest.mark.parametrize("most", [0, -1])
def test_a_limit_of_nothing_tells_nothing(postgres_urls: Urls, most: int) -> None:
    with as_role(postgres_urls.runtime) as raw:
        nil = "00000000-0000-0000-0000-000000000000"
        assert raw.execute("SELECT * FROM tenant_ids(%s, %s)", (nil, most)).fetchall() == []
