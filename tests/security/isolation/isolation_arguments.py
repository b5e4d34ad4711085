"""Arguments for the functions of repositories, made by their types and names of what is a tenant's.

A parameter of a new type that is a dataclass, a named tuple or made of plain things needs nothing here.
"""

from __future__ import annotations

import random
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

from isolation_spy import UUID, twin
from isolation_world import DAY, SHARED_PROJECT, SHARED_SESSION, Tenant, World
from sqlalchemy import Table

from claude_mem.domains.sql import metadata
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id

KINDS = ("session", "prompt", "observation", "code_change", "summary", "learning")
_TABLES = [name for name, table in metadata.tables.items() if "enterprise_id" in table.columns]
CHOICES = {
    "category": ["pattern", "solution", "error", "config", "best_practice", "general"],
    "kind": [*KINDS],
    "entity_kind": [*KINDS],
    "table": _TABLES,
    "table_name": _TABLES,
    "agent": ["claude-code"],
    "status": ["active"],
    "prompt_type": ["user"],
    "observation_type": ["info"],
    "operation": ["edit"],
    "made": [*KINDS],
}
_MOMENTS = (
    "now",
    "at",
    "since",
    "until",
    "before",
    "occurred_at",
    "started_at",
    "last_activity_at",
)


class CannotMake(Exception):  # noqa: N818 - says what it is
    """A parameter of a type that nobody taught this module."""


