"""The contract of a vector index: the same tests for every engine.

An engine joins by another parameter of `store`: an `index`, and `run`, which runs a function in a transaction of a
scope. That PostgreSQL's functions keep tenants apart is a matter of `tests/security/test_vector_functions.py`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_mem.adapters.postgres.vectors import PostgresVectorIndex
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.vectors import CREATE, SqliteVectorIndex
from claude_mem.kernel.errors import Invalid
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.vectors import (
    MAX_DIMENSION,
    MAX_NEIGHBOURS,
    Neighbour,
    VectorEntry,
    VectorIndex,
    VectorModel,
    pack,
    unpack,
)
from servers import PostgresServer, Urls

OURS = local_scope()
THEIRS = Scope("00000000-0000-7000-8000-0000000000ff", "u", frozenset())
SMALL = VectorModel("small", 3)
P, Q = "00000000-0000-7000-8000-0000000000a1", "00000000-0000-7000-8000-0000000000a2"
BLOCK = 128
CLOSE = 2e-3  # what sixteen bits a number may cost


def name(number: int) -> str:
    return str(UUID(int=number))


@dataclass
class Store:
    """An engine's empty index and its transactions."""

    index: VectorIndex
    run: Callable[[Scope, Callable[[Any], Any]], Any]

    def add(
        self,
        vectors: dict[int, Sequence[float]],
        project: str | None = None,
        model: VectorModel = SMALL,
        scope: Scope = OURS,
    ) -> None:
        entries = [VectorEntry(name(n), project, pack(vector)) for n, vector in vectors.items()]
        self.run(scope, lambda tx: self.index.add(scope, tx, model, entries))

    def remove(self, *numbers: int, scope: Scope = OURS) -> None:
        self.run(scope, lambda tx: self.index.remove(scope, tx, [name(n) for n in numbers]))

    def nearest(
        self,
        *query: float,
        projects: Sequence[str] | None = None,
        limit: int = 10,
        model: VectorModel = SMALL,
        scope: Scope = OURS,
    ) -> tuple[Neighbour, ...]:
        packed = pack(query)
        found = self.run(
            scope, lambda tx: self.index.nearest(scope, tx, model, packed, projects, limit)
        )
        assert isinstance(found, tuple)
        return found

    def numbers(self, *query: float, **more: Any) -> list[int]:
        return [UUID(each.id).int for each in self.nearest(*query, **more)]

    def settle(self, model: VectorModel = SMALL, scope: Scope = OURS) -> None:
        while self.run(scope, lambda tx: self.index.settle(scope, tx, model)):
            pass


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    engine = make_engine(tmp_path / "test.db", writer=True)
    with engine.connect() as connection:
        for statement in CREATE:
            connection.exec_driver_sql(statement)

        def run(scope: Scope, work: Callable[[Any], Any]) -> Any:
            connection.exec_driver_sql("BEGIN")
            try:
                return work(connection)
            finally:
                connection.exec_driver_sql("COMMIT")

        yield Store(SqliteVectorIndex(), run)
    engine.dispose()


_AS_TENANT = "SELECT set_config('app.current_enterprise_id', %s, true)"


@pytest.fixture
def postgres_store(postgres_urls: Urls) -> Iterator[Store]:
    engine = sa.create_engine(postgres_urls.runtime)

    def run(scope: Scope, work: Callable[[Any], Any]) -> Any:
        with engine.begin() as connection:
            connection.exec_driver_sql(_AS_TENANT, (scope.enterprise_id,))
            return work(connection)

    yield Store(PostgresVectorIndex(), run)
    engine.dispose()


@pytest.fixture(params=["sqlite_store", "postgres_store"], ids=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Store)
    return made


def test_the_nearest_come_first_with_their_cosines(store: Store) -> None:
    store.add({1: (1, 0, 0), 2: (0, 1, 0), 3: (1, 1, 0), 4: (-1, 0, 0)})
    found = store.nearest(2, 0, 0)
    assert [UUID(each.id).int for each in found] == [1, 3, 2, 4]
    cosines = [each.similarity for each in found]
    assert cosines == pytest.approx([1, math.sqrt(0.5), 0, -1], abs=CLOSE)


