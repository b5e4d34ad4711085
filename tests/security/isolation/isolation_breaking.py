"""A repository's worst bug, made for all of them at once: every condition on the tenant is true for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

_COLUMN = r"(?:\w+\.)?\"?(?:enterprise_id|enterprises\"?\.\"?id)\"?"
_VALUE = r"(?:%\(\w+\)s|%s|\?|:\w+)(?:::\w+|\s*)"
_PREDICATE = re.compile(
    rf"(?<![\w.])({_COLUMN}\s*(?:=|!=|<>)\s*(?:{_VALUE}|(?:\w+\.)?enterprise_id\b)|{_VALUE}\s*=\s*{_COLUMN})"
)


def without_tenants(statement: str) -> tuple[str, int]:
    """A statement whose conditions on the tenant hold for every row, and how many there were."""
    head, where, rest = _parted(statement)
    broken, number = _PREDICATE.subn(r"(\1 OR true)", rest)
    return head + where + broken, number


def _parted(statement: str) -> tuple[str, str, str]:
    """What an UPDATE sets, or an INSERT puts in, is no condition."""
    if statement.lstrip()[:6].upper() in {"UPDATE", "INSERT"}:
        return statement.partition("WHERE")
    return "", "", statement


class Broken:
    """How often it happened."""

    def __init__(self) -> None:
        self.statements = 0

    def rewrite(
        self, _conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> tuple[str, Any]:
        """For the engine's hook."""
        broken, number = without_tenants(statement)
        self.statements += number > 0
        return broken, parameters


@contextmanager
def broken_conditions(engines: tuple[Engine, ...]) -> Iterator[Broken]:
    """Inside, no statement of the program keeps tenants apart."""
    broken = Broken()
    for engine in engines:
        event.listen(engine, "before_cursor_execute", broken.rewrite, retval=True)
    try:
        yield broken
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", broken.rewrite)
