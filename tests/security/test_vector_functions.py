"""The function that searches vectors past row-level security, attacked as the runtime role: it keeps tenants apart.

Row-level security of the tables themselves is asked elsewhere; here it is what the functions' owner may bypass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from claude_mem.adapters.postgres.vectors import PostgresVectorIndex
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.vectors import VectorEntry, VectorModel, pack
from servers import RUNTIME, PostgresServer, Urls

OURS = local_scope()
THEIRS = Scope("00000000-0000-7000-8000-0000000000ff", "u", frozenset())
MODEL = VectorModel("m", 4)
OUR_PROJECT = "00000000-0000-7000-8000-0000000000a1"
THEIR_PROJECT = "00000000-0000-7000-8000-0000000000a2"
SECRET = [0.0, 0.0, 1.0, 0.0]  # a vector of theirs
_NEAREST = "SELECT id::text, similarity FROM vector_nearest(%s, %s::real[], %s::uuid[], %s)"


def name(number: int) -> str:
    return str(UUID(int=number))


@pytest.fixture
def runtime(postgres: PostgresServer, postgres_urls: Urls) -> Iterator[sa.Connection]:
    """The runtime role's raw connection; both tenants have vectors, of the same and of other ids."""
    index = PostgresVectorIndex()
    engine = sa.create_engine(postgres_urls.runtime, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for scope, numbers, project, vector in (
            (OURS, (1, 2), OUR_PROJECT, (1, 0, 0, 0)),
            (THEIRS, (2, 3, 4), THEIR_PROJECT, SECRET),
        ):
            _as(connection, scope.enterprise_id)
            entries = [VectorEntry(name(n), project, pack(vector)) for n in numbers]
            index.add(scope, connection, MODEL, entries)
        connection.exec_driver_sql("RESET app.current_enterprise_id")
        yield connection
    engine.dispose()


def _as(connection: sa.Connection, enterprise: str) -> None:
    connection.exec_driver_sql(
        "SELECT set_config('app.current_enterprise_id', %s, false)", (enterprise,)
    )


def _found(
    connection: sa.Connection,
    query: list[float],
    projects: list[str] | None = None,
    most: int | None = 100,
    model: str = MODEL.name,
) -> list[int]:
    rows: Any = connection.exec_driver_sql(_NEAREST, (model, query, projects, most))
    return [UUID(row[0]).int for row in rows]


@pytest.fixture(params=[False, True], ids=["compared", "in cells"])
def settled(
    request: pytest.FixtureRequest,
    postgres: PostgresServer,
    postgres_urls: Urls,
    runtime: sa.Connection,
) -> sa.Connection:
    """The same, as it is, and with both tenants' vectors in cells of the same number and centre."""
    if request.param:
        postgres.execute("UPDATE vector_index SET cell = 0", postgres_urls.name)
        postgres.execute(
            "INSERT INTO vector_cells SELECT DISTINCT enterprise_id, model, dimension, 0,"
            " '[0,0,1,0]'::halfvec FROM vector_index",
            postgres_urls.name,
        )
    return runtime


@pytest.mark.parametrize("enterprise", [None, "", "00000000-0000-7000-8000-0000000000aa"])
def test_without_a_tenant_of_ones_own_there_is_nothing(
    settled: sa.Connection, enterprise: str | None
) -> None:
    if enterprise is not None:
        _as(settled, enterprise)
    for projects in (None, [OUR_PROJECT, THEIR_PROJECT]):
        assert _found(settled, SECRET, projects) == []
    for table in ("vector_index", "vector_cells"):
        assert settled.exec_driver_sql(f"SELECT * FROM {table}").all() == []


def test_a_malformed_tenant_is_an_error(settled: sa.Connection) -> None:
    _as(settled, "' OR true --")
    with pytest.raises(sa.exc.DBAPIError, match="invalid input syntax for type uuid"):
        _found(settled, SECRET)


def test_no_argument_leads_to_another_tenant(settled: sa.Connection) -> None:
    """Their very vector, their project, names that are SQL: what comes back is ours, or nothing."""
    _as(settled, OURS.enterprise_id)
    for most in (1, 2, 100, 1_000):
        for projects in (None, [THEIR_PROJECT, OUR_PROJECT]):
            found = _found(settled, SECRET, projects, most)
            assert len(found) == min(most, 2)
            assert set(found) <= {1, 2}
        assert _found(settled, SECRET, [THEIR_PROJECT], most) == []
    for model in ("m' OR true --", "m') OR (true", "%", "", "m\\", "$1", "%1$s"):
        assert _found(settled, SECRET, model=model) == [], model
    similarities = [
        row[1] for row in settled.exec_driver_sql(_NEAREST, ("m", SECRET, None, 10)).all()
    ]
    assert similarities == [0, 0], "the cosines of our own"


def test_how_many_is_held_within_bounds(settled: sa.Connection) -> None:
    _as(settled, OURS.enterprise_id)
    for most, count in ((None, 0), (-1, 0), (0, 0), (1, 1), (2**31 - 1, 2)):
        assert len(_found(settled, SECRET, most=most)) == count, most
    _as(settled, THEIRS.enterprise_id)
    settled.exec_driver_sql(
        "INSERT INTO vector_index (enterprise_id, id, model, dimension, vector)"
        f" SELECT '{THEIRS.enterprise_id}', gen_random_uuid(), 'm', 4, ARRAY[0,0,1,0]::real[]"
        " FROM generate_series(1, 1200)"
    )
    assert len(_found(settled, SECRET, most=2**31 - 1)) == 1_000


@pytest.mark.parametrize(
    "query",
    [
        [],
        [float("nan")] * 4,
        [float("inf"), 0.0, 0.0, 0.0],
        [1e30, 0.0, 0.0, 0.0],
        [0, 0, 0, 0],
        [1, 0, 0],
        [1, 0, 0, 0, 0],
        [1.0] * 3_000,
        [1.0] * 20_000,
    ],
    ids=["none", "nan", "inf", "great", "zero", "short", "long", "longer", "longest"],
)
def test_what_is_no_vector_tells_nothing(settled: sa.Connection, query: list[float]) -> None:
    """An error that speaks of what was given, or an answer out of our own; never a vector that is kept."""
    _as(settled, OURS.enterprise_id)
    try:
        assert set(_found(settled, query)) <= {1, 2}
    except sa.exc.DBAPIError as error:
        text = str(error.orig)
        assert "halfvec" in text
        assert name(3) not in text
        assert THEIRS.enterprise_id not in text


def test_what_comes_first_in_the_search_path_is_not_called(
    postgres: PostgresServer, postgres_urls: Urls, settled: sa.Connection
) -> None:
    for sql in (
        "CREATE SCHEMA evil",
        f"GRANT USAGE ON SCHEMA evil TO {RUNTIME}",
        "CREATE FUNCTION evil.current_setting(text, boolean) RETURNS text LANGUAGE sql "
        f"RETURN '{THEIRS.enterprise_id}'",
        "CREATE FUNCTION evil.isnt(uuid, uuid) RETURNS boolean LANGUAGE sql RETURN true",
        "CREATE OPERATOR evil.= (FUNCTION = evil.isnt, LEFTARG = uuid, RIGHTARG = uuid)",
        "CREATE VIEW evil.vector_index AS SELECT * FROM public.vector_index",
    ):
        postgres.execute(sql, postgres_urls.name)
    settled.exec_driver_sql("SET search_path = evil, pg_catalog, public")
    _as(settled, OURS.enterprise_id)
    assert _found(settled, SECRET) == [1, 2]


def test_settings_of_the_session_let_nobody_past(settled: sa.Connection) -> None:
    _as(settled, OURS.enterprise_id)
    for setting in (
        "row_security = off",
        "enable_indexscan = off",
        "enable_bitmapscan = off",
        "work_mem = '64kB'",
        "enable_seqscan = on",
        "plan_cache_mode = force_custom_plan",
    ):
        settled.exec_driver_sql(f"SET {setting}")
        assert _found(settled, SECRET) == [1, 2], setting
    assert settled.exec_driver_sql("SHOW work_mem").scalar() == "64kB", "the session's is its own"


def test_the_tables_are_guarded_and_the_functions_are_held_short(
    postgres: PostgresServer, postgres_urls: Urls, settled: sa.Connection
) -> None:
    _as(settled, OURS.enterprise_id)
    theirs = THEIRS.enterprise_id
    for sql in (
        f"INSERT INTO vector_index VALUES ('{theirs}', '{name(9)}', NULL, 'm', 1, NULL, '[1]')",
        f"UPDATE vector_index SET enterprise_id = '{theirs}'",
        f"INSERT INTO vector_cells VALUES ('{theirs}', 'x', 1, 0, '[1]')",
        "ALTER FUNCTION vector_nearest STABLE",
        "TRUNCATE vector_index",
        "REINDEX TABLE vector_index",
    ):
        with pytest.raises(sa.exc.DBAPIError, match=r"row-level security|denied|must be owner"):
            settled.exec_driver_sql(sql)
    assert settled.exec_driver_sql("DELETE FROM vector_index").rowcount == 2
    functions = postgres.execute(
        "SELECT p.proname, r.rolcanlogin, r.rolsuper, 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig),"
        " has_function_privilege('public', p.oid, 'EXECUTE')"
        " FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner"
        " WHERE p.proname LIKE 'vector\\_%' AND p.prosecdef ORDER BY 1",
        postgres_urls.name,
    )
    assert functions == [("vector_nearest", False, False, True, False)]
    rights = postgres.execute(
        "SELECT DISTINCT privilege_type FROM information_schema.column_privileges"
        " WHERE table_name IN ('vector_index', 'vector_cells') AND grantee LIKE '%\\_definer'",
        postgres_urls.name,
    )
    assert rights == [("SELECT",)]
