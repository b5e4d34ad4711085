"""Attacks by the functions of the repositories, found by looking: each in an attacker's scope, with another's things."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import re
from collections.abc import Iterator
from typing import Any

from isolation_arguments import Arguments, CannotMake, Twins
from isolation_spy import KNOWN, LEDGER, UUID, plain
from isolation_world import Tenant, World
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from claude_mem import domains
from claude_mem.kernel.errors import MemError
from claude_mem.ports.database import Tx

# What a senseless argument may be answered with; its text is looked through all the same.
ANSWERS = (
    *(MemError, SQLAlchemyError, LookupError, ValueError),
    *(TypeError, AttributeError, AssertionError),
)
_CHANGES = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|MERGE|TRUNCATE)|set_config", re.IGNORECASE)
_SHORT = re.compile(r"'[0-9a-f]{12}'")
_TRIES = 60


def functions() -> dict[str, Any]:
    """Every public function of a repository that takes a transaction, by `domain.module.name`."""
    found: dict[str, Any] = {}
    for module in _modules():
        short = module.__name__.removeprefix(f"{domains.__name__}.")
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
                continue
            if inspect.isfunction(thing) and "tx" in inspect.signature(thing).parameters:
                found[f"{short}.{name}"] = thing
    return found


def _modules() -> Iterator[Any]:
    for domain in pkgutil.iter_modules(domains.__path__, f"{domains.__name__}."):
        if not domain.ispkg:
            continue
        package = importlib.import_module(domain.name)
        for part in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if part.name.split(".")[3].startswith("repository"):
                yield importlib.import_module(part.name)


class Undo(Exception):  # noqa: N818 - takes a transaction back
    """Carries what was found out of a transaction that is not to stay."""

    def __init__(self, found: Any) -> None:
        super().__init__("taken back")
        self.found = found


class RepositoryAttack:
    """One world's repositories under attack. `judge_twins` where an answer may not tell what is from what is not."""

    def __init__(self, world: World, chance: random.Random, kind: str) -> None:
        self.world = world
        self.chance = chance
        self.kind = kind
        self.arguments = Arguments(world, chance)
        self.functions = functions()
        self.changing: set[str] = set()
        self._changed = False

        for engine in world.system.engines:  # learn which functions change rows
            event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, _conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._changed = self._changed or _CHANGES.match(statement) is not None

    async def sound(self, name: str, tenant: Tenant) -> str:
        """Call a function with the tenant's own things until it does not refuse; "" or why it cannot be called."""
        last = ""
        for turn in range(_TRIES):
            try:
                given = self.arguments.make(self.functions[name], tenant, tenant, 0.0)
            except CannotMake as cannot:
                return f"no arguments: teach `isolation_arguments` {cannot}"
            self._changed = False
            try:
                await self._call(name, tenant, given, keep=False)
            except Undo:
                if self._changed:
                    self.changing.add(name)
                if turn >= 3:  # a few times: what changes rows may not do so each time
                    return ""
            except ANSWERS as error:
                last = f"{type(error).__name__}: {error}"
        return last

    async def _call(self, name: str, tenant: Tenant, given: dict[str, Any], *, keep: bool) -> Any:
        function = self.functions[name]
        scoped = "scope" in inspect.signature(function).parameters

        def work(tx: Tx) -> Any:
            first = (tenant.scope, tx) if scoped else (tx,)
            found = function(*first, **given)
            found = list(found) if isinstance(found, Iterator) else found
            if not keep:
                raise Undo(found)
            return found

        return await self.world.write(tenant, work)

    async def attempt(self, name: str, attacker: Tenant, *, twins: bool) -> None:
        """One attack, and its twin where the function reads only."""
        victim = self.chance.choice(self.world.others(attacker.letter))
        changes = name in self.changing
        # Where the answer is compared with one of nothing, all of it must be another's.
        share = 0.85 if changes else 1.0
        given = self.arguments.make(self.functions[name], attacker, victim, share)
        if self._are_own_by_chance(attacker, given):
            return
        if changes:
            self.world.spy.says(attacker.letter, given)
        told = await self.tell(name, attacker, given, keep=changes)
        if not twins or changes:
            return
        other = Twins(self.chance).of(given)
        if other == given:
            return
        answer = await self.tell(name, attacker, other, keep=False)
        if shape(told) != shape(answer):
            LEDGER.leaked(
                self.kind,
                f"{name}({given}) of {victim.letter} is told from nothing: {told!r}, {answer!r}"[
                    :900
                ],
            )

    def _are_own_by_chance(self, attacker: Tenant, given: dict[str, Any]) -> bool:
        """Whether a short id among them is that of something of the attacker's own: four digits are told apart by few,
        and what is answered then is rightly its.
        """
        shorts = {it.strip("'") for it in _SHORT.findall(repr(given))}
        if not shorts:
            return False
        admin, tenant = self.world.admin, attacker.scope.enterprise_id
        rows = (row for table in admin.tables() for row in admin.rows(table, tenant))
        own = (str(row["id"]) for row in rows if "id" in row)
        return not shorts.isdisjoint(one[:8] + one[-4:] for one in own)

    async def tell(self, name: str, attacker: Tenant, given: dict[str, Any], *, keep: bool) -> Any:
        """What a call answers, looked through."""
        told: Any
        try:
            told = await self._call(name, attacker, given, keep=keep)
        except Undo as undo:
            told = undo.found
        except ANSWERS as error:
            told = error
        LEDGER.tried(self.kind)
        for leak in self.world.spy.leaks(attacker.letter, plain(told), plain(given)):
            LEDGER.leaked(self.kind, f"as {attacker.letter}, {name}({given})"[:700] + f": {leak}")
        return told


def shape(told: Any) -> str:
    """An answer but for what was asked: other ids and marks of the same places are alike."""
    if isinstance(told, BaseException):
        return type(told).__name__
    text = KNOWN.sub("<m>", UUID.sub("<id>", repr(told)))
    return _SHORT.sub("'<short>'", text)
