"""Reading what can be read of a damaged SQLite file into a new one.

Owns which rows come over and what is told about those that do not. Must never write to the damaged file, never take a
row from a page that was freed (it may have been forgotten), and never put in what the new file's constraints refuse.
Indexes are not read for content: the new file has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlean

from claude_mem.adapters.sqlite.connection import Raw
from claude_mem.adapters.sqlite.pages import Cell, Pages
from claude_mem.adapters.sqlite.trees import Trees

Progress = Callable[[int, int], None]  # pages done, pages in all
_BATCH = 500
_LOOK_EVERY = 256


@dataclass(slots=True)
class TableReport:
    """One table: rows that came over, rows known to be lost, pages that cannot be read."""

    name: str
    rows: int = 0
    lost: int = 0
    bad_pages: int = 0


@dataclass(slots=True)
class Rescue:
    """What was read.

    `log`: used, left_out (it belongs to another file) or none. `unclaimed`: pages of some table, nobody knows which,
    or whether it had been freed; they are left where they are.
    """

    log: str
    unclaimed: int = 0
    tables: list[TableReport] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows that came over."""
        return sum(table.rows for table in self.tables)

    @property
    def lost(self) -> int:
        """Rows known to be lost."""
        return sum(table.lost for table in self.tables)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the new file: its columns as a record holds them."""

    name: str
    stored: tuple[str, ...]
    defaults: dict[str, object]
    rowid_column: str | None
    has_rowid: bool


class DamagedFile:
    """A file to be rescued. Its schema is its own; `Trees` says which page is whose."""

    def __init__(self, pages: Pages, trees: Trees, log: str) -> None:
        self._pages = pages
        self._trees = trees
        self.log = log
        self.schema = trees.schema()

    def has_tables(self, names: Iterable[str]) -> bool:
        """Whether the schema, as far as it can be read, names one of these."""
        return any(item.kind == "table" and item.name in set(names) for item in self.schema)

    def first_text(self, table: str) -> str | None:
        """The first value of the first row of a table, if it is text."""
        root = next((it.root for it in self.schema if (it.kind, it.name) == ("table", table)), 0)
        for number in self._trees.of(root):
            for cell in self._pages.cells(number):
                if cell is not None and cell.values and isinstance(cell.values[0], str):
                    return cell.values[0]
        return None

    def fill(
        self, target: Path, leave_out: Callable[[str], bool], progress: Progress | None = None
    ) -> Rescue:
        """Copy every row that can be read into the tables of `target`, which has the file's own schema revision."""
        rescue = Rescue(self.log)
        with closing(sqlean.connect(str(target), isolation_level=None)) as raw:
            raw.execute("PRAGMA foreign_keys=OFF")
            raw.execute("PRAGMA cache_size=-64000")
            known = self._completed_schema(raw)
            tables = [it for it in _tables(raw) if not leave_out(it.name)]
            total = sum(len(self._trees.of(_root(known, it.name))) for it in tables)
            told = _Counter(progress, total)
            raw.execute("BEGIN")
            for table in tables:
                rescue.tables.append(self._copy(raw, table, known, told))
            raw.execute("COMMIT")
        rescue.unclaimed = self._trees.unclaimed()
        return rescue

    def index_entries(self, target: Raw, table: str) -> dict[int, dict[str, object]]:
        """What the indexes still know of a table's rows, by rowid: columns and values."""
        found: dict[int, dict[str, object]] = {}
        known = self._completed_schema(target)
        for name, columns in _indexes(target, table):
            for number in self._trees.of(_root(known, name)):
                for cell in self._pages.cells(number):
                    if cell is not None and len(cell.values) == len(columns) + 1:
                        rowid = cell.values[-1]
                        if isinstance(rowid, int):
                            entry = found.setdefault(rowid, {})
                            entry.update(zip(columns, cell.values, strict=False))
        return found

    def _completed_schema(self, target: Raw) -> dict[str, int]:
        """Root pages by name. What the schema lost is where the new file, made by the same steps, has it."""
        known = {item.name: item.root for item in self.schema if item.root}
        taken = set(known.values())
        for name, root in target.execute("SELECT name, rootpage FROM sqlite_master"):
            if name not in known and root and root not in taken:
                known[name] = root
        self._trees.add_roots(known.values())
        return known

    def _copy(self, raw: Raw, table: _Table, known: dict[str, int], told: _Counter) -> TableReport:
        report = TableReport(table.name)
        numbers = self._trees.of(_root(known, table.name))
        report.bad_pages = sum(number in self._trees.broken for number in numbers)
        refused = 0
        for rows in _batches(self._rows(table, numbers, report, told)):
            before = raw.total_changes
            columns = ", ".join(f'"{name}"' for name in rows[0])
            marks = ", ".join("?" * len(rows[0]))
            insert = f'INSERT OR IGNORE INTO "{table.name}" ({columns}) VALUES ({marks})'  # noqa: S608 - names of our own schema
            raw.executemany(insert, [tuple(row.values()) for row in rows])
            added = raw.total_changes - before
            report.rows += added
            refused += len(rows) - added
        expected = self._counted_by_indexes(raw, table.name, known)
        report.lost = max(report.lost + refused, expected - report.rows)
        return report

    def _rows(
        self, table: _Table, numbers: Sequence[int], report: TableReport, told: _Counter
    ) -> Iterator[dict[str, object]]:
        for number in numbers:
            told.step()
            for cell in self._pages.cells(number):
                row = _row(table, cell) if cell is not None else None
                if row is None:
                    report.lost += 1
                else:
                    yield row

    def _counted_by_indexes(self, raw: Raw, table: str, known: dict[str, int]) -> int:
        counts = [0]
        for name, _ in _indexes(raw, table):
            pages = self._trees.of(_root(known, name))
            counts.append(sum(self._pages.cell_count(number) for number in pages))
        return max(counts)


