"""Bringing a PostgreSQL database to this program's schema: run by its owner, never by a replica.

The tables come from the same migrations as SQLite's. What PostgreSQL alone has (rights, row-level security, functions)
is SQL that may run any number of times, in `adapters/postgres/schema`, and runs after every upgrade. All of it is one
transaction under a lock: others see the old schema or the new one, and two upgrades run one after the other. What the
result leaves unguarded is looked for last, and takes everything back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from claude_mem.adapters.postgres.connection import MINIMUM_VERSION, make_engine
from claude_mem.adapters.postgres.errors import translate
from claude_mem.app import migrate
from claude_mem.app.migrations import HEAD
from claude_mem.kernel.errors import MemError, NewerDatabase

SCHEMA = "claude_mem.adapters.postgres.schema"
VERSIONS = "claude_mem.app.migrations"
LOCK = 0x63_6C_6D_65_6D  # one number for every program that upgrades
TENANTLESS = frozenset(
    {"alembic_version", "schema_info"}
)  # what everybody may read and only the owner writes
VECTORS = "vectors"  # the placeholder of the schema that pgvector is in
MINIMUM_VECTORS = (0, 8)  # the oldest that this was tried with
_PLACEHOLDER = re.compile(r':"(\w+)"')

_ROLES = """
SELECT r.rolname, r.rolcanlogin, r.rolbypassrls,
       r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication,
       EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid),
       pg_has_role(current_user, r.oid, 'MEMBER')
FROM pg_roles r WHERE r.rolname = ANY (CAST(:names AS text[]))
"""
_TENANTS_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relforcerowsecurity ORDER BY c.oid
"""
# A tenant's table has exactly the one policy, in force for its owner too; what no policy can hold (a materialized view,
# a foreign table) and what bypasses one (a function with its owner's rights) is ours and guarded, or not there. Of the
# owner's own functions there is one, which makes partitions: only who owns a table can.
_UNGUARDED = """
SELECT c.relname::text FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'f')
  AND c.relname <> ALL (CAST(:tenantless AS text[]))
  AND NOT (c.relrowsecurity AND c.relforcerowsecurity
           AND (c.relname = 'enterprises' OR EXISTS (
               SELECT FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attname = 'enterprise_id' AND NOT a.attisdropped))
           AND (SELECT array_agg(p.polname::text) FROM pg_policy p WHERE p.polrelid = c.oid) = ARRAY['tenant'])
UNION ALL
SELECT p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
  AND NOT (pg_get_userbyid(p.proowner)
             = CASE WHEN p.proname = 'make_partitions' AND p.pronargs = 0 THEN :owner ELSE :definer END
           AND EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%')
           AND NOT EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                           WHERE a.grantee = 0))
UNION ALL
SELECT c.oid::regclass::text || ' (owned by the runtime role)' FROM pg_class c
WHERE pg_get_userbyid(c.relowner) = :runtime
UNION ALL
SELECT c.oid::regclass::text || ' (a partition, open to the runtime role)' FROM pg_class c
WHERE c.relispartition AND c.relkind IN ('r', 'p')
  AND (has_table_privilege(:runtime, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
       OR has_any_column_privilege(:runtime, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
UNION ALL
SELECT n.nspname::text || ' (open to the runtime role)' FROM pg_namespace n
WHERE n.nspname = 'claude_mem_detached' AND has_schema_privilege(:runtime, n.oid, 'USAGE')
UNION ALL
SELECT 'schema public (open to the runtime role)'
WHERE has_schema_privilege(:runtime, 'public', 'CREATE')
UNION ALL
SELECT 'temporary tables (open to the runtime role)'
WHERE has_database_privilege(:runtime, current_database(), 'TEMPORARY')
ORDER BY 1
"""


_EXTENSION = """
SELECT e.extversion, n.nspname::text, n.nspname ~ '^[a-z_][a-z0-9_]*$' AND has_schema_privilege(n.oid, 'USAGE')
       AND has_schema_privilege(CAST(:definer AS name), n.oid, 'USAGE')
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'
"""

_log = structlog.get_logger("upgrade")


def definer_of(owner: str) -> str:
    """The role that owns the few functions which act past row-level security: it logs in nowhere."""
    return f"{owner}_definer"


def roles_to_make(owner: str, runtime: str) -> str:
    """What a superuser runs once for a cluster; passwords are set apart."""
    definer = _quoted(definer_of(owner))
    plain = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    return (
        f"CREATE ROLE {_quoted(owner)} LOGIN {plain}; "
        f"CREATE ROLE {_quoted(runtime)} LOGIN {plain} NOINHERIT; "
        f"CREATE ROLE {definer} NOLOGIN BYPASSRLS; GRANT {definer} TO {_quoted(owner)};"
    )


