"""Upgrades of PostgreSQL: the same tables as everywhere, guarded, all or nothing, any number of times."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from claude_mem import domains
from claude_mem.adapters.postgres.vectors import PostgresVectorIndex
from claude_mem.app import migrate_postgres
from claude_mem.app.migrate import READER_VERSION
from claude_mem.app.migrate_postgres import definer_of, look, roles_to_make, step, upgrade
from claude_mem.app.migrations import HEAD
from claude_mem.domains.sql import metadata
from claude_mem.kernel.errors import MemError, NewerDatabase, Unavailable
from claude_mem.kernel.scope import Scope
from claude_mem.ports.vectors import VectorEntry, VectorModel, pack
from servers import OWNER, RUNTIME, PostgresServer, Urls

A, B = "00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b"
TENANT = Scope(A, "u", frozenset())
ID = "00000000-0000-7000-8000-000000000001"
_numbers = itertools.count(1)

_SHAPE = """
SELECT 'column ' || c.relname || '.' || a.attname,
       format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text
       || coalesce(' ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
UNION ALL SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'policy ' || tablename || ' ' || policyname, concat(cmd, roles, qual, with_check)
FROM pg_policies WHERE schemaname = 'public'
UNION ALL SELECT 'relation ' || relname,
       concat(relkind, relrowsecurity, relforcerowsecurity, reloptions, relacl, relowner::regrole)
FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'function ' || oid::regprocedure, concat(proowner::regrole, proacl, proconfig, prosecdef)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[Urls]:
    urls = postgres.database(migrated=False)
    yield urls
    postgres.drop(urls)


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A transaction that is committed at the end."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        yield connection


def shape(postgres: PostgresServer, urls: Urls) -> dict[str, str]:
    return {row[0]: row[1] for row in postgres.execute(_SHAPE, urls.name)}


def tables(postgres: PostgresServer, urls: Urls) -> set[str]:
    found = postgres.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", urls.name
    )
    return {row[0] for row in found}


def load_all_tables() -> None:
    for found in pkgutil.iter_modules(domains.__path__, f"{domains.__name__}."):
        if found.ispkg:
            package = importlib.import_module(found.name)
            if any(it.name == "tables" for it in pkgutil.iter_modules(package.__path__)):
                importlib.import_module(f"{found.name}.tables")


def test_an_empty_database_is_filled_and_a_current_one_left_alone(
    postgres: PostgresServer, empty: Urls
) -> None:
    assert upgrade(empty.owner, RUNTIME) is True
    first = shape(postgres, empty)
    oids = "SELECT oid FROM pg_policy ORDER BY oid"
    policies = postgres.execute(oids, empty.name)
    assert upgrade(empty.owner, RUNTIME) is False
    assert shape(postgres, empty) == first
    assert policies
    assert postgres.execute(oids, empty.name) == policies, (
        "a policy that was right was made anew: that locks its table"
    )


def test_a_current_database_is_looked_at_while_others_use_it(postgres_urls: Urls) -> None:
    with connected(postgres_urls.runtime) as other:
        other.exec_driver_sql(f"SELECT set_config('app.current_enterprise_id', '{A}', true)")
        for table in ("sessions", "task_queue", "search_index", "v_session_details"):
            other.exec_driver_sql(f"SELECT * FROM {table}")
        assert upgrade(postgres_urls.owner, RUNTIME) is False


def test_the_migrations_make_the_defined_columns(postgres: PostgresServer, empty: Urls) -> None:
    load_all_tables()
    upgrade(empty.owner, RUNTIME)
    defined = postgres.database(migrated=False)
    with connected(defined.owner) as connection:
        metadata.create_all(connection)
    types = """
        SELECT table_name || '.' || column_name, data_type || ' null: ' || is_nullable
        FROM information_schema.columns WHERE table_schema = 'public'
    """
    wanted, made = (dict(postgres.execute(types, urls.name)) for urls in (defined, empty))
    postgres.drop(defined)
    assert len(wanted) > 100
    assert {name: made.get(name) for name in wanted} == wanted


