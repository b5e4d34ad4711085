"""A developer's store, read only: one state of it from beginning to end, whatever its worker writes meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlean

from claude_mem.adapters.sqlite.check import read_only
from claude_mem.adapters.sqlite.connection import Raw
from claude_mem.app.migrate import revision_of
from claude_mem.app.migrations import HEAD
from claude_mem.app.transfer.plan import Relation
from claude_mem.kernel.errors import MemError
from claude_mem.kernel.ids import deterministic_id
from claude_mem.kernel.scope import LOCAL_ENTERPRISE

Key = tuple[str, ...]
_ASKED_AT_ONCE = 400


class Source:
    """One open store."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def identity(self) -> str:
        """What tells this store from others, a UUID: its beginning. It moves with the file."""
        row = self._raw.execute(
            "SELECT created_at FROM enterprises WHERE id = ?", (LOCAL_ENTERPRISE,)
        ).fetchone()
        if row is None:
            raise MemError("the store is empty: nothing was ever recorded in it")
        first = self._raw.execute("SELECT min(id) FROM projects").fetchone()
        return deterministic_id(row[0], f"store {row[0]} {first[0]}")

    def first_id(self, table: str) -> str | None:
        """The least id of a table."""
        sql = f"SELECT min(id) FROM {table} WHERE enterprise_id = ?"  # noqa: S608 - our own tables
        found = self._raw.execute(sql, (LOCAL_ENTERPRISE,)).fetchone()[0]
        return None if found is None else str(found)

    def count(self, relation: Relation) -> int:
        """How many rows there are."""
        sql = f"SELECT count(*) FROM {relation.name} WHERE enterprise_id = ?"  # noqa: S608 - our own tables
        return int(self._raw.execute(sql, (LOCAL_ENTERPRISE,)).fetchone()[0])

    def rows(
        self, relation: Relation, after: Key | None, upto: Key | None, limit: int
    ) -> list[Sequence[Any]]:
        """The next rows by key, in the order of the relation's columns; texts that are none come as bytes."""
        names = ", ".join(column.name for column in relation.columns)
        key = f"({', '.join(relation.key)})"
        marks = f"({', '.join('?' * len(relation.key))})"
        where, values = ["enterprise_id = ?"], [LOCAL_ENTERPRISE]
        for bound, sign in ((after, ">"), (upto, "<=")):
            if bound is not None:
                where.append(f"{key} {sign} {marks}")
                values += bound
        sql = (
            f"SELECT {names} FROM {relation.name} WHERE {' AND '.join(where)}"  # noqa: S608
            f" ORDER BY {', '.join(relation.key)} LIMIT ?"
        )
        return self._all(sql, (*values, limit))

    def there(self, relation: Relation, ids: Sequence[str], column: str = "id") -> set[str]:
        """Which of the ids a table of the store has."""
        found: set[str] = set()
        for start in range(0, len(ids), _ASKED_AT_ONCE):
            chunk = ids[start : start + _ASKED_AT_ONCE]
            marks = ", ".join("?" * len(chunk))
            sql = (
                f"SELECT {column} FROM {relation.name}"  # noqa: S608
                f" WHERE enterprise_id = ? AND {column} IN ({marks})"
            )
            found |= {row[0] for row in self._raw.execute(sql, (LOCAL_ENTERPRISE, *chunk))}
        return found

    def sources_of(self, learnings: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(learning, session) of what sessions say of learnings."""
        for start in range(0, len(learnings), _ASKED_AT_ONCE):
            chunk = learnings[start : start + _ASKED_AT_ONCE]
            marks = ", ".join("?" * len(chunk))
            sql = (
                "SELECT learning_id, session_id FROM learning_sources"  # noqa: S608
                f" WHERE enterprise_id = ? AND learning_id IN ({marks})"
            )
            yield from self._raw.execute(sql, (LOCAL_ENTERPRISE, *chunk))

    def select(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """A few columns of all rows of the local enterprise, which is the statement's one parameter."""
        yield from self._raw.execute(sql, (LOCAL_ENTERPRISE,))

    def _all(self, sql: str, values: Sequence[Any]) -> list[Sequence[Any]]:
        try:
            return list(self._raw.execute(sql, values).fetchall())
        except (sqlean.OperationalError, UnicodeDecodeError):
            # A text that is no UTF-8: read as bytes, so that it can be told which.
            self._raw.text_factory = _text_or_bytes
            try:
                return list(self._raw.execute(sql, values).fetchall())
            finally:
                self._raw.text_factory = str


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The store's database as it is now, until it is closed. Raises MemError where its schema is not this program's."""
    with read_only(path) as raw:
        found = revision_of(raw)
        if found != HEAD:
            raise MemError(
                f"the store is at revision {found}, this program at {HEAD}: start its worker once"
                " (claude-mem start), which brings it up to date"
            )
        raw.execute("BEGIN")
        raw.execute(
            "SELECT count(*) FROM alembic_version"
        ).fetchone()  # from here on it stands still
        yield Source(raw)