@contextmanager
def opened(path: Path, progress: Progress | None = None) -> Iterator[DamagedFile]:
    """Open a damaged file, with its write-ahead log where that belongs to it."""
    with closing(Pages(path, wal=True)) as pages:
        with_log = Trees(pages, _Counter(progress, pages.count).step)
        if not pages.frames:
            yield DamagedFile(pages, with_log, "none")
            return
        with closing(Pages(path, wal=False)) as bare:
            without = Trees(bare, _Counter(None, 0).step)
            # A log of another file (or of this file at another time) breaks what was whole.
            if not _is_usable(with_log) or with_log.faults() > without.faults():
                yield DamagedFile(bare, without, "left_out")
            else:
                yield DamagedFile(pages, with_log, "used")


def _is_usable(trees: Trees) -> bool:
    return any(item.kind == "table" for item in trees.schema())


class _Counter:
    """Tells how far it is, not at every step."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def step(self) -> None:
        """One more page."""
        self._done += 1
        if self._progress and (self._done % _LOOK_EVERY == 0 or self._done == self._total):
            self._progress(self._done, self._total)


def _root(known: dict[str, int], name: str) -> int:
    return known.get(name, 0)


def _tables(raw: Raw) -> list[_Table]:
    listed = raw.execute(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    return [_table(raw, name, has_rowid=not without) for name, without in listed]


def _table(raw: Raw, name: str, *, has_rowid: bool) -> _Table:
    columns = raw.execute('SELECT name, "type", dflt_value, pk FROM pragma_table_info(?)', (name,))
    rows = columns.fetchall()
    keys = [row for row in sorted(rows, key=lambda row: row[3]) if row[3]]
    alias = None
    if has_rowid:
        stored = tuple(row[0] for row in rows)
        if len(keys) == 1 and str(keys[0][1]).upper() == "INTEGER":
            alias = keys[0][0]
    else:
        stored = tuple(row[0] for row in [*keys, *(row for row in rows if not row[3])])
    defaults = {
        row[0]: raw.execute(f"SELECT {row[2]}").fetchone()[0] for row in rows if row[2] is not None
    }
    return _Table(name, stored, defaults, alias, has_rowid)


def _indexes(raw: Raw, table: str) -> list[tuple[str, list[str]]]:
    names = raw.execute("SELECT name FROM pragma_index_list(?) WHERE partial = 0", (table,))
    return [
        (name, [row[0] for row in raw.execute("SELECT name FROM pragma_index_info(?)", (name,))])
        for (name,) in names.fetchall()
    ]


def _row(table: _Table, cell: Cell) -> dict[str, object] | None:
    """A row by column; columns that were added later have their default. None when it is no row of this table."""
    if len(cell.values) > len(table.stored) or table.has_rowid != (cell.rowid is not None):
        return None
    row: dict[str, object] = dict(zip(table.stored, cell.values, strict=False))
    for name in table.stored[len(cell.values) :]:
        row[name] = table.defaults.get(name)
    if table.rowid_column is not None:
        row[table.rowid_column] = cell.rowid
    return row


def _batches(rows: Iterable[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    batch: list[dict[str, object]] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
