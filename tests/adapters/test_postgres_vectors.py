"""Many vectors on PostgreSQL: cells are looked into, and what is found is what comparing all of them would find."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from claude_mem.adapters.postgres.vectors import (
    CELL,
    EXACT,
    LARGE_CELL,
    SETTLED_AT_ONCE,
    PostgresVectorIndex,
)
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.vectors import VectorEntry, VectorModel, pack
from servers import RUNTIME, PostgresServer, Urls

LARGE = local_scope()
SMALL = Scope("00000000-0000-7000-8000-0000000000ff", "u", frozenset())
MODEL = VectorModel("m", 8)
P, Q = "00000000-0000-7000-8000-0000000000a1", "00000000-0000-7000-8000-0000000000a2"
COUNT = EXACT + 2_000
SMALLS = 400
_AS_TENANT = "SELECT set_config('app.current_enterprise_id', %s, true)"
_LOOKS = "SELECT pg_stat_get_xact_numscans('ix_vector_cell'::regclass)"
_UNSETTLED = 1_700


class Tenant:
    """What a tenant may do, each in a transaction of its own."""

    def __init__(self, engine: sa.Engine, scope: Scope) -> None:
        self._engine, self._scope = engine, scope
        self.index = PostgresVectorIndex()
        self.looks = 0

    def run(self, work: Any) -> Any:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(_AS_TENANT, (self._scope.enterprise_id,))
            found = work(connection)
            self.looks = int(connection.exec_driver_sql(_LOOKS).scalar_one())
            return found

    def nearest(
        self, query: Sequence[float], projects: list[str] | None = None, limit: int = 10
    ) -> dict[str, float]:
        packed = pack(query)
        found = self.run(
            lambda tx: self.index.nearest(self._scope, tx, MODEL, packed, projects, limit)
        )
        return {each.id: each.similarity for each in found}

    def best(self, query: Sequence[float], projects: list[str] | None, limit: int) -> list[float]:
        """The greatest cosines, by comparing all vectors without the function."""
        filtered = "" if projects is None else "AND project_id = ANY (%(projects)s::uuid[])"
        sql = (
            "SELECT 1 - (vector <=> %(query)s::real[]::halfvec) AS cosine FROM vector_index"
            f" WHERE dimension = 8 {filtered} ORDER BY cosine DESC LIMIT %(limit)s"
        )
        values = {"query": list(query), "projects": projects, "limit": limit}
        return list(self.run(lambda tx: tx.exec_driver_sql(sql, values).scalars().all()))

    def recall(self, projects: list[str] | None = None, limit: int = 10) -> float:
        """Of thirty queries: how many are as near as those that are nearest, sixteen bits a number allowed for."""
        noise = random.Random(11)
        shares = []
        for _ in range(30):
            query = [noise.gauss(0, 1) for _ in range(8)]
            best = self.best(query, projects, limit)
            found = self.nearest(query, projects, limit)
            shares.append(sum(cosine >= best[-1] - 1e-3 for cosine in found.values()) / len(best))
        return sum(shares) / len(shares)

    def settle(self) -> bool:
        return bool(self.run(lambda tx: self.index.settle(self._scope, tx, MODEL)))

    def sizes(self) -> list[int]:
        """Of the cells, those that are empty included."""
        sql = (
            "SELECT count(v.id) FROM vector_cells AS c LEFT JOIN vector_index AS v USING (cell) GROUP BY cell"
            " ORDER BY cell"
        )
        return list(self.run(lambda tx: tx.exec_driver_sql(sql).scalars().all()))

    def unsettled(self) -> int:
        sql = "SELECT count(*) FROM vector_index WHERE cell IS NULL"
        return int(self.run(lambda tx: tx.exec_driver_sql(sql).scalar_one()))


def fill(postgres: PostgresServer, urls: Urls, scope: Scope, count: int) -> None:
    """Vectors of many small clusters, three quarters of them in the first project; as the superuser, who is quick."""
    postgres.execute(
        "SELECT setseed(0.5); INSERT INTO vector_index (enterprise_id, id, project_id, model, dimension, vector)"
        f" SELECT '{scope.enterprise_id}', gen_random_uuid(), CASE WHEN n % 4 > 0 THEN '{P}' ELSE '{Q}' END::uuid,"
        " 'm', 8, l2_normalize((SELECT array_agg((random() - 0.5) + sin((n % 300) * d))::real[]"
        f" FROM generate_series(1, 8) AS d WHERE n > 0)::halfvec) FROM generate_series(1, {count}) AS n",
        urls.name,
    )


def copy(postgres: PostgresServer, urls: Urls, name: str) -> Urls:
    """The same database once more, for a test to change."""
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {urls.name}")
    postgres.execute(f"GRANT CONNECT ON DATABASE {name} TO {RUNTIME}")
    return Urls(
        name, *(url.replace(urls.name, name) for url in (urls.admin, urls.owner, urls.runtime))
    )


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer) -> Iterator[Urls]:
    """Two tenants, one of whom has more vectors than are compared one by one; none is in a cell."""
    urls = postgres.database()
    fill(postgres, urls, LARGE, COUNT)
    fill(postgres, urls, SMALL, SMALLS)
    postgres.execute("ANALYZE", urls.name)
    yield urls
    postgres.drop(urls)


@pytest.fixture(scope="module")
def settled(postgres: PostgresServer, filled: Urls) -> Iterator[Urls]:
    """The same after the large one has settled, but for 1,700."""
    urls = copy(postgres, filled, "cm_settled")
    engine = sa.create_engine(urls.runtime, poolclass=sa.NullPool)
    large = Tenant(engine, LARGE)
    while large.settle():
        pass
    some = f"SELECT id FROM vector_index WHERE cell IS NOT NULL LIMIT {_UNSETTLED}"
    postgres.execute(f"UPDATE vector_index SET cell = NULL WHERE id IN ({some})", urls.name)
    yield urls
    postgres.drop(urls)


@pytest.fixture
def before(postgres: PostgresServer, filled: Urls) -> Iterator[tuple[Tenant, Tenant]]:
    yield from tenants(postgres, filled)


@pytest.fixture
def after(postgres: PostgresServer, settled: Urls) -> Iterator[tuple[Tenant, Tenant]]:
    yield from tenants(postgres, settled)


def tenants(postgres: PostgresServer, urls: Urls) -> Iterator[tuple[Tenant, Tenant]]:
    """The large one and the small one, in a database of their own."""
    own = copy(postgres, urls, "cm_own")
    engine = sa.create_engine(own.runtime)
    yield Tenant(engine, LARGE), Tenant(engine, SMALL)
    engine.dispose()
    postgres.drop(own)


def test_who_has_few_has_no_cells(before: tuple[Tenant, Tenant]) -> None:
    _, small = before
    assert small.settle() is False
    assert small.sizes() == []
    assert small.recall() == 1
    assert small.recall([Q], limit=100) == 1
    assert small.looks == 0


def test_who_has_many_is_given_cells_and_moves_there_step_by_step(
    before: tuple[Tenant, Tenant],
) -> None:
    large, small = before
    assert large.recall() == 1, "before"
    assert large.settle() is True
    assert large.sizes() == [0] * (COUNT // CELL)
    assert large.recall() == 1, "what is in none is compared"
    assert large.settle() is True
    assert sum(large.sizes()) == SETTLED_AT_ONCE
    assert large.recall() >= 0.98
    assert small.sizes() == []


def test_settling_comes_to_an_end(after: tuple[Tenant, Tenant]) -> None:
    large, _ = after
    assert large.unsettled() == _UNSETTLED
    assert [large.settle(), large.settle(), large.settle()] == [True, False, False]
    assert large.unsettled() == 0
    assert sum(large.sizes()) == COUNT
    assert large.recall() >= 0.98


def test_cells_find_what_comparing_finds(after: tuple[Tenant, Tenant]) -> None:
    """With 1,700 in none."""
    large, _ = after
    assert large.recall() >= 0.98
    assert large.recall(limit=100) >= 0.98
    assert large.recall([P, Q]) >= 0.98
    assert large.looks > 0
    assert len(large.nearest([1.0] * 8, limit=1_000)) == 1_000


def test_a_project_with_few_is_compared(after: tuple[Tenant, Tenant]) -> None:
    large, _ = after
    assert large.recall([Q]) == 1
    assert large.looks == 0


def test_what_is_new_and_what_is_gone(after: tuple[Tenant, Tenant]) -> None:
    large, _ = after
    query = [1.0, -1.0, 0.5, 0.0, 0.0, 0.25, -0.5, 1.0]
    entry = VectorEntry(str(UUID(int=7)), P, pack(query))
    large.run(lambda tx: large.index.add(LARGE, tx, MODEL, [entry]))
    assert entry.id in large.nearest(query, limit=1)
    assert large.looks > 0
    best = set(large.nearest(query, limit=50))
    large.run(lambda tx: large.index.remove(LARGE, tx, sorted(best)))
    assert not set(large.nearest(query, limit=50)) & best


def test_cells_that_grow_are_parted(after: tuple[Tenant, Tenant]) -> None:
    """Those of one spot, and equal ones, which no centre tells apart."""
    large, _ = after
    noise = random.Random(3)
    spots = [[1.0 + noise.gauss(0, 0.01) for _ in range(8)] for _ in range(1_500)]
    spots += [[1.0, -1.0] * 4] * 700
    entries = [VectorEntry(str(UUID(int=n + 1)), P, pack(spot)) for n, spot in enumerate(spots)]
    large.run(lambda tx: large.index.add(LARGE, tx, MODEL, entries))
    while large.settle():
        pass
    sizes = large.sizes()
    assert sum(sizes) == COUNT + len(entries)
    assert max(sizes) <= LARGE_CELL
    assert len(sizes) > COUNT // CELL
    assert large.recall() >= 0.98
    assert set(large.nearest(spots[-1], limit=700)) == {each.id for each in entries[1_500:]}


def test_when_most_is_gone_more_cells_are_looked_into(
    postgres: PostgresServer, after: tuple[Tenant, Tenant]
) -> None:
    """Cells of a few each: as many as hold enough, in the end all of them."""
    large, _ = after
    postgres.execute("DELETE FROM vector_index WHERE get_byte(uuid_send(id), 0) > 12", "cm_own")
    assert large.recall() == 1
    assert large.looks > 0


def test_one_at_a_time_settles(after: tuple[Tenant, Tenant]) -> None:
    """Of the same tenant and model; the other goes away and waits for nobody."""
    large, small = after

    def meanwhile(_: Any) -> bool:
        return large.settle() or small.settle()

    def both(tx: Any) -> tuple[bool, bool]:
        return large.index.settle(LARGE, tx, MODEL), meanwhile(tx)

    assert large.run(both) == (True, False)
