"""Tenants on PostgreSQL, attacked in raw SQL as the runtime role: what the program itself connects as.

Two tenants hold a row in every table, with the same ids and different texts. Whatever is asked, nothing of the other one
is seen, changed or made, and no error text tells of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Tx
from servers import ADMIN, OWNER, RUNTIME, PostgresServer, Urls

A, B = "00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b"
ID = "00000000-0000-7000-8000-000000000001"
# What the other tenant's rows hold wherever any text may stand. A's is a number, so that a cast of it is no error.
MARKS = {A: "1", B: "kestrel-of-b"}
# Where not any text may stand, and where "1" would not do.
WORDS = {
    "sessions.status": "active",
    "prompts.prompt_type": "user",
    "observations.observation_type": "info",
    "code_changes.operation": "edit",
    "summaries.summary_type": "session",
    "learnings.category": "general",
    "users.role": "user",
    "audit_logs.result_status": "success",
    "task_queue.status": "pending",
    "configurations.value_type": "string",
    "configurations.environment": "all",
}
FILLERS = {
    "uuid": ID,
    "jsonb": "[]",
    "timestamp with time zone": "2026-01-01T00:00:00Z",
    "boolean": "false",
    "bytea": "\\x0a",
    "tsvector": "",
    "ARRAY": "{}",
    "USER-DEFINED": "[1]",  # a vector
}
PARENTS = {
    "enterprises",
    "solutions",
    "users",
    "projects",
}  # not deleted while something refers to them
REFUSED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
Tables = dict[str, dict[str, str]]  # columns' types by table


@pytest.fixture(scope="module")
def seeded(postgres: PostgresServer) -> Iterator[Urls]:
    urls = postgres.database()
    for table, columns in tenants_tables(postgres, urls).items():
        for tenant in (A, B):
            seed(postgres, urls, table, columns, tenant)
    postgres.execute("ANALYZE", urls.name)
    yield urls
    postgres.drop(urls)


@pytest.fixture(scope="module")
def tables(postgres: PostgresServer, seeded: Urls) -> Tables:
    return tenants_tables(postgres, seeded)


def tenants_tables(postgres: PostgresServer, urls: Urls) -> Tables:
    found: Tables = {}
    rows = postgres.execute(
        "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c"
        " JOIN information_schema.tables t USING (table_schema, table_name)"
        " JOIN pg_class p ON p.oid = format('%I.%I', c.table_schema, c.table_name)::regclass"
        " WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.is_generated = 'NEVER'"
        " AND NOT p.relispartition"  # test_partitions.py is about those
        " AND t.table_name NOT IN ('alembic_version', 'schema_info') ORDER BY 1, c.ordinal_position",
        urls.name,
    )
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    assert len(found) > 25
    return found


def key_of(table: str) -> str:
    return "id" if table == "enterprises" else "enterprise_id"


def row_of(table: str, columns: dict[str, str], tenant: str) -> dict[str, str]:
    row = {}
    for column, kind in columns.items():
        text = WORDS.get(f"{table}.{column}", MARKS[tenant]) if kind == "text" else "1"
        row[column] = tenant if column == key_of(table) else FILLERS.get(kind, text)
    return row


def seed(
    postgres: PostgresServer, urls: Urls, table: str, columns: dict[str, str], tenant: str
) -> None:
    row = row_of(table, columns, tenant)
    names, values = ", ".join(row), ", ".join(f"'{value}'" for value in row.values())
    # Without foreign keys, whose order is none of these tests' business.
    postgres.execute(
        f"SET session_replication_role = replica; INSERT INTO {table} ({names}) VALUES ({values})",
        urls.name,
    )


@contextmanager
def runtime(urls: Urls, tenant: str | None) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of the runtime role as the program begins it, rolled back at the end."""
    with psycopg.connect(urls.runtime.replace("+psycopg", "")) as connection:
        if tenant is not None:
            connection.execute("SELECT set_config('app.current_enterprise_id', %s, true)", [tenant])
        yield connection
        connection.rollback()


