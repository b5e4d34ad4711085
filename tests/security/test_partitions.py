"""Tables in partitions by month: made ahead without being asked which, guarded one by one, taken out and kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from claude_mem.adapters.postgres import partitions
from claude_mem.adapters.postgres.connection import make_engine
from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.partitions import MonthsAhead, Part, detach_before, make_since
from claude_mem.app.migrate_postgres import definer_of, unguarded, upgrade
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.sql import metadata
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.ids import deterministic_id
from claude_mem.kernel.scope import local_scope
from servers import OWNER, RUNTIME, PostgresServer, Urls

TABLES = {
    "prompts": "id",
    "observations": "id",
    "code_changes": "id",
    "ingested_events": "event_id",
}
A, B = "00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b"
SESSION = "00000000-0000-7000-8000-000000000001"
MARCH_2024 = 1_709_251_200_000  # the first millisecond of it, UTC
APRIL_2024 = 1_711_929_600_000
ROLES = {"owner": OWNER, "runtime": RUNTIME, "definer": definer_of(OWNER)}


def quiet(_what: str, _done: int, _of: int) -> None:
    return None


@pytest.fixture
def owner(postgres_urls: Urls) -> Iterator[Engine]:
    engine = make_engine(postgres_urls.owner, 1)
    yield engine
    engine.dispose()


@contextmanager
def runtime(urls: Urls, tenant: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(urls.runtime.replace("+psycopg", "")) as connection:
        connection.execute("SELECT set_config('app.current_enterprise_id', %s, false)", [tenant])
        yield connection


def parts_of(owner: Engine) -> list[Part]:
    with owner.connect() as connection:
        return partitions.listed(connection)


def faults(owner: Engine) -> list[str]:
    with owner.connect() as connection:
        return unguarded(connection, ROLES)


def lies_in(postgres: PostgresServer, urls: Urls, table: str) -> dict[str, str]:
    """The partition of every row of a table, by its id."""
    rows = postgres.execute(
        f"SELECT {TABLES[table]}::text, tableoid::regclass::text FROM {table}", urls.name
    )
    return dict(rows)


def make_organisation(postgres: PostgresServer, urls: Urls) -> None:
    """Two tenants, each with the same session."""
    for tenant in (A, B):
        for statement in (
            "INSERT INTO enterprises VALUES ('{0}', 'one', '{{}}', now())",
            "INSERT INTO solutions VALUES ('{0}', '{1}', 'one', now())",
            "INSERT INTO projects VALUES ('{0}', '{1}', '{1}', '/p', 'p', now())",
            "INSERT INTO sessions (enterprise_id, id, project_id, user_id, agent, agent_session, title, status,"
            " metadata_json, token_count, prompt_count, observation_count, last_sequence, version, started_at,"
            " last_activity_at, created_at, updated_at)"
            " VALUES ('{0}', '{1}', '{1}', '{1}', 'a', 's', '', 'active', '{{}}', 0, 0, 0, 0, 1, now(), now(), now(), now())",
        ):
            postgres.execute(statement.format(tenant, SESSION), urls.name)


def add_prompt(urls: Urls, tenant: str, at: int) -> str:
    made = deterministic_id(at, f"{tenant} {at}")
    with runtime(urls, tenant) as connection:
        connection.execute(
            "INSERT INTO prompts (enterprise_id, id, session_id, event_id, sequence_num, prompt_type, content,"
            " content_hash, token_count, metadata_json, occurred_at, created_at)"
            " VALUES (%s, %s, %s, %s, 1, 'user', %s, '', 0, '{}', now(), now())",
            [tenant, made, SESSION, made, f"of {tenant}"],
        )
    return made


def test_the_definitions_and_the_database_agree_on_what_is_parted(
    postgres: PostgresServer, postgres_urls: Urls
) -> None:
    found = postgres.execute(
        "SELECT partrelid::regclass::text, pg_get_partkeydef(partrelid) FROM pg_partitioned_table",
        postgres_urls.name,
    )
    defined = {
        name: table.dialect_options["postgresql"]["partition_by"]
        for name, table in metadata.tables.items()
        if table.dialect_options["postgresql"]["partition_by"]
    }
    assert dict(found) == defined == {name: f"RANGE ({key})" for name, key in TABLES.items()}


def test_this_month_and_the_two_after_it_are_there(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    months = postgres.execute(
        "SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date"
        " FROM generate_series(0, 2) n"
    )
    found = parts_of(owner)
    for table in TABLES:
        mine = {part.month for part in found if part.table == table}
        assert mine == {None, *(row[0] for row in months)}
    bounds = postgres.execute(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relispartition AND relkind = 'r'",
        postgres_urls.name,
    )
    assert len(bounds) == len(found) == 4 * len(TABLES)
    for (bound,) in bounds:
        assert bound == "DEFAULT" or len(re.findall(r"-0000-0000-000000000000'", bound)) == 2


def test_a_month_begins_and_ends_with_the_time_in_the_ids(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    make_organisation(postgres, postgres_urls)
    make_since(owner, date(2024, 3, 1), quiet)
    first, last, after, before, odd = (
        add_prompt(postgres_urls, A, at)
        for at in (MARCH_2024, APRIL_2024 - 1, APRIL_2024, MARCH_2024 - 1, 0)
    )
    assert lies_in(postgres, postgres_urls, "prompts") == {
        first: "prompts_y2024m03",
        last: "prompts_y2024m03",
        after: "prompts_y2024m04",
        before: "prompts_default",
        odd: "prompts_default",
    }


def test_a_partition_is_reached_through_its_table_only(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    make_organisation(postgres, postgres_urls)
    make_since(owner, date(2024, 3, 1), quiet)
    add_prompt(postgres_urls, B, MARCH_2024)
    with runtime(postgres_urls, B) as connection:
        found = connection.execute("SELECT content FROM prompts").fetchall()
        assert found == [(f"of {B}",)]
        for part in parts_of(owner):
            for attack in (
                f"SELECT * FROM {part.name}",
                f"SELECT count(*) FROM {part.name}",
                f"DELETE FROM {part.name}",
                f"TRUNCATE {part.name}",
                f"COPY {part.name} TO STDOUT",
                f"ALTER TABLE {part.table} DETACH PARTITION {part.name}",
                f"ALTER TABLE {part.name} DISABLE ROW LEVEL SECURITY",
            ):
                with (
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                    connection.transaction(),
                ):
                    connection.execute(attack.encode())
    assert faults(owner) == []


async def test_the_runtime_role_has_the_next_months_made_and_nothing_else(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    database = PostgresDatabase(postgres_urls.runtime, connections=1)
    ahead = MonthsAhead(database, replace(local_scope(), enterprise_id=A))
    assert await ahead.make() == []
    last = max(part.month for part in parts_of(owner) if part.month)
    gone = sorted(part.name for part in parts_of(owner) if part.month == last)
    guard = "SELECT relname, relrowsecurity, relforcerowsecurity, relowner FROM pg_class WHERE relispartition ORDER BY 1"
    before = postgres.execute(guard, postgres_urls.name)
    for name in gone:
        postgres.execute(f"DROP TABLE {name}", postgres_urls.name)
    assert sorted(it.name for it in await ahead.make() if it.outcome == "made") == gone
    assert postgres.execute(guard, postgres_urls.name) == before
    assert faults(owner) == []
    assert upgrade(postgres_urls.owner, RUNTIME) is False
    await database.close()
    with runtime(postgres_urls, A) as connection:
        for attack in (
            "SELECT make_partition('prompts', '2020-01-01', 1)",
            "SELECT make_partition('sessions', '2020-01-01', 1)",
            "CREATE TABLE prompts_y2020m01 PARTITION OF prompts DEFAULT",
            "ALTER FUNCTION make_partitions SET lock_timeout = 0",
            "DROP FUNCTION make_partitions",
            "CREATE TABLE claude_mem_detached.mine (x integer)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(attack.encode())


def test_what_lies_outside_moves_into_its_month(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    make_organisation(postgres, postgres_urls)
    ids = {tenant: add_prompt(postgres_urls, tenant, MARCH_2024 + 5) for tenant in (A, B)}
    kept = postgres.execute("SELECT p::text FROM prompts p ORDER BY 1", postgres_urls.name)
    assert set(lies_in(postgres, postgres_urls, "prompts").values()) == {"prompts_default"}
    done = make_since(owner, date(2024, 3, 17), quiet)
    assert {it.outcome for it in done} == {"made"}
    assert "prompts_y2024m03" in {it.name for it in done}
    assert set(lies_in(postgres, postgres_urls, "prompts").values()) == {"prompts_y2024m03"}
    assert postgres.execute("SELECT p::text FROM prompts p ORDER BY 1", postgres_urls.name) == kept
    assert faults(owner) == []
    assert make_since(owner, date(2024, 3, 1), quiet) == []
    with runtime(postgres_urls, A) as connection:
        for tenant, expected in ((A, 1), (B, 0)):
            found = connection.execute("SELECT FROM prompts WHERE id = %s", [ids[tenant]])
            assert len(found.fetchall()) == expected
        # What is forgotten is forgotten in every month.
        connection.execute("DELETE FROM sessions")
    assert lies_in(postgres, postgres_urls, "prompts") == {ids[B]: "prompts_y2024m03"}


async def test_many_rows_are_moved_by_the_owner_only(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    last = max(part.month for part in parts_of(owner) if part.month)
    name = f"ingested_events_y{last:%Ym%m}"
    postgres.execute(f"DROP TABLE {name}", postgres_urls.name)
    postgres.execute(
        "INSERT INTO ingested_events SELECT gen_random_uuid(),"
        f" overlay(gen_random_uuid()::text placing left(first_id('{last}')::text, 13) from 1)::uuid,"
        f" 'tool.used', '{SESSION}', NULL, now() FROM generate_series(1, 10001)",
        postgres_urls.name,
    )
    database = PostgresDatabase(postgres_urls.runtime, connections=1)
    (held,) = await MonthsAhead(database, replace(local_scope(), enterprise_id=A)).make()
    await database.close()
    assert held.name == name
    assert held.outcome.startswith("held back")
    assert faults(owner) == []
    assert set(lies_in(postgres, postgres_urls, "ingested_events").values()) == {
        "ingested_events_default"
    }
    upgrade(postgres_urls.owner, RUNTIME)
    assert set(lies_in(postgres, postgres_urls, "ingested_events").values()) == {name}


async def test_whoever_is_in_the_way_is_not_waited_for_long(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    last = max(part.month for part in parts_of(owner) if part.month)
    postgres.execute(f"DROP TABLE prompts_y{last:%Ym%m}", postgres_urls.name)
    postgres.execute("ALTER FUNCTION make_partitions SET lock_timeout = '50ms'", postgres_urls.name)
    database = PostgresDatabase(postgres_urls.runtime, connections=1)
    ahead = MonthsAhead(database, replace(local_scope(), enterprise_id=A))
    with runtime(postgres_urls, A) as other:
        other.execute("SELECT FROM prompts")
        with pytest.raises(Unavailable):
            await ahead.make()
        other.rollback()
    assert [it.outcome for it in await ahead.make()] == ["made"]
    await database.close()


async def test_rows_by_their_ids_are_looked_for_in_their_months_only(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    make_organisation(postgres, postgres_urls)
    make_since(owner, date(2024, 3, 1), quiet)
    ids = [add_prompt(postgres_urls, A, at) for at in (MARCH_2024, MARCH_2024 + 1)]
    engine = make_engine(postgres_urls.runtime, 1)
    plans: list[str] = []

    def explained(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        del cursor, context, many
        if statement.startswith("SELECT") and "FROM prompts" in statement:
            for kind in ("force_custom_plan", "force_generic_plan"):
                connection.connection.execute(f"SET plan_cache_mode = {kind}")
                rows = connection.connection.execute(f"EXPLAIN (ANALYZE) {statement}", parameters)
                plans.append("\n".join(row[0] for row in rows))

    sa.event.listen(engine, "before_cursor_execute", explained)
    scope = replace(local_scope(), enterprise_id=A)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT set_config('app.current_enterprise_id', '{A}', false)")
        found = memory.get_many(scope, connection, [EntityRef("prompt", it) for it in ids])
    engine.dispose()
    assert len(found) == len(ids)
    assert len(plans) == 2
    for plan in plans:
        looked_at = set(re.findall(r"(prompts_(?:y\d+m\d+|default))\b(?!_)", plan))
        assert looked_at == {"prompts_y2024m03"}, plan


def test_what_is_taken_out_is_kept_where_only_its_owner_comes(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    make_organisation(postgres, postgres_urls)
    make_since(owner, date(2024, 3, 1), quiet)
    old = {tenant: add_prompt(postgres_urls, tenant, MARCH_2024) for tenant in (A, B)}
    new = add_prompt(postgres_urls, A, APRIL_2024)
    assert sorted(detach_before(owner, date(2024, 4, 30))) == sorted(
        f"{it}_y2024m03" for it in TABLES
    )
    assert detach_before(owner, date(2024, 4, 1)) == []
    assert lies_in(postgres, postgres_urls, "prompts") == {new: "prompts_y2024m04"}
    kept = (
        "SELECT enterprise_id::text, id::text FROM claude_mem_detached.prompts_y2024m03 ORDER BY 1"
    )
    assert postgres.execute(kept, postgres_urls.name) == sorted(old.items())
    assert {it.name for it in parts_of(owner) if it.is_detached} == {
        f"{it}_y2024m03" for it in TABLES
    }
    guard = postgres.execute(
        "SELECT c.relrowsecurity, c.relforcerowsecurity, p.polname, pg_get_userbyid(c.relowner), c.relacl"
        " FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid"
        " WHERE c.relnamespace = 'claude_mem_detached'::regnamespace AND c.relkind = 'r'",
        postgres_urls.name,
    )
    assert guard == [(True, True, "tenant", OWNER, None)] * len(TABLES)
    with runtime(postgres_urls, A) as connection:
        assert connection.execute("SELECT id::text FROM prompts").fetchall() == [(new,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute("SELECT FROM claude_mem_detached.prompts_y2024m03")
        # What a session that is deleted leaves behind is nothing, there either.
        connection.execute("DELETE FROM sessions")
    assert postgres.execute(kept, postgres_urls.name) == [(B, old[B])]
    jobs = postgres.execute(
        "SELECT enterprise_id::text, task_type, status FROM task_queue ORDER BY 1",
        postgres_urls.name,
    )
    assert jobs == [(it, "index.rebuild", "pending") for it in (A, B)]
    # Neither comes it back as an empty month, nor is anything of it open.
    assert {it.outcome for it in make_since(owner, date(2024, 3, 1), quiet)} == {"detached"}
    assert upgrade(postgres_urls.owner, RUNTIME) is False
    assert faults(owner) == []


def test_a_right_to_a_partition_is_a_fault(
    postgres: PostgresServer, postgres_urls: Urls, owner: Engine
) -> None:
    assert faults(owner) == []
    for grant, fault in (
        (
            "GRANT SELECT ON prompts_default TO {}",
            "prompts_default (a partition, open to the runtime role)",
        ),
        (
            "GRANT UPDATE (made) ON ingested_events_default TO {}",
            "ingested_events_default (a partition, open to the runtime role)",
        ),
        (
            "GRANT USAGE ON SCHEMA claude_mem_detached TO {}",
            "claude_mem_detached (open to the runtime role)",
        ),
    ):
        postgres.execute(grant.format(RUNTIME), postgres_urls.name)
        assert faults(owner) == [fault]
        upgrade(postgres_urls.owner, RUNTIME)
        assert faults(owner) == []
