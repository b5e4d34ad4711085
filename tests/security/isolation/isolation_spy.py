"""Seeing a leak mechanically: marks in everything that is a tenant's own, and a count of what was tried.

A mark is `oz`, a letter for what it is, the tenant's letter, eight letters. The *known* ones (`k`) an attacker may say;
what is merely echoed of them is no leak. The *secret* ones (`s`) are never said by anybody but their tenant, so that one
in an answer, even its beginning, is a leak. Ids are as good as marks.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any
from urllib.parse import unquote

LETTERS = "abc"  # one a tenant; `x` is nobody's
KNOWN = re.compile(r"ozk([a-cx])[a-z]{8}", re.IGNORECASE)
SECRET = re.compile(r"ozs([a-c])", re.IGNORECASE)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_BARE = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", re.IGNORECASE)
_PACKED = re.compile(r"[A-Za-z0-9_-]{24,400}={0,2}")
_WORDS = "bcfghjkmpqvwxz"  # no ending that a stemmer would take off


def mark(kind: str, letter: str, chance: random.Random) -> str:
    """A new mark of a tenant."""
    return f"oz{kind}{letter}" + "".join(chance.choices(_WORDS, k=8))


def twin(value: str, chance: random.Random) -> str:
    """A value of the same shape that nobody has: other marks, other ids of the same milliseconds."""
    others: dict[str, str] = {}  # what stands there twice does so in the twin
    told = KNOWN.sub(lambda it: others.setdefault(it[0], mark("k", "x", chance)), value)
    told = UUID.sub(lambda it: others.setdefault(it[0], _other_id(it[0], chance)), told)
    if told == value and _PACKED.fullmatch(value):
        inside = _unpacked(value)
        other = twin(inside, chance) if inside is not None else inside
        if other is not None and other != inside:
            return base64.urlsafe_b64encode(other.encode()).decode().rstrip("=")
    return told


def _other_id(known: str, chance: random.Random) -> str:
    # The moment and the version stay: they decide how an id is looked up.
    return f"{known[:15]}{chance.randrange(1 << 12):03x}-{'89ab'[chance.randrange(4)]}{chance.randrange(1 << 12):03x}-{chance.randrange(1 << 48):012x}"


def _unpacked(text: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return None


def plain(thing: Any) -> str:
    """Everything a value holds, as text: rows, dataclasses, bytes, iterators run dry."""
    return "\n".join(_texts(thing, 0))


def _texts(thing: Any, depth: int) -> Iterator[str]:
    if depth > 12 or thing is None or isinstance(thing, bool | int | float):
        return
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, bytes | bytearray | memoryview):
        yield bytes(thing).decode("utf-8", "replace")
    elif isinstance(thing, BaseException):
        yield f"{type(thing).__name__}: {thing!s} {thing.__cause__!s} {getattr(thing, 'orig', '')}"
        yield from _texts(list(thing.args), depth + 1)
    elif is_dataclass(thing) and not isinstance(thing, type):
        for one in fields(thing):
            yield from _texts(getattr(thing, one.name), depth + 1)
    elif isinstance(thing, dict) or hasattr(thing, "items"):
        for key, value in dict(thing.items()).items():
            yield from _texts(key, depth + 1)
            yield from _texts(value, depth + 1)
    elif isinstance(thing, Iterable):
        for one in thing:
            yield from _texts(one, depth + 1)
    else:
        yield str(thing)


@dataclass
class Spy:
    """What belongs to whom, and what was said by whom. `ids` by tenant's letter."""

    ids: dict[str, set[str]]
    said: dict[str, set[str]] = field(default_factory=dict)

    def says(self, attacker: str, thing: Any) -> None:
        """What an attacker said and may have written down: hearing it again tells nothing."""
        self.said.setdefault(attacker, set()).update(self._spoken(thing))

    def leaks(self, attacker: str, told: Any, said: Any = ()) -> list[str]:
        """What of others is in what an attacker was told, who had `said` something; nothing is the right answer."""
        text = told if isinstance(told, str) else plain(told)
        heard = self.said.get(attacker, set()) | self._spoken(said)
        found: list[str] = []
        for part in (text, *self._packed(text)):
            found += self._in(attacker, part, heard)
        return sorted(set(found))

    def _spoken(self, thing: Any) -> set[str]:
        text = unquote(plain(thing))
        found: set[str] = set()
        for part in (text, *self._packed(text)):
            found.update(it[0].lower() for it in KNOWN.finditer(part))
            found.update(self._ids_in(part))
        return found

    def _packed(self, text: str) -> Iterator[str]:
        """What is inside of base64, as cursors are."""
        for it in _PACKED.finditer(text):
            inside = _unpacked(it[0].rstrip("="))
            if inside is not None and inside.isprintable():
                yield inside

    def _in(self, attacker: str, text: str, said: set[str]) -> Iterator[str]:
        for it in SECRET.finditer(text):
            if it[1].lower() != attacker:
                yield f"a secret of {it[1]}: {text[max(0, it.start() - 40) : it.end() + 40]!r}"
        for it in KNOWN.finditer(text):
            if it[1].lower() not in (attacker, "x") and it[0].lower() not in said:
                yield f"a mark of {it[1]} that was not said: {it[0]}"
        for one in self._ids_in(text):
            owner = self.owner(one)
            if owner is not None and owner != attacker and one not in said:
                yield f"an id of {owner}: {one}"

    @staticmethod
    def _ids_in(text: str) -> Iterator[str]:
        for it in UUID.finditer(text):
            yield it[0].lower()
        for it in _BARE.finditer(text):
            raw = it[0].lower()
            yield f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"

    def owner(self, one: str) -> str | None:
        """Whose id it is; None for nobody's and for one that several have."""
        having = [letter for letter, ids in self.ids.items() if one in ids]
        return having[0] if len(having) == 1 else None


@dataclass
class Ledger:
    """How much was tried, by kind, and what was wrong."""

    attempts: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)

    def tried(self, kind: str, number: int = 1) -> None:
        """Count attempts."""
        self.attempts[kind] += number

    def leaked(self, kind: str, what: str) -> None:
        """Note a leak."""
        self.leaks.append(f"{kind}: {what}")

    def judge(self, since: int) -> None:
        """Fail with everything that leaked since there were `since` of them."""
        fresh = self.leaks[since:]
        shown = "\n".join(fresh[:30])
        assert not fresh, f"{len(fresh)} leaks\n{shown}"


LEDGER = Ledger()


def as_json(text: str) -> Any:
    """The JSON in a body, or None."""
    try:
        return json.loads(text)
    except ValueError:
        return None