@dataclass(frozen=True, slots=True)
class State:
    """What an upgrade would find and do: `revision` is None for an empty database, `faults` are mended or refused."""

    revision: str | None
    migrations: tuple[str, ...]  # that would run, oldest first
    scripts: tuple[str, ...]  # that run each time
    faults: tuple[str, ...]
    no_vectors: str  # why there is no vector search: what an administrator has to do; empty where there is one

    @property
    def is_newer(self) -> bool:
        """Whether a newer program made it, which lets this one use it: an upgrade leaves it alone."""
        return self.revision is not None and self.revision > HEAD


def look(owner_url: str, runtime_role: str) -> State:
    """What `upgrade` would do, with nothing changed and nobody kept waiting. Raises as `upgrade` does."""
    with _opened(owner_url) as connection:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        _check_version(connection)
        roles = _roles(connection, runtime_role)
        revision = _revision(connection)
        faults = () if revision is None else tuple(unguarded(connection, roles))
        schema, remedy = _vectors(connection, roles["definer"])
    names = tuple(name for name, _ in _files(with_vectors=schema is not None))
    return State(revision, tuple(_after(revision)), names, faults, remedy)


def upgrade(owner_url: str, runtime_role: str) -> bool:
    """Migrate to HEAD as the owner and (re)make everything that guards it; True when a migration ran.

    A newer schema that this program may still use is left as it is. Raises MemError (roles that are missing or may too
    much, something unguarded: nothing was changed), NewerDatabase, Unavailable.
    """
    with _opened(owner_url) as connection:
        _prepare(connection)
        roles = _roles(connection, runtime_role)
        revision = _revision(connection)
        if revision is not None and revision > HEAD:
            return False
        if revision != HEAD:
            step(connection, "upgrade", "head")
        _run_scripts(connection, roles)
        _check_guarded(connection, roles)
    return revision != HEAD


@contextmanager
def _opened(owner_url: str) -> Iterator[Connection]:
    """A transaction of the owner's, committed at the end; the engine's errors in the product's words."""
    engine = make_engine(owner_url, 1)
    try:
        with (
            engine.connect().execution_options(isolation_level="READ COMMITTED") as connection,
            connection.begin(),
        ):
            yield connection
    except SQLAlchemyError as error:
        translated = translate(error)
        if translated is error:
            raise
        raise translated from error
    finally:
        engine.dispose()


