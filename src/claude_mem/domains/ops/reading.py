"""The change journal as live events, a page at a time: the one way from entries to what is told, live or later."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from claude_mem.domains.memory import service as memory
from claude_mem.domains.ops import model
from claude_mem.kernel.scope import Scope
from claude_mem.ports.bus import LiveEvent
from claude_mem.ports.database import Database, Tx


@dataclass(frozen=True, slots=True)
class Page:
    """Entries that were read: the ids of those that were not known, their events, the last id, whether more follow."""

    fresh: list[str]
    events: list[LiveEvent]
    last: str
    is_full: bool


async def read_page(
    scope: Scope, database: Database, after: str, known: Container[str], options: model.LiveOptions
) -> Page:
    """The entries after an id. `known` are left out; it must not change meanwhile."""

    def work(tx: Tx) -> Page:
        rows = memory.changes(scope, tx, after, options.page)
        fresh = [row for row in rows if row["id"] not in known]
        single, many = model.split(model.in_order(fresh), options.detailed)
        found = memory.get_many(scope, tx, model.wanted_sessions(single))
        sessions = {ref.id: row for ref, row in found.items()}
        events = [it for row in single if (it := model.event_of(row, sessions)) is not None]
        if many:
            events.append(model.batch_of(many))
        last = rows[-1]["id"] if rows else after
        return Page([row["id"] for row in fresh], events, last, len(rows) == options.page)

    return await database.read(scope, work)
