"""Attacks by SQL itself, as the runtime role with one tenant set: generated over whatever the catalogue has.

Whoever can send any SQL can set the tenant, too: that is not attacked, and no statement here does. What is attacked is
every way around the setting that is in force.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from isolation_admin import Tables, key_of
from isolation_spy import LEDGER, plain, twin
from isolation_world import Tenant, World

from claude_mem.app.migrate_postgres import TENANTLESS
from servers import Urls

KIND = "raw SQL"
_RENEWED = 100  # attempts a transaction
# The functions that act before a tenant is known tell ids, by design (25_tenants.sql, 20_queue.sql): asked apart.
TELL_IDS = frozenset({"claim_tasks", "tenant_ids"})


@dataclass(frozen=True)
class Catalogue:
    """What there is to attack."""

    tables: Tables
    parts: tuple[str, ...]  # of partitioned tables
    views: tuple[str, ...]
    functions: tuple[tuple[str, tuple[str, ...]], ...]  # name and types of arguments


def catalogue(world: World) -> Catalogue:
    """Looked up anew: what a migration adds is attacked."""
    raw = world.admin.raw  # type: ignore[attr-defined]
    parts = raw.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relispartition"
        " AND relkind IN ('r', 'p') ORDER BY 1"
    )
    views = raw.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm')"
        " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1"
    )
    functions = raw.execute(
        "SELECT p.proname, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t) FROM pg_proc p"
        " WHERE p.pronamespace = 'public'::regnamespace"
        " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') ORDER BY 1"
    )
    return Catalogue(
        world.admin.tables(),
        tuple(row[0] for row in parts),
        tuple(row[0] for row in views),
        tuple((row[0], tuple(row[1])) for row in functions),
    )


class RawAttack:
    """A connection of the runtime role in one tenant's transaction."""

    def __init__(self, world: World, urls: Urls, attacker: Tenant, chance: random.Random) -> None:
        self.world, self.attacker, self.chance = world, attacker, chance
        self.raw = psycopg.connect(
            urls.runtime.replace("+psycopg", ""), autocommit=True, prepare_threshold=None
        )
        self.renews = True
        self._tried = 0
        self.begin()

    def begin(self) -> None:
        """As the program begins one."""
        self.raw.execute("BEGIN")
        self.raw.execute(
            "SELECT set_config('app.current_enterprise_id', %s, true)",
            [self.attacker.scope.enterprise_id],
        )

    def end(self, how: str = "ROLLBACK") -> None:
        """Of the transaction."""
        self.raw.execute(how.encode())

    def close(self) -> None:
        """Let go."""
        self.raw.close()

    def attempt(self, statement: str, *, keep: bool = True) -> Any:
        """Run a statement in a savepoint, and look through all that comes of it: rows, notices, errors."""
        told: Any
        notices: list[str] = []
        handler = notices_into(notices)
        self.raw.add_notice_handler(handler)
        try:
            self.raw.execute("SAVEPOINT attack")
            try:
                cursor = self.raw.execute(statement.encode())
                told = _rows(cursor)
                self.raw.execute("RELEASE attack" if keep else "ROLLBACK TO attack")
            except psycopg.Error as error:
                told = error
                self.raw.execute("ROLLBACK TO attack")
        finally:
            self.raw.remove_notice_handler(handler)
        LEDGER.tried(KIND)
        self._tried += 1
        if isinstance(told, psycopg.errors.InsufficientResources):
            raise told  # from here on nothing would be tried
        if self.renews and self._tried % _RENEWED == 0:  # savepoints hold locks until the end
            self.end("COMMIT")
            self.begin()
        text = _all_of(told) + "\n".join(notices)
        for leak in self.world.spy.leaks(self.attacker.letter, text, statement):
            LEDGER.leaked(KIND, f"as {self.attacker.letter}, {statement[:400]}: {leak}")
        return told

    def compare(self, template: str, value: str) -> None:
        """An attempt with what another has, and one with what nobody has: both must be answered alike."""
        other = twin(value, self.chance)
        told = _evened(self.attempt(template.replace("{}", value), keep=False), value)
        nothing = _evened(self.attempt(template.replace("{}", other), keep=False), other)
        if told != nothing:
            LEDGER.leaked(KIND, f"{template[:300]} tells {value} from nothing: {told}, {nothing}")


