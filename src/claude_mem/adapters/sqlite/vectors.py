"""The vector engine on SQLite: few vectors are compared one by one, many through graphs in files of their own.

Owns `vector_rows` (a row a vector, 16 bits a number) and `vector_spaces` (what a model has in an enterprise: vectors
of two spaces are never compared). What is nearest is looked for in two places: in a graph (`vector_graphs`) as far as
it goes, and among the rows after it, which are kept in memory once a search has read them. Whatever is found there is
then read from its row, in the caller's transaction, and compared exactly: so that what is gone is not found, and a
graph only has to bring the right ones along.

numpy is loaded by the first search and not before.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

import orjson

from claude_mem.adapters.sqlite.vector_graphs import WHOLE, Graph, Graphs
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
KEPT: Final = 40_000  # vectors of a space in memory at most: beyond a graph, or before there is one

_NO_PROJECT = ""
_PARTS = 12  # of a tail: each costs a call, and making them one costs a copy of all
Projects: TypeAlias = tuple[str, ...] | None
_Row: TypeAlias = tuple[int, str, bytes]
_SPARE = 24  # candidates more than wanted: some are gone, and 8 bits confuse the order of the last
_AT_ONCE = 4_096
_EQUAL = 1e-6
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
_AFTER = "SELECT number, project_id, vector FROM vector_rows WHERE number > ? AND +space = ? ORDER BY number"
_OF_PROJECT = (
    "SELECT number, project_id, vector FROM vector_rows INDEXED BY ix_vector_rows_project "
    "WHERE space = ? AND project_id = ? AND number > ? ORDER BY number"
)
_EXACTLY = "SELECT number, id, vector, owner FROM vector_rows WHERE number IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows as they are compared; `codes` are their projects' places in a tail's list."""

    numbers: Any
    codes: Any
    matrix: Any


@dataclass(frozen=True, slots=True)
class _Tail:
    """Rows of a space after `begin`, up to `last`. Never changed: several may compare at once."""

    begin: int
    last: int
    size: int = 0
    parts: tuple[_Part, ...] = ()
    projects: tuple[str, ...] = ()


class SqliteVectorIndex:
    """Implements `ports.vectors.VectorIndex`. The tables are made by a migration."""

    def __init__(self, graphs: Graphs | None = None) -> None:
        self._graphs = graphs
        self._tails: dict[int, _Tail] = {}
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
        key = (scope.enterprise_id, model.name, model.dimension)
        found = cursor.execute(_SPACE, key).fetchone()
        if found is None:
            return ()
        projects = None if project_ids is None else tuple(dict.fromkeys(project_ids))
        numpy = _numpy()
        search = _Search(cursor, numpy.asarray(probe, dtype="<f4"), numpy, quick)
        graph = self._graph(found[0], WHOLE, model, found[1])
        most = limit + _SPARE
        while True:
            numbers = set()
            if graph is None or projects is None:
                numbers |= self._in_tail(search, found[0], graph, projects, most)
            if graph is not None and projects is None:
                numbers.update(graph.nearest(search.probe, most, quick=search.quick))
            elif graph is not None:
                for project in projects or ():
                    numbers |= self._in_project(search, found, graph, project, model, most)
            best = search.exactly(numbers, limit)
            if len(best) >= limit or len(numbers) < most:
                return best
            if most > limit + _SPARE:  # many are gone: what is kept of them is let go
                with self._lock:
                    self._tails.pop(found[0], None)
            most *= 4

    def settle(self, scope: Scope, tx: Tx, model: VectorModel) -> bool:
        """See the port. Graphs are made outside of transactions (`vector_building`): there is nothing to do in one."""
        del scope, tx
        check_model(model)
        return False

    def purge(self, scope: Scope, tx: Tx) -> None:
        """See the port. A graph that holds what is gone is deleted, and made anew in the background."""
        if self._graphs is None:
            return
        cursor = tx.connection.cursor()
        query = "SELECT space FROM vector_spaces WHERE enterprise_id = ?"
        spaces = [row[0] for row in cursor.execute(query, (scope.enterprise_id,)).fetchall()]
        for note in list(self._graphs.notes()):
            if note.space in spaces and note.count != count(
                cursor, note.space, note.part, note.through
            ):
                self._graphs.unclean.add(note.space)
                self._graphs.drop(note.space)
        with self._lock:
            for space in spaces:
                self._tails.pop(space, None)

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
        return found | set(graph.nearest(search.probe, most, quick=search.quick))

    def _in_tail(
        self,
        search: _Search,
        space: int,
        graph: Graph | None,
        projects: Projects,
        most: int,
    ) -> set[int]:
        begin = 0 if graph is None else graph.note.through
        with self._lock:
            kept = self._tails.get(space)
        tail = _Tail(begin, begin) if kept is None or kept.begin != begin else kept
        found: set[int] = set()
        rows = search.cursor.execute(_AFTER, (tail.last, space))
        while some := rows.fetchmany(_AT_ONCE):
            if tail.size + len(some) > KEPT:  # a graph is long due: nothing more is kept
                found |= search.among_listed(some, projects, most)
                found |= search.among_rows(rows, projects, most)
                break
            tail = search.longer(tail, some)
        if tail is not kept and search.is_reader():
            # What a writer sees may be taken back, and its numbers given out again.
            with self._lock:
                self._tails[space] = tail
        return found | search.among(tail, projects, most)