def step(connection: Connection, direction: str, revision: str) -> None:
    """Run migrations in the caller's transaction, on the rows of every tenant.

    Row-level security holds for the owner too, who has no tenant: a migration that changes rows would change none, and
    say nothing. It is back in force before the transaction ends, or the whole of it is undone.
    """
    for table in connection.execute(sa.text(_TENANTS_TABLES)).scalars().all():
        connection.exec_driver_sql(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    migrate.run(connection, direction, revision)


def unguarded(connection: Connection, roles: Mapping[str, str]) -> list[str]:
    """Tables, functions and rights through which tenants could meet; none in a sound database."""
    found = connection.execute(sa.text(_UNGUARDED), {**roles, "tenantless": sorted(TENANTLESS)})
    return [str(row[0]) for row in found]


def scripts(roles: Mapping[str, str]) -> Iterator[str]:
    """The schema's SQL files in order; `:"runtime"`, `:"owner"`, `:"definer"` stand for those roles' quoted names.

    `:"vectors"` is the schema of pgvector; where there is none, files that need it are left out.
    """
    for _, text in _files(with_vectors=VECTORS in roles):
        yield _PLACEHOLDER.sub(lambda it: _quoted(roles[it[1]]), text)


def _files(*, with_vectors: bool) -> list[tuple[str, str]]:
    """The schema's SQL files: names, in order, with their texts."""
    found = [item for item in resources.files(SCHEMA).iterdir() if item.name.endswith(".sql")]
    texts = sorted((item.name, item.read_text("utf-8")) for item in found)
    return [it for it in texts if with_vectors or f':"{VECTORS}"' not in it[1]]


def _vectors(connection: Connection, definer: str) -> tuple[str | None, str]:
    """The schema in which pgvector can be used; where it cannot, None and what an administrator has to do."""
    row = connection.execute(sa.text(_EXTENSION), {"definer": definer}).first()
    if row is None:
        return None, "install pgvector, then run as a superuser: CREATE EXTENSION vector"
    version, schema, is_usable = row
    if tuple(map(int, version.split(".")[:2])) < MINIMUM_VECTORS:
        return None, f"pgvector is {version}, not 0.8: run ALTER EXTENSION vector UPDATE"
    if not is_usable:
        return None, "run as a superuser: ALTER EXTENSION vector SET SCHEMA public"
    return schema, ""


def _after(revision: str | None) -> list[str]:
    """The names of the migrations after a revision."""
    found = (resources.files(VERSIONS) / "versions").iterdir()
    names = sorted(item.name.removesuffix(".py") for item in found if item.name[:1].isdigit())
    return [name for name in names if name.partition("_")[0] > (revision or "")]


def _check_version(connection: Connection) -> None:
    version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    if version < MINIMUM_VERSION:
        raise MemError(f"PostgreSQL {version // 10_000} is too old: 15 or newer is needed")


def _prepare(connection: Connection) -> None:
    _check_version(connection)
    # As long as another upgrade takes; after that, not longer for a table than the connection's own limit says.
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")


def _revision(connection: Connection) -> str | None:
    """The schema's revision; None for an empty database. Raises NewerDatabase when this program is too old for it."""
    if connection.exec_driver_sql("SELECT to_regclass('public.alembic_version')").scalar() is None:
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM public.alembic_version").scalar()
    if found is None:
        return None
    minimum = connection.exec_driver_sql(
        "SELECT value::integer FROM public.schema_info WHERE key = 'min_reader_version'"
    ).scalar_one()
    if minimum > migrate.READER_VERSION:
        raise NewerDatabase(
            f"the database was written by a newer Claude-Mem (it asks for reader version {minimum}, this is"
            f" {migrate.READER_VERSION}): upgrade this program; nothing was changed"
        )
    return str(found)


def _roles(connection: Connection, runtime: str) -> dict[str, str]:
    """Names by part; raises MemError where one is missing or may more than its part asks."""
    owner = str(connection.exec_driver_sql("SELECT current_user").scalar_one())
    definer = definer_of(owner)
    rows = connection.execute(sa.text(_ROLES), {"names": [runtime, definer]}).all()
    found = {row[0]: tuple(row[1:]) for row in rows}
    if missing := [name for name in (runtime, definer) if name not in found]:
        raise MemError(
            f"roles are missing ({', '.join(missing)}). As a superuser, those of these that are not there:"
            f" {roles_to_make(owner, runtime)}"
        )
    can_login, bypasses, may_too_much, is_member, owner_is_in = found[runtime]
    if bypasses or may_too_much or is_member or owner == runtime:
        raise MemError(
            f"the role {runtime} may too much: it must be a login of its own that is no superuser, makes no roles or"
            " databases, does not bypass row-level security and is a member of no role"
        )
    can_login, bypasses, may_too_much, is_member, owner_is_in = found[definer]
    if can_login or not bypasses or may_too_much or is_member or not owner_is_in:
        raise MemError(
            f"the role {definer} must be NOLOGIN BYPASSRLS, a member of no role, and granted to {owner}"
        )
    return {"owner": owner, "runtime": runtime, "definer": definer}


def _run_scripts(connection: Connection, roles: Mapping[str, str]) -> None:
    for name, role in roles.items():
        setting = {"name": f"claude_mem.{name}", "role": role}
        connection.execute(sa.text("SELECT set_config(:name, :role, true)"), setting)
    definer = _quoted(roles["definer"])
    schema, remedy = _vectors(connection, roles["definer"])
    if schema is None:
        _log.warning("no_vector_search", remedy=f"{remedy}; then upgrade again")
    for text in scripts(roles if schema is None else {**roles, VECTORS: schema}):
        # To be given a function, a role must be allowed to make one there: for as long as this takes.
        _run_plain(connection, f"GRANT CREATE ON SCHEMA public TO {definer}")
        _run_plain(connection, text)
    _run_plain(connection, f"REVOKE CREATE ON SCHEMA public FROM {definer}")


def _run_plain(connection: Connection, text: str) -> None:
    """Without parameters a percent sign is one, and a text may hold many statements."""
    connection.exec_driver_sql(text, execution_options={"no_parameters": True})


def _check_guarded(connection: Connection, roles: Mapping[str, str]) -> None:
    if found := unguarded(connection, roles):
        raise MemError(
            f"tenants could meet through: {', '.join(found)}. Nothing was changed: every table carries enterprise_id,"
            f" and a function with its owner's rights belongs to {roles['definer']}"
        )


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
