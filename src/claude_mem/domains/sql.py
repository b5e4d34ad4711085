"""What the domains' tables share: the metadata, and column types that differ by engine.

Lowest of the domains. Ids are UUIDs (text on SQLite, `uuid` on PostgreSQL); moments are integer milliseconds on SQLite
and `timestamptz` on PostgreSQL, and always integer milliseconds in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

metadata = sa.MetaData()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EpochMs(TypeDecorator[int]):
    """A moment as Unix milliseconds."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """`timestamptz` on PostgreSQL, an integer elsewhere."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(sa.BigInteger())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """To the engine."""
        if value is None or dialect.name != "postgresql":
            return value
        return _EPOCH + timedelta(milliseconds=value)

    def bind_processor(self, dialect: Dialect) -> Any:
        """None where integers go in as they are: a call a value saved on the hot path."""
        return super().bind_processor(dialect) if dialect.name == "postgresql" else None

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """From the engine."""
        if value is None:
            return None
        if dialect.name != "postgresql":
            return int(value)
        return int((value - _EPOCH) / timedelta(milliseconds=1))


def id_type() -> TypeEngine[Any]:
    """A UUID: 36 characters on SQLite, `uuid` on PostgreSQL; text in Python."""
    return sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")


def json_type() -> TypeEngine[Any]:
    """A JSON document: text on SQLite, `jsonb` on PostgreSQL."""
    return sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(), "postgresql")


Processor = Callable[[Any], Any]
_inserts: dict[tuple[str, str, bool], tuple[str, tuple[Processor | None, ...]]] = {}


def insert_many(tx: Any, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert `rows`, each a tuple in the order of the table's columns. The hot path of recording.

    The statement is compiled once a dialect; only columns whose type needs it are converted.
    """
    if not rows:
        return
    connection: Connection = tx
    sql, processors = _compiled_insert(connection.dialect, table)
    active = [(index, process) for index, process in enumerate(processors) if process]
    if not active:
        connection.exec_driver_sql(sql, list(rows))
        return
    converted = []
    for row in rows:
        values = list(row)
        for index, process in active:
            values[index] = process(values[index])
        converted.append(tuple(values))
    connection.exec_driver_sql(sql, converted)


def _compiled_insert(dialect: Dialect, table: sa.Table) -> tuple[str, tuple[Processor | None, ...]]:
    key = (dialect.name, table.name, dialect.positional)
    found = _inserts.get(key)
    if found is None:
        marks = ", ".join(["?" if dialect.paramstyle == "qmark" else "%s"] * len(table.columns))
        names = ", ".join(column.name for column in table.columns)
        processors = tuple(
            column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns
        )
        found = (f"INSERT INTO {table.name} ({names}) VALUES ({marks})", processors)  # noqa: S608 - names of our own tables
        _inserts[key] = found
    return found
