"""What the domains' tables and statements share, so that one code runs on both engines.

Lowest of the domains. In Python ids and documents' texts are `str`, moments are integer milliseconds, JSON is plain
values, whatever the engine; on SQLite each of them goes in as it is, because that is the hot path. What a repository
writes differently for an engine is here and nowhere else: the column types, `insert_many`, `insert_new`, `upsert`,
`beyond`, `among`, `given`, `PerEngine`, `Lookup` and `hold`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

metadata = sa.MetaData()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
# The years 1 to 9999: what `datetime` knows.
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NO_NUL = "\N{REPLACEMENT CHARACTER}"

Processor = Callable[[Any], Any]


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
        """To the engine; what no `datetime` can hold is the nearest that one can."""
        if value is None or dialect.name != "postgresql":
            return value
        return _EPOCH + timedelta(milliseconds=min(max(value, _FIRST_MS), _LAST_MS))

    def bind_processor(self, dialect: Dialect) -> Any:
        """None where integers go in as they are: a call a value saved on the hot path."""
        return super().bind_processor(dialect) if dialect.name == "postgresql" else None

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """From the engine."""
        if value is None:
            return None
        if dialect.name != "postgresql":
            return int(value)
        return int((value - _EPOCH) // _MS)


class _Uuid(TypeDecorator[str]):
    """`uuid` for ids in their one spelling. What is none equals nothing, as it would as text, and is no error."""

    impl = postgresql.UUID(as_uuid=False)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the engine."""
        del dialect
        return value if value is not None and _ID.fullmatch(value) else None


class _Text(TypeDecorator[str]):
    """`text`, which cannot hold the character NUL on PostgreSQL."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the engine."""
        del dialect
        return value.replace("\0", _NO_NUL) if value is not None and "\0" in value else value


class _Document(TypeDecorator[Any]):
    """`jsonb`, whose strings cannot hold the character NUL either."""

    impl = postgresql.JSONB(none_as_null=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Processor:
        """As text, whatever the driver would make of it; strings are looked at only where an escape tells of NUL."""
        del dialect
        return _document


def _document(value: Any) -> str | None:
    if value is None:
        return None
    text = orjson.dumps(value)
    return (orjson.dumps(_without_nul(value)) if rb"\u0000" in text else text).decode()


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", _NO_NUL)
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(inner) for inner in value]
    return value


def id_type() -> TypeEngine[Any]:
    """A UUID: 36 characters on SQLite, `uuid` on PostgreSQL; text in Python."""
    return sa.Text().with_variant(_Uuid(), "postgresql")


def text_type() -> TypeEngine[Any]:
    """Text. What a person or tool wrote may hold NUL: kept on SQLite, U+FFFD on PostgreSQL."""
    return sa.Text().with_variant(_Text(), "postgresql")


def json_type() -> TypeEngine[Any]:
    """A JSON document: text on SQLite, `jsonb` on PostgreSQL (which keeps no order of keys). None is NULL."""
    return sa.JSON(none_as_null=True).with_variant(_Document(), "postgresql")


def wide_type() -> TypeEngine[Any]:
    """A sum of what others counted (tokens): 64 bits on both engines."""
    return sa.Integer().with_variant(sa.BigInteger(), "postgresql")


_inserts: dict[tuple[str, str, bool], tuple[str, tuple[Processor | None, ...]]] = {}