def notices_into(notices: list[str]) -> Any:
    """A handler of what the server says beside an answer."""

    def take(diagnostic: Any) -> None:
        notices.append(f"{diagnostic.message_primary} {diagnostic.message_detail}")

    return take


def _rows(cursor: psycopg.Cursor[Any]) -> Any:
    if cursor.description is None:
        return cursor.rowcount if cursor.rowcount > 0 else 0
    return cursor.fetchall()


def _all_of(told: Any) -> str:
    if isinstance(told, psycopg.Error):
        said = told.diag
        return f"{told} {said.message_detail} {said.message_hint} {said.context} {said.constraint_name}"
    return plain(told)


def _evened(told: Any, value: str) -> str:
    if isinstance(told, psycopg.Error):
        return f"{told.sqlstate} {_all_of(told)}".replace(value, "?")
    return repr(told).replace(value, "?")


def reading(catalogue: Catalogue, victim: Tenant, chance: random.Random) -> Iterator[str]:
    """Ways to read every table, part and view."""
    theirs = victim.scope.enterprise_id
    tables = [*catalogue.tables]
    for table in [*tables, *catalogue.parts, *catalogue.views, *TENANTLESS]:
        key = "id" if table == "enterprises" else "enterprise_id"
        other = chance.choice(tables)
        yield from (
            f"SELECT * FROM {table}",
            f"TABLE {table}",
            f"SELECT * FROM {table} WHERE {key} = '{theirs}'",
            f"SELECT * FROM {table} WHERE {key} = '{theirs}' OR true",
            f"SELECT * FROM {table} WHERE {key} <> current_setting('app.current_enterprise_id')::uuid",
            f"SELECT count(*), min({key}::text), max({key}::text) FROM {table}",
            f"SELECT array_agg(t), string_agg(t::text, ','), jsonb_agg(t) FROM {table} t",
            f"SELECT * FROM {table} a RIGHT JOIN (VALUES ('{theirs}'::uuid)) v(k) ON a.{key} = v.k",
            f"SELECT * FROM {table} a CROSS JOIN LATERAL (SELECT * FROM {other} b OFFSET 0) c",
            f"WITH a AS MATERIALIZED (SELECT * FROM {table}) SELECT * FROM a UNION ALL SELECT * FROM {table}",
            f"WITH RECURSIVE a AS (SELECT t::text AS x, 1 AS n FROM {table} t UNION"
            f" SELECT t::text, n + 1 FROM {table} t, a WHERE n < 2) SELECT * FROM a",
            f"SELECT * FROM {table} TABLESAMPLE BERNOULLI (100)",
            f"SELECT ctid, xmin, tableoid::regclass, t::text FROM {table} t WHERE ctid < '(999,1)'",
            f"SELECT * FROM ONLY {table}",
            f"SELECT * FROM {table} FOR UPDATE SKIP LOCKED",
            f"EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM {table} WHERE {key} = '{theirs}'",
            f"SELECT query_to_xml('SELECT * FROM {table}', true, true, '')",
            f"SELECT table_to_xml('{table}', true, true, '')",
            f"DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM {table} LOOP RAISE NOTICE '%', r; END LOOP; END $$",
            f"DO $$ BEGIN PERFORM 1 / (SELECT count(*) FROM {table} WHERE {key} = '{theirs}'); END $$",
            f"SELECT (SELECT t::text FROM {table} t WHERE {key} = '{theirs}' LIMIT 1)::integer",
            f"SELECT rank() OVER (ORDER BY t::text), first_value(t) OVER (), t FROM {table} t",
            f"SELECT * FROM {table} EXCEPT ALL SELECT * FROM {table} WHERE {key} = current_setting('app.current_enterprise_id')::uuid",
            f"PREPARE p AS SELECT * FROM {table}; EXECUTE p; DEALLOCATE p",
            f"SELECT * FROM cursor_to_xml('c', 10, true, true, '{table}')",
        )


