"""Making a store, bringing it to PostgreSQL, and reading both by other means than the program's."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlean
from parity_support import (
    NOW,
    make_tenant,
    on_sqlite,
    other_tenant,
)

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.app.transfer.plan import OWN, relations
from claude_mem.app.transfer.postgres import Task, migrate
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_ENTERPRISE, LOCAL_USER, Scope
from servers import PostgresServer, Urls

E = other_tenant()
OTHER = Scope(new_id(), new_id(), E.permissions)
Row = dict[str, Any]


def quiet(_what: str, _done: int, _of: int) -> None:
    return None


def record(folder: Path, *batches: list[Row]) -> None:
    """Events into a store, and its sessions summed up, by the product."""

    async def fill() -> None:
        async with on_sqlite(folder) as side:
            for events in batches:
                await side.take(events)
            await side.distil()

    asyncio.run(fill())


def event(session: str, at: int, text: str, project: str = "/team/app") -> Row:
    data = {"content": text, "prompt_id": f"{session}-{at}"}
    return {
        "id": new_id(NOW + at),
        "type": "prompt.submitted",
        "occurred_at": f"2026-11-01T00:00:{at % 60:02}.{at:03}Z",
        "agent": "claude-code",
        "session": session,
        "project": project,
        "data": data,
    }


class written:  # noqa: N801 - used as a function
    """A transaction of the store's writer."""

    def __init__(self, folder: Path) -> None:
        self._engine = make_engine(folder / "claude-mem.db", writer=True)

    def __enter__(self) -> Any:
        self._connection = self._engine.connect()
        self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.exec_driver_sql("COMMIT")
        self._connection.close()
        self._engine.dispose()


def make_enterprises(urls: Urls) -> None:
    async def fill() -> None:
        database = PostgresDatabase(urls.runtime, connections=1)
        for scope in (E, OTHER):
            await database.write(scope, lambda tx, scope=scope: make_tenant(tx, scope))
        await database.close()

    asyncio.run(fill())


def bring(folder: Path, urls: Urls, **changes: Any) -> Row:
    task = Task(folder / "claude-mem.db", urls.runtime, E.enterprise_id)
    return asyncio.run(migrate(replace(task, **changes), quiet))


def in_store(folder: Path, table: str) -> list[Row]:
    raw = sqlean.connect(str(folder / "claude-mem.db"))
    try:
        cursor = raw.execute(f"SELECT * FROM {table}")
        names = [it[0] for it in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    finally:
        raw.close()


def on_target(postgres: PostgresServer, urls: Urls, table: str, scope: Scope = E) -> list[Row]:
    """Rows of a tenant as the superuser reads them, by PostgreSQL's own words for moments and documents."""
    rows = postgres.execute(
        f"SELECT to_jsonb(t) FROM {table} t WHERE enterprise_id = '{scope.enterprise_id}'",
        urls.name,
    )
    return [without_own(row[0], table) for row in rows]


def without_own(row: Row, table: str) -> Row:
    """Without what each database counts for itself."""
    row.pop(OWN.get(table), None)
    return row


def changes_of(postgres: PostgresServer, urls: Urls) -> dict[str, int]:
    """How often something of each session changed, by the agent's name of it."""
    rows = postgres.execute(
        f"SELECT agent_session, changes FROM sessions WHERE enterprise_id = '{E.enterprise_id}'",
        urls.name,
    )
    return dict(rows)


def plain(folder: Path, table: str) -> list[Row]:
    """A store's rows in the same form, made by other means than the program's."""
    kinds = {column.name: column.kind for column in relations()[table].columns}
    projects = {row["id"]: row["id"] for row in in_store(folder, "projects")}
    ids = {LOCAL_ENTERPRISE: E.enterprise_id, LOCAL_USER: E.user_id, **projects}
    found = []
    for row in in_store(folder, table):
        without_own(row, table)
        for name, value in row.items():
            kind = kinds.get(name, "id")
            if value is None:
                continue
            if kind == "json":
                row[name] = without_nul(json.loads(value))
            elif kind == "text":
                row[name] = value.replace("\0", "\ufffd")
            elif kind == "boolean":
                row[name] = bool(value)
            elif kind == "id":
                row[name] = ids.get(value, value)
        found.append(row)
    return found


def without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {without_nul(name): without_nul(it) for name, it in value.items()}
    return [without_nul(it) for it in value] if isinstance(value, list) else value


def as_in_store(rows: list[Row], table: str) -> list[Row]:
    """Moments as milliseconds; a whole number in a column of floats is one all the same."""
    for column in relations()[table].columns:
        if column.kind == "moment":
            for row in rows:
                if row[column.name] is not None:
                    since = datetime.fromisoformat(row[column.name]) - datetime.fromisoformat(
                        "1970-01-01T00:00Z"
                    )
                    assert since % timedelta(milliseconds=1) == timedelta(0)
                    row[column.name] = since // timedelta(milliseconds=1)
        elif column.kind == "float":
            for row in rows:
                row[column.name] = float(row[column.name])
    return rows


def ordered(rows: list[Row]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