def test_whose_a_vector_is_is_told_right_or_not_at_all(store: Store) -> None:
    entries = [VectorEntry(name(n), P, pack((1, n, 0)), f"prompt {name(90 + n)} 0") for n in (1, 2)]
    store.run(OURS, lambda tx: store.index.add(OURS, tx, SMALL, entries))
    store.add({3: (1, 3, 0)})
    told = {UUID(each.id).int: each.owner for each in store.nearest(1, 0, 0)}
    assert told.keys() == {1, 2, 3}
    assert told[3] == ""
    assert all(told[n] in ("", f"prompt {name(90 + n)} 0") for n in (1, 2))


def test_how_near_an_owner_is_is_told_right_or_not_at_all(store: Store) -> None:
    whose = {1: "prompt one 0", 2: "prompt one 1", 3: "prompt other 0", 4: "note one 0"}
    vectors = {1: (0, 1, 0), 2: (1, 1, 0), 3: (1, 0, 0), 4: (-1, 0, 0)}
    entries = [VectorEntry(name(n), P, pack(it), whose[n]) for n, it in vectors.items()]
    store.run(OURS, lambda tx: store.index.add(OURS, tx, SMALL, entries))
    store.run(THEIRS, lambda tx: store.index.add(THEIRS, tx, SMALL, entries[:1]))
    store.nearest(1, 0, 0)

    def told(*owners: str, scope: Scope = OURS) -> Any:
        probe = pack((1, 0, 0))
        return store.run(
            scope, lambda tx: store.index.similarities(scope, tx, SMALL, probe, owners)
        )

    exact = {"prompt one": math.sqrt(0.5), "prompt other": 1, "note one": -1}
    assert told(*exact, "prompt nobody") in (None, pytest.approx(exact, abs=CLOSE))
    store.remove(2, 3)
    store.nearest(1, 0, 0)
    assert told(*exact) in (None, pytest.approx({"prompt one": 0, "note one": -1}, abs=CLOSE))
    store.nearest(1, 0, 0, scope=THEIRS)
    theirs = told("prompt one", "note one", scope=THEIRS)
    assert theirs in (None, pytest.approx({"prompt one": 0}, abs=CLOSE))
    with pytest.raises(Invalid):
        store.run(OURS, lambda tx: store.index.similarities(OURS, tx, SMALL, b"123", ["note one"]))


def test_length_does_not_matter(store: Store) -> None:
    store.add({1: (1e-30, 0, 0), 2: (1e30, 1e30, 0), 3: (1e-40, 0, 70_000)})
    assert store.numbers(3e38, 0, 1e-10) == [1, 2, 3]
    assert store.nearest(1e-40, 0, 0)[0].similarity == pytest.approx(1, abs=CLOSE)


def test_as_many_as_are_asked_for_of_equals_by_id(store: Store) -> None:
    store.add(dict.fromkeys((5, 3, 9, 1, 7), (1, 1, 1)))
    assert store.numbers(1, 1, 1, limit=3) == [1, 3, 5]
    assert store.numbers(1, 1, 1, limit=MAX_NEIGHBOURS) == [1, 3, 5, 7, 9]


def test_an_empty_index_has_no_neighbours(store: Store) -> None:
    assert store.nearest(1, 0, 0) == ()
    store.add({})
    store.settle()
    assert store.nearest(1, 0, 0) == ()


def test_projects(store: Store) -> None:
    store.add({1: (1, 0, 0)}, project=P)
    store.add({2: (1, 0.1, 0)}, project=Q)
    store.add({3: (1, 0.2, 0)})
    assert store.numbers(1, 0, 0) == [1, 2, 3]
    assert store.numbers(1, 0, 0, projects=[Q]) == [2]
    assert store.numbers(1, 0, 0, projects=[Q, P, P]) == [1, 2]
    assert store.numbers(1, 0, 0, projects=[]) == []
    assert store.numbers(1, 0, 0, projects=[name(99)]) == []


