"""The vector engine on PostgreSQL: pgvector, exact for those who have few vectors, cells for those who have many.

Owns the rows of `vector_index` and `vector_cells`; `schema/40_vectors.sql` owns how a search is answered, and why it
may pass row-level security. Whoever has more than `EXACT` of a model is given cells; a vector is added to none, and
`settle` puts what was added since into them, and parts what has grown too large. What is not in one yet is compared one
by one, so that no search waits for it or misses anything by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from claude_mem.adapters.postgres import cells
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

EXACT: Final = 20_000  # the functions' constant
SETTLED_AT_ONCE: Final = 1_000
CELL: Final = 150  # vectors, about
LARGE_CELL: Final = 220  # one with more is parted
_FIRST_CELLS: Final = 1_024  # at most; the others come by parting
_SAMPLED: Final = 16  # vectors to a first cell

_INSTALLED = "SELECT to_regclass('public.vector_index') IS NOT NULL"
_ADD = (
    "INSERT INTO vector_index (enterprise_id, id, project_id, model, dimension, vector) "
    "SELECT %s::uuid, v.id, v.project_id, %s, %s, v.vector::real[] "
    "FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS v (id, project_id, vector)"
)
_REMOVE = "DELETE FROM vector_index WHERE enterprise_id = %s::uuid AND id = ANY (%s::uuid[])"
_NEAREST = "SELECT id::text, similarity FROM vector_nearest(%s, %s::real[], %s::uuid[], %s)"
# Of two who settle the same vectors one goes away: the other is told that there is more.
_ALONE = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
_CELLS = (
    "SELECT cell, array_send(centre::real[]) FROM vector_cells "
    "WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s ORDER BY cell"
)
_COUNT = (
    "SELECT count(*) FROM (SELECT FROM vector_index "
    "WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s LIMIT %s) AS counted"
)
_SAMPLE = """
SELECT array_send(v.vector::real[]) FROM (
  SELECT enterprise_id, id, row_number() OVER () AS place FROM vector_index
  WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s
) AS every JOIN vector_index AS v ON v.enterprise_id = every.enterprise_id AND v.id = every.id
WHERE every.place %% %s = 0
"""
_NEW_CELLS = (
    "INSERT INTO vector_cells (enterprise_id, model, dimension, cell, centre) "
    "SELECT %s::uuid, %s, %s, c.cell, c.centre::real[] FROM unnest(%s::integer[], %s::text[]) AS c (cell, centre)"
)
_MOVE_CENTRE = (
    "UPDATE vector_cells SET centre = %s::text::real[] "
    "WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s AND cell = %s"
)
_NEW = (
    "SELECT id::text, array_send(vector::real[]) FROM vector_index "
    "WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s AND cell IS NULL "
    "LIMIT %s FOR UPDATE SKIP LOCKED"
)
_PUT = (
    "UPDATE vector_index AS v SET cell = put.cell FROM unnest(%s::uuid[], %s::integer[]) AS put (id, cell) "
    "WHERE v.enterprise_id = %s::uuid AND v.id = put.id"
)
_GROWN = (
    "SELECT cell FROM vector_index "
    "WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s AND cell = ANY (%s::integer[]) "
    "GROUP BY cell HAVING count(*) > %s ORDER BY cell"
)
_INSIDE = (
    "SELECT id::text, array_send(vector::real[]) FROM vector_index "
    "WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s AND cell = %s"
)


class PostgresVectorIndex:
    """Implements `ports.vectors.VectorIndex`. The transaction carries the tenant."""

    def __init__(self) -> None:
        self._is_installed = False

    def add(self, scope: Scope, tx: Tx, model: VectorModel, entries: Sequence[VectorEntry]) -> None:
        """See the port."""
        check_model(model)
        vectors = [_array(unit(model, entry.vector)) for entry in entries]
        self._check_installed(tx)
        if entries:
            ids = [entry.id for entry in entries]
            projects = [entry.project_id for entry in entries]
            values = (scope.enterprise_id, model.name, model.dimension, ids, projects, vectors)
            tx.exec_driver_sql(_ADD, values)

    def remove(self, scope: Scope, tx: Tx, ids: Sequence[str]) -> None:
        """See the port."""
        self._check_installed(tx)
        if ids:
            tx.exec_driver_sql(_REMOVE, (scope.enterprise_id, list(ids)))

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
        """See the port. The tenant is the transaction's; it looks no quicker than it does."""
        del scope, quick
        check_limit(limit)
        probe = unit(model, query)
        self._check_installed(tx)
        projects = None if project_ids is None else list(project_ids)
        rows = tx.exec_driver_sql(_NEAREST, (model.name, _array(probe), projects, limit))
        return tuple(Neighbour(row[0], row[1]) for row in rows)

    def similarities(
        self, scope: Scope, tx: Tx, model: VectorModel, query: bytes, owners: Collection[str]
    ) -> Mapping[str, float] | None:
        """See the port: it does not know whose its vectors are."""
        del scope, tx, owners
        unit(model, query)
        return None

    def settle(self, scope: Scope, tx: Tx, model: VectorModel) -> bool:
        """See the port."""
        check_model(model)
        self._check_installed(tx)
        key = (scope.enterprise_id, model.name, model.dimension)
        if not tx.exec_driver_sql(_ALONE, (" ".join(map(str, key)),)).scalar():
            return False
        return _Settling(tx, key).step()

    def purge(self, scope: Scope, tx: Tx) -> None:
        """See the port. There are no files of its own; tables are cleared by VACUUM."""
        del scope, tx

    def _check_installed(self, tx: Tx) -> None:
        """Raise Unavailable where an upgrade found no pgvector; asked until there is one, for it can be added."""
        if not self._is_installed:
            self._is_installed = bool(tx.exec_driver_sql(_INSTALLED).scalar())
        if not self._is_installed:
            raise Unavailable(
                "this PostgreSQL has no vector search: as its administrator, install pgvector 0.8 or newer,"
                " run CREATE EXTENSION vector in the database, and upgrade it again"
            )


