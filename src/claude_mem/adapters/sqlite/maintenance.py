"""Keeping a SQLite file in shape, and saying where its bytes are.

Owns the figures of `db stats` and `db space`, and what changes a file without changing what it says: checkpoint,
planner statistics, vacuum. What changes a file is for whoever is alone with it (no worker runs); the figures are not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlean

from claude_mem.adapters.sqlite.connection import OPTIMIZE, Raw, check_ours, configure, translate
from claude_mem.kernel.errors import StoreFull
from claude_mem.ports.database import Tx

_DAY_MS = 86_400_000
_POLL_S = 0.1
_LARGEST = 10
# What a session or a project holds: each with the column that tells how much.
_CONTENT = {
    "prompts": "content",
    "observations": "content",
    "code_changes": "diff",
    "summaries": "content",
}
_BYTES_BY_SESSION = " UNION ALL ".join(
    f"SELECT enterprise_id, session_id, occurred_at, length(CAST({column} AS BLOB)) AS bytes FROM {table}"  # noqa: S608 - fixed names
    for table, column in _CONTENT.items()
)
_PROJECTS = (
    "SELECT p.name, p.key, count(DISTINCT s.id), count(c.session_id), coalesce(sum(c.bytes), 0)"  # noqa: S608 - fixed names
    " FROM projects p LEFT JOIN sessions s ON s.enterprise_id = p.enterprise_id AND s.project_id = p.id"
    f" LEFT JOIN ({_BYTES_BY_SESSION}) c ON c.enterprise_id = s.enterprise_id AND c.session_id = s.id"
    " GROUP BY p.enterprise_id, p.id ORDER BY 5 DESC"
)
_LARGEST_SESSIONS = (
    "SELECT s.id, s.title, p.name, s.last_activity_at, count(*), sum(c.bytes)"  # noqa: S608 - fixed names
    f" FROM ({_BYTES_BY_SESSION}) c JOIN sessions s"
    " ON s.enterprise_id = c.enterprise_id AND s.id = c.session_id"
    " LEFT JOIN projects p ON p.enterprise_id = s.enterprise_id AND p.id = s.project_id"
    " GROUP BY s.enterprise_id, s.id ORDER BY 6 DESC LIMIT ?"
)


def pages(raw: Raw) -> dict[str, int]:
    """Page size, pages, and free pages of the open file."""
    return {
        name: int(raw.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_size", "page_count", "freelist_count")
    }


def rows(raw: Raw) -> dict[str, int]:
    """Rows by table, the engine's own tables left out; the largest first."""
    names = raw.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
    counts = {
        name: int(raw.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])  # noqa: S608 - from the schema
        for (name,) in names
    }
    return dict(sorted(counts.items(), key=lambda it: -it[1]))


def vectors(raw: Raw) -> list[dict[str, Any]]:
    """How many documents have vectors of each model, of how many."""
    found = raw.execute(
        "SELECT m.model_name, m.dimension, m.documents, s.documents FROM vector_models m"
        " JOIN search_statistics s ON s.enterprise_id = m.enterprise_id ORDER BY 1, 2"
    )
    names = ("model", "dimension", "embedded", "documents")
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def sizes(raw: Raw) -> list[dict[str, Any]]:
    """Bytes of every table and index, and how many of them hold nothing; the largest first."""
    found = raw.execute(
        "SELECT s.name, s.pgsize, s.unused, coalesce(m.type, 'table'), coalesce(m.tbl_name, s.name)"
        " FROM dbstat s LEFT JOIN sqlite_master m ON m.name = s.name"
        " WHERE s.aggregate = TRUE ORDER BY s.pgsize DESC"
    )
    names = ("name", "bytes", "unused", "kind", "table")
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def projects(raw: Raw) -> list[dict[str, Any]]:
    """Sessions, rows and bytes of text by project, the largest first."""
    found = raw.execute(_PROJECTS)
    names = ("name", "key", "sessions", "rows", "bytes")
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def largest_sessions(raw: Raw, limit: int = _LARGEST) -> list[dict[str, Any]]:
    """The sessions with the most text."""
    found = raw.execute(_LARGEST_SESSIONS, (limit,))
    names = ("id", "title", "project", "last_activity_at", "rows", "bytes")
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def growth(raw: Raw, now: int, days: int) -> list[dict[str, int]]:
    """Rows and bytes of text by the day they are of, the last `days` (UTC), oldest first."""
    first = now // _DAY_MS - days + 1
    found = raw.execute(
        f"SELECT occurred_at / {_DAY_MS}, count(*), sum(bytes) FROM ({_BYTES_BY_SESSION})"  # noqa: S608 - fixed names
        " WHERE occurred_at >= ? AND occurred_at <= ? GROUP BY 1",
        (first * _DAY_MS, now),
    )
    by_day = {day: (count, size) for day, count, size in found.fetchall()}
    return [
        {
            "day_ms": day * _DAY_MS,
            "rows": by_day.get(day, (0, 0))[0],
            "bytes": by_day.get(day, (0, 0))[1],
        }
        for day in range(first, first + days)
    ]


