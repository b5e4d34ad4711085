"""An enterprise copied to another database: all of it, nothing of another, or nothing at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.lexical import PostgresLexicalIndex
from claude_mem.app.migrate_postgres import upgrade
from claude_mem.app.owner import RUNTIME_ROLE
from claude_mem.app.owner import URL as OWNER_URL
from claude_mem.app.transfer.postgres import URL
from claude_mem.cli import db
from claude_mem.domains.access import service as access
from claude_mem.domains.access.repository import make_enterprise
from claude_mem.domains.memory import model as m
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.model import IndexEntry
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ALL_PERMISSIONS, Scope
from claude_mem.ports.database import Tx
from servers import RUNTIME, PostgresServer, Urls

A, B = (Scope(new_id(), new_id(), ALL_PERMISSIONS) for _ in "ab")
NOW = 1_795_000_000_000


def fill(scope: Scope, tx: Tx) -> None:
    """A little of everything, in this month and in one of long ago."""
    ids = {
        "enterprise_id": scope.enterprise_id,
        "solution_id": scope.user_id,
        "user_id": scope.user_id,
    }
    make_enterprise(tx, **ids, now=NOW)
    project, session = access.ensure_project(scope, tx, "/app"), new_id(NOW)
    made = m.Recording()
    made.sessions.append(m.NewSession(session, project, None, "a", "s", "Größe", NOW, {"a": [1.5]}))
    for at in (NOW, NOW - 400 * 86_400_000):
        prompt = new_id(at)
        text = f"kestrel of {scope.enterprise_id} \\\t\n"
        made.prompts.append(
            m.NewPrompt(prompt, session, prompt, 1, "user", text, "", 1, None, None, {}, at)
        )
        made.natural_keys.append(m.NaturalKey(session, f"k{at}", "prompt", prompt))
        entry = IndexEntry(
            "prompt", prompt, "", text, project, session, "user", None, None, (), (), at
        )
        IndexingService(PostgresLexicalIndex()).index(scope, tx, [entry])
    memory.record(scope, tx, made)


@pytest.fixture
def two(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Urls, Urls]]:
    """A database with two enterprises, and an empty one."""
    full, empty = postgres.database(), postgres.database()

    async def make() -> None:
        database = PostgresDatabase(full.runtime, connections=1)
        for scope in (A, B):
            await database.write(scope, lambda tx, scope=scope: fill(scope, tx))
        await database.close()

    asyncio.run(make())
    monkeypatch.setenv(URL, full.runtime)
    monkeypatch.setenv(OWNER_URL, empty.owner)
    monkeypatch.setenv(RUNTIME_ROLE, RUNTIME)
    yield full, empty
    postgres.drop(full)
    postgres.drop(empty)


def told(*arguments: str, code: int = 0) -> dict[str, Any]:
    app = typer.Typer()
    db.register(app)
    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["db", "copy-enterprise", *arguments, "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


def contents(postgres: PostgresServer, urls: Urls, scope: Scope) -> dict[str, list[str]]:
    tables = postgres.execute(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition AND relforcerowsecurity ORDER BY 1",
        urls.name,
    )
    found = {}
    for (table,) in tables:
        key = "id" if table == "enterprises" else "enterprise_id"
        sql = f"SELECT t::text FROM {table} t WHERE {key} = '{scope.enterprise_id}' ORDER BY 1"
        found[table] = [row[0] for row in postgres.execute(sql, urls.name)]
    assert len(found) > 25
    return found


def test_all_of_one_enterprise_and_nothing_of_another(
    postgres: PostgresServer, two: tuple[Urls, Urls]
) -> None:
    full, empty = two
    expected = contents(postgres, full, A)
    rows = told("--enterprise", A.enterprise_id)["rows"]
    assert rows == {table: len(it) for table, it in expected.items()}
    assert (
        min(
            rows[it]
            for it in ("enterprises", "sessions", "prompts", "search_index", "change_journal")
        )
        > 0
    )
    assert contents(postgres, empty, A) == expected == contents(postgres, full, A)
    assert not any(contents(postgres, empty, B).values())
    # The policies are in force again, and it can be worked with.
    assert upgrade(empty.owner, RUNTIME) is False

    async def look() -> int:
        database = PostgresDatabase(empty.runtime, connections=1)
        found = await database.read(
            A, lambda tx: len(memory.list_sessions(A, tx, project_id=None, after=None, limit=9))
        )
        others = await database.read(
            B, lambda tx: len(memory.list_sessions(B, tx, project_id=None, after=None, limit=9))
        )
        await database.close()
        return found - others

    assert asyncio.run(look()) == 1


def test_what_cannot_be_whole_is_not_begun(
    postgres: PostgresServer, two: tuple[Urls, Urls], monkeypatch: pytest.MonkeyPatch
) -> None:
    full, empty = two
    assert "no enterprise" in told("--enterprise", new_id(), code=1)["error"]
    assert told("--enterprise", "acme", code=2)["code"] == "USAGE"
    postgres.execute(
        "ALTER TABLE prompts ADD CONSTRAINT odd CHECK (id < '01000000-0000-0000-0000-000000000000')",
        empty.name,
    )
    assert "odd" in told("--enterprise", A.enterprise_id, code=1)["error"]
    assert not any(contents(postgres, empty, A).values())
    postgres.execute("ALTER TABLE prompts DROP CONSTRAINT odd", empty.name)
    postgres.execute("ALTER TABLE sessions ADD COLUMN later integer", empty.name)
    assert "tables differ: sessions" in told("--enterprise", A.enterprise_id, code=1)["error"]
    postgres.execute("ALTER TABLE sessions DROP COLUMN later", empty.name)
    postgres.execute("UPDATE alembic_version SET version_num = '0001'", empty.name)
    assert "upgrade both" in told("--enterprise", A.enterprise_id, code=1)["error"]
    monkeypatch.setenv(OWNER_URL, full.owner)
    assert "already" in told("--enterprise", A.enterprise_id, code=1)["error"]
    assert not any(contents(postgres, empty, A).values())