class Arguments:
    """Makes them of one tenant's things, now and then of another's."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._checked: dict[str, list[str]] = {}  # what columns may hold, where a check says so
        for table in world.admin.tables():
            for column, choices in world.admin.choices(table).items():
                self._checked.setdefault(column, []).extend(choices)

    def make(self, function: Any, tenant: Tenant, other: Tenant, share: float) -> dict[str, Any]:
        """Of `other` with a probability of `share` each, else of `tenant`. Raises CannotMake."""
        hints = typing.get_type_hints(function)
        made = {}
        for name, hint in hints.items():
            if name not in {"scope", "tx", "return"}:
                whose = other if self._chance.random() < share else tenant
                if name in {"row", "changes"}:
                    made[name] = self._row(function, whose, whole=name == "row")
                else:
                    made[name] = self.value(name, hint, whose)
        if function.__name__.startswith("add_") and self._chance.random() < 0.5:
            made |= {name: new_id() for name in made if name == f"{function.__name__[4:]}_id"}
        return made

    def _row(self, function: Any, tenant: Tenant, *, whole: bool) -> dict[str, Any]:
        """Values by column of the table that a function is named for: of all of them, or of a few to be changed."""
        word = function.__name__.split("_")[-1]
        domain = ".".join(function.__module__.split(".")[:3])
        own = [
            it for it in vars(import_module(f"{domain}.tables")).values() if isinstance(it, Table)
        ]
        named = [it for it in own if f"{word}s" in it.name or it.name.startswith(word)]
        if not named:
            raise CannotMake(f"the row of {function.__name__}: no table is named for {word}")
        columns = [it for it in named[0].columns if whole or not (it.primary_key or it.unique)]
        if not whole:
            columns = self._chance.sample(columns, 1)
        return {it.name: self._column(it, tenant) for it in columns if it.name != "enterprise_id"}

    def _column(self, column: Any, tenant: Tenant) -> Any:
        if column.name == "id":
            return new_id()
        choices = self._world.admin.choices(column.table.name)
        if column.name in choices:
            return self._chance.choice(choices[column.name])
        kind = type(column.type).__name__
        if kind == "JSON":
            return {"of": tenant.known}
        if kind in {"Boolean", "Integer", "BigInteger", "EpochMs", "Float"}:
            return {"Boolean": False, "EpochMs": now_ms()}.get(kind, 1)
        if column.name.endswith(("hash", "prefix")):
            return new_id()
        return self._text(column.name, tenant)

    def value(self, name: str, hint: Any, tenant: Tenant) -> Any:
        """A value of a type, for something of this name."""
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin in {typing.Union, types.UnionType}:
            ways = [it for it in inner if it is not type(None)]
            left_out = type(None) in inner and self._chance.random() < 0.3
            return None if left_out else self.value(name, self._chance.choice(ways), tenant)
        if origin is typing.Literal:
            return self._chance.choice(inner)
        if origin is not None:
            return self._many(name, origin, inner, tenant)
        if hint is Any or hint is object:
            return tenant.known
        if isinstance(hint, type) and issubclass(hint, bool | int | float | str | bytes):
            return self._plain(name, hint, tenant)
        return self._made_of_fields(hint, tenant)

    def _made_of_fields(self, hint: Any, tenant: Tenant) -> Any:
        if getattr(hint, "__name__", "") == "EntityRef":
            kind = self._chance.choice(KINDS)
            table = {"summary": "summaries"}.get(kind, f"{kind}s")
            return hint(kind, self._chance.choice(tenant.ids[table] or tenant.every_id))
        if is_dataclass(hint):
            hints = typing.get_type_hints(hint)
            made = {it.name: self.value(it.name, hints[it.name], tenant) for it in fields(hint)}
            if hint.__name__.startswith("New") and self._chance.random() < 0.8:
                # What is to be made has a name that nothing has yet; now and then it has another's.
                fresh = {"id": new_id(), "event_id": new_id(), "agent_session": new_id()}
                made |= {name: value for name, value in fresh.items() if name in made}
            return hint(**made)
        if hasattr(hint, "_fields"):
            hints = typing.get_type_hints(hint)
            return hint(**{it: self.value(it, hints[it], tenant) for it in hint._fields})
        raise CannotMake(str(hint))

    def _many(self, name: str, origin: Any, inner: tuple[Any, ...], tenant: Tenant) -> Any:
        singular = name.removesuffix("s")
        if singular == "event" and isinstance(origin, type) and issubclass(origin, Mapping):
            return {
                "agent": "claude-code",
                "session": self._text("session", tenant),
                "id": self._chance.choice(tenant.every_id),
            }
        if isinstance(origin, type) and issubclass(origin, Mapping):
            key, value = inner
            return {
                self._key(name, key, tenant): self.value(f"{singular}_value", value, tenant)
                for _ in range(2)
            }
        if origin is tuple and not (len(inner) == 2 and inner[1] is ...):
            names = {2: ("at", "id"), 3: ("kind", "entity_id", "unit")}.get(len(inner))
            return tuple(
                self.value(names[at] if names else name, hint, tenant)
                for at, hint in enumerate(inner)
            )
        if isinstance(origin, type) and issubclass(origin, Iterable):
            made = [
                self.value(singular, inner[0], tenant) for _ in range(self._chance.randint(1, 3))
            ]
            return origin(made) if origin in {tuple, set, frozenset, list} else made
        raise CannotMake(f"{name}: {origin}")

    def _key(self, name: str, hint: Any, tenant: Tenant) -> Any:
        return self.value(
            "session_id" if name.endswith("by_session") else f"{name}_key", hint, tenant
        )

    def _plain(self, name: str, hint: type, tenant: Tenant) -> Any:
        if issubclass(hint, bool):
            return self._chance.random() < 0.5
        if issubclass(hint, bytes):
            return tenant.known.encode()
        if issubclass(hint, float):
            return 0.5
        if issubclass(hint, int):
            return self._number(name, tenant)
        return self._text(name, tenant)

    def _number(self, name: str, tenant: Tenant) -> int:
        if name in {"number", "through"} and self._chance.random() < 0.4:
            return int(self._chance.choice(tenant.ids["search_documents"] or ["1"]))
        if name in {"limit", "most", "amount"}:
            return self._chance.choice([1, 20, 1000])
        if name in _MOMENTS:
            return self._chance.choice([0, now_ms() - DAY, now_ms() + DAY])
        return self._chance.choice([0, 1, 2, 1000, self._chance.randrange(1 << 31)])

    def _text(self, name: str, tenant: Tenant) -> str:
        if name in CHOICES:
            return self._chance.choice(CHOICES[name])
        if name in self._checked and self._chance.random() < 0.6:
            return self._chance.choice(self._checked[name])
        stem = name.removesuffix("_id")
        found = [*tenant.names.get(name, [])]
        words = stem.split("_")
        for at in range(len(words)):  # `reason_prompt_id` is a prompt's
            word = "_".join(words[at:])
            found += tenant.ids.get(f"{word[:-1]}ies" if word.endswith("y") else f"{word}s", [])
        found += self._by_name(name, stem, tenant)
        return self._chance.choice(found or [tenant.known, *tenant.every_id])

    def _by_name(self, name: str, stem: str, tenant: Tenant) -> list[str]:
        if name == "short":
            return [one[:8] + one[-4:] for one in tenant.every_id if UUID.fullmatch(one)]
        if name.endswith("_id") and tenant.ids.get(f"{stem}s"):
            return []
        if stem in {"agent_session", "session"}:
            return [SHARED_SESSION, *tenant.names.get("agent_session", []), *tenant.ids["sessions"]]
        if stem in {"wanted", "project", "key"}:
            return [SHARED_PROJECT, *tenant.names.get("key", []), *tenant.ids["projects"]]
        if stem in {"id", "entity", "event", "ids", "ref"}:
            return tenant.every_id
        return []


class Twins:
    """The same arguments of what nobody has: one thing is always replaced by the same other one."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._known: dict[str, str] = {}

    def of(self, thing: Any) -> Any:
        """A copy with other ids, marks and document numbers."""
        if isinstance(thing, str):
            if len(thing) == 12 and thing.isalnum() and not thing.isalpha():  # an id's two ends
                return self._known.setdefault(thing, f"{self._chance.randrange(1 << 48):012x}")
            return self._known.setdefault(thing, twin(thing, self._chance))
        if is_dataclass(thing) and not isinstance(thing, type):
            return type(thing)(
                **{it.name: self.of(getattr(thing, it.name)) for it in fields(thing)}
            )
        if isinstance(thing, dict):
            return {self.of(key): self.of(value) for key, value in thing.items()}
        if isinstance(thing, tuple) and hasattr(thing, "_fields"):
            return type(thing)(*map(self.of, thing))
        if isinstance(thing, list | tuple | set | frozenset):
            return type(thing)(map(self.of, thing))
        return thing