class _Settling:
    """One step for the vectors of one tenant and model."""

    def __init__(self, tx: Tx, key: tuple[str, str, int]) -> None:
        self._tx, self._key = tx, key

    def step(self) -> bool:
        """Put some into cells, or make the first cells; whether there is more to do."""
        names, centres = self._cells()
        if not names:
            return self._begin()
        rows = self._tx.exec_driver_sql(_NEW, (*self._key, SETTLED_AT_ONCE)).all()
        if rows:
            places = cells.nearest(self._vectors(rows), centres)
            touched = [names[place] for place in places.tolist()]
            self._put([row[0] for row in rows], touched)
            self._part(touched, names[-1] + 1)
        return len(rows) == SETTLED_AT_ONCE

    def _cells(self) -> tuple[list[int], Any]:
        rows = self._tx.exec_driver_sql(_CELLS, self._key).all()
        return [row[0] for row in rows], self._vectors(rows) if rows else None

    def _vectors(self, rows: Sequence[Any]) -> Any:
        return cells.matrix([row[1] for row in rows], self._key[2])

    def _begin(self) -> bool:
        """The first cells, from a sample of all; False for those who have too few vectors."""
        most = _FIRST_CELLS * CELL
        count = int(self._tx.exec_driver_sql(_COUNT, (*self._key, most * 10)).scalar_one())
        if count <= EXACT:
            return False
        wanted = min(count // CELL, _FIRST_CELLS)
        every = max(count // (wanted * _SAMPLED), 1)
        rows = self._tx.exec_driver_sql(_SAMPLE, (*self._key, every))
        sample = cells.matrix(list(rows.scalars()), self._key[2])
        self._make(0, cells.gathered(sample, wanted))
        return True

    def _make(self, first: int, centres: Any) -> None:
        numbers = list(range(first, first + len(centres)))
        values = (*self._key, numbers, [_array(centre) for centre in centres.tolist()])
        self._tx.exec_driver_sql(_NEW_CELLS, values)

    def _put(self, ids: list[str], into: list[int]) -> None:
        self._tx.exec_driver_sql(_PUT, (ids, into, self._key[0]))

    def _part(self, touched: list[int], unused: int) -> None:
        """Part those cells that have grown too large; new ones are numbered from `unused` on."""
        asked = (*self._key, sorted(set(touched)), LARGE_CELL)
        grown = list(self._tx.exec_driver_sql(_GROWN, asked).scalars())
        while grown:
            cell = grown.pop()
            rows = self._tx.exec_driver_sql(_INSIDE, (*self._key, cell)).all()
            centres, places = cells.parted(self._vectors(rows), max(2, round(len(rows) / CELL)))
            names = [cell, *range(unused, unused + len(centres) - 1)]
            unused += len(centres) - 1
            self._tx.exec_driver_sql(_MOVE_CENTRE, (_array(centres[0].tolist()), *self._key, cell))
            self._make(names[1], centres[1:])
            moved = [(row[0], names[p]) for row, p in zip(rows, places.tolist(), strict=True) if p]
            self._put([each[0] for each in moved], [each[1] for each in moved])
            held = Counter(places.tolist())
            grown += [names[place] for place, count in held.items() if count > LARGE_CELL]


def _array(values: Sequence[float]) -> str:
    """As PostgreSQL writes an array; nine digits are every 32-bit number's own."""
    return "{" + ",".join([f"{value:.9g}" for value in values]) + "}"
