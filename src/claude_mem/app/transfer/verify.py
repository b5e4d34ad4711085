"""Whether an enterprise holds what a store does: ranges of keys by count and hash, then by row where they differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from claude_mem.app.transfer import target
from claude_mem.app.transfer.convert import Columns, Converted, digest
from claude_mem.app.transfer.plan import ENTITIES, Relation, relations
from claude_mem.app.transfer.run import Say, Transfer, tombstones
from claude_mem.app.transfer.source import Key

_MOST_KEYS: Final = 50  # told one by one


@dataclass(slots=True)
class Compared:
    """One table. `newer` are rows that were changed on the target since: no fault of the migration."""

    rows: int = 0
    ranges: int = 0
    equal_ranges: int = 0
    missing: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    still_there: list[str] = field(default_factory=list)  # gone from the store
    fault_count: int = 0
    newer: int = 0


async def verify(transfer: Transfer, say: Say) -> dict[str, Compared]:
    """Compare everything; read only."""
    found = {name: Compared() for name in relations()}
    for name, relation in relations().items():
        total = transfer.source.count(relation)
        async for _, rows, _ in transfer.ranges(relation):
            await _compare(transfer, relation, rows, found[name])
            if name == "change_journal":
                await _look_for_gone(transfer, rows, found)
            say(f"Verify {name}", min(found[name].rows, total), total)
    return found


async def _compare(transfer: Transfer, relation: Relation, rows: Converted, into: Compared) -> None:
    into.ranges += 1
    into.rows += len(rows)
    if not len(rows):
        into.equal_ranges += 1
        return
    keys = rows.keys
    there = await transfer.database.read(
        transfer.scope, lambda tx: target.read(transfer.scope, tx, relation, keys)
    )
    if len(there[0]) == len(keys) and digest(there) == rows.digest:
        into.equal_ranges += 1
        return
    by_key = dict(zip(_keys(relation, there), zip(*there, strict=True), strict=True))
    for key, row in zip(keys, zip(*rows.columns, strict=True), strict=True):
        held = by_key.get(key)
        if held is None:
            _note(into, into.missing, key)
        elif digest([list(held)]) != digest([list(row)]):
            grows = relation.places[relation.version] if relation.version else None
            if grows is not None and held[grows] > row[grows]:
                into.newer += 1
            else:
                _note(into, into.different, key)


async def _look_for_gone(
    transfer: Transfer, journal: Converted, found: dict[str, Compared]
) -> None:
    by_kind: dict[str, set[str]] = {}
    for kind, entity in tombstones(journal):
        by_kind.setdefault(kind, set()).add(entity)
    for kind, ids in by_kind.items():
        relation = relations()[ENTITIES[kind]]
        gone = sorted(ids - transfer.source.there(relation, sorted(ids)))
        left = await transfer.database.read(
            transfer.scope,
            lambda tx, relation=relation, gone=gone: target.there(  # type: ignore[misc]
                transfer.scope, tx, relation, gone
            ),
        )
        for entity in left:
            _note(found[relation.name], found[relation.name].still_there, (entity,))


def _keys(relation: Relation, columns: Columns) -> list[Key]:
    return list(zip(*(columns[at] for at in relation.key_places), strict=True))


def _note(into: Compared, where: list[str], key: Key) -> None:
    into.fault_count += 1
    if len(where) < _MOST_KEYS:
        where.append(", ".join(key))