def test_up_down_and_up_again(postgres: PostgresServer, empty: Urls) -> None:
    upgrade(empty.owner, RUNTIME)
    first = shape(postgres, empty)
    with connected(empty.owner) as connection:
        step(connection, "downgrade", "base")
    left = tables(postgres, empty)
    assert "alembic_version" in left
    assert not left & {"sessions", "task_queue", "schema_info", "injections"}
    assert upgrade(empty.owner, RUNTIME) is True
    assert shape(postgres, empty) == first


def test_a_migration_reaches_the_rows_of_every_tenant(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    """Row-level security holds for the owner too: its migrations would change nothing, and say nothing."""
    columns = postgres.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'summaries' AND data_type = 'jsonb'"
        " AND column_default IS NULL",
        postgres_urls.name,
    )
    documents = [row[0] for row in columns]
    names = ", ".join(documents)
    values = ", ".join(["'[]'"] * len(documents))
    for tenant in (A, B):
        for summary, source in ((ID, "agent"), (A, "ours")):
            postgres.execute(
                "SET session_replication_role = replica; INSERT INTO summaries (enterprise_id, id, session_id,"
                " summary_type, title, content, model_used, generation_cost, quality_score, version, is_published,"
                f" occurred_at, created_at, updated_at, source, {names})"
                f" VALUES ('{tenant}', '{summary}', '{ID}', 'session', '', '', '', 0, 0, 1, false, now(), now(), now(),"
                f" '{source}', {values})",
                postgres_urls.name,
            )
    with connected(postgres_urls.owner) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM summaries").scalar() == 0
        step(connection, "downgrade", "0002")
    kept = postgres.execute(
        "SELECT enterprise_id::text, id::text FROM summaries", postgres_urls.name
    )
    assert sorted(kept) == [(A, ID), (B, ID)]
    assert upgrade(postgres_urls.owner, RUNTIME) is True
    with connected(postgres_urls.owner) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM summaries").scalar() == 0


def test_two_upgrades_at_once_run_one_after_the_other(
    postgres: PostgresServer, empty: Urls
) -> None:
    results: list[Any] = []

    def run_it() -> None:
        try:
            results.append(upgrade(empty.owner, RUNTIME))
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            results.append(error)

    threads = [threading.Thread(target=run_it) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, False, True]
    assert "sessions" in tables(postgres, empty)


