"""Rows of a store as the target holds them, a range at a time, by columns. Pure.

Nothing is changed silently: ids of the local enterprise, its user and its projects become the target's, the character
NUL (which PostgreSQL cannot hold) becomes U+FFFD and is counted, and a row that is not sound is left out and told.
Columns are looked at as a whole where that says enough, value by value only where something is wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from claude_mem.app.transfer.plan import Column, Relation

Row = Sequence[Any]
Columns = list[list[Any]]
NO_NUL: Final = "\N{REPLACEMENT CHARACTER}"
_ID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_IS_ID = re.compile(_ID)
_ALL_IDS = re.compile(f"(?:{_ID}\n)*")
# The years 1 to 9999, in milliseconds: what the product's moments are.
_MOMENTS = (-62_135_596_800_000, 253_402_300_799_999)
_RANGES = {
    "integer": (-(1 << 31), (1 << 31) - 1),
    "wide": (-(1 << 63), (1 << 63) - 1),
    "moment": _MOMENTS,
}
_NONE = type(None)


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that was left out, or a thing that stands in the way: where, and what is wrong. No content."""

    table: str
    key: str
    what: str


@dataclass(slots=True)
class Converted:
    """A range of rows as columns in the order of the relation's; `nuls` is how many values held a NUL."""

    relation: Relation
    columns: Columns
    faults: list[Fault] = field(default_factory=list)
    nuls: int = 0

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """The rows' keys on the target."""
        return list(zip(*(self.columns[at] for at in self.relation.key_places), strict=True))

    def only(self, wanted: Sequence[int]) -> Converted:
        """Some of the rows, by place."""
        columns = [[column[at] for at in wanted] for column in self.columns]
        return Converted(self.relation, columns)

    @property
    def digest(self) -> bytes:
        """A hash of everything, 16 bytes."""
        return digest(self.columns)

    @property
    def size(self) -> int:
        """About how many bytes it is."""
        return len(orjson.dumps(self.columns))


def digest(columns: Columns) -> bytes:
    """A hash of rows by columns. Moments are milliseconds, documents texts with sorted keys."""
    return hashlib.blake2b(orjson.dumps(columns), digest_size=16).digest()


