"""The vector engine on PostgreSQL: pgvector, exact for those who have few vectors, a graph for those who have many.

Owns the rows of `vector_index` and `vector_lanes`; `schema/40_vectors.sql` owns how a search is answered, and why it
may pass row-level security. A vector is added to no graph, which would cost six times as much. Whoever has more than
`EXACT` of a model is given a lane, and `settle` puts what was added since into its graph; what is not in it yet is
compared one by one, so that no search waits for it or misses anything by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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
SETTLED_AT_ONCE: Final = 250

_INSTALLED = "SELECT to_regclass('public.vector_index') IS NOT NULL"
_ADD = (
    "INSERT INTO vector_index (enterprise_id, id, project_id, model, dimension, vector) "
    "SELECT %s::uuid, v.id, v.project_id, %s, %s, v.vector::real[] "
    "FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS v (id, project_id, vector)"
)
# One after the other in one order: two who remove of several models do not wait for each other.
_REMOVE = """
WITH gone AS (
  DELETE FROM vector_index WHERE enterprise_id = %s::uuid AND id = ANY (%s::uuid[])
  RETURNING enterprise_id, model, dimension, lane
), counted AS (
  SELECT enterprise_id, model, dimension, count(*) AS settled FROM gone WHERE lane IS NOT NULL GROUP BY 1, 2, 3
)
SELECT model, dimension, settled FROM counted ORDER BY model, dimension
"""
_FEWER = (
    "UPDATE vector_lanes SET settled = greatest(settled - %s, 0) "
    "WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s"
)
_NEAREST = "SELECT id::text, similarity FROM vector_nearest(%s, %s::real[], %s::uuid[], %s)"
_LANE = (
    "SELECT lane FROM vector_lanes WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s"
)
_MANY = (
    "SELECT count(*) > %s FROM (SELECT FROM vector_index "
    "WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s LIMIT %s + 1) AS counted"
)
_NEW_LANE = (
    "INSERT INTO vector_lanes (enterprise_id, model, dimension, lane, settled) "
    "SELECT %s::uuid, %s, %s, lane, 0 FROM vector_lane(%s::smallint) AS lane WHERE lane IS NOT NULL "
    "ON CONFLICT DO NOTHING"
)
_SETTLE = """
WITH fresh AS (
  SELECT id FROM vector_index
  WHERE enterprise_id = %(tenant)s::uuid AND model = %(model)s AND dimension = %(dimension)s AND lane IS NULL
  LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE vector_index AS v SET lane = %(lane)s FROM fresh
WHERE v.enterprise_id = %(tenant)s::uuid AND v.id = fresh.id
"""
_MORE = (
    "UPDATE vector_lanes SET settled = settled + %s "
    "WHERE enterprise_id = %s::uuid AND model = %s AND dimension = %s"
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
        """See the port. What is deleted leaves the graphs with the next VACUUM, and no search finds it meanwhile."""
        self._check_installed(tx)
        if not ids:
            return
        gone = tx.exec_driver_sql(_REMOVE, (scope.enterprise_id, list(ids))).all()
        for model, dimension, settled in gone:
            tx.exec_driver_sql(_FEWER, (settled, scope.enterprise_id, model, dimension))

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

    def settle(self, scope: Scope, tx: Tx, model: VectorModel) -> bool:
        """See the port."""
        check_model(model)
        self._check_installed(tx)
        key = (scope.enterprise_id, model.name, model.dimension)
        lane = tx.exec_driver_sql(_LANE, key).scalar()
        if lane is None:
            if not tx.exec_driver_sql(_MANY, (EXACT, *key, EXACT)).scalar():
                return False
            tx.exec_driver_sql(_NEW_LANE, (*key, model.dimension))
            return bool(tx.exec_driver_sql(_LANE, key).scalar() is not None)
        moved = tx.exec_driver_sql(
            _SETTLE,
            {
                "tenant": scope.enterprise_id,
                "model": model.name,
                "dimension": model.dimension,
                "lane": lane,
                "limit": SETTLED_AT_ONCE,
            },
        ).rowcount
        if moved:
            tx.exec_driver_sql(_MORE, (moved, *key))
        return bool(moved == SETTLED_AT_ONCE)

    def purge(self, scope: Scope, tx: Tx) -> None:
        """See the port. There are no files of its own; tables and graphs are cleared by VACUUM."""
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


def _array(values: Sequence[float]) -> str:
    """As PostgreSQL writes an array; nine digits are every 32-bit number's own."""
    return "{" + ",".join([f"{value:.9g}" for value in values]) + "}"
