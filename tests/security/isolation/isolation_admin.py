"""What the superuser sees: every table of a store, whose rows they are, and a fingerprint of each tenant's.

For SQLite, which has no users, the same by a raw connection to the file.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Protocol

import psycopg
import sqlean
from isolation_spy import UUID

from servers import Urls

Tables = dict[str, dict[str, str]]  # columns' types by table
Row = dict[str, Any]


def key_of(table: str) -> str:
    """The column that names the tenant."""
    return "id" if table == "enterprises" else "enterprise_id"


class Admin(Protocol):
    """Reads and plants, past everything that guards."""

    def tables(self) -> Tables: ...
    def rows(self, table: str, tenant: str) -> list[Row]: ...
    def insert(self, table: str, row: Row) -> None: ...
    def choices(self, table: str) -> dict[str, list[str]]: ...
    def close(self) -> None: ...


class PostgresAdmin:
    """The superuser. Foreign keys do not bind it: their order is none of a plant's business."""

    def __init__(self, urls: Urls) -> None:
        self.raw = psycopg.connect(urls.admin.replace("+psycopg", ""), autocommit=True)
        self.raw.execute("SET session_replication_role = replica")

    def tables(self) -> Tables:
        """Tables and partitioned tables with a tenant's column; generated columns left out."""
        found: Tables = {}
        rows = self.raw.execute(
            "SELECT c.relname, a.attname, format_type(a.atttypid, NULL) FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " ORDER BY c.relname, a.attnum"
        )
        for table, column, kind in rows:
            found.setdefault(table, {})[column] = kind
        return {name: columns for name, columns in found.items() if key_of(name) in columns}

    def rows(self, table: str, tenant: str) -> list[Row]:
        """Each row as PostgreSQL writes it as JSON."""
        sql = f"SELECT to_jsonb(t) FROM {table} t WHERE {key_of(table)} = %s"
        return [row[0] for row in self.raw.execute(sql.encode(), [tenant])]

    def insert(self, table: str, row: Row) -> None:
        """One row."""
        names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
        self.raw.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})".encode(), list(row.values())
        )

    def choices(self, table: str) -> dict[str, list[str]]:
        """What a column may hold, by its check."""
        checks = self.raw.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'",
            [table],
        )
        return _choices(row[0] for row in checks)

    def close(self) -> None:
        """Let go."""
        self.raw.close()


class SqliteAdmin:
    """A raw connection to the file."""

    def __init__(self, path: Path) -> None:
        self.raw = sqlean.connect(str(path), isolation_level=None)
        self.raw.execute("PRAGMA foreign_keys = off")

    def tables(self) -> Tables:
        """Tables with a tenant's column."""
        names = [
            row[0]
            for row in self.raw.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
            )
        ]
        found = {
            name: {row[1]: row[2].lower() for row in self.raw.execute(f"PRAGMA table_info({name})")}
            for name in names
        }
        return {name: columns for name, columns in found.items() if key_of(name) in columns}

    def rows(self, table: str, tenant: str) -> list[Row]:
        """Each row."""
        cursor = self.raw.execute(f"SELECT * FROM {table} WHERE {key_of(table)} = ?", (tenant,))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def insert(self, table: str, row: Row) -> None:
        """One row."""
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.raw.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))

    def choices(self, table: str) -> dict[str, list[str]]:
        """What a column may hold, by its check."""
        sql = self.raw.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        return _choices([sql[0]])

    def close(self) -> None:
        """Let go."""
        self.raw.close()


_CHECK = re.compile(r"(\w+) (?:= ANY|IN) ?\(+(?:ARRAY\[)?('[^\])]*)")


def _choices(checks: Any) -> dict[str, list[str]]:
    return {
        it[1]: re.findall(r"'([^']+)'", it[2]) for check in checks for it in _CHECK.finditer(check)
    }


def fingerprint(admin: Admin, tenant: str) -> dict[str, str]:
    """A digest of a tenant's rows by table: what differs names the table that was changed."""
    found = {}
    for table in admin.tables():
        rows = sorted(repr(sorted(row.items())) for row in admin.rows(table, tenant))
        found[table] = f"{len(rows)} rows {hashlib.sha256(chr(10).join(rows).encode()).hexdigest()}"
    return found


def ids_of(admin: Admin, tenant: str) -> set[str]:
    """Every UUID in a tenant's rows."""
    return {
        it[0].lower()
        for table in admin.tables()
        for row in admin.rows(table, tenant)
        for it in UUID.finditer(repr(row))
    }