def oracles(catalogue: Catalogue) -> Iterator[str]:
    """Conditions that fail, or cost, by what a row holds: asked before the policy they would tell."""
    for table, columns in catalogue.tables.items():
        key = key_of(table)
        for column, kind in columns.items():
            yield f"SELECT count(*) FROM {table} WHERE ({column}::text)::integer > 0 AND {key} IS NULL"
            if kind == "text":
                yield f"SELECT 1 FROM {table} WHERE 1 / strpos({column}, 'oz') > 0 AND {key}::text LIKE 'x%'"
                yield f"SELECT {column}::xml FROM {table} WHERE {key} <> current_setting('app.current_enterprise_id')::uuid"
            if kind == "jsonb":
                yield f"SELECT 1 FROM {table} WHERE ({column} ->> 'of')::date > now() AND {key} IS NULL"
            yield f"SELECT DISTINCT {column} FROM {table} ORDER BY {column} DESC NULLS LAST"


def writing(catalogue: Catalogue, victim: Tenant) -> Iterator[str]:
    """Ways to change, take over, move or remove what is another's."""
    theirs = victim.scope.enterprise_id
    own = "current_setting('app.current_enterprise_id')::uuid"
    for table, columns in catalogue.tables.items():
        key = key_of(table)
        names = ", ".join(columns)
        moved = ", ".join(f"'{theirs}'" if name == key else name for name in columns)
        yield from (
            f"UPDATE {table} SET {key} = {key} WHERE {key} = '{theirs}' RETURNING *",
            f"UPDATE {table} SET {key} = '{theirs}' RETURNING *",
            f"DELETE FROM {table} WHERE {key} = '{theirs}' RETURNING *",
            f"DELETE FROM {table} WHERE {key} <> {own} RETURNING *",
            f"INSERT INTO {table} ({names}) SELECT {moved} FROM {table} RETURNING *",
            f"INSERT INTO {table} ({names}) SELECT {moved} FROM {table} ON CONFLICT DO NOTHING RETURNING *",
            f"INSERT INTO {table} ({names}) SELECT {names} FROM {table} ON CONFLICT DO NOTHING",
            f"WITH gone AS (DELETE FROM {table} RETURNING *) SELECT * FROM gone WHERE {key} <> {own}",
            f"MERGE INTO {table} t USING {table} s ON t.{key} = '{theirs}' WHEN MATCHED THEN DELETE",
            f"MERGE INTO {table} t USING (SELECT 1) s ON t.{key} = '{theirs}' WHEN MATCHED THEN UPDATE SET {key} = {own}",
            f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE NOWAIT",
            f"TRUNCATE {table} CASCADE",
        )


def rights(catalogue: Catalogue) -> Iterator[str]:
    """Ways to more rights, or to somewhere else to look."""
    yield from _GENERAL
    for table in [*catalogue.tables, *catalogue.parts]:
        yield from (
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            f"DROP POLICY tenant ON {table}",
            f"CREATE POLICY other ON {table} USING (true)",
            f"CREATE TEMP TABLE {table} (x int)",
            f"CREATE INDEX ON {table} ((1 / 0))",
            f"ANALYZE VERBOSE {table}",
            f"VACUUM {table}",
            f"COPY {table} TO PROGRAM 'cat'",
            f"GRANT ALL ON {table} TO PUBLIC",
            f"COMMENT ON TABLE {table} IS 'x'",
            f"SELECT * FROM pg_stats WHERE tablename = '{table}'",
            f"SELECT * FROM pg_stats_ext WHERE tablename = '{table}'",
            f"SELECT most_common_vals FROM pg_stats_ext_exprs WHERE tablename = '{table}'",
            f"SELECT * FROM pg_statistic WHERE starelid = '{table}'::regclass",
            f"SELECT * FROM heap_page_items(get_raw_page('{table}', 0))",
            f"SELECT reltuples, relpages FROM pg_class WHERE relname = '{table}'",
            f"SELECT * FROM pg_stat_user_tables WHERE relname = '{table}'",
        )


