"""Every test of this folder that asks for `database` runs on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from access_support import Server, Tenant, found_tenant

from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.tenants import SqliteTenants
from claude_mem.app.migrate import ensure_current
from claude_mem.ports.database import Database
from claude_mem.ports.tenants import Tenants
from servers import Urls


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    path = tmp_path / "claude-mem.db"
    ensure_current(path)
    made = SqliteDatabase(path)
    yield made
    await made.close()


@pytest.fixture
async def postgres_database(postgres_urls: Urls) -> AsyncIterator[Database]:
    from claude_mem.adapters.postgres.database import PostgresDatabase

    made = PostgresDatabase(postgres_urls.runtime, connections=4)
    yield made
    await made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(f"{request.param}_database")
    return found


@pytest.fixture
async def acme(database: Database) -> Tenant:
    return await found_tenant(database)


@pytest.fixture
async def other(database: Database) -> Tenant:
    return await found_tenant(database, "Other")


@pytest.fixture
async def server(database: Database) -> AsyncIterator[Server]:
    from claude_mem.adapters.postgres.tenants import PostgresTenants

    is_sqlite = isinstance(database, SqliteDatabase)
    tenants: Tenants = SqliteTenants(database) if is_sqlite else PostgresTenants(database)
    made = Server(database, tenants)
    yield made
    await made.close()