def run(connection: psycopg.Connection[Any], statement: str) -> psycopg.Cursor[Any]:
    return connection.execute(sql.SQL(statement))  # type: ignore[arg-type]


def refused(connection: psycopg.Connection[Any], statement: str, *errors: type[Exception]) -> str:
    """Assert that a statement is refused, in a savepoint of its own; the error's whole text."""
    with pytest.raises(errors or REFUSED) as told, connection.transaction():
        run(connection, statement)
    diagnosis = told.value.diag  # type: ignore[attr-defined]
    return f"{told.value} {diagnosis.message_detail} {diagnosis.message_hint}"


def contents(postgres: PostgresServer, urls: Urls, tables: Tables, tenant: str) -> dict[str, Any]:
    """Everything of a tenant, as the superuser sees it."""
    return {
        table: postgres.execute(
            f"SELECT t::text FROM {table} t WHERE {key_of(table)} = '{tenant}'", urls.name
        )
        for table in tables
    }


# -- no tenant -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", [None, ""])
def test_without_a_tenant_everything_is_empty_and_refuses_writes(
    tenant: str | None, seeded: Urls, tables: Tables
) -> None:
    with runtime(seeded, tenant) as connection:
        for table, columns in tables.items():
            key = key_of(table)
            assert run(connection, f"SELECT * FROM {table}").fetchall() == [], table
            assert run(connection, f"UPDATE {table} SET {key} = {key}").rowcount == 0, table
            assert run(connection, f"DELETE FROM {table}").rowcount == 0, table
            for owner in (A, B):
                row = row_of(table, columns, owner)
                values = ", ".join(f"'{value}'" for value in row.values())
                refused(connection, f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})")
        for view in ("v_session_details", "v_learning_popularity"):
            assert run(connection, f"SELECT * FROM {view}").fetchall() == [], view


@pytest.mark.parametrize(
    "malformed", ["x", "null", "' OR true --", "%", f"{A},{B}", f"{B}\n{A}", "0", f" {B} ", "*"]
)
def test_a_malformed_tenant_reads_nothing(malformed: str, seeded: Urls, tables: Tables) -> None:
    with runtime(seeded, malformed) as connection:
        for table in tables:
            for statement in (f"SELECT * FROM {table}", f"DELETE FROM {table}"):
                told = refused(connection, statement, psycopg.errors.InvalidTextRepresentation)
                assert MARKS[B] not in told


# -- another tenant's rows -----------------------------------------------------------------------


def test_only_ones_own_rows_are_there(seeded: Urls, tables: Tables) -> None:
    for tenant, other in ((A, B), (B, A)):
        with runtime(seeded, tenant) as connection:
            for table in tables:
                key = key_of(table)
                found = run(connection, f"SELECT {key}::text FROM {table} WHERE true OR 1 = 1")
                assert found.fetchall() == [(tenant,)], table
                for statement in (
                    f"SELECT 1 FROM {table} WHERE {key} = '{other}'",
                    f"SELECT 1 FROM {table} WHERE {key} = '{other}' FOR UPDATE",
                    f"TABLE {table} EXCEPT SELECT * FROM {table} WHERE {key} = '{tenant}'",
                ):
                    assert run(connection, statement).fetchall() == [], statement
                # Of a table in partitions the short form copies nothing at all.
                for source, lines in ((table, {0, 1}), (f"(TABLE {table})", {1})):
                    with connection.cursor().copy(sql.SQL(f"COPY {source} TO STDOUT")) as copied:  # type: ignore[arg-type]
                        text = b"".join(bytes(part) for part in copied)
                    assert text.count(b"\n") in lines, source
                    if tenant == A:
                        assert MARKS[B].encode() not in text
            for view in ("v_session_details", "v_learning_popularity"):
                found = run(connection, f"SELECT enterprise_id::text FROM {view}")
                assert found.fetchall() in ([(tenant,)], []), view


