"""The vector engine on SQLite: few vectors are compared one by one, many through graphs in files of their own.

Owns `vector_rows` (a row a vector, 16 bits a number) and `vector_spaces` (what a model has in an enterprise: vectors
of two spaces are never compared). What is nearest is looked for in two places: in a graph (`vector_graphs`) as far as
it goes, and among the rows after it, which are kept in memory once a search has read them. Whatever is found there is
then read from its row, in the caller's transaction, and compared exactly: so that what is gone is not found, and a
graph only has to bring the right ones along. Of a space that is in memory as a whole (`vector_tails`) no row is read:
the transaction only tells how many there are.

numpy is loaded by the first search and not before.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from itertools import count as count_up
from typing import Any, Final
from uuid import UUID

import orjson

from claude_mem.adapters.sqlite.vector_graphs import WHOLE, Graph, Graphs
from claude_mem.adapters.sqlite.vector_tails import (
    COLUMNS,
    DIGITS,
    Comparing,
    Projects,
    Row,
    Tail,
    told,
)
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.vectors import (
    Neighbour,
    VectorEntry,
    VectorModel,
    check_limit,
    check_model,
    unit,
)

CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS vector_spaces ("
    "enterprise_id TEXT NOT NULL, model TEXT NOT NULL, dimension INTEGER NOT NULL, "
    "space INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (enterprise_id, model, dimension))",
    "CREATE TABLE IF NOT EXISTS vector_rows ("
    "number INTEGER PRIMARY KEY, enterprise_id TEXT NOT NULL, space INTEGER NOT NULL, "
    "project_id TEXT NOT NULL, id BLOB NOT NULL, vector BLOB NOT NULL, owner TEXT, UNIQUE (enterprise_id, id))",
    "CREATE INDEX IF NOT EXISTS ix_vector_rows_project ON vector_rows (space, project_id)",
)
KEPT: Final = 40_000  # vectors of a space in memory at most: beyond a graph, or without one

_NO_PROJECT = ""
_SPARE = 24  # candidates more than wanted: some are gone, and 8 bits confuse the order of the last
_AT_ONCE = 4_096
_SEEN = "vectors seen"  # of a connection: the space whose tail it found right, which, and at which state
_SPACE = (
    "SELECT space, last FROM vector_spaces WHERE enterprise_id = ? AND model = ? AND dimension = ?"
)
_LAST = "SELECT coalesce(max(space), 0), coalesce(max(last), 0) FROM vector_spaces"
_NEW_SPACE = "INSERT INTO vector_spaces (enterprise_id, model, dimension, space, last) VALUES (?, ?, ?, ?, 0)"
_SET_LAST = "UPDATE vector_spaces SET last = ? WHERE space = ?"
_ADD = (
    "INSERT INTO vector_rows (number, enterprise_id, space, project_id, id, vector, owner) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_REMOVE = "DELETE FROM vector_rows WHERE enterprise_id = ? AND id = ?"
# The sign keeps SQLite from going through all of a space to find the few that are new.
_AFTER = f"SELECT {COLUMNS} FROM vector_rows WHERE number > ? AND +space = ? ORDER BY number"  # noqa: S608 - our own words
_OF_PROJECT = (
    f"SELECT {COLUMNS} FROM vector_rows INDEXED BY ix_vector_rows_project "  # noqa: S608 - our own words
    "WHERE space = ? AND project_id = ? AND number > ? ORDER BY number"
)
_COUNT = "SELECT count(*) FROM vector_rows WHERE space = ?"
_NUMBERS = "SELECT number FROM vector_rows WHERE space = ?"
_EXACTLY = (
    "SELECT id, vector, owner FROM vector_rows WHERE number IN (SELECT value FROM json_each(?))"
)


_SERIALS: Final = count_up(1)  # of the tails of all indexes: connections may be shared


class SqliteVectorIndex:
    """Implements `ports.vectors.VectorIndex`. The tables are made by a migration."""

    def __init__(self, graphs: Graphs | None = None) -> None:
        self._graphs = graphs
        self._tails: dict[int, Tail] = {}
        self._lock = threading.Lock()

    def add(self, scope: Scope, tx: Tx, model: VectorModel, entries: Sequence[VectorEntry]) -> None:
        """See the port."""
        check_model(model)
        shape = struct.Struct(f"<{model.dimension}e")
        packed = [shape.pack(*unit(model, entry.vector)) for entry in entries]
        if not packed:
            return
        cursor = tx.connection.cursor()
        key = (scope.enterprise_id, model.name, model.dimension)
        found = cursor.execute(_SPACE, key).fetchone()
        spaces, last = cursor.execute(_LAST).fetchone()
        space = found[0] if found else spaces + 1
        if not found:
            cursor.execute(_NEW_SPACE, (*key, space))
        cursor.executemany(
            _ADD,
            [
                (
                    *(n, scope.enterprise_id, space, it.project_id or _NO_PROJECT),
                    *(UUID(it.id).bytes, vector, it.owner or None),
                )
                for n, (it, vector) in enumerate(zip(entries, packed, strict=True), last + 1)
            ],
        )
        cursor.execute(_SET_LAST, (last + len(packed), space))

    def remove(self, scope: Scope, tx: Tx, ids: Sequence[str]) -> None:
        """See the port."""
        cursor = tx.connection.cursor()
        cursor.executemany(_REMOVE, [(scope.enterprise_id, UUID(each).bytes) for each in ids])

    def nearest(
        self,
        scope: Scope,
        tx: Tx,
        model: VectorModel,
        query: bytes,
        project_ids: Sequence[str] | None,
        limit: int,
        *,
        quick: bool = False,
    ) -> tuple[Neighbour, ...]:
        """See the port."""
        check_limit(limit)
        probe = unit(model, query)
        cursor = tx.connection.cursor()
        found = _space(cursor, scope, model)
        if found is None:
            return ()
        projects = None if project_ids is None else tuple(dict.fromkeys(project_ids))
        search = _Search(tx, cursor, _numpy(), probe, quick)
        graph = self._graph(found[0], WHOLE, model, found[1])
        if graph is None and (tail := self._whole(search, *found)) is not None:
            return search.comparing.nearest(tail, projects, limit)
        return self._by_graphs(search, found, graph, projects, model, limit)

    def similarities(
        self, scope: Scope, tx: Tx, model: VectorModel, query: bytes, owners: Collection[str]
    ) -> Mapping[str, float] | None:
        """See the port: known where the space is in memory as a whole, which the search for the nearest saw to."""
        probe = unit(model, query)
        found = _space(tx.connection.cursor(), scope, model)
        if found is None:
            return {}
        with self._lock:
            tail = self._tails.get(found[0])
        if tail is None or tail.begin or tail.last != found[1] or not tail.is_told:
            return None
        return Comparing(_numpy(), probe).of_owners(tail, owners)

    def _by_graphs(
        self,
        search: _Search,
        space: tuple[int, int],
        graph: Graph | None,
        projects: Projects,
        model: VectorModel,
        limit: int,
    ) -> tuple[Neighbour, ...]:
        """Candidates of graphs and of the rows after them, read again from their rows."""
        most = limit + _SPARE
        while True:
            numbers = set()
            if graph is None or projects is None:
                numbers |= self._in_tail(search, space[0], graph, projects, most)
            if graph is not None and projects is None:
                probe = search.comparing.probe
                numbers.update(graph.nearest(probe, most, quick=search.quick))
            elif graph is not None:
                for project in projects or ():
                    numbers |= self._in_project(search, space, graph, project, model, most)
            best = search.exactly(numbers, limit)
            if len(best) >= limit or len(numbers) < most:
                return best
            if most > limit + _SPARE:  # many are gone: what is kept of them is let go
                with self._lock:
                    self._tails.pop(space[0], None)
            most *= 4

    def settle(self, scope: Scope, tx: Tx, model: VectorModel) -> bool:
        """See the port. Graphs are made outside of transactions (`vector_building`): there is nothing to do in one."""
        del scope, tx
        check_model(model)
        return False

    def purge(self, scope: Scope, tx: Tx) -> None:
        """See the port. A graph that holds what is gone is deleted, and made anew in the background; what is in memory
        is read anew.
        """
        cursor = tx.connection.cursor()
        query = "SELECT space FROM vector_spaces WHERE enterprise_id = ?"
        spaces = [row[0] for row in cursor.execute(query, (scope.enterprise_id,)).fetchall()]
        with self._lock:
            for space in spaces:
                self._tails.pop(space, None)
        if self._graphs is None:
            return
        for note in list(self._graphs.notes()):
            if note.space in spaces and note.count != count(
                cursor, note.space, note.part, note.through
            ):
                self._graphs.unclean.add(note.space)
                self._graphs.drop(note.space)

    def _graph(self, space: int, part: str, model: VectorModel, last: int) -> Graph | None:
        return None if self._graphs is None else self._graphs.graph(space, part, model, last)

    def _in_project(
        self,
        search: _Search,
        space: tuple[int, int],
        whole: Graph,
        project: str,
        model: VectorModel,
        most: int,
    ) -> set[int]:
        """A project's nearest where the whole has a graph: by its own one, and by its rows after it.

        Those are among the rows after the whole's graph, which are in memory, where that does not go further.
        """
        graph = self._graph(space[0], project, model, space[1])
        begin = 0 if graph is None else graph.note.through
        if begin >= whole.note.through:
            found = self._in_tail(search, space[0], whole, (project,), most)
        else:
            rows = search.cursor.execute(_OF_PROJECT, (space[0], project, begin))
            found = search.among_rows(rows, None, most)
        if graph is None:
            return found
        return found | set(graph.nearest(search.comparing.probe, most, quick=search.quick))

    def _whole(self, search: _Search, space: int, last: int) -> Tail | None:
        """All rows of a space as the transaction sees them; None where they are too many to be kept.

        Numbers are never given out twice, so a tail is right where it has as many rows as there are and none of a later
        state. If not, what is gone is taken out of it.
        """
        kept = self._kept(space, 0)
        if search.has_seen(space, kept):
            return kept
        there = search.count(space)
        if there > KEPT:
            return None
        tail, rest = search.caught_up(kept, space)
        is_later = tail.last > last
        if is_later or next(rest, None) is not None or there != tail.size:
            alive = search.cursor.execute(_NUMBERS, (space,)).fetchall()
            tail = search.comparing.without(tail, [row[0] for row in alive])
            if tail.size != there:  # of an earlier state some has gone since; or too much was gone
                tail, _ = search.caught_up(Tail(0, 0), space)
        if not is_later and search.is_reader():
            # What a writer sees may be taken back, and its numbers given out again.
            if tail is not kept or tail.last != last:
                tail = replace(tail, last=last, serial=next(_SERIALS))
                self._keep(space, tail)
            search.note_seen(space, tail)
        return tail

    def _in_tail(
        self,
        search: _Search,
        space: int,
        graph: Graph | None,
        projects: Projects,
        most: int,
    ) -> set[int]:
        """Of the rows after a graph, which are kept; of all rows, where there is no graph and they are too many."""
        begin = 0 if graph is None else graph.note.through
        kept = self._kept(space, begin)
        tail, rest = search.caught_up(kept, space)
        found: set[int] = set()
        for rows in rest:  # a graph is long due
            found |= search.comparing.among_rows(rows, projects, most)
        if tail is not kept and search.is_reader():
            self._keep(space, tail)
        return found | search.comparing.among(tail, projects, most)

    def _kept(self, space: int, begin: int) -> Tail:
        with self._lock:
            kept = self._tails.get(space)
        return Tail(begin, begin) if kept is None or kept.begin != begin else kept

    def _keep(self, space: int, tail: Tail) -> None:
        with self._lock:
            self._tails[space] = tail


class _Search:
    """One question."""

    def __init__(
        self, tx: Tx, cursor: Any, numpy: Any, probe: Sequence[float], quick: bool
    ) -> None:
        self._known: dict[str, Any] = tx.info  # lives as long as the connection does
        self.cursor = cursor
        self.quick = quick
        self.comparing = Comparing(numpy, probe)

    def caught_up(self, tail: Tail, space: int) -> tuple[Tail, Iterator[Sequence[Row]]]:
        """A tail with the rows that came after it as far as they may be kept; and the others, some at a time."""
        rows = self.cursor.execute(_AFTER, (tail.last, space))
        while some := rows.fetchmany(_AT_ONCE):
            if tail.size + len(some) > KEPT:
                return tail, chain([some], iter(lambda: rows.fetchmany(_AT_ONCE), []))
            tail = self.comparing.longer(tail, some)
        return tail, iter(())

    def has_seen(self, space: int, tail: Tail) -> bool:
        """Whether this connection has found a tail right, and nobody else has written anything since: counting the rows
        of a large space costs as much as comparing those of a small one.
        """
        seen = self._known.get(_SEEN) if tail.serial else None
        return seen is not None and seen == (space, tail.serial, self._state()) and self.is_reader()

    def note_seen(self, space: int, tail: Tail) -> None:
        """This connection, a reader's, finds a tail right."""
        self._known[_SEEN] = (space, tail.serial, self._state())

    def _state(self) -> int:
        return int(self.cursor.execute("PRAGMA data_version").fetchone()[0])

    def count(self, space: int) -> int:
        """How many rows a space has."""
        return int(self.cursor.execute(_COUNT, (space,)).fetchone()[0])

    def among_rows(self, rows: Any, projects: Projects, most: int) -> set[int]:
        """The numbers of the nearest of rows that are still to be read."""
        found: set[int] = set()
        while some := rows.fetchmany(_AT_ONCE):
            found |= self.comparing.among_rows(some, projects, most)
        return found

    def exactly(self, numbers: set[int], limit: int) -> tuple[Neighbour, ...]:
        """What is there of some rows, compared exactly: the nearest first, of equals by id."""
        if not numbers:
            return ()
        rows = self.cursor.execute(_EXACTLY, (orjson.dumps(list(numbers)).decode(),)).fetchall()
        if not rows:
            return ()
        matrix = self.comparing.matrix([row[1] for row in rows])
        scores = self.comparing.cosines(matrix).tolist()
        return told(
            [
                (-round(score, DIGITS), row[0], row[2] if isinstance(row[2], str) else "")
                for score, row in zip(scores, rows, strict=True)
            ],
            limit,
        )

    def is_reader(self) -> bool:
        """Whether the connection can only read, so that what it sees is committed."""
        return bool(self.cursor.execute("PRAGMA query_only").fetchone()[0])


def _space(cursor: Any, scope: Scope, model: VectorModel) -> tuple[int, int] | None:
    """(number of a model's space, the last number that was given out in it); None where it has none."""
    key = (scope.enterprise_id, model.name, model.dimension)
    found: tuple[int, int] | None = cursor.execute(_SPACE, key).fetchone()
    return found


def count(cursor: Any, space: int, part: str, through: int) -> int:
    """How many rows a part has up to a number."""
    if part == WHOLE:
        query = "SELECT count(*) FROM vector_rows WHERE space = ? AND number <= ?"
        return int(cursor.execute(query, (space, through)).fetchone()[0])
    query = "SELECT count(*) FROM vector_rows WHERE space = ? AND project_id = ? AND number <= ?"
    return int(cursor.execute(query, (space, part, through)).fetchone()[0])


def _numpy() -> Any:
    """Loaded when it is needed: it costs 60 ms and 25 MB. Raises Unavailable where it is not installed."""
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise Unavailable("vector search needs numpy: install it beside the program") from error
    return numpy