def test_models_are_never_compared(store: Store) -> None:
    same_name, same_size = VectorModel("small", 4), VectorModel("other", 3)
    store.add({1: (1, 0, 0)})
    store.add({2: (1, 0, 0, 0)}, model=same_name)
    store.add({3: (1, 0, 0)}, model=same_size)
    assert store.numbers(1, 0, 0) == [1]
    assert store.numbers(1, 0, 0, 0, model=same_name) == [2]
    assert store.numbers(1, 0, 0, model=same_size) == [3]


def test_removed_vectors_are_gone_and_their_ids_free(store: Store) -> None:
    store.add({1: (1, 0, 0), 2: (1, 0.1, 0)})
    store.add({3: (1, 0, 0, 0)}, model=VectorModel("small", 4))
    store.remove(1, 3, 99)
    assert store.numbers(1, 0, 0) == [2]
    assert store.numbers(1, 0, 0, 0, model=VectorModel("small", 4)) == []
    store.add({1: (0, 1, 0)})
    assert store.numbers(0, 1, 0) == [1, 2]
    store.remove()


def test_enterprises_never_meet(store: Store) -> None:
    store.add({1: (1, 0, 0)}, project=P)
    store.add({2: (1, 0, 0), 3: (1, 0, 0)}, project=P, scope=THEIRS)
    assert store.numbers(1, 0, 0) == [1]
    assert store.numbers(1, 0, 0, projects=[P]) == [1]
    assert store.numbers(1, 0, 0, scope=THEIRS) == [2, 3]
    store.remove(1, 2, scope=OURS)
    assert store.numbers(1, 0, 0) == []
    assert store.numbers(1, 0, 0, scope=THEIRS) == [2, 3]


def test_enterprises_may_have_the_same_ids(store: Store) -> None:
    store.add({1: (1, 0, 0)})
    store.add({1: (0, 1, 0)}, scope=THEIRS)
    store.settle()
    store.remove(1, scope=THEIRS)
    assert store.nearest(1, 0, 0)[0].similarity == pytest.approx(1, abs=CLOSE)
    assert store.numbers(0, 1, 0, scope=THEIRS) == []


@pytest.mark.parametrize(
    ("vector", "what"),
    [
        ((1, 0), "3 numbers"),
        ((1, 0, 0, 0), "3 numbers"),
        ((), "3 numbers"),
        ((0, 0, 0), "only zeros"),
        ((math.nan, 1, 1), "not finite"),
        ((math.inf, 1, 1), "not finite"),
        ((1, -math.inf, 1), "not finite"),
    ],
)
def test_what_is_no_vector_is_refused(store: Store, vector: tuple[float, ...], what: str) -> None:
    with pytest.raises(Invalid, match=what):
        store.nearest(*vector)
    with pytest.raises(Invalid, match=what):
        store.add({1: (1, 0, 0), 2: vector})
    assert store.nearest(1, 0, 0) == (), "all of them or none"


@pytest.mark.parametrize("limit", [0, -1, MAX_NEIGHBOURS + 1, 2**40])
def test_no_or_too_many_neighbours_are_refused(store: Store, limit: int) -> None:
    with pytest.raises(Invalid, match="neighbours"):
        store.nearest(1, 0, 0, limit=limit)


@pytest.mark.parametrize(
    "model",
    [
        VectorModel("m", 0),
        VectorModel("m", -1),
        VectorModel("m", MAX_DIMENSION + 1),
        VectorModel("", 3),
        VectorModel("a\0b", 3),
        VectorModel("m" * 101, 3),
    ],
)
def test_what_is_no_model_is_refused(store: Store, model: VectorModel) -> None:
    vector = [1.0] * max(model.dimension, 0)
    with pytest.raises(Invalid, match="a model"):
        store.nearest(*vector, model=model)
    with pytest.raises(Invalid, match="a model"):
        store.add({1: vector}, model=model)
    with pytest.raises(Invalid, match="a model"):
        store.settle(model=model)


def test_the_longest_vectors_and_names(store: Store) -> None:
    model = VectorModel("数" * 100, MAX_DIMENSION)
    noise = random.Random(5)
    vectors = {n: [noise.gauss(0, 1) for _ in range(MAX_DIMENSION)] for n in range(1, 6)}
    store.add(vectors, model=model, project=P)
    assert store.numbers(*vectors[4], model=model)[0] == 4


