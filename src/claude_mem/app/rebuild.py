"""The derived indexes made anew while no worker runs: in this process, telling how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from claude_mem.adapters.sqlite import maintenance
from claude_mem.adapters.sqlite.connection import OPTIMIZE, make_engine
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.adapters.sqlite.vectors import SqliteVectorIndex
from claude_mem.domains.capture import reindex
from claude_mem.domains.retrieval.embedding import VectorKeeper
from claude_mem.domains.retrieval.model import IndexEntry
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.scope import Scope, local_scope

Progress = Callable[[int, int], None]
_TELL_EVERY = 100


def rebuild_index(path: Path, progress: Progress, place: str) -> int:
    """Make the text index of the (migrated) database at `path` anew in one transaction; how many documents.

    `place` is the time zone in which days are counted, where the enterprise has none of its own.
    """
    scope = local_scope()
    engine = make_engine(path, writer=True)
    try:
        with engine.connect() as connection:
            total = _rows_to_index(connection)
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                maintenance.clear_index(connection)
                entries = _told(reindex.entries(scope, connection), total, progress)
                keeper = VectorKeeper(SqliteVectorIndex())
                indexing = IndexingService(SqliteLexicalIndex(), keeper, place)
                count = indexing.rebuild(scope, connection, entries)
                _refill(scope, connection, keeper)
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql(OPTIMIZE)
    finally:
        engine.dispose()
    return count


def _refill(scope: Scope, connection: Any, keeper: VectorKeeper) -> None:
    """The vector engine's rows from the vectors that were made."""
    for model in keeper.models(scope, connection):
        after = keeper.refill(scope, connection, model, None)
        while after is not None:
            after = keeper.refill(scope, connection, model, after)


def indexed_tables() -> dict[str, str]:
    """The table of every kind of entity that is in the text index."""
    return {kind: _TABLES[kind] for kind in reindex.INDEXED_KINDS}


_TABLES = {
    "prompt": "prompts",
    "observation": "observations",
    "summary": "summaries",
    "learning": "learnings",
}


def _rows_to_index(connection: Any) -> int:
    counts = [
        connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()  # noqa: S608 - fixed names
        for table in indexed_tables().values()
    ]
    return sum(int(count) for count in counts)


def _told(entries: Iterator[IndexEntry], total: int, progress: Progress) -> Iterator[IndexEntry]:
    for done, entry in enumerate(entries, 1):
        if done % _TELL_EVERY == 0 or done == total:
            progress(done, total)
        yield entry
