"""What the domains' tables share: the metadata, and column types that differ by engine.

Lowest of the domains. Ids are UUIDs (text on SQLite, `uuid` on PostgreSQL); moments are integer milliseconds on SQLite
and `timestamptz` on PostgreSQL, and always integer milliseconds in Python.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
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

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """From the engine."""
        if value is None or dialect.name != "postgresql":
            return value
        return int((value - _EPOCH) / timedelta(milliseconds=1))


def id_type() -> TypeEngine[Any]:
    """A UUID: 36 characters on SQLite, `uuid` on PostgreSQL; text in Python."""
    return sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")


def json_type() -> TypeEngine[Any]:
    """A JSON document: text on SQLite, `jsonb` on PostgreSQL."""
    return sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(), "postgresql")