def insert_many(tx: Any, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert `rows`, each a tuple in the order of the table's columns. The hot path of recording.

    The statement is compiled once a dialect; only columns whose type needs it are converted. PostgreSQL is given all
    rows as one document: a statement a row costs it and the driver twice as much.
    """
    if not rows:
        return
    connection: Connection = tx
    if connection.dialect.name == "postgresql":
        _insert_document(connection, table, rows)
        return
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
        processors = tuple(_into(dialect, column.type) for column in table.columns)
        found = (f"INSERT INTO {table.name} ({names}) VALUES ({marks})", processors)  # noqa: S608 - names of our own tables
        _inserts[key] = found
    return found


def _into(dialect: Dialect, column_type: TypeEngine[Any]) -> Processor | None:
    found = column_type.dialect_impl(dialect)
    if isinstance(found, _Uuid):
        return None  # an id that is none is an error here: a null would hide it
    return found.bind_processor(dialect)


_documents: dict[str, tuple[str, tuple[str, ...], tuple[tuple[int, Processor], ...]]] = {}
_ROWS_AT_ONCE = 500  # so that a document stays far below what one value may hold


def _insert_document(
    connection: Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]
) -> None:
    sql, names, active = _document_insert(connection.dialect, table)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        records = []
        for row in rows[start : start + _ROWS_AT_ONCE]:
            values = list(row)
            for index, process in active:
                values[index] = process(values[index])
            records.append(dict(zip(names, values, strict=True)))
        connection.exec_driver_sql(sql, (orjson.dumps(records).decode(),))


def _document_insert(
    dialect: Dialect, table: sa.Table
) -> tuple[str, tuple[str, ...], tuple[tuple[int, Processor], ...]]:
    found = _documents.get(table.name)
    if found is None:
        names = tuple(str(column.name) for column in table.columns)
        listed = ", ".join(names)
        sql = (
            f"INSERT INTO {table.name} ({listed}) SELECT {listed}"  # noqa: S608 - names of our own tables
            f" FROM json_populate_recordset(NULL::{table.name}, %s::json)"
        )
        processors = [_into_document(dialect, column.type) for column in table.columns]
        active = tuple((index, process) for index, process in enumerate(processors) if process)
        found = _documents[table.name] = (sql, names, active)
    return found


def _into_document(dialect: Dialect, column_type: TypeEngine[Any]) -> Processor | None:
    """How a value goes into a document of rows: as in a statement, but for what is JSON already, and for bytes."""
    found = column_type.dialect_impl(dialect)
    if isinstance(found, _Document):
        return _fragment
    if isinstance(found, sa.LargeBinary):
        return _hexadecimal
    return _into(dialect, column_type)


def _fragment(value: Any) -> Any:
    text = _document(value)
    return None if text is None else orjson.Fragment(text)


def _hexadecimal(value: bytes | None) -> str | None:
    return None if value is None else f"\\x{value.hex()}"


def insert_new(tx: Any, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert those rows that no unique key of the table has already; how many were inserted.

    On PostgreSQL another transaction may be inserting the same: its end is waited for.
    """
    if not rows:
        return 0
    statement = _insert(tx, table).on_conflict_do_nothing()
    # Without the option the count of an INSERT is forgotten with its cursor, on PostgreSQL.
    counting = {"preserve_rowcount": True}
    return int(tx.execute(statement, list(rows), execution_options=counting).rowcount)


def upsert(
    tx: Any,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    changes: Callable[[Any], Mapping[str, Any]],
) -> None:
    """Insert rows; where the primary key is there already, make `changes` to that row instead.

    `changes` is given the columns of the row that was to be inserted. Callers sort rows that others may write too.
    """
    if not rows:
        return
    statement = _insert(tx, table)
    key = list(table.primary_key.columns)
    changed = dict(changes(statement.excluded))
    tx.execute(statement.on_conflict_do_update(index_elements=key, set_=changed), list(rows))


def _insert(tx: Any, table: sa.Table) -> Any:
    """Both dialects' own `INSERT`: SQLAlchemy's have the same form where it matters."""
    of = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
    return of[tx.dialect.name](table)


def beyond(
    columns: Sequence[sa.Column[Any]], place: Sequence[Any], *, earlier: bool = False
) -> Any:
    """Rows after (or before) a place in the order of `columns`: what the next page begins with."""
    row = sa.tuple_(*columns)
    # Typed: moments are timestamps and ids are UUIDs on PostgreSQL.
    typed = zip(place, columns, strict=True)
    anchor = sa.tuple_(*(sa.literal(value, column.type) for value, column in typed))
    return row < anchor if earlier else row > anchor


def among(tx: Any, column: sa.Column[Any], values: Sequence[Any]) -> Any:
    """Rows whose `column` is one of `values`: one array on PostgreSQL, where a parameter each is dear."""
    if tx.dialect.name != "postgresql":
        return column.in_(values)
    listed: Any = postgresql.ARRAY(column.type)
    return column == sa.any_(sa.bindparam(None, list(values), type_=listed))


def given(dialect: str, column: sa.Column[Any], name: str) -> Any:
    """Rows whose `column` is one of what is given as `name`: for statements that are made once an engine.

    On PostgreSQL that is one array, so that the statement is the same however many there are, and is planned once.
    """
    if dialect != "postgresql":
        return column.in_(sa.bindparam(name, expanding=True))
    listed: Any = postgresql.ARRAY(column.type)
    return column == sa.any_(sa.bindparam(name, type_=listed))


class PerEngine:
    """A statement that is written for each engine, and made once: putting one together costs more than running it."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._made: dict[str, Any] = {}

    def of(self, tx: Any) -> Any:
        """The statement of the transaction's engine."""
        dialect: str = tx.dialect.name
        if dialect not in self._made:
            self._made[dialect] = self._make(dialect)
        return self._made[dialect]


_LISTED = "listed"
# Of a list: few texts, and little that is looked up twice.
_LENGTHS = (1, 4, 16, 64, 128, 192, 256, 384, 512)


class Lookup:
    """A statement whose rows have one of given values in `column`: what a search looks its candidates up with.

    `query` may have other parameters. On SQLite its text is made once for every length of list, which is filled up with
    its last value: for SQLAlchemy to write a list out anew costs more than to run it.
    """

    def __init__(self, query: sa.Select[Any], column: Any) -> None:
        self._per_engine = PerEngine(lambda dialect: query.where(given(dialect, column, _LISTED)))
        self._columns = query.selected_columns
        self._texts: dict[int, str] = {}
        self._fixed: Mapping[str, Any] = {}  # what the query itself says, by name of the parameter
        self._names: tuple[str, ...] = ()
        self._kept_otherwise: tuple[tuple[int, Processor], ...] = ()

    def named(self, tx: Any, values: Sequence[Any], **others: Any) -> list[dict[str, Any]]:
        """`rows` by the names of their columns."""
        names = tuple(self._columns.keys())
        # By position: SQLAlchemy's rows as mappings cost as much as reading them.
        return [dict(zip(names, row, strict=True)) for row in self.rows(tx, values, **others)]

    def rows(self, tx: Any, values: Sequence[Any], **others: Any) -> list[Any]:
        """Those rows, in no order; a value that is given twice counts once."""
        found: list[Any] = []
        different = list(dict.fromkeys(values))
        for start in range(0, len(different), _LENGTHS[-1]):
            some = different[start : start + _LENGTHS[-1]]
            if tx.dialect.name == "sqlite":
                found += self._of_sqlite(tx, some, others)
            else:
                statement = self._per_engine.of(tx)
                found += tx.execute(statement, {**others, _LISTED: list(some)}).all()
        return found

    def _of_sqlite(self, tx: Any, values: Sequence[Any], others: Mapping[str, Any]) -> list[Any]:
        length = next(it for it in _LENGTHS if it >= len(values))
        text = self._texts.get(length)
        if text is None:
            compiled = self._per_engine.of(tx).compile(dialect=tx.dialect)
            self._fixed = dict(compiled.params)
            self._kept_otherwise = _kept_otherwise(tx.dialect, self._columns)
            self._names = tuple(compiled.positiontup)
            text = compiled.string.replace(f"__[POSTCOMPILE_{_LISTED}]", ", ".join("?" * length))
            self._texts[length] = text
        listed = (*values, *([values[-1]] * (length - len(values))))
        given_values = {**self._fixed, **others}
        sent: list[Any] = []
        for name in self._names:
            sent += listed if name == _LISTED else (given_values[name],)
        # By the driver's own cursor: what SQLAlchemy puts around rows and statements costs half as much again.
        found: list[Any] = tx.connection.cursor().execute(text, tuple(sent)).fetchall()
        return [self._read(row) for row in found] if self._kept_otherwise else found

    def _read(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for place, process in self._kept_otherwise:
            values[place] = process(values[place])
        return values


def _kept_otherwise(dialect: Dialect, columns: Any) -> tuple[tuple[int, Processor], ...]:
    """Which columns SQLite keeps as something else than Python has, and how they are read: documents, yes and no."""
    kinds = [column.type.dialect_impl(dialect) for column in columns]
    found = [
        (place, kind.result_processor(dialect, None))
        for place, kind in enumerate(kinds)
        if isinstance(kind, sa.JSON | sa.Boolean)
    ]
    return tuple((place, process) for place, process in found if process is not None)


_HOLD = sa.text(
    "SELECT pg_advisory_xact_lock(key) FROM (SELECT DISTINCT hashtextextended(name, 0) AS key"
    " FROM unnest(CAST(:names AS text[])) AS name ORDER BY key) AS keys"
)


def hold(tx: Any, names: Sequence[str]) -> None:
    """Until the transaction ends, let no other hold any of `names`: what is read next is what others committed.

    For what is read first and then written. SQLite has one writer and needs none of it. All names of one kind are
    held at once, in one order, so that two who want the same ones never wait for each other.
    """
    if names and tx.dialect.name == "postgresql":
        tx.execute(_HOLD, {"names": [name.replace("\0", _NO_NUL) for name in names]})
