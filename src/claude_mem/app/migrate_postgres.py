"""Bringing a PostgreSQL database to this program's schema: run by its owner, never by a replica.

The tables come from the same migrations as SQLite's. What PostgreSQL alone has (rights, row-level security, functions)
is SQL that may run any number of times, in `adapters/postgres/schema`, and runs after every upgrade. All of it is one
transaction under a lock: others see the old schema or the new one, and two upgrades run one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from claude_mem.app import migrate

SCHEMA = "claude_mem.adapters.postgres.schema"
LOCK = 0x636C_6D65_6D  # "clmem": one number for every program that upgrades
_PLACEHOLDER = re.compile(r':"(\w+)"')


def definer_of(owner: str) -> str:
    """The role that owns the few functions which act before a tenant is known: it logs in nowhere and bypasses RLS."""
    return f"{owner}_definer"


def upgrade(owner_url: str, runtime_role: str) -> bool:
    """Migrate to HEAD as the owner and (re)make everything that guards it; True when a migration ran.

    The roles must be there; the error for missing ones says how to make them. Raises MemError, NewerDatabase.
    """
    engine = sa.create_engine(owner_url, poolclass=sa.NullPool, hide_parameters=True)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            # Nobody's tables or functions of the same names come first, whatever the role's own settings say.
            connection.exec_driver_sql("SET LOCAL search_path = public, pg_temp")
            roles = _roles(connection, runtime_role)
            migrate.run(connection, "upgrade", "head")
            _run_scripts(connection, roles)
        return True
    finally:
        engine.dispose()


def _run_scripts(connection: Connection, roles: Mapping[str, str]) -> None:
    for name, role in roles.items():
        setting = {"name": f"claude_mem.{name}", "role": role}
        connection.execute(sa.text("SELECT set_config(:name, :role, true)"), setting)
    # Without parameters a percent sign is one, and a file may hold many statements.
    plain = connection.execution_options(no_parameters=True)
    # To be given a function, a role must be allowed to make one there: for as long as this takes.
    plain.exec_driver_sql(f"GRANT CREATE ON SCHEMA public TO {_quoted(roles['definer'])}")
    for text in scripts(roles):
        plain.exec_driver_sql(text)
    plain.exec_driver_sql(f"REVOKE CREATE ON SCHEMA public FROM {_quoted(roles['definer'])}")


def scripts(roles: Mapping[str, str]) -> Iterator[str]:
    """The schema's SQL files in order; `:"runtime"`, `:"owner"`, `:"definer"` stand for those roles' quoted names."""
    found = [item for item in resources.files(SCHEMA).iterdir() if item.name.endswith(".sql")]
    for item in sorted(found, key=lambda item: item.name):
        yield _PLACEHOLDER.sub(lambda it: _quoted(roles[it[1]]), item.read_text("utf-8"))


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _roles(connection: Connection, runtime: str) -> dict[str, str]:
    owner = str(connection.exec_driver_sql("SELECT current_user").scalar_one())
    return {"owner": owner, "runtime": runtime, "definer": definer_of(owner)}