def test_writes_without_a_where_reach_ones_own_rows_only(
    postgres: PostgresServer, seeded: Urls, tables: Tables
) -> None:
    before = contents(postgres, seeded, tables, B)
    with psycopg.connect(seeded.runtime.replace("+psycopg", "")) as connection:
        connection.execute("SELECT set_config('app.current_enterprise_id', %s, false)", [A])
        for table in tables:
            run(connection, f"UPDATE {table} SET {key_of(table)} = {key_of(table)}")
        connection.commit()
        for table in set(tables) - PARENTS:  # sessions take what hangs on them along
            run(connection, f"DELETE FROM {table}")
        connection.commit()
        for table in set(tables) - PARENTS:
            assert run(connection, f"SELECT 1 FROM {table}").fetchall() == [], table
    assert contents(postgres, seeded, tables, B) == before
    for table in set(tables) - PARENTS:
        seed(postgres, seeded, table, tables[table], A)


def test_nothing_is_made_for_or_moved_to_another_tenant(seeded: Urls, tables: Tables) -> None:
    with runtime(seeded, A) as connection:
        for table, columns in tables.items():
            key = key_of(table)
            row = row_of(table, columns, B)
            names, values = ", ".join(row), ", ".join(f"'{value}'" for value in row.values())
            insert = f"INSERT INTO {table} ({names}) VALUES ({values})"
            copied = ", ".join(f"'{B}'" if name == key else name for name in row)
            for statement in (
                insert,
                f"{insert} ON CONFLICT DO NOTHING",
                f"{insert} ON CONFLICT DO NOTHING RETURNING *",
                f"INSERT INTO {table} ({names}) SELECT {copied} FROM {table}",
                f"UPDATE {table} SET {key} = '{B}'",
                f"WITH gone AS (DELETE FROM {table} RETURNING *)"
                f" INSERT INTO {table} ({names}) SELECT {copied} FROM gone",
                f"MERGE INTO {table} t USING (SELECT 1) s ON false WHEN NOT MATCHED THEN"
                f" INSERT ({names}) VALUES ({values})",
            ):
                told = refused(connection, statement)
                assert "row-level security" in told
                assert MARKS[B] not in told, "the error tells a row"


def test_copying_into_a_table_is_refused(seeded: Urls, tables: Tables) -> None:
    with runtime(seeded, A) as connection:
        for table in tables:
            refused(connection, f"COPY {table} FROM STDIN", psycopg.errors.FeatureNotSupported)


def test_a_row_of_another_tenant_cannot_be_told_from_none(seeded: Urls) -> None:
    """By unique keys, by foreign keys, or by the text of an error."""
    missing = "00000000-0000-7000-8000-0000000000ee"
    texts = []
    with runtime(seeded, A) as connection:
        # B has this session under its own id; A asks for it, and for one that nobody has.
        run(connection, "DELETE FROM natural_keys")
        run(connection, "DELETE FROM sessions")
        for session in (ID, missing):
            told = refused(
                connection,
                "INSERT INTO natural_keys (enterprise_id, session_id, key, entity_kind, entity_id)"
                f" VALUES ('{A}', '{session}', 'k', 'prompt', '{ID}')",
                psycopg.errors.ForeignKeyViolation,
            )
            texts.append(told.replace(session, "?"))
    assert texts[0] == texts[1]
    with runtime(seeded, A) as connection:
        told = refused(
            connection,
            f"INSERT INTO enterprises (id, name, settings_json, created_at) VALUES ('{A}', 'sesame', '{{}}', now())",
            psycopg.errors.UniqueViolation,
        )
        assert "sesame" not in told
        assert A not in told


def test_no_condition_is_asked_of_another_tenants_row(seeded: Urls, tables: Tables) -> None:
    """A condition that fails on a row tells of the row: the policy comes before every condition of the asker's."""
    with runtime(seeded, A) as connection:
        asked = 0
        for table, columns in tables.items():
            for column, kind in columns.items():
                if kind != "text" or f"{table}.{column}" in WORDS:
                    continue
                for condition in (
                    f"CAST({column} AS integer) = 1",
                    f"1 / (CASE {column} WHEN '{MARKS[B]}' THEN 0 ELSE 1 END) = 1",
                ):
                    found = run(connection, f"SELECT count(*) FROM {table} WHERE {condition}")
                    assert found.fetchall() == [(1,)], f"{table}.{column}: {condition}"
                    asked += 1
        assert asked > 100