@dataclass(frozen=True, slots=True)
class _Search:
    """One question."""

    cursor: Any
    probe: Any
    numpy: Any
    quick: bool

    def matrix(self, vectors: Sequence[bytes]) -> Any:
        """Vectors of 16 bits a number as rows of 32."""
        flat = self.numpy.frombuffer(b"".join(vectors), dtype="<f2")
        return flat.reshape(len(vectors), -1).astype("<f4")

    def cosines(self, matrix: Any) -> Any:
        """Of each row. Not `@`: for that numpy has all processors turn, 300 times slower on a busy machine."""
        return self.numpy.vecdot(matrix, self.probe)

    def longer(self, tail: _Tail, rows: Sequence[_Row]) -> _Tail:
        """A tail with more rows; small parts become one when there are many."""
        places = {name: at for at, name in enumerate(tail.projects)}
        codes = [places.setdefault(row[1], len(places)) for row in rows]
        numpy = self.numpy
        added = _Part(
            numpy.asarray([row[0] for row in rows]),
            numpy.asarray(codes),
            self.matrix([row[2] for row in rows]),
        )
        parts = (*tail.parts, added)
        if len(parts) > _PARTS:
            parts = (
                _Part(
                    numpy.concatenate([part.numbers for part in parts]),
                    numpy.concatenate([part.codes for part in parts]),
                    numpy.concatenate([part.matrix for part in parts]),
                ),
            )
        return _Tail(tail.begin, rows[-1][0], tail.size + len(rows), parts, tuple(places))

    def among(self, tail: _Tail, projects: Projects, most: int) -> set[int]:
        """The nearest `most` of a tail or more, and all that are as near as the last of them."""
        if not tail.parts:
            return set()
        numpy = self.numpy
        wanted = [at for at, name in enumerate(tail.projects) if projects and name in projects]
        numbers, scores = [], []
        for part in tail.parts:
            if projects is None:
                numbers.append(part.numbers)
                scores.append(self.cosines(part.matrix))
                continue
            places = numpy.flatnonzero(numpy.isin(part.codes, wanted))
            numbers.append(part.numbers[places])
            scores.append(self.cosines(part.matrix[places]))
        return self._best(numpy.concatenate(numbers), numpy.concatenate(scores), most)

    def among_listed(self, rows: Sequence[_Row], projects: Projects, most: int) -> set[int]:
        """The same of rows that are compared for this question only."""
        if projects is not None:
            rows = [row for row in rows if row[1] in projects]
        if not rows:
            return set()
        numbers = self.numpy.asarray([row[0] for row in rows])
        return self._best(numbers, self.cosines(self.matrix([row[2] for row in rows])), most)

    def among_rows(self, rows: Any, projects: Projects, most: int) -> set[int]:
        """The same of rows that are still to be read."""
        found: set[int] = set()
        while some := rows.fetchmany(_AT_ONCE):
            found |= self.among_listed(some, projects, most)
        return found

    def _best(self, numbers: Any, scores: Any, most: int) -> set[int]:
        if len(scores) > most:
            least = self.numpy.partition(scores, -most)[-most] - _EQUAL
            numbers = numbers[scores >= least]
        return set(numbers.tolist())

    def exactly(self, numbers: set[int], limit: int) -> tuple[Neighbour, ...]:
        """What is there of some rows, compared exactly: the nearest first, of equals by id."""
        if not numbers:
            return ()
        rows = self.cursor.execute(_EXACTLY, (orjson.dumps(list(numbers)).decode(),)).fetchall()
        if not rows:
            return ()
        matrix = self.matrix([row[2] for row in rows])
        lengths = self.numpy.linalg.norm(matrix, axis=1)
        scores = (self.cosines(matrix) / lengths).tolist()
        best = sorted(
            (-round(score, 6), row[1], row[3] if isinstance(row[3], str) else "")
            for score, row in zip(scores, rows, strict=True)
        )
        return tuple(Neighbour(_text(key), -score, owner) for score, key, owner in best[:limit])

    def is_reader(self) -> bool:
        """Whether the connection can only read, so that what it sees is committed."""
        return bool(self.cursor.execute("PRAGMA query_only").fetchone()[0])


def _text(key: bytes) -> str:
    """A UUID as text: four times as fast as the class, which counts where hundreds are read for one question."""
    digits = key.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


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
