"""The function that passes row-level security to claim jobs: nobody bends it, its owner may do no more than it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from servers import Urls


def as_role(address: str) -> Any:
    """A connection past every adapter; each statement a transaction."""
    return psycopg.connect(address.replace("+psycopg", ""), autocommit=True)


def _role(address: str) -> str:
    return address.split("//")[1].split(":")[0]


def _definer(urls: Urls) -> str:
    return f"{_role(urls.owner)}_definer"


@pytest.mark.parametrize(
    "attempt",
    [
        "SET ROLE {definer}",
        "SET SESSION AUTHORIZATION {definer}",
        "GRANT {definer} TO CURRENT_USER",
        "ALTER FUNCTION claim_tasks RESET search_path",
        "ALTER FUNCTION claim_tasks OWNER TO CURRENT_USER",
        "DROP FUNCTION claim_tasks",
        "CREATE OR REPLACE FUNCTION claim_tasks(text, timestamptz, timestamptz, timestamptz, uuid[], integer)"
        " RETURNS TABLE (enterprise_id uuid, id uuid) LANGUAGE sql AS 'SELECT NULL::uuid, NULL::uuid'",
        "CREATE TEMP TABLE task_queue (id uuid)",
        "CREATE FUNCTION pg_temp.least(integer, integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    ],
)
def test_the_runtime_role_cannot_bend_the_claim(postgres_urls: Urls, attempt: str) -> None:
    with as_role(postgres_urls.runtime) as raw, pytest.raises(psycopg.Error) as refused:
        raw.execute(attempt.format(definer=_definer(postgres_urls)))
    assert refused.value.sqlstate == "42501", "insufficient privilege"


def test_who_owns_the_claim_may_do_no_more_than_it(postgres_urls: Urls) -> None:
    definer = _definer(postgres_urls)
    with as_role(postgres_urls.admin) as raw:
        columns = raw.execute(
            "SELECT column_name, privilege_type FROM information_schema.column_privileges"
            " WHERE grantee = %s AND table_name = 'task_queue'",
            (definer,),
        ).fetchall()
        rights = raw.execute(
            "SELECT rolcanlogin, rolsuper, has_schema_privilege(oid, 'public', 'CREATE'),"
            " has_table_privilege(oid, 'sessions', 'SELECT'), has_table_privilege(oid, 'task_queue', 'DELETE')"
            " FROM pg_roles WHERE rolname = %s",
            (definer,),
        ).fetchone()
        [(settings, callers)] = raw.execute(
            "SELECT proconfig, array(SELECT grantee::regrole::text FROM aclexplode(proacl))"
            " FROM pg_proc WHERE proname = 'claim_tasks'"
        ).fetchall()
    leased = {"status", "worker_id", "lease_until", "retry_count"}
    read = leased | {"enterprise_id", "id", "priority", "run_at"}
    assert {name for name, right in columns if right == "SELECT"} == read
    assert {name for name, right in columns if right == "UPDATE"} == leased | {"started_at"}
    assert {right for _, right in columns} == {"SELECT", "UPDATE"}
    assert rights == (False,) * 5
    assert settings == ["search_path=pg_catalog, pg_temp"]
    assert sorted(callers) == sorted([definer, _role(postgres_urls.runtime)])
