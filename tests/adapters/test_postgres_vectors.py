"""Many vectors on PostgreSQL: a graph is walked, and what is found is what comparing all of them would find.

The graph of these tests is of eight dimensions, which makes it cheap; its makers are those of all the others.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from claude_mem.adapters.postgres.vectors import EXACT, SETTLED_AT_ONCE, PostgresVectorIndex
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
_GRAPH = (
    "CREATE INDEX ix_vector_graph_8_{0} ON vector_index USING hnsw ((vector::halfvec(8)) halfvec_ip_ops)"
    " WHERE dimension = 8 AND lane = {0}"
)
_WALKS = (
    "SELECT sum(pg_stat_get_xact_numscans(oid)) FROM pg_class"
    " WHERE relkind = 'i' AND starts_with(relname, 'ix_vector_graph_8')"
)


class Tenant:
    """What a tenant may do, each in a transaction of its own."""

    def __init__(self, engine: sa.Engine, scope: Scope) -> None:
        self._engine, self._scope = engine, scope
        self.index = PostgresVectorIndex()
        self.walks = 0

    def run(self, work: Any) -> Any:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(_AS_TENANT, (self._scope.enterprise_id,))
            found = work(connection)
            self.walks = int(connection.exec_driver_sql(_WALKS).scalar_one())
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

    def lane(self) -> tuple[int, int] | None:
        row = self.run(
            lambda tx: tx.exec_driver_sql("SELECT lane, settled FROM vector_lanes").first()
        )
        return row if row is None else tuple(row)


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
    """Two tenants, one of whom has more vectors than are compared one by one; none is in a graph."""
    urls = postgres.database()
    fill(postgres, urls, LARGE, COUNT)
    fill(postgres, urls, SMALL, SMALLS)
    for lane in (0, 1):
        postgres.execute(_GRAPH.format(lane), urls.name)
    postgres.execute("ANALYZE", urls.name)
    yield urls
    postgres.drop(urls)


@pytest.fixture(scope="module")
def walked(postgres: PostgresServer, filled: Urls) -> Iterator[Urls]:
    """The same after the large one has settled, but for its last 1,700."""
    urls = copy(postgres, filled, "cm_walked")
    large = f"enterprise_id = '{LARGE.enterprise_id}'"
    postgres.execute("DROP INDEX ix_vector_graph_8_0", urls.name)  # made at once, it takes a tenth
    postgres.execute(
        f"UPDATE vector_index SET lane = 0 WHERE {large} AND id IN"
        f" (SELECT id FROM vector_index WHERE {large} LIMIT {EXACT + 300});"
        f" INSERT INTO vector_lanes VALUES ('{LARGE.enterprise_id}', 'm', 8, 0, {EXACT + 300})",
        urls.name,
    )
    postgres.execute(_GRAPH.format(0), urls.name)
    yield urls
    postgres.drop(urls)


@pytest.fixture
def before(postgres: PostgresServer, filled: Urls) -> Iterator[tuple[Tenant, Tenant]]:
    yield from tenants(postgres, filled)


@pytest.fixture
def after(postgres: PostgresServer, walked: Urls) -> Iterator[tuple[Tenant, Tenant]]:
    yield from tenants(postgres, walked)


def tenants(postgres: PostgresServer, urls: Urls) -> Iterator[tuple[Tenant, Tenant]]:
    """The large one and the small one, in a database of their own."""
    own = copy(postgres, urls, "cm_own")
    engine = sa.create_engine(own.runtime)
    yield Tenant(engine, LARGE), Tenant(engine, SMALL)
    engine.dispose()
    postgres.drop(own)


def test_who_has_few_is_never_put_into_a_graph(before: tuple[Tenant, Tenant]) -> None:
    _, small = before
    assert small.settle() is False
    assert small.lane() is None
    assert small.recall() == 1
    assert small.recall([Q], limit=100) == 1
    assert small.walks == 0


def test_who_has_many_is_given_a_lane_and_moves_there_step_by_step(
    before: tuple[Tenant, Tenant],
) -> None:
    large, _ = before
    assert large.recall() == 1, "before"
    assert large.settle() is True
    assert large.lane() == (0, 0)
    assert large.settle() is True
    assert large.lane() == (0, SETTLED_AT_ONCE)
    assert large.recall() == 1, "so few in the graph are not worth a walk"
    assert large.walks == 0


def test_settling_comes_to_an_end(after: tuple[Tenant, Tenant]) -> None:
    large, _ = after
    steps = 1
    while large.settle():
        steps += 1
    assert steps == (COUNT - EXACT - 300) // SETTLED_AT_ONCE + 1
    assert large.lane() == (0, COUNT)
    assert large.recall() >= 0.98


def test_a_graph_finds_what_comparing_finds(after: tuple[Tenant, Tenant]) -> None:
    """With 1,700 of its vectors not in it yet."""
    large, _ = after
    assert large.recall() >= 0.98
    assert large.recall(limit=100) >= 0.98
    assert large.recall([P, Q]) >= 0.98
    assert large.walks > 0


def test_a_project_with_few_is_compared(after: tuple[Tenant, Tenant]) -> None:
    large, _ = after
    assert large.recall([Q]) == 1
    assert large.walks == 0


def test_what_is_new_and_what_is_gone(after: tuple[Tenant, Tenant]) -> None:
    large, _ = after
    query = [1.0, -1.0, 0.5, 0.0, 0.0, 0.25, -0.5, 1.0]
    entry = VectorEntry(str(UUID(int=7)), P, pack(query))
    large.run(lambda tx: large.index.add(LARGE, tx, MODEL, [entry]))
    assert entry.id in large.nearest(query, limit=1)
    assert large.walks > 0
    best = set(large.nearest(query, limit=50))
    large.run(lambda tx: large.index.remove(LARGE, tx, sorted(best)))
    assert not set(large.nearest(query, limit=50)) & best
    lane = large.lane()
    assert lane is not None
    assert EXACT + 250 < lane[1] < EXACT + 300, "those that were in the graph are counted off"


def test_a_graph_that_is_shared_loses_nobody(
    postgres: PostgresServer, after: tuple[Tenant, Tenant]
) -> None:
    """The smaller one's part of it is a fiftieth; it is walked all the same, for it says that it has many."""
    large, small = after
    postgres.execute(
        f"UPDATE vector_index SET lane = 0 WHERE enterprise_id = '{SMALL.enterprise_id}';"
        f" INSERT INTO vector_lanes VALUES ('{SMALL.enterprise_id}', 'm', 8, 0, {EXACT + 1})",
        "cm_own",
    )
    assert small.recall() >= 0.98
    assert small.walks > 0
    whole = small.nearest([1.0] * 8, limit=SMALLS)
    assert len(whole) == SMALLS, "a walk that ends early is not the end"
    assert large.recall() >= 0.98


def test_the_next_one_takes_the_emptiest_lane(
    postgres: PostgresServer, after: tuple[Tenant, Tenant]
) -> None:
    lane = "SELECT vector_lane(8::smallint)"
    assert postgres.execute(lane, "cm_own") == [(1,)]
    assert postgres.execute("SELECT vector_lane(9::smallint)", "cm_own") == [(None,)]
    assert postgres.execute("SELECT vector_lane(384::smallint)", "cm_own") == [(0,)]
    postgres.execute(
        f"INSERT INTO vector_lanes VALUES ('{SMALL.enterprise_id}', 'm', 8, 1, 900000)", "cm_own"
    )
    assert postgres.execute(lane, "cm_own") == [(0,)]
