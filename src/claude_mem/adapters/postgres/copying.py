"""One enterprise copied from one database to another, whole or not at all: into a deployment of its own, or out of one.

It is read as that tenant by the program's own role, whose policies let nothing else be seen, and written by the owner
of the other database. Both have to be at the same schema. What is copied is compared before it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, Final
from uuid import UUID

import psycopg
from sqlalchemy.engine import Connection

from claude_mem.adapters.postgres.database import TENANT
from claude_mem.kernel.errors import MemError

# Every table of tenants but partitions, which come with the whole table, with its columns and what it refers to.
_TABLES: Final = """
SELECT c.relname::text, quote_ident(c.relname),
  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname) FROM pg_attribute a
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
  ARRAY(SELECT DISTINCT p.relname::text FROM pg_constraint f JOIN pg_class p ON p.oid = f.confrelid
        WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid)
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relrowsecurity
ORDER BY 1
"""
_REVISION: Final = "SELECT version_num FROM public.alembic_version"


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    quoted: str
    columns: str
    parents: tuple[str, ...]

    @property
    def condition(self) -> str:
        key = "id" if self.name == "enterprises" else "enterprise_id"
        return f"{key} = CAST(%s AS uuid)"

    @property
    def figures(self) -> str:
        """Rows, and a sum of their hashes: the same for the same rows in any order."""
        return (
            f"SELECT count(*), coalesce(sum(hashtextextended(CAST(ROW({self.columns}) AS text), 0)), 0)"  # noqa: S608
            f" FROM public.{self.quoted} WHERE {self.condition}"
        )


def copy_enterprise(
    source: Connection, target: Connection, enterprise: str, tell: Callable[[str, int, int], None]
) -> dict[str, int]:
    """Copy within open transactions of both; rows by table. The caller commits.

    `source` is the program's role, in a transaction that reads one state; `target` the owner. Raises MemError where the
    schemas differ, the enterprise is not in the one or is in the other, or what arrived is not what was sent.
    """
    tenant = str(UUID(enterprise))
    source.exec_driver_sql(f"SELECT set_config('{TENANT}', %s, true)", (tenant,))
    tables = _check(source, target, tenant)
    for table in tables.values():
        # A policy holds for the owner too, who has no tenant; it is in force again before anything is kept.
        target.exec_driver_sql(f"ALTER TABLE public.{table.quoted} NO FORCE ROW LEVEL SECURITY")
    counts = {}
    order = list(
        TopologicalSorter({it.name: set(it.parents) for it in tables.values()}).static_order()
    )
    for at, name in enumerate(order, 1):
        table = tables[name]
        _copy(source, target, table, tenant)
        sent, arrived = (_figures(it, table, tenant) for it in (source, target))
        if sent != arrived:
            raise MemError(f"{name}: {sent[0]} rows were sent and others arrived; nothing was kept")
        counts[name] = sent[0]
        tell("Copying", at, len(order))
    for table in tables.values():
        target.exec_driver_sql(f"ALTER TABLE public.{table.quoted} FORCE ROW LEVEL SECURITY")
    return counts


def _check(source: Connection, target: Connection, tenant: str) -> Mapping[str, _Table]:
    revisions = [it.exec_driver_sql(_REVISION).scalar() for it in (source, target)]
    if revisions[0] != revisions[1]:
        raise MemError(
            f"the databases are at revisions {revisions[0]} and {revisions[1]}: upgrade both (claude-mem db upgrade)"
        )
    ours, theirs = _tables(source), _tables(target)
    if ours != theirs:
        different = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        raise MemError(
            f"tables differ: {', '.join(different)}; upgrade both (claude-mem db upgrade)"
        )
    there = "SELECT 1 FROM public.enterprises WHERE id = CAST(%s AS uuid)"
    if source.exec_driver_sql(there, (tenant,)).first() is None:
        raise MemError(f"there is no enterprise {tenant} in the database it is to come from")
    target.exec_driver_sql(f"SELECT set_config('{TENANT}', %s, true)", (tenant,))
    if target.exec_driver_sql(there, (tenant,)).first() is not None:
        raise MemError(f"enterprise {tenant} is in the other database already; nothing was changed")
    return ours


def _tables(connection: Connection) -> dict[str, _Table]:
    rows = connection.exec_driver_sql(_TABLES, execution_options={"no_parameters": True})
    return {row[0]: _Table(row[0], row[1], row[2], tuple(row[3])) for row in rows}


def _figures(connection: Connection, table: _Table, tenant: str) -> tuple[int, int]:
    row = connection.exec_driver_sql(table.figures, (tenant,)).one()
    return int(row[0]), int(row[1])


def _copy(source: Connection, target: Connection, table: _Table, tenant: str) -> None:
    name = f"public.{table.quoted}"
    out = f"COPY (SELECT {table.columns} FROM {name} WHERE {table.condition}) TO STDOUT (FORMAT binary)"  # noqa: S608
    into = f"COPY {name} ({table.columns}) FROM STDIN (FORMAT binary)"
    try:
        with (
            _cursor(source).copy(out.replace("%s", f"'{tenant}'")) as given,
            _cursor(target).copy(into) as taken,
        ):
            for part in given:
                taken.write(part)
    except psycopg.Error as error:  # whose text tells rows
        by = error.diag.constraint_name or error.sqlstate or "a connection that broke off"
        raise MemError(f"{table.name}: refused by {by}; nothing was kept") from None


def _cursor(connection: Connection) -> Any:
    return connection.connection.driver_connection.cursor()  # type: ignore[union-attr]
