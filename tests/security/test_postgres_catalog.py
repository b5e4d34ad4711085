"""What PostgreSQL's catalog says of keys, columns, functions and roles: nowhere do tenants meet."""

from __future__ import annotations

from pathlib import Path

from servers import OWNER, RUNTIME, PostgresServer, Urls

_KEYS = """
SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text,
       (SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0])
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE (i.indisunique OR i.indisexclusion) AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
  AND c.relname NOT IN ('alembic_version', 'schema_info')
"""
_REFERENCES = """
SELECT c.conrelid::regclass::text, c.conname::text,
       (SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[1]),
       (SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.confrelid AND a.attnum = c.confkey[1]),
       c.confrelid::regclass::text
FROM pg_constraint c WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace
"""


def key_of(table: str) -> str:
    return "id" if table == "enterprises" else "enterprise_id"


def crossing(postgres: PostgresServer, urls: Urls) -> set[str]:
    """Keys and references in which tenants could meet: those that do not lead with the enterprise."""
    keys = postgres.execute(_KEYS, urls.name)
    references = postgres.execute(_REFERENCES, urls.name)
    assert len(keys) > 25
    assert len(references) > 10
    found = {name for table, name, first in keys if first != key_of(table)}
    for table, name, first, referred, other in references:
        if first != key_of(table) or referred != key_of(other):
            found.add(name)
    return found


def test_every_key_and_reference_leads_with_the_enterprise(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    assert crossing(postgres, postgres_urls) == set()
    for statement in (
        "CREATE UNIQUE INDEX bad_index ON sessions (title, enterprise_id)",
        "ALTER TABLE sessions ADD CONSTRAINT bad_unique UNIQUE (id)",
        "ALTER TABLE learnings ADD CONSTRAINT bad_reference FOREIGN KEY (session_id) REFERENCES sessions (id)",
        "CREATE TABLE bad_table (id uuid PRIMARY KEY, enterprise_id uuid NOT NULL)",
    ):
        postgres.execute(statement, postgres_urls.name)
    expected = {"bad_index", "bad_unique", "bad_reference", "bad_table_pkey"}
    assert crossing(postgres, postgres_urls) == expected


_INDEXES = """
SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text,
       (SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0])
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND c.relrowsecurity
"""
# What is looked for before a tenant is known, or by what no tenant is part of; functions that know the tenant use them.
ACROSS_TENANTS = {"ix_task_due", "ix_task_next", "ix_search_terms"}


def test_every_index_leads_with_the_enterprise_or_serves_a_function(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    found = postgres.execute(_INDEXES, postgres_urls.name)
    assert len(found) > 40
    across = {name for table, name, first in found if first != key_of(table)}
    # A graph of vectors is over one expression; where pgvector is not, there is none.
    assert {name for name in across if not name.startswith("ix_vector_graph_")} == ACROSS_TENANTS


def test_every_tenants_column_is_a_uuid_that_is_there(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    found = postgres.execute(
        "SELECT c.table_name, c.data_type, c.is_nullable FROM information_schema.columns c"
        " JOIN information_schema.tables t USING (table_schema, table_name)"
        " WHERE c.table_schema = 'public' AND c.column_name = 'enterprise_id' AND t.table_type = 'BASE TABLE'",
        postgres_urls.name,
    )
    assert len(found) > 25
    assert {(kind, nullable) for _, kind, nullable in found} == {("uuid", "NO")}


def test_the_runtime_role_owns_nothing_and_is_in_nothing(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    role = f"'{RUNTIME}'::regrole"
    for statement in (
        f"SELECT oid::regclass::text FROM pg_class WHERE relowner = {role}",
        f"SELECT oid::regprocedure::text FROM pg_proc WHERE proowner = {role}",
        f"SELECT nspname FROM pg_namespace WHERE nspowner = {role}",
        f"SELECT datname FROM pg_database WHERE datdba = {role}",
        f"SELECT roleid::regrole::text FROM pg_auth_members WHERE member = {role}",
        f"SELECT rolname FROM pg_roles WHERE oid = {role} AND"
        " (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR rolinherit)",
    ):
        assert postgres.execute(statement, postgres_urls.name) == [], statement


def test_definer_functions_look_nowhere_that_a_caller_can_fill(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    """Temporary objects come first unless they are named: they are named last."""
    found = postgres.execute(
        "SELECT p.oid::regprocedure::text, p.proowner::regrole::text, s.setting"
        " FROM pg_proc p LEFT JOIN LATERAL unnest(p.proconfig) s(setting) ON s.setting LIKE 'search_path=%'"
        " WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace",
        postgres_urls.name,
    )
    assert found, "nothing is tested here"
    for name, owner, setting in found:
        # Partitions can be made by who owns their table alone; nothing else has that one's rights.
        expected = OWNER if name == "make_partitions()" else f"{OWNER}_definer"
        assert owner == expected, name
        path = [part.strip(' "') for part in setting.removeprefix("search_path=").split(",")]
        assert path[-1] == "pg_temp", f"{name}: {setting}"
        assert set(path[:-1]) <= {"pg_catalog", "public"}, f"{name}: {setting}"


def test_every_function_with_more_rights_is_told_of(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    """In the page on isolation, with what it tells."""
    found = postgres.execute(
        "SELECT p.proname FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace",
        postgres_urls.name,
    )
    assert len(found) >= 5
    page = (Path(__file__).parents[2] / "docs/isolation.md").read_text("utf-8")
    assert [name for (name,) in found if f"`{name}`" not in page] == []
