"""The functions that search past row-level security, attacked as the runtime role: they keep tenants apart.

Row-level security of the tables themselves is asked elsewhere; here it is what the functions' owner may bypass.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from claude_mem.adapters.postgres import lexical as postgres_lexical
from claude_mem.adapters.postgres.lexical import PostgresLexicalIndex
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.lexical import LexicalDocument
from servers import RUNTIME, PostgresServer, Urls

OURS = local_scope()
THEIRS = Scope("00000000-0000-7000-8000-0000000000ff", "u", frozenset())
_FIND = (
    "SELECT search_find(%s::text[], %s::text[], %s::text[], %s::text[], %s::bigint, %s::integer)"
)
_RANK = "SELECT search_rank(%s::text[], %s::float8[], %s::bigint[], %s::integer)"


def _numbers(packed: bytes) -> list[int]:
    return [int.from_bytes(packed[at : at + 8], "big") for at in range(0, len(packed), 8)]


@pytest.fixture
def urls(postgres: PostgresServer) -> Iterator[Urls]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture
def runtime(urls: Urls) -> Iterator[sa.Connection]:
    """The runtime role's raw connection; both tenants have documents, with the same and other numbers."""
    index = PostgresLexicalIndex()
    texts = {OURS: {1: "token ours", 2: "token"}, THEIRS: dict.fromkeys((2, 3, 4), "token secret")}
    engine = sa.create_engine(urls.runtime, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for scope, bodies in texts.items():
            _as(connection, scope.enterprise_id)
            documents = [
                LexicalDocument(number, "", body, "k.prompt") for number, body in bodies.items()
            ]
            index.add(scope, connection, documents)
        connection.exec_driver_sql("RESET app.current_enterprise_id")
        yield connection
    engine.dispose()


def _as(connection: sa.Connection, enterprise: str) -> None:
    connection.exec_driver_sql(
        "SELECT set_config('app.current_enterprise_id', %s, false)", (enterprise,)
    )


def _found(connection: sa.Connection, *words: str, **more: list[str]) -> list[int]:
    names = ("labels", "phrases", "excluded")
    values = (list(words), *(more.get(name, []) for name in names), 0, 100)
    return _numbers(connection.exec_driver_sql(_FIND, values).scalar_one())


@pytest.mark.parametrize("enterprise", [None, "", "00000000-0000-7000-8000-0000000000aa"])
def test_without_a_tenant_of_ones_own_there_is_nothing(
    runtime: sa.Connection, enterprise: str | None
) -> None:
    if enterprise is not None:
        _as(runtime, enterprise)
    assert _found(runtime, "token") == []
    ranked = runtime.exec_driver_sql(_RANK, (["token"], [1.0], [1, 2, 3, 4], 10)).scalar_one()
    assert _numbers(ranked) == []
    assert runtime.exec_driver_sql("SELECT * FROM search_index").all() == []


def test_a_malformed_tenant_is_an_error(runtime: sa.Connection) -> None:
    _as(runtime, "' OR true --")
    for sql, values in (
        (_FIND, (["token"], [], [], [], 0, 10)),
        (_RANK, (["token"], [1.0], [1, 2], 10)),
    ):
        with pytest.raises(sa.exc.DBAPIError, match="invalid input syntax for type uuid"):
            runtime.exec_driver_sql(sql, values)


def test_no_argument_leads_to_another_tenant(runtime: sa.Connection) -> None:
    theirs = postgres_lexical._code(THEIRS.enterprise_id)
    _as(runtime, OURS.enterprise_id)
    assert _found(runtime, "token") == [2, 1]
    for attack in (
        "secret",
        f"{theirs}0 secret",
        f"x'|'{theirs}0 secret",
        f"x'|'{theirs}0",
        f"x\\'|'{theirs}0\\ secret'|'",
        f"\x01'|'{theirs}0\x01",
        "*",
        "'",
        "\\",
        f"x')|'{theirs}0 secret':*|('",
        "secret' OR true --",
    ):
        for arguments in (
            {"words": [attack]},
            {"labels": [attack]},
            {"phrases": [attack]},
            {"phrases": ["token", attack]},
            {"excluded": [attack], "words": ["token"]},
        ):
            words = arguments.pop("words", [])
            assert set(_found(runtime, *words, **arguments)) <= {1, 2}, attack
    assert _found(runtime, "secret") == []
    values = (["secret", "token"], [1.0, 1.0], [1, 2, 3, 4], 10)
    assert sorted(_numbers(runtime.exec_driver_sql(_RANK, values).scalar_one())) == [1, 2]


def test_tenants_that_share_their_code_share_no_answer(
    postgres: PostgresServer, urls: Urls, runtime: sa.Connection
) -> None:
    postgres.execute(
        "INSERT INTO search_index SELECT '00000000-0000-7000-8000-0000000000fe', 7, terms, tokens"
        f" FROM search_index WHERE enterprise_id = '{OURS.enterprise_id}' AND number = 1",
        urls.name,
    )
    _as(runtime, OURS.enterprise_id)
    assert _found(runtime, "ours") == [1]


def test_what_comes_first_in_the_search_path_is_not_called(
    postgres: PostgresServer, urls: Urls, runtime: sa.Connection
) -> None:
    for sql in (
        "CREATE SCHEMA evil",
        f"GRANT USAGE ON SCHEMA evil TO {RUNTIME}",
        "CREATE FUNCTION evil.current_setting(text, boolean) RETURNS text LANGUAGE sql "
        f"RETURN '{THEIRS.enterprise_id}'",
        "CREATE FUNCTION evil.isnt(uuid, uuid) RETURNS boolean LANGUAGE sql RETURN true",
        "CREATE OPERATOR evil.= (FUNCTION = evil.isnt, LEFTARG = uuid, RIGHTARG = uuid)",
        "CREATE VIEW evil.search_index AS SELECT * FROM public.search_index",
    ):
        postgres.execute(sql, urls.name)
    runtime.exec_driver_sql("SET search_path = evil, pg_catalog, public")
    _as(runtime, OURS.enterprise_id)
    assert _found(runtime, "token") == [2, 1]
    assert _found(runtime, "secret") == []


def test_the_table_is_guarded_and_the_functions_are_held_short(
    postgres: PostgresServer, urls: Urls, runtime: sa.Connection
) -> None:
    _as(runtime, OURS.enterprise_id)
    for sql in (
        f"INSERT INTO search_index VALUES ('{THEIRS.enterprise_id}', 9, '', '')",
        f"UPDATE search_index SET enterprise_id = '{THEIRS.enterprise_id}'",
        "SELECT search_operand('a', 'b')",
        "ALTER FUNCTION search_find STABLE",
        "TRUNCATE search_index",
    ):
        with pytest.raises(sa.exc.DBAPIError, match=r"row-level security|denied|must be owner"):
            runtime.exec_driver_sql(sql)
    assert runtime.exec_driver_sql("DELETE FROM search_index").rowcount == 2
    functions = postgres.execute(
        "SELECT p.proname, r.rolcanlogin, r.rolsuper, 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig),"
        " has_function_privilege('public', p.oid, 'EXECUTE')"
        " FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner"
        " WHERE p.proname LIKE 'search\\_%' AND p.prosecdef ORDER BY 1",
        urls.name,
    )
    assert functions == [
        (name, False, False, True, False) for name in ("search_find", "search_rank")
    ]
    rights = postgres.execute(
        "SELECT privilege_type FROM information_schema.table_privileges"
        " WHERE table_name = 'search_index' AND grantee LIKE '%\\_definer'",
        urls.name,
    )
    assert rights == [("SELECT",)]