def test_the_planners_figures_tell_nothing(seeded: Urls, tables: Tables) -> None:
    with runtime(seeded, A) as connection:
        found = connection.execute(
            "SELECT tablename, attname FROM pg_stats WHERE tablename = ANY(%s)", [list(tables)]
        )
        assert found.fetchall() == []
        refused(connection, "SELECT stavalues1 FROM pg_statistic")


# -- getting more rights -------------------------------------------------------------------------

ATTACKS = [
    f"SET ROLE {OWNER}",
    f"SET ROLE {OWNER}_definer",
    f"SET ROLE {ADMIN}",
    f"SET LOCAL ROLE {OWNER}",
    f"SET SESSION AUTHORIZATION {ADMIN}",
    f"SET SESSION AUTHORIZATION {OWNER}",
    "SET session_replication_role = replica",
    f"DO $$ BEGIN EXECUTE 'SET ROLE {OWNER}'; END $$",
    "ALTER TABLE sessions DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY",
    f"ALTER TABLE sessions OWNER TO {RUNTIME}",
    "ALTER TABLE sessions ADD COLUMN x integer",
    "DROP POLICY tenant ON sessions",
    "ALTER POLICY tenant ON sessions USING (true)",
    "CREATE POLICY mine ON sessions USING (true)",
    "DROP TABLE sessions",
    "TRUNCATE sessions",
    "TRUNCATE task_queue CASCADE",
    "CREATE INDEX ON sessions (title)",
    "CREATE RULE r AS ON SELECT TO sessions DO INSTEAD SELECT 1",
    "CREATE TRIGGER t BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE STATISTICS s ON title, status FROM sessions",
    "CREATE TABLE mine (x integer)",
    "CREATE TABLE mine AS SELECT * FROM sessions",
    "SELECT * INTO mine FROM sessions",
    "CREATE TEMPORARY TABLE sessions (x integer)",
    "CREATE TEMPORARY VIEW sessions AS SELECT 1",
    "CREATE TABLE pg_temp.sessions (x integer)",
    "CREATE VIEW mine AS SELECT * FROM sessions",
    "CREATE MATERIALIZED VIEW mine AS SELECT * FROM sessions",
    "CREATE SEQUENCE mine",
    "CREATE TYPE mine AS (x integer)",
    "CREATE DOMAIN uuid AS text",
    "CREATE SCHEMA mine",
    f"CREATE SCHEMA {RUNTIME}",
    "DROP EXTENSION vector",
    "ALTER EXTENSION vector UPDATE",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION pg_temp.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION current_setting(text, boolean) RETURNS text LANGUAGE sql AS 'SELECT ''x'''",
    "CREATE OPERATOR = (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = uuid_ne)",
    "CREATE PUBLICATION mine FOR ALL TABLES",
    "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "COPY sessions TO '/tmp/rows'",
    "COPY sessions TO PROGRAM 'cat'",
    "COPY task_queue FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT query_to_xml('SELECT 1', true, true, '') FROM pg_authid",
    "SELECT rolpassword FROM pg_authid",
    f"ALTER ROLE {RUNTIME} BYPASSRLS",
    f"ALTER ROLE {RUNTIME} SUPERUSER",
    f"ALTER ROLE {RUNTIME} CREATEROLE",
    f"ALTER ROLE {OWNER} PASSWORD 'x'",
    f"ALTER ROLE {OWNER} SET search_path = mine",
    f"GRANT {OWNER} TO {RUNTIME}",
    f"GRANT {OWNER}_definer TO {RUNTIME}",
    "CREATE ROLE mine",
    "UPDATE pg_class SET relrowsecurity = false WHERE relname = 'sessions'",
    "DELETE FROM pg_policy",
    "UPDATE schema_info SET value = '0'",
    "DELETE FROM alembic_version",
    "SELECT pg_logical_emit_message(true, 'a', 'b') FROM pg_create_logical_replication_slot('s', 'pgoutput')",
    "SET ROLE pg_read_all_data",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_more_rights_are_refused(attack: str, seeded: Urls) -> None:
    with runtime(seeded, A) as connection:
        refused(connection, attack)
        assert run(connection, "SELECT enterprise_id::text FROM sessions").fetchall() == [(A,)]


@pytest.mark.parametrize(
    "reset", ["RESET ROLE", "RESET SESSION AUTHORIZATION", "SET ROLE NONE", "RESET ALL"]
)
def test_going_back_to_oneself_gains_nothing(reset: str, seeded: Urls, tables: Tables) -> None:
    with runtime(seeded, A) as connection:
        run(connection, reset)
        assert run(connection, "SELECT current_user, session_user").fetchall() == [
            (RUNTIME, RUNTIME)
        ]
        for table in tables:
            found = run(connection, f"SELECT {key_of(table)}::text FROM {table}").fetchall()
            assert found in ([(A,)], []), table


def test_switching_row_security_off_reads_nothing(seeded: Urls, tables: Tables) -> None:
    with runtime(seeded, A) as connection:
        run(connection, "SET LOCAL row_security = off")
        for table in tables:
            for statement in (
                f"SELECT * FROM {table}",
                f"DELETE FROM {table}",
                f"COPY {table} TO STDOUT",
            ):
                refused(connection, statement)


# -- through the program's own connections -------------------------------------------------------


async def test_a_pool_shared_by_tenants_never_mixes_them(seeded: Urls, tables: Tables) -> None:
    database = PostgresDatabase(seeded.runtime, connections=2)
    scopes = {tenant: replace(local_scope(), enterprise_id=tenant) for tenant in (A, B)}
    chance = random.Random(4)
    readable = sorted(tables)

    def attempt(table: str, mischief: str) -> Any:
        def work(tx: Tx) -> list[str]:
            if mischief == "session":  # meant to outlive the transaction
                tx.execute(
                    sa.text("SELECT set_config('app.current_enterprise_id', :t, false)"), {"t": A}
                )
            found = (
                tx.execute(sa.text(f"SELECT {key_of(table)}::text FROM {table}")).scalars().all()
            )
            if mischief == "fail":
                tx.exec_driver_sql("SELECT 1 / 0")
            return list(found)

        return work

    async def ask(tenant: str) -> None:
        mischief = chance.choice(["", "", "fail", "session"]) if tenant == A else ""
        handed_in = chance.choice([database.read, database.write])
        try:
            found = await handed_in(scopes[tenant], attempt(chance.choice(readable), mischief))
        except sa.exc.DataError:
            assert mischief == "fail"
        else:
            assert found == [tenant]

    await asyncio.gather(*(ask(chance.choice([A, B])) for _ in range(1000)))
    await database.close()


async def test_a_temporary_table_stands_before_none_of_ours(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    """Nor does it where an administrator let the runtime role make some."""
    postgres.execute(
        f"GRANT TEMPORARY ON DATABASE {postgres_urls.name} TO {RUNTIME}", postgres_urls.name
    )
    database = PostgresDatabase(postgres_urls.runtime, connections=1)
    scope = replace(local_scope(), enterprise_id=A)

    def shadow(tx: Tx) -> None:
        tx.exec_driver_sql("CREATE TEMPORARY TABLE schema_info AS SELECT 'forged' AS key")
        tx.exec_driver_sql("CREATE DOMAIN pg_temp.uuid AS text")

    await database.write(scope, shadow)
    look = "SELECT count(*) FROM schema_info WHERE key = 'forged'"
    assert await database.read(scope, lambda tx: tx.exec_driver_sql(look).scalar()) == 0
    kind = "SELECT 'uuid'::regtype::oid = 'pg_catalog.uuid'::regtype::oid"
    assert await database.read(scope, lambda tx: tx.exec_driver_sql(kind).scalar()) is True
    await database.close()
