"""Whether a SQLite file is sound, and whether the search index says what the rows say.

Reads only, through a read-only connection of its own, so that it may look at a file a worker is at work on, and changes
nothing in a damaged one. Never opens a file another program made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlean

from claude_mem.adapters.sqlite.connection import Raw, check_ours
from claude_mem.adapters.sqlite.pages import MAGIC
from claude_mem.hook.home import is_damaged_database
from claude_mem.kernel.errors import Unavailable

_MOST_FAULTS = 50
_PATIENCE_MS = 10_000
_NO_DAMAGE = ("locked", "busy", "unable to open", "readonly", "interrupted", "out of memory")
_TICK = 20_000  # steps of SQLite's machine between two signs of life


@dataclass(frozen=True, slots=True)
class Agreement:
    """One kind of entity: rows, documents of it in the index, rows that are not in it, documents without a row."""

    kind: str
    rows: int
    indexed: int
    missing: int
    stray: int

    @property
    def ok(self) -> bool:
        """Whether every row is in the index once, and nothing else is."""
        return self.missing == self.stray == 0


@contextmanager
def read_only(path: Path, tick: Callable[[], None] | None = None) -> Iterator[Raw]:
    """A read-only connection to a file of ours; `tick` is called now and then while it works.

    Raises ForeignDatabase, or Unavailable when the file cannot be opened.
    """
    check_ours(path)
    try:
        raw = sqlean.connect(f"file:{_quoted(path)}?mode=ro", uri=True, isolation_level=None)
    except sqlean.Error as error:
        raise Unavailable(f"{path} cannot be opened: {error}") from error
    try:
        raw.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
        raw.execute("PRAGMA cache_size=-16000")
        if tick is not None:
            raw.set_progress_handler(lambda: tick() or 0, _TICK)
        yield raw
    finally:
        raw.close()


def file_faults(
    path: Path, *, thorough: bool = False, tick: Callable[[], None] | None = None
) -> list[str]:
    """What is wrong with the file itself; nothing when it is sound. `thorough` compares indexes with tables too.

    Raises Unavailable when it cannot be looked at now: that is no damage; ForeignDatabase when it is no file.
    """
    if path.is_dir():
        check_ours(path)
    with path.open("rb") as file:
        head = file.read(100)
    if not head:
        return []
    if not head.startswith(MAGIC):
        return ["the first page is not that of a database"]
    if is_damaged_database(path):
        return ["the mark that says whose it is has gone from the first page"]
    try:
        with read_only(path, tick) as raw:
            return integrity(raw, thorough=thorough)
    except sqlean.Error as error:
        return [_as_damage(error)]


def integrity(raw: Raw, *, thorough: bool = False) -> list[str]:
    """SQLite's own check of its structures, and FTS5's of its index; `thorough`: each index entry against its row."""
    pragma = "integrity_check" if thorough else "quick_check"
    try:
        rows = raw.execute(f"PRAGMA {pragma}({_MOST_FAULTS})").fetchall()
    except sqlean.Error as error:
        return [_as_damage(error)]
    lines = [line for row in rows for line in str(row[0]).splitlines()]
    return [line for line in lines if line != "ok" and not line.startswith("*** ")]


def foreign_keys(raw: Raw) -> dict[str, int]:
    """How many rows name a parent that is not there, by "table -> parent"."""
    found: dict[str, int] = {}
    for table, _, parent, _ in raw.execute("PRAGMA foreign_key_check"):
        name = f"{table} -> {parent}"
        found[name] = found.get(name, 0) + 1
    return found


def agreements(raw: Raw, tables: Mapping[str, str]) -> list[Agreement]:
    """Rows against the index's documents, for each kind and its table."""
    return [_agreement(raw, kind, table) for kind, table in tables.items()]


def engine_difference(raw: Raw) -> int:
    """How many documents the text engine and the index's own table do not share."""
    row = raw.execute(
        "SELECT (SELECT count(*) FROM search_documents d WHERE NOT EXISTS"
        " (SELECT 1 FROM search_fts_docsize f WHERE f.id = d.id)),"
        " (SELECT count(*) FROM search_fts_docsize f WHERE NOT EXISTS"
        " (SELECT 1 FROM search_documents d WHERE d.id = f.id))"
    ).fetchone()
    return int(row[0]) + int(row[1])


def counted_difference(raw: Raw) -> int:
    """How far the number of documents that ranking uses is from what is there."""
    row = raw.execute(
        "SELECT coalesce((SELECT sum(documents) FROM search_statistics), 0)"
        " - (SELECT count(*) FROM search_documents)"
    ).fetchone()
    return abs(int(row[0]))


def _agreement(raw: Raw, kind: str, table: str) -> Agreement:
    live = _live(raw, table)
    rows, indexed, missing, stray = raw.execute(
        f"WITH live AS (SELECT enterprise_id, id FROM {table} WHERE {live})"  # noqa: S608 - names of our own schema
        " SELECT (SELECT count(*) FROM live),"
        " (SELECT count(*) FROM search_documents WHERE kind = :kind),"
        " (SELECT count(*) FROM live t WHERE NOT EXISTS (SELECT 1 FROM search_documents d"
        "   WHERE d.enterprise_id = t.enterprise_id AND d.kind = :kind AND d.entity_id = t.id)),"
        " (SELECT count(*) FROM search_documents d WHERE d.kind = :kind AND NOT EXISTS"
        "   (SELECT 1 FROM live t WHERE t.enterprise_id = d.enterprise_id AND t.id = d.entity_id))",
        {"kind": kind},
    ).fetchone()
    return Agreement(kind, rows, indexed, missing, stray)


def _live(raw: Raw, table: str) -> str:
    """What is there to be found: what was forgotten may leave an empty row, which says that it stays forgotten."""
    columns = {row[0] for row in raw.execute("SELECT name FROM pragma_table_info(?)", (table,))}
    return "NOT is_deleted" if "is_deleted" in columns else "TRUE"


def _as_damage(error: sqlean.Error) -> str:
    """What a check that ended early says of the file. Raises Unavailable where it says nothing of it."""
    text = str(error)
    if any(sign in text.lower() for sign in _NO_DAMAGE):
        raise Unavailable(f"it cannot be checked now: {text}", retry_after=5) from error
    return text


def _quoted(path: Path) -> str:
    """A path as the file part of a URI."""
    text = str(path.absolute())
    return text.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