def last_event(raw: Raw) -> int | None:
    """When what was recorded last happened (Unix ms)."""
    return _newest(raw, "last_activity_at")


def latest_session(raw: Raw) -> str | None:
    """The id of the session in which happened what `last_event` is of."""
    query = "SELECT id FROM sessions ORDER BY last_activity_at DESC LIMIT 1"
    found = raw.execute(query).fetchone()
    return None if found is None else str(found[0])


def last_recorded(raw: Raw) -> int | None:
    """When something was recorded last (Unix ms): an import records now what happened long ago."""
    return _newest(raw, "updated_at")


def _newest(raw: Raw, column: str) -> int | None:
    found = raw.execute(f"SELECT max({column}) FROM sessions").fetchone()[0]  # noqa: S608 - fixed names
    return None if found is None else int(found)


def has_statistics(raw: Raw) -> bool:
    """Whether the planner has been given figures."""
    there = raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchone()
    return bool(there and raw.execute("SELECT 1 FROM sqlite_stat1").fetchone())


def clear_index(tx: Tx) -> None:
    """Empty the indexes of words and vectors in the caller's transaction, also of what no row of ours names any more.

    Only where one enterprise is all there is: another's documents are not the caller's to remove.
    """
    enterprises = tx.exec_driver_sql("SELECT DISTINCT enterprise_id FROM search_documents LIMIT 2")
    if len(enterprises.all()) > 1:
        return
    for table in ("search_documents", "search_statistics", "vector_rows"):
        tx.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - fixed names
    tx.exec_driver_sql("INSERT INTO search_fts(search_fts) VALUES ('delete-all')")


def checkpoint(path: Path) -> None:
    """Move the write-ahead log into the file and empty it. Raises Unavailable or StoreFull."""
    with _alone(path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def optimize(path: Path) -> None:
    """Give the planner figures of what has changed."""
    with _alone(path) as raw:
        raw.execute(OPTIMIZE).fetchall()


def room_for_vacuum(path: Path, free: int) -> None:
    """Raises StoreFull when a copy of the file, and its log, do not fit on the disk."""
    needed = path.stat().st_size * 2 + (16 << 20)
    if free < needed:
        raise StoreFull(
            f"vacuum needs {needed >> 20} MB of free disk for the time it works, {free >> 20} MB are free"
        )


def vacuum(path: Path, progress: Callable[[int, int], None]) -> tuple[int, int]:
    """Write the file anew without its gaps; (bytes before, bytes after). All or nothing: a crash leaves the old one."""
    before = path.stat().st_size
    log = path.with_name(path.name + "-wal")
    failure: list[BaseException] = []

    def work() -> None:
        try:
            write_anew(path)
        except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=work, name="vacuum")
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_S)
        written = (
            log.stat().st_size if log.exists() else 0
        )  # all of the new file goes through the log
        progress(min(written, before), before)
    if failure:
        raise failure[0]
    return before, path.stat().st_size


def write_anew(path: Path) -> None:
    """Vacuum the file and empty its log: nothing of what was deleted is left in either.

    Beside a worker only between its transactions. The copy is made on disk: in memory it would be as large as the file.
    """
    with _alone(path) as raw:
        raw.execute("PRAGMA temp_store=FILE")
        raw.execute("VACUUM")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@contextmanager
def _alone(path: Path) -> Any:
    check_ours(path)
    with closing(sqlean.connect(str(path), isolation_level=None, check_same_thread=False)) as raw:
        try:
            configure(raw, writer=True)
            yield raw
        except sqlean.Error as error:
            raise translate(error) from error