def test_an_upgrade_that_breaks_off_leaves_nothing(
    postgres: PostgresServer, empty: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shape(postgres, empty)
    monkeypatch.setattr(
        migrate_postgres, "scripts", lambda _roles: iter(["SELECT 1", "SELECT 1/0"])
    )
    with pytest.raises(sa.exc.DataError):
        upgrade(empty.owner, RUNTIME)
    assert shape(postgres, empty) == before


def test_a_server_that_is_away_is_told(postgres_urls: Urls) -> None:
    nowhere = sa.make_url(postgres_urls.owner).set(port=1)
    with pytest.raises(Unavailable):
        upgrade(nowhere.render_as_string(hide_password=False), RUNTIME)


# -- newer databases -----------------------------------------------------------------------------


def test_a_database_for_newer_programs_is_refused_and_not_touched(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    name = postgres_urls.name
    postgres.execute("UPDATE alembic_version SET version_num = '9999'", name)
    postgres.execute(f"UPDATE schema_info SET value = '{READER_VERSION + 1}'", name)
    before = shape(postgres, postgres_urls)
    with pytest.raises(NewerDatabase, match="upgrade this program"):
        upgrade(postgres_urls.owner, RUNTIME)
    assert shape(postgres, postgres_urls) == before


def test_a_newer_schema_that_may_still_be_read_is_left_as_it_is(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    postgres.execute("UPDATE alembic_version SET version_num = '9999'", postgres_urls.name)
    postgres.execute("CREATE TABLE later (x integer)", postgres_urls.name)
    before = shape(postgres, postgres_urls)
    assert upgrade(postgres_urls.owner, RUNTIME) is False
    assert shape(postgres, postgres_urls) == before


# -- what is left unguarded ----------------------------------------------------------------------

UNGUARDED = {
    "a table without a tenant": ("CREATE TABLE loose (x integer)", "loose"),
    "a policy that asks for no tenant": (
        "CREATE TABLE odd (x integer); ALTER TABLE odd ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        " CREATE POLICY tenant ON odd USING (true)",
        "odd",
    ),
    "another policy": ("CREATE POLICY mine ON sessions USING (true)", "sessions"),
    "a materialized view": ("CREATE MATERIALIZED VIEW seen AS SELECT * FROM sessions", "seen"),
    "a function with its owner's rights": (
        "CREATE FUNCTION all_of_it() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp AS 'SELECT count(*) FROM public.sessions'",
        "all_of_it()",
    ),
    "a function for everybody": (
        "CREATE FUNCTION for_all() RETURNS int LANGUAGE sql SECURITY DEFINER"
        f" SET search_path = pg_catalog, pg_temp AS 'SELECT 1'; ALTER FUNCTION for_all OWNER TO {definer_of(OWNER)}",
        "for_all()",
    ),
    "a function that looks anywhere": (
        "CREATE FUNCTION anywhere() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';"
        f" ALTER FUNCTION anywhere OWNER TO {definer_of(OWNER)}; REVOKE ALL ON FUNCTION anywhere FROM PUBLIC",
        "anywhere()",
    ),
    "a table of the runtime role": (
        f"CREATE TABLE own (enterprise_id uuid); ALTER TABLE own OWNER TO {RUNTIME}",
        "own",
    ),
}


@pytest.mark.parametrize("what", sorted(UNGUARDED))
def test_what_is_unguarded_is_refused(
    what: str, postgres: PostgresServer, postgres_urls: Urls
) -> None:
    statement, named = UNGUARDED[what]
    postgres.execute(statement, postgres_urls.name)
    if what != "a table of the runtime role":
        for table in ("loose", "seen", "odd"):
            postgres.execute(f"ALTER TABLE IF EXISTS {table} OWNER TO {OWNER}", postgres_urls.name)
    with pytest.raises((MemError, sa.exc.ProgrammingError)) as refused:
        upgrade(postgres_urls.owner, RUNTIME)
    assert named in str(refused.value)


def test_a_new_table_of_tenants_is_guarded_by_itself(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    with connected(postgres_urls.owner) as connection:
        connection.exec_driver_sql("CREATE TABLE newer (enterprise_id uuid NOT NULL, x integer)")
        connection.exec_driver_sql(f"INSERT INTO newer VALUES ('{A}', 1), ('{B}', 2)")
        connection.exec_driver_sql("CREATE VIEW newer_view AS SELECT * FROM newer")
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):  # noqa: SIM117
        with connected(postgres_urls.runtime) as connection:
            connection.exec_driver_sql("SELECT * FROM newer")
    upgrade(postgres_urls.owner, RUNTIME)
    with connected(postgres_urls.runtime) as connection:
        for relation in ("newer", "newer_view"):
            assert connection.exec_driver_sql(f"SELECT x FROM {relation}").all() == []
        connection.exec_driver_sql(f"SELECT set_config('app.current_enterprise_id', '{B}', true)")
        for relation in ("newer", "newer_view"):
            assert connection.exec_driver_sql(f"SELECT x FROM {relation}").all() == [(2,)]


def test_a_guard_that_was_taken_off_is_put_on_again(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    sound = shape(postgres, postgres_urls)
    for statement in (
        "ALTER TABLE sessions DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE prompts NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON learnings",
        "ALTER POLICY tenant ON users USING (true)",
        "ALTER POLICY tenant ON solutions WITH CHECK (true)",
        "ALTER VIEW v_session_details RESET (security_invoker)",
        f"GRANT TRUNCATE ON sessions TO {RUNTIME}",
        "ALTER TABLE prompts_default DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON observations_default",
        f"GRANT SELECT ON code_changes_default TO {RUNTIME}",
        f"GRANT UPDATE (event_id) ON ingested_events_default TO {RUNTIME}",
        f"GRANT USAGE ON SCHEMA claude_mem_detached TO {RUNTIME}",
        "GRANT SELECT ON sessions TO PUBLIC",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        f"GRANT TEMPORARY ON DATABASE {postgres_urls.name} TO PUBLIC",
    ):
        postgres.execute(statement, postgres_urls.name)
    upgrade(postgres_urls.owner, RUNTIME)
    assert shape(postgres, postgres_urls) == sound
    with connected(postgres_urls.runtime) as connection:
        for statement in (
            "SELECT has_schema_privilege('public', 'CREATE')",
            "SELECT has_database_privilege(current_database(), 'TEMPORARY')",
        ):
            assert connection.exec_driver_sql(statement).scalar() is False


# -- roles ---------------------------------------------------------------------------------------


@pytest.fixture
def role(postgres: PostgresServer) -> Iterator[str]:
    """A runtime role of this test's own; its name is an attack on whoever pastes it into SQL."""
    name = f'we"ird \'role%s :"owner" {next(_numbers)}'
    quoted = name.replace('"', '""')
    postgres.execute(f'CREATE ROLE "{quoted}" LOGIN NOINHERIT')
    yield name
    postgres.execute(f'DROP ROLE "{quoted}"')


def test_a_role_of_any_name_will_do(postgres: PostgresServer, empty: Urls, role: str) -> None:
    assert upgrade(empty.owner, role) is True
    quoted = role.replace("'", "''")
    for right, expected in (("SELECT", True), ("DELETE", True), ("TRUNCATE", False)):
        check = f"SELECT has_table_privilege('{quoted}', 'sessions', '{right}')"
        assert postgres.execute(check, empty.name) == [(expected,)]
    postgres.drop(empty)  # its rights are in there


@pytest.mark.parametrize(
    "too_much",
    ["SUPERUSER", "BYPASSRLS", "CREATEROLE", "CREATEDB", "REPLICATION", "member"],
)
def test_a_runtime_role_that_may_too_much_is_refused(
    too_much: str, postgres: PostgresServer, empty: Urls, role: str
) -> None:
    quoted = role.replace('"', '""')
    if too_much == "member":
        postgres.execute(f'GRANT {OWNER} TO "{quoted}"')
    else:
        postgres.execute(f'ALTER ROLE "{quoted}" {too_much}')
    with pytest.raises(MemError, match="may too much"):
        upgrade(empty.owner, role)
    assert tables(postgres, empty) == set()


def test_missing_roles_are_named_with_the_way_to_make_them(
    postgres: PostgresServer, empty: Urls
) -> None:
    with pytest.raises(MemError) as refused:
        upgrade(empty.owner, "nobody_yet")
    assert roles_to_make(OWNER, "nobody_yet") in refused.value.message
    with pytest.raises(MemError, match="may too much"):
        upgrade(empty.owner, OWNER)
    assert tables(postgres, empty) == set()


def test_head_is_what_is_reached(postgres: PostgresServer, postgres_urls: Urls) -> None:
    found = postgres.execute("SELECT version_num FROM alembic_version", postgres_urls.name)
    assert found == [(HEAD,)]


# -- pgvector ------------------------------------------------------------------------------------


def test_without_pgvector_all_but_vector_search_is_made_and_the_way_to_it_is_said(
    postgres: PostgresServer,
) -> None:
    bare = postgres.database(migrated=False, vectors=False)
    assert upgrade(bare.owner, RUNTIME) is True
    assert {"sessions", "search_index"} <= tables(postgres, bare)
    assert "vector_index" not in tables(postgres, bare)
    found = look(bare.owner, RUNTIME)
    assert "CREATE EXTENSION vector" in found.no_vectors
    assert "40_vectors.sql" not in found.scripts
    postgres.execute("CREATE EXTENSION vector", bare.name)
    version = "UPDATE pg_extension SET extversion = '{}' WHERE extname = 'vector'"
    postgres.execute(version.format("0.7.4"), bare.name)
    assert "0.7.4" in look(bare.owner, RUNTIME).no_vectors
    postgres.execute(version.format("0.10.0"), bare.name)
    found = look(bare.owner, RUNTIME)
    assert (found.no_vectors, "40_vectors.sql" in found.scripts) == ("", True)
    assert upgrade(bare.owner, RUNTIME) is False
    assert {"vector_index", "vector_cells"} <= tables(postgres, bare)
    postgres.drop(bare)


def test_graphs_of_before_go_and_what_was_in_them_is_found(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    """As the tables were when tenants shared graphs; an upgrade that runs again finds nothing to do."""
    model, vector, index = VectorModel("m", 3), pack((1, 2, 3)), PostgresVectorIndex()

    def within(work: Callable[[Connection], Any]) -> Any:
        with connected(postgres_urls.runtime) as connection:
            connection.exec_driver_sql(
                f"SELECT set_config('app.current_enterprise_id', '{A}', true)"
            )
            return work(connection)

    within(lambda tx: index.add(TENANT, tx, model, [VectorEntry(ID, None, vector)]))
    postgres.execute(
        "ALTER TABLE vector_index DROP COLUMN cell, ADD COLUMN lane smallint; DROP TABLE vector_cells;"
        "CREATE TABLE vector_lanes (enterprise_id uuid NOT NULL, lane smallint);"
        "CREATE INDEX ix_vector_graph_3_0 ON vector_index USING hnsw ((vector::halfvec(3)) halfvec_ip_ops)"
        " WHERE lane = 0;"
        "UPDATE vector_index SET lane = 0;"
        "CREATE FUNCTION vector_lane(smallint) RETURNS smallint LANGUAGE sql AS 'SELECT 1::smallint';"
        f"ALTER TABLE vector_lanes OWNER TO {OWNER}; ALTER FUNCTION vector_lane OWNER TO {definer_of(OWNER)}",
        postgres_urls.name,
    )
    for _ in range(2):
        upgrade(postgres_urls.owner, RUNTIME)
        assert "vector_lanes" not in tables(postgres, postgres_urls)
        left = "SELECT to_regproc('vector_lane'), to_regclass('ix_vector_graph_3_0')"
        assert postgres.execute(left, postgres_urls.name) == [(None, None)]
        found = within(lambda tx: index.nearest(TENANT, tx, model, vector, None, 5))
        assert [each.id for each in found] == [ID]


@pytest.mark.parametrize("is_open", [False, True])
def test_pgvector_may_be_in_another_schema_that_may_be_used(
    postgres: PostgresServer, is_open: bool
) -> None:
    bare = postgres.database(migrated=False, vectors=False)
    postgres.execute("CREATE SCHEMA tools; CREATE EXTENSION vector SCHEMA tools", bare.name)
    if is_open:
        postgres.execute(f"GRANT USAGE ON SCHEMA tools TO {OWNER}, {definer_of(OWNER)}", bare.name)
    assert upgrade(bare.owner, RUNTIME) is True
    assert ("vector_index" in tables(postgres, bare)) == is_open
    assert ("SET SCHEMA public" in look(bare.owner, RUNTIME).no_vectors) != is_open
    if is_open:
        with connected(bare.runtime) as connection:
            connection.exec_driver_sql(
                f"SELECT set_config('app.current_enterprise_id', '{A}', true)"
            )
            model, vector = VectorModel("m", 3), pack((1, 2, 3))
            index = PostgresVectorIndex()
            index.add(TENANT, connection, model, [VectorEntry(ID, None, vector)])
            found = index.nearest(TENANT, connection, model, vector, None, 5)
            assert [each.id for each in found] == [ID]
    postgres.drop(bare)