class Converter:
    """What one store's rows become in one enterprise; `ids` are those that become others."""

    def __init__(self, ids: Mapping[str, str]) -> None:
        self.ids = {old: new for old, new in ids.items() if old != new}
        found = "|".join(map(re.escape, self.ids))
        self._in_documents = re.compile(f'"({found})"') if found else None

    def convert(self, relation: Relation, rows: Sequence[Row]) -> Converted:
        """`rows` in the order of the relation's columns."""
        wrong: dict[int, str] = {}
        nuls = 0
        columns: Columns = [list(column) for column in zip(*rows, strict=True)]
        if not columns:
            return Converted(relation, [[] for _ in relation.columns])
        for at, column in enumerate(relation.columns):
            values, bad, replaced = self._column(column, columns[at])
            columns[at] = values
            nuls += replaced
            for place, what in bad.items():
                wrong.setdefault(place, f"{column.name}: {what}")
        made = Converted(relation, columns)
        if wrong:
            made = made.only([at for at in range(len(rows)) if at not in wrong])
            for at in sorted(wrong):
                key = ", ".join(str(rows[at][place]) for place in relation.key_places)
                made.faults.append(Fault(relation.name, key, wrong[at]))
        made.nuls = nuls
        return made

    def _column(self, column: Column, values: list[Any]) -> tuple[list[Any], dict[int, str], int]:
        bad = _missing(values) if not column.nullable and None in values else {}
        make = _MAKERS[column.kind]
        made, more, nuls = make(self, column, values)
        return made, {**bad, **more}, nuls

    def _id(self, _column: Column, values: list[Any]) -> tuple[list[Any], dict[int, str], int]:
        bad: dict[int, str] = {}
        try:
            sound = _ALL_IDS.fullmatch("".join([f"{it}\n" for it in values if it is not None]))
        except TypeError:
            sound = None
        if sound is None:
            bad = {
                at: "no id"
                for at, it in enumerate(values)
                if it is not None and not (type(it) is str and _IS_ID.fullmatch(it))
            }
        if self.ids:
            change = self.ids.get
            values = [change(it, it) for it in values]
        return values, bad, 0

    def _text(self, _column: Column, values: list[Any]) -> tuple[list[Any], dict[int, str], int]:
        bad = _of_type(values, {str, _NONE}, "no text in UTF-8")
        if bad:
            values = [None if at in bad else it for at, it in enumerate(values)]
        if "\0" not in "".join(filter(None, values)):
            return values, bad, 0
        nuls = sum(1 for it in values if it and "\0" in it)
        return [it and it.replace("\0", NO_NUL) for it in values], bad, nuls

    def _document(
        self, _column: Column, values: list[Any]
    ) -> tuple[list[Any], dict[int, str], int]:
        bad: dict[int, str] = {}
        nuls = 0
        made: list[Any] = []
        for at, value in enumerate(values):
            if value is None or value == "{}" or value == "[]":
                made.append(value)
                continue
            try:
                text, replaced = self._one_document(value)
            except (ValueError, TypeError):  # orjson's error is a ValueError
                bad[at] = "no JSON"
                made.append(None)
                continue
            made.append(text)
            nuls += replaced
        return made, bad, nuls

    def _one_document(self, value: Any) -> tuple[str, bool]:
        if self._in_documents is not None:
            value = self._in_documents.sub(lambda found: f'"{self.ids[found[1]]}"', value)
        text = canonical(value)
        if "\\u0000" not in text:
            return text, False
        cleaned = canonical(orjson.dumps(without_nul(orjson.loads(text))))
        return cleaned, cleaned != text

    def _number(self, column: Column, values: list[Any]) -> tuple[list[Any], dict[int, str], int]:
        bad = _of_type(values, {int, _NONE}, "no whole number")
        low, high = _RANGES[column.kind]
        numbers = [it for at, it in enumerate(values) if it is not None and at not in bad]
        if numbers and not (low <= min(numbers) and max(numbers) <= high):
            bad |= {
                at: "out of range"
                for at, it in enumerate(values)
                if type(it) is int and not low <= it <= high
            }
        return values, bad, 0

    def _float(self, _column: Column, values: list[Any]) -> tuple[list[Any], dict[int, str], int]:
        bad = _of_type(values, {float, int, _NONE}, "no number")
        return [float(it) if type(it) is int else it for it in values], bad, 0

    def _boolean(self, _column: Column, values: list[Any]) -> tuple[list[Any], dict[int, str], int]:
        known = {0: False, 1: True, None: None}
        bad = {
            at: "neither true nor false"
            for at, it in enumerate(values)
            if type(it) not in {int, _NONE} or it not in known
        }
        return [None if at in bad else known[it] for at, it in enumerate(values)], bad, 0


def canonical(document: str | bytes) -> str:
    """A JSON document as one text, whatever the order of keys and the spaces. Raises ValueError."""
    value = orjson.loads(document)
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if b"-0.0" in text:  # PostgreSQL knows no negative zero in a document
        text = orjson.dumps(_without_negative_zero(value), option=orjson.OPT_SORT_KEYS)
    return text.decode()


def _without_negative_zero(value: Any) -> Any:
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, dict):
        return {key: _without_negative_zero(inner) for key, inner in value.items()}
    return [_without_negative_zero(it) for it in value] if isinstance(value, list) else value


def without_nul(value: Any) -> Any:
    """A document's value without the character NUL."""
    if isinstance(value, str):
        return value.replace("\0", NO_NUL)
    if isinstance(value, dict):
        return {without_nul(key): without_nul(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nul(inner) for inner in value]
    return value


def _missing(values: list[Any]) -> dict[int, str]:
    return {at: "is missing" for at, it in enumerate(values) if it is None}


def _of_type(values: list[Any], types: set[type], what: str) -> dict[int, str]:
    if set(map(type, values)) <= types:
        return {}
    return {at: what for at, it in enumerate(values) if type(it) not in types}


_Made = tuple[list[Any], dict[int, str], int]
_MAKERS: dict[str, Callable[[Converter, Column, list[Any]], _Made]] = {
    "id": Converter._id,
    "text": Converter._text,
    "json": Converter._document,
    "moment": Converter._number,
    "integer": Converter._number,
    "wide": Converter._number,
    "float": Converter._float,
    "boolean": Converter._boolean,
}
