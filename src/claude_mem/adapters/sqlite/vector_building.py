"""Building the graphs of the vector engine: beside everything else, on a connection and a thread of its own.

Reads rows that are committed, adds them to the graphs they belong in, and hands the files over. Killed anywhere it
leaves the graphs that were there. Only the worker builds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import structlog

from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.vector_graphs import WHOLE, Graphs, Note, loaded, new_index
from claude_mem.adapters.sqlite.vectors import count
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.vectors import VectorModel

# Vectors of a space. Below, comparing all in memory finds all, and a whole search costs less than with a walk whose
# finds are read from their rows (docs/performance.md, hybrid search by size); it takes 1.5 KB of memory a vector.
FROM: Final = 32_000
PROJECT_FROM: Final = 1_000  # of a project, where the space has a graph
BEHIND: Final = 2_000  # rows after a graph at most, or a fiftieth of it: then it goes on
_STEP = 20_000  # rows added in one call, or as many as a quarter of the graph
_READ = 2_000
_log = structlog.get_logger("vectors")
_DEAD = 0.02  # of a graph: then it is made anew
_KEY = (
    "SELECT space, last FROM vector_spaces WHERE enterprise_id = ? AND model = ? AND dimension = ?"
)
_PROJECTS = "SELECT project_id, count(*) FROM vector_rows WHERE space = ? GROUP BY project_id HAVING count(*) >= ?"


class GraphBuilder:
    """Builds for one database file; blocking, for a thread of its own."""

    def __init__(self, database: Path, folder: Path, graphs: Graphs) -> None:
        self._database = database
        self._folder = folder
        self._graphs = graphs

    def catch_up(self, scope: Scope, model: VectorModel) -> bool:
        """Bring the graphs of a model nearer to the rows; True while there is more to do.

        Where files cannot be written there are none, which is no reason to fail: everything is compared meanwhile.
        """
        if new_index(model.dimension) is None:
            return False
        try:
            return self._catch_up(scope, model)
        except OSError as error:
            _log.warning("vectors.index_not_written", folder=str(self._folder), why=str(error))
            return False

    def _catch_up(self, scope: Scope, model: VectorModel) -> bool:
        engine = make_engine(self._database, writer=False)
        try:
            with engine.connect() as connection:
                cursor = connection.connection.cursor()
                key = (scope.enterprise_id, model.name, model.dimension)
                found = cursor.execute(_KEY, key).fetchone()
                if found is None:
                    return False
                space, last = found
                if count(cursor, space, WHOLE, last) < FROM:
                    self._graphs.drop(space)
                    return False
                parts = [
                    row[0] for row in cursor.execute(_PROJECTS, (space, PROJECT_FROM)).fetchall()
                ]
                clean = space in self._graphs.unclean
                self._graphs.unclean.discard(space)
                made = [
                    self._part(cursor, space, part, model, last, clean=clean)
                    for part in (WHOLE, *parts)
                ]
                return any(made)
        finally:
            engine.dispose()

    def is_wanted(self, scope: Scope, tx: Tx) -> bool:
        """Whether an enterprise has so many vectors of a model that graphs are to be there; cheap."""
        cursor = tx.connection.cursor()
        query = "SELECT space FROM vector_spaces WHERE enterprise_id = ?"
        spaces = [row[0] for row in cursor.execute(query, (scope.enterprise_id,)).fetchall()]
        return any(is_large(cursor, space) for space in spaces)

    def _part(
        self, cursor: Any, space: int, part: str, model: VectorModel, last: int, *, clean: bool
    ) -> bool:
        graph = self._graphs.graph(space, part, model, last)
        note = None if graph is None else graph.note
        there = count(cursor, space, part, last)
        if note is not None:
            alive = count(cursor, space, part, note.through)
            behind = there - alive
            dead = note.count - alive
            if dead > _DEAD * note.count or (dead and clean):
                note = None
            elif behind <= max(BEHIND, note.count // 50):
                return False
        index = None if note is None else loaded(self._folder, note)
        if index is None:
            note, index = None, new_index(model.dimension)
        begin = 0 if note is None else note.through
        through, ended = self._fill(cursor, index, space, part, begin)
        fresh = Note("", space, part, model.name, model.dimension, through, len(index), 0, 0)
        self._graphs.write(index, fresh)
        return not ended

    @staticmethod
    def _fill(cursor: Any, index: Any, space: int, part: str, begin: int) -> tuple[int, bool]:
        """Add the next rows; (number of the last, whether all are in)."""
        import numpy

        most = max(_STEP, len(index) // 4)
        # The sign: in order of number, and not by the index of projects.
        where = (
            "+space = ? AND number > ?"
            if part == WHOLE
            else "space = ? AND number > ? AND project_id = ?"
        )
        query = f"SELECT number, vector FROM vector_rows WHERE {where} ORDER BY number LIMIT ?"  # noqa: S608 - our own words
        through, added = begin, 0
        while added < most:
            values = (space, through) if part == WHOLE else (space, through, part)
            rows = cursor.execute(query, (*values, _READ)).fetchall()
            if not rows:
                return through, True
            flat = numpy.frombuffer(b"".join([row[1] for row in rows]), dtype="<f2")
            keys = numpy.asarray([row[0] for row in rows], dtype="u8")
            index.add(keys, flat.reshape(len(rows), -1).astype("<f4"), threads=1)
            through, added = rows[-1][0], added + len(rows)
        return through, False


def is_large(cursor: Any, space: int) -> bool:
    """Whether a space has so many vectors that it is to have a graph."""
    query = "SELECT 1 FROM vector_rows WHERE space = ? LIMIT 1 OFFSET ?"
    return cursor.execute(query, (space, FROM - 1)).fetchone() is not None
