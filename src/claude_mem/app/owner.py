"""What the owner of a PostgreSQL database does, from a command or a deployment's job; no replica has these rights.

The address holds a password: it comes from the environment, or from a file that the environment names, never from a
command line, and is never printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from claude_mem.adapters.postgres import copying, partitions
from claude_mem.adapters.postgres.connection import make_engine
from claude_mem.adapters.postgres.errors import translate
from claude_mem.adapters.postgres.partitions import Outcome, Part
from claude_mem.kernel.errors import Detail, Invalid

URL: Final = "CLAUDE_MEM_DATABASE_OWNER_URL"
RUNTIME_ROLE: Final = "CLAUDE_MEM_DATABASE_RUNTIME_ROLE"
DEFAULT_OWNER, DEFAULT_RUNTIME = "claude_mem_owner", "claude_mem"
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Owner:
    """How to come in as the owner, and which role the program itself has."""

    url: str = field(repr=False)
    runtime_role: str = DEFAULT_RUNTIME


def of_environment(environ: Mapping[str, str] | None = None) -> Owner:
    """Raises Invalid that names the variable, never its value."""
    env = os.environ if environ is None else environ
    url = env.get(URL) or _of_file(env)
    if not url:
        raise _fault(
            URL,
            "is needed: postgresql://owner:password@host:port/database, or a file"
            f" that holds it, named by {URL}_FILE",
        )
    return Owner(url, env.get(RUNTIME_ROLE) or DEFAULT_RUNTIME)


def _of_file(env: Mapping[str, str]) -> str:
    path = env.get(f"{URL}_FILE")
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _fault(f"{URL}_FILE", f"cannot be read: {error}") from error


def _fault(name: str, message: str) -> Invalid:
    return Invalid(f"{name} {message}", details=(Detail(name, message),))


def parts(owner: Owner) -> list[Part]:
    """Every partition."""
    with _engine(owner) as engine, engine.connect() as connection:
        return partitions.listed(connection)


def make_months(owner: Owner, since: date | None, tell: Tell) -> list[Outcome]:
    """Make the months from `since` (None: this one) to two ahead."""
    with _engine(owner) as engine:
        return partitions.make_since(engine, since or _today(), tell)


def detach(owner: Owner, keep: int) -> list[str]:
    """Take out the partitions of months that are over for `keep` months or longer (at least 1): their names."""
    today = _today()
    first = today.year * 12 + today.month - 1 - keep
    with _engine(owner) as engine:
        return partitions.detach_before(engine, date(first // 12, first % 12 + 1, 1))


def copy_enterprise(source_url: str, owner: Owner, enterprise: str, tell: Tell) -> dict[str, int]:
    """Copy an enterprise from the database behind `source_url` into the owner's; rows by table.

    `source_url` is the program's role there. Raises MemError, and nothing is kept.
    """
    with (
        _engine(Owner(source_url)) as source,
        source.connect() as reading,
        _engine(owner) as engine,
        engine.connect().execution_options(isolation_level="READ COMMITTED") as writing,
        writing.begin(),
    ):
        reading.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for connection in (reading, writing):
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        return copying.copy_enterprise(reading, writing, enterprise, tell)


def _today() -> date:
    return datetime.now(UTC).date()


@contextmanager
def _engine(owner: Owner) -> Iterator[Engine]:
    engine = make_engine(owner.url, 1)
    try:
        yield engine
    except SQLAlchemyError as error:
        translated = translate(error)
        if translated is error:
            raise
        raise translated from error
    finally:
        engine.dispose()
