"""One enterprise of a PostgreSQL database, as the program's own role and under its policies.

COPY is refused where policies hold, and the role may make no temporary table: rows go in by arrays, a column each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

import orjson

from claude_mem.app.transfer.convert import Columns, Converted, canonical
from claude_mem.app.transfer.plan import OWN, Column, Relation
from claude_mem.app.transfer.source import Key
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

_ARRAYS: Final = {
    "id": "uuid[]",
    "text": "text[]",
    "json": "text[]",
    "moment": "bigint[]",
    "integer": "integer[]",
    "wide": "bigint[]",
    "float": "float8[]",
    "boolean": "boolean[]",
}
# Whole days and the rest apart: a double, as intervals are multiplied by, would lose milliseconds of far years.
_INTO: Final = {
    "json": "{0}::jsonb",
    "moment": "timestamptz 'epoch' + ({0} / 86400000) * interval '1 day' + ({0} % 86400000) * interval '1 millisecond'",
}
_OUT_OF: Final = {
    "id": "{0}::text",
    "json": "{0}::text",
    "moment": "floor(extract(epoch FROM {0}) * 1000)::bigint",
}
_RANGES = """
SELECT upto, row_count, digest FROM migrated_ranges
WHERE enterprise_id = %s::uuid AND store = %s::uuid AND relation = %s
"""
_NOTE = """
INSERT INTO migrated_ranges (enterprise_id, store, relation, upto, row_count, digest)
VALUES (%s::uuid, %s::uuid, %s, %s, %s, %s)
ON CONFLICT (enterprise_id, store, relation, upto) DO UPDATE
SET row_count = excluded.row_count, digest = excluded.digest
"""


@dataclass(frozen=True, slots=True)
class Range:
    """Rows of a store that are on the target: the last key, how many they are, and their hash."""

    upto: Key
    rows: int
    digest: bytes


def ranges(scope: Scope, tx: Tx, store: str, relation: Relation) -> list[Range]:
    """What was brought of a table, in order."""
    rows = tx.exec_driver_sql(_RANGES, (scope.enterprise_id, store, relation.name))
    found = [Range(tuple(orjson.loads(row[0])), row[1], bytes(row[2])) for row in rows]
    return sorted(found, key=lambda it: it.upto)


def note(scope: Scope, tx: Tx, store: str, relation: Relation, found: Range) -> None:
    """Remember a range, in the transaction that brings its rows."""
    values = (relation.name, orjson.dumps(found.upto).decode(), found.rows, found.digest)
    tx.exec_driver_sql(_NOTE, (scope.enterprise_id, store, *values))


def put(scope: Scope, tx: Tx, rows: Converted) -> None:
    """Insert rows; those that are there become what these are, unless theirs is the newer version."""
    if not len(rows):
        return
    tx.exec_driver_sql(_insert(rows.relation), (scope.enterprise_id, *rows.columns))
    if rows.relation.is_of_sessions:
        touch(scope, tx, rows.columns[rows.relation.places["session_id"]])


def touch(scope: Scope, tx: Tx, sessions: Iterable[str]) -> None:
    """Let whoever keeps a copy of something of these sessions know that it is out of date."""
    wanted = sorted({it for it in sessions if it is not None})
    sql = "UPDATE sessions SET changes = changes + 1 WHERE enterprise_id = %s::uuid AND id = ANY (%s::uuid[])"
    tx.exec_driver_sql(sql, (scope.enterprise_id, wanted))


def there(scope: Scope, tx: Tx, relation: Relation, ids: Sequence[str]) -> list[str]:
    """Which entities the target has."""
    sql = f"SELECT id::text FROM {relation.name} WHERE enterprise_id = %s::uuid AND id = ANY (%s::uuid[])"  # noqa: S608
    return [row[0] for row in tx.exec_driver_sql(sql, (scope.enterprise_id, list(ids)))]


def remove(scope: Scope, tx: Tx, relation: Relation, ids: Sequence[str]) -> int:
    """Delete entities; how many there were."""
    told = "session_id" if relation.is_of_sessions else "NULL"
    sql = (
        f"DELETE FROM {relation.name} WHERE enterprise_id = %s::uuid AND id = ANY (%s::uuid[])"  # noqa: S608
        f" RETURNING {told}::text"
    )
    found = [row[0] for row in tx.exec_driver_sql(sql, (scope.enterprise_id, list(ids)))]
    touch(scope, tx, found)
    return len(found)


def drop_uses(scope: Scope, tx: Tx, ids: Sequence[str]) -> None:
    """Forget how often entities were used."""
    if not ids:
        return
    sql = "DELETE FROM entity_use WHERE enterprise_id = %s::uuid AND entity_id = ANY (%s::uuid[])"
    tx.exec_driver_sql(sql, (scope.enterprise_id, list(ids)))


def unsay(
    scope: Scope,
    tx: Tx,
    learnings: Sequence[str],
    said: AbstractSet[tuple[str, str]],
    sessions: AbstractSet[str],
) -> None:
    """Delete what `sessions` once said of learnings and say no more; what others say stays."""
    if not learnings:
        return
    sql = (
        "SELECT learning_id::text, session_id::text FROM learning_sources"
        " WHERE enterprise_id = %s::uuid AND learning_id = ANY (%s::uuid[])"
    )
    found = tx.exec_driver_sql(sql, (scope.enterprise_id, list(learnings))).all()
    over = [(a, b) for a, b in found if b in sessions and (a, b) not in said]
    if over:
        sql = (
            "DELETE FROM learning_sources s USING unnest(%s::uuid[], %s::uuid[]) AS k (learning_id, session_id)"
            " WHERE s.enterprise_id = %s::uuid AND s.learning_id = k.learning_id AND s.session_id = k.session_id"
        )
        tx.exec_driver_sql(sql, (*map(list, zip(*over, strict=True)), scope.enterprise_id))


def read(scope: Scope, tx: Tx, relation: Relation, keys: Sequence[Key]) -> Columns:
    """The rows of some keys, in their order, as `convert` makes them; keys without a row are left out."""
    values = (*map(list, zip(*keys, strict=True)), scope.enterprise_id)
    found = tx.exec_driver_sql(_select(relation), values).all()
    by_key: Mapping[Key, Any] = {tuple(row[at] for at in relation.key_places): row for row in found}
    rows = [by_key[key] for key in keys if key in by_key]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in relation.columns]
    for at, column in enumerate(relation.columns):
        if column.kind == "json":
            columns[at] = [_plain(document) for document in columns[at]]
    return columns


def _plain(document: str | None) -> str | None:
    return document if document is None or len(document) == 2 else canonical(document)


_made: dict[tuple[str, str], str] = {}


def _insert(relation: Relation) -> str:
    key = ("insert", relation.name)
    if key not in _made:
        names = [column.name for column in relation.columns]
        arrays = ", ".join(f"%s::{_ARRAYS[column.kind]}" for column in relation.columns)
        values = ", ".join(
            _shaped(_INTO, column, f"r.{column.name}") for column in relation.columns
        )
        others = [name for name in names if name not in relation.key]
        _made[key] = (
            f"INSERT INTO {relation.name} AS held (enterprise_id, {', '.join(names)})"  # noqa: S608 - our own tables
            f" SELECT %s::uuid, {values} FROM unnest({arrays}) AS r ({', '.join(names)})"
            f" ON CONFLICT (enterprise_id, {', '.join(relation.key)}) {_change(relation, others)}"
        )
    return _made[key]


def _change(relation: Relation, others: Sequence[str]) -> str:
    if not others:
        return "DO NOTHING"
    setting = ", ".join(f"{name} = excluded.{name}" for name in others)
    if own := OWN.get(relation.name):
        setting += f", {own} = held.{own} + 1"
    old = ", ".join(f"held.{name}" for name in others)
    new = ", ".join(f"excluded.{name}" for name in others)
    grows = relation.version
    newer = f" AND held.{grows} <= excluded.{grows}" if grows else ""
    return f"DO UPDATE SET {setting} WHERE ({old}) IS DISTINCT FROM ({new}){newer}"


def _select(relation: Relation) -> str:
    key = ("select", relation.name)
    if key not in _made:
        values = ", ".join(
            _shaped(_OUT_OF, column, f"h.{column.name}") for column in relation.columns
        )
        kinds = [relation.columns[at].kind for at in relation.key_places]
        arrays = ", ".join(f"%s::{_ARRAYS[kind]}" for kind in kinds)
        names = ", ".join(relation.key)
        on = " AND ".join(f"h.{name} = k.{name}" for name in relation.key)
        _made[key] = (
            f"SELECT {values} FROM unnest({arrays}) AS k ({names})"  # noqa: S608 - our own tables
            f" JOIN {relation.name} AS h ON {on} WHERE h.enterprise_id = %s::uuid"
        )
    return _made[key]


def _shaped(forms: Mapping[str, str], column: Column, name: str) -> str:
    return forms.get(column.kind, "{0}").format(name).replace("%", "%%")
