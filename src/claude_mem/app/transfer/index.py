"""The search index of an enterprise, for what is in its tables and not in it: in pieces, whatever broke off before."""

from __future__ import annotations

from functools import partial
from typing import Final

from claude_mem.app.transfer.plan import ENTITIES, INDEXED
from claude_mem.app.transfer.run import Say
from claude_mem.domains.intelligence.index import entry
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx

_PIECE: Final = 500
_MISSING = """
SELECT h.id::text FROM {table} AS h
WHERE h.enterprise_id = %s::uuid AND h.id > %s::uuid AND NOT EXISTS (
  SELECT FROM search_documents d WHERE d.enterprise_id = h.enterprise_id AND d.kind = %s AND d.entity_id = h.id)
ORDER BY h.id LIMIT %s
"""
_COUNT = """
SELECT count(*) FROM {table} AS h WHERE h.enterprise_id = %s::uuid AND NOT EXISTS (
  SELECT FROM search_documents d WHERE d.enterprise_id = h.enterprise_id AND d.kind = %s AND d.entity_id = h.id)
"""
_FIRST = "00000000-0000-0000-0000-000000000000"


async def complete(database: Database, scope: Scope, indexing: IndexingService, say: Say) -> int:
    """Index what is not indexed; how many documents were made."""
    made = 0
    for kind in INDEXED:
        total = await database.read(scope, partial(_count, scope, kind))
        done, after = 0, _FIRST
        while ids := await database.read(scope, partial(_missing, scope, kind, after)):
            made += await database.write(scope, partial(_add, scope, indexing, kind, ids))
            after = ids[-1]
            done += len(ids)
            say(f"Index {ENTITIES[kind]}", min(done, total), total)
    return made


def _count(scope: Scope, kind: str, tx: Tx) -> int:
    sql = _COUNT.format(table=ENTITIES[kind])
    return int(tx.exec_driver_sql(sql, (scope.enterprise_id, kind)).scalar_one())


def _missing(scope: Scope, kind: str, after: str, tx: Tx) -> list[str]:
    sql = _MISSING.format(table=ENTITIES[kind])
    found = tx.exec_driver_sql(sql, (scope.enterprise_id, after, kind, _PIECE))
    return [row[0] for row in found]


def _add(scope: Scope, indexing: IndexingService, kind: str, ids: list[str], tx: Tx) -> int:
    rows = memory.get_many(scope, tx, [EntityRef(kind, it) for it in ids])
    entries = [entry(kind, row) for row in rows.values()]
    indexing.index(scope, tx, entries)
    return len(entries)