_GENERAL = (
    "SET LOCAL row_security = off; SELECT * FROM prompts",
    "SET SESSION AUTHORIZATION cm_admin",
    "SET ROLE cm_owner",
    "SET ROLE cm_owner_definer",
    "SET LOCAL session_replication_role = replica",
    "ALTER SYSTEM SET row_security = off",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "ALTER DATABASE postgres SET row_security = off",
    "CREATE FUNCTION pg_temp.see(text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$; SELECT * FROM prompts WHERE pg_temp.see(content)",
    "CREATE FUNCTION public.see(text) RETURNS boolean LEAKPROOF LANGUAGE sql AS 'SELECT true'",
    "CREATE OPERATOR public.<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)",
    "CREATE CAST (text AS integer) WITH INOUT AS IMPLICIT",
    "CREATE AGGREGATE public.see(text) (SFUNC = textcat, STYPE = text)",
    "CREATE EXTENSION dblink",
    "CREATE EXTENSION postgres_fdw",
    "CREATE EXTENSION pageinspect",
    "CREATE EXTENSION file_fdw",
    "SELECT * FROM dblink('dbname=postgres', 'SELECT 1') AS t(x int)",
    "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw",
    "CREATE SUBSCRIPTION s CONNECTION 'dbname=postgres' PUBLICATION p",
    "SELECT * FROM pg_logical_slot_peek_changes('s', NULL, NULL)",
    "SELECT pg_create_physical_replication_slot('s')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_get(oid) FROM pg_largeobject_metadata",
    "SELECT * FROM pg_largeobject",
    "SELECT pg_read_binary_file('base/1/1259')",
    "SELECT * FROM pg_ls_waldir()",
    "SELECT * FROM pg_stat_statements",
    "SELECT * FROM pg_prepared_statements",
    "SELECT * FROM pg_cursors",
    "SELECT * FROM pg_settings WHERE name LIKE 'app.%'",
    "SELECT * FROM pg_db_role_setting",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_user_mappings",
    "SELECT * FROM information_schema.column_privileges",
    "SELECT prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT * FROM pg_policies",
    "SELECT * FROM pg_publication_tables",
    "SELECT * FROM pg_sequences",
    "SELECT * FROM pg_partition_tree('change_journal')",
    "LISTEN claude_mem_jobs",
    "SELECT pg_notify('claude_mem_jobs', 'x')",
    "SELECT pg_listening_channels()",
    "SELECT pg_try_advisory_xact_lock(1)",
    "SELECT * FROM pg_locks WHERE locktype = 'advisory'",
    "SELECT txid_current_snapshot(), pg_current_xact_id()",
    "SELECT * FROM pg_stat_progress_analyze",
    "SELECT database_to_xml(true, true, '')",
    "SELECT schema_to_xml('public', true, true, '')",
    "SELECT set_config('role', 'cm_owner', true)",
    "SELECT set_config('session_authorization', 'cm_admin', true)",
    "SELECT set_config('search_path', 'claude_mem_detached', true)",
    "CREATE TABLE claude_mem_detached.x (a int)",
    "SELECT * FROM pg_class WHERE relnamespace = 'claude_mem_detached'::regnamespace",
)


def hostile(victim: Tenant, kinds: tuple[str, ...], chance: random.Random) -> str:
    """Arguments for a function, chosen to bend it."""
    ids = ",".join(f'"{one}"' for one in chance.sample(victim.every_id, 5))
    texts = [
        victim.known,
        f"{victim.known[:5]}*",
        f"x'|'{victim.known}",
        "' OR true --",
        "*",
        "\\",
        "{}",
        victim.scope.enterprise_id,
        f"zanzibar {victim.known}",
        "",
    ]
    numbers = ["0", "1", "-1", "1000", "9223372036854775807", "-9223372036854775808"]
    made = []
    for kind in kinds:
        base = kind.removesuffix("[]")
        if base in {"text", "name", "character varying"}:
            value = chance.choice(texts)
            value = (
                "{" + f'"{value.replace(chr(92), chr(92) * 2)}"' + "}"
                if kind.endswith("[]")
                else value
            )
        elif base == "uuid":
            value = "{" + ids + "}" if kind.endswith("[]") else chance.choice(victim.every_id)
        elif base in {"bigint", "integer", "smallint"}:
            value = (
                "{1,2,3,4,5,6,7,8,9,10,20,30}" if kind.endswith("[]") else chance.choice(numbers)
            )
        elif base in {"double precision", "real", "numeric"}:
            value = "{1,1,1}" if kind.endswith("[]") else chance.choice(["0", "NaN", "Infinity"])
        elif base.startswith(("timestamp", "date")):
            value = chance.choice(["infinity", "-infinity", "2026-11-01"])
        elif base == "regclass":
            value = "prompts"
        elif base == "boolean":
            value = "true"
        else:
            made.append(f"NULL::{kind}")
            continue
        doubled = value.replace("'", "''")
        made.append(f"'{doubled}'::{kind}")
    return ", ".join(made)