def test_nothing_changes_when_vectors_settle(store: Store) -> None:
    noise = random.Random(3)

    def some(first: int, count: int) -> dict[int, Sequence[float]]:
        return {n: [noise.gauss(0, 1) for _ in range(3)] for n in range(first, first + count)}

    vectors = some(1, 3 * BLOCK + 5)
    store.add(vectors, project=P)
    others = some(10_000, BLOCK + 1)
    store.add(others, project=Q)
    queries = [[noise.gauss(0, 1) for _ in range(3)] for _ in range(5)]

    def answers() -> list[Any]:
        return [
            [store.numbers(*query, projects=projects, limit=20) for query in queries]
            for projects in (None, [P], [Q])
        ]

    before = answers()
    store.settle()
    assert answers() == before
    gone = [1, 2, 3 * BLOCK, 3 * BLOCK + 5, 10_000]
    store.remove(*gone)
    assert answers() == [
        [
            [n for n in store.numbers(*query, projects=p, limit=20) if n not in gone]
            for query in queries
        ]
        for p in (None, [P], [Q])
    ]
    assert not {n for by_query in answers() for numbers in by_query for n in numbers} & set(gone)
    store.remove(*vectors, *others)
    assert answers() == [[[]] * 5] * 3
    store.add({1: (1, 0, 0)})
    assert store.numbers(1, 0, 0) == [1]


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


_VECTOR = st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3).filter(
    lambda v: sum(x * x for x in v) > 1e-6
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(
    vectors=st.lists(st.tuples(_VECTOR, st.sampled_from([None, P, Q])), min_size=1, max_size=20),
    query=_VECTOR,
    projects=st.none() | st.lists(st.sampled_from([P, Q]), max_size=2),
    limit=st.integers(1, 25),
)
def test_what_comes_back_is_what_is_nearest(
    store: Store,
    vectors: list[tuple[list[float], str | None]],
    query: list[float],
    projects: list[str] | None,
    limit: int,
) -> None:
    for number, (vector, project) in enumerate(vectors, 1):
        store.add({number: vector}, project=project)
    found = store.nearest(*query, projects=projects, limit=limit)
    store.remove(*range(1, len(vectors) + 1))
    expected = {
        name(number): _cosine(vector, query)
        for number, (vector, project) in enumerate(vectors, 1)
        if projects is None or project in projects
    }
    assert len(found) == min(limit, len(expected))
    assert len({each.id for each in found}) == len(found)
    for each in found:
        assert each.similarity == pytest.approx(expected[each.id], abs=CLOSE)
    best = sorted(expected.values(), reverse=True)[: len(found)]
    assert [each.similarity for each in found] == pytest.approx(best, abs=CLOSE)


def test_bytes_are_little_endian_and_come_back() -> None:
    assert pack([1.0, -2.5]) == bytes.fromhex("0000803f000020c0")
    assert list(unpack(pack([1.0, -2.5, 3e30]))) == pytest.approx([1.0, -2.5, 3e30])
    with pytest.raises(Invalid, match="4 numbers"):
        SqliteVectorIndex().nearest(OURS, None, VectorModel("m", 4), b"12345", None, 1)


def test_a_postgres_without_pgvector_says_so(postgres: PostgresServer, postgres_urls: Urls) -> None:
    postgres.execute("DROP EXTENSION vector CASCADE", postgres_urls.name)
    postgres.execute("DROP TABLE vector_index CASCADE", postgres_urls.name)
    from claude_mem.kernel.errors import Unavailable

    engine = sa.create_engine(postgres_urls.runtime)
    index = PostgresVectorIndex()
    entry = VectorEntry(name(1), None, pack((1, 0, 0)))
    with engine.begin() as tx:
        for work in (
            lambda: index.add(OURS, tx, SMALL, [entry]),
            lambda: index.remove(OURS, tx, [name(1)]),
            lambda: index.nearest(OURS, tx, SMALL, pack((1, 0, 0)), None, 5),
            lambda: index.settle(OURS, tx, SMALL),
        ):
            with pytest.raises(Unavailable, match="CREATE EXTENSION vector"):
                work()
        assert tx.exec_driver_sql("SELECT 1").scalar() == 1, "the transaction goes on"
    engine.dispose()
