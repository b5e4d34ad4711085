"""Graphs over many vectors on SQLite: what they find, and what happens when their files are not as they should be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest

from claude_mem.adapters.sqlite import vector_building, vector_graphs, vectors
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.vector_building import GraphBuilder
from claude_mem.adapters.sqlite.vector_graphs import WHOLE, Graphs
from claude_mem.adapters.sqlite.vectors import CREATE, SqliteVectorIndex
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.vectors import VectorEntry, VectorModel

OURS = local_scope()
THEIRS = Scope("00000000-0000-7000-8000-0000000000ff", "u", frozenset())
MODEL = VectorModel("m", 32)
P, Q = "00000000-0000-7000-8000-0000000000a1", "00000000-0000-7000-8000-0000000000a2"
COUNT = 3_000


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_building, "FROM", 1_000)
    monkeypatch.setattr(vector_building, "PROJECT_FROM", 500)
    monkeypatch.setattr(vector_building, "BEHIND", 100)


def some(count: int, seed: int = 1) -> Any:
    noise = np.random.default_rng(seed)
    centres = noise.standard_normal((40, MODEL.dimension))
    made = centres[noise.integers(0, 40, count)] + 0.6 * noise.standard_normal((count, 32))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype("<f4")


def name(number: int) -> str:
    return str(UUID(int=number))


@dataclass
class Store:
    """A database file with its graphs; every search is a reader's."""

    path: Path
    index: SqliteVectorIndex
    graphs: Graphs
    builder: GraphBuilder
    kept: dict[int, tuple[Any, str | None]]
    write: Callable[[Callable[[Any], Any]], None]
    read: Callable[[Callable[[Any], Any]], Any]

    @property
    def folder(self) -> Path:
        return self.path.parent / "vectors"

    def add(self, first: int, made: Any, project: str | None = None) -> None:
        entries = [VectorEntry(name(first + n), project, it.tobytes()) for n, it in enumerate(made)]
        self.write(lambda tx: self.index.add(OURS, tx, MODEL, entries))
        self.kept |= {first + n: (it, project) for n, it in enumerate(made)}

    def remove(self, *numbers: int) -> None:
        self.write(lambda tx: self.index.remove(OURS, tx, [name(n) for n in numbers]))
        for number in numbers:
            del self.kept[number]

    def build(self) -> None:
        while self.builder.catch_up(OURS, MODEL):
            pass

    def found(
        self, query: Any, projects: list[str] | None = None, limit: int = 10, quick: bool = False
    ) -> list[int]:
        nearest = self.read(
            lambda tx: self.index.nearest(
                *(OURS, tx, MODEL, query.tobytes(), projects, limit), quick=quick
            )
        )
        return [UUID(it.id).int for it in nearest]

    def recall(self, projects: list[str] | None = None, quick: bool = False) -> float:
        """Of the ten nearest by comparing everything, the share that is found."""
        ours = [
            n
            for n, (_, project) in self.kept.items()
            if projects is None or (project or "") in projects
        ]
        matrix = np.array([self.kept[n][0] for n in ours])
        hits, queries = 0, some(40, seed=1)[:40] + 0.02
        for query in queries.astype("<f4"):
            order = np.argsort(-(matrix @ query))[:10]
            hits += len({ours[at] for at in order} & set(self.found(query, projects, quick=quick)))
        return hits / 400

    def parts(self) -> set[str]:
        return {note.part for note in self.graphs.notes()}

    def is_used(self) -> bool:
        return self.graphs.graph(1, WHOLE, MODEL, 10**9) is not None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    path, folder = tmp_path / "test.db", tmp_path / "vectors"
    writer, reader = make_engine(path, writer=True), make_engine(path, writer=False)
    with writer.connect() as writing, reader.connect() as reading:
        for statement in CREATE:
            writing.exec_driver_sql(statement)

        def run(connection: Any, work: Callable[[Any], Any]) -> Any:
            connection.exec_driver_sql("BEGIN")
            try:
                return work(connection)
            finally:
                connection.exec_driver_sql("COMMIT")

        graphs = Graphs(folder)
        yield Store(
            path,
            SqliteVectorIndex(graphs),
            graphs,
            GraphBuilder(path, folder, graphs),
            {},
            lambda work: run(writing, work),
            lambda work: run(reading, work),
        )
    writer.dispose()
    reader.dispose()


@pytest.fixture
def filled(store: Store) -> Store:
    made = some(COUNT)
    store.add(1, made[:1800], P)
    store.add(1801, made[1800:2800], Q)
    store.add(2801, made[2800:])
    store.build()
    return store


def test_few_vectors_have_no_graph(store: Store) -> None:
    store.add(1, some(400), P)
    store.build()
    assert store.parts() == set()
    assert store.recall() == 1


def test_nearly_all_of_the_nearest_are_found_filtered_too(filled: Store) -> None:
    assert filled.parts() == {WHOLE, P, Q}
    assert filled.is_used()
    assert filled.recall() >= 0.98
    assert filled.recall([P]) >= 0.98
    assert filled.recall([Q]) >= 0.98
    assert filled.recall([P, Q]) >= 0.98
    assert filled.recall([""]) == 1, "without a project, and too few for a graph"
    assert filled.found(some(1)[0], []) == []
    assert filled.found(some(1)[0], ["../../etc"]) == []


def test_in_a_hurry_most_of_them_are_found(filled: Store) -> None:
    assert filled.recall(quick=True) > 0.9
    assert filled.recall([P], quick=True) > 0.9


def test_what_was_added_since_is_found_with_what_is_in_the_graph(filled: Store) -> None:
    fresh = some(60, seed=9)
    filled.add(9_001, fresh, P)
    assert filled.found(fresh[7])[0] == 9_008
    assert filled.found(fresh[7], [P])[0] == 9_008
    assert 9_008 not in filled.found(fresh[7], [Q])
    assert filled.recall() >= 0.98


def test_what_is_gone_is_not_found_and_others_come_up(filled: Store) -> None:
    query = filled.kept[5][0]
    nearest = filled.found(query, limit=200)
    filled.remove(*nearest[:150])
    found = filled.found(query, limit=40)
    assert len(found) == 40
    assert not set(found) & set(nearest[:150])
    assert found[:20] == nearest[150:170]


def test_graphs_grow_with_the_rows(filled: Store) -> None:
    through = {note.part: note.through for note in filled.graphs.notes()}
    filled.add(9_001, some(400, seed=5), P)
    filled.build()
    after = {note.part: note.through for note in filled.graphs.notes()}
    assert after[P] > through[P]
    assert after[WHOLE] > through[WHOLE]
    assert after[Q] == through[Q]
    assert filled.recall() >= 0.98
    assert len(list(filled.folder.glob("*.graph"))) == 3, "those before are gone"


def test_a_graph_of_which_much_is_gone_is_made_anew(filled: Store) -> None:
    filled.remove(*range(1, 200))
    filled.build()
    [whole] = [note for note in filled.graphs.notes() if note.part == WHOLE]
    assert whole.count == COUNT - 199


def test_purging_leaves_no_file_that_holds_what_is_gone(filled: Store) -> None:
    filled.write(lambda tx: filled.index.purge(OURS, tx))
    assert filled.parts() == {WHOLE, P, Q}, "nothing is gone"
    filled.remove(7)
    filled.write(lambda tx: filled.index.purge(OURS, tx))
    assert list(filled.folder.iterdir()) == []
    assert filled.recall() == 1
    filled.build()
    assert filled.parts() == {WHOLE, P, Q}


@pytest.mark.parametrize("harm", ["gone", "cut", "changed", "noise", "model", "later", "note gone"])
def test_a_graph_that_is_not_as_it_should_be_is_passed_over_and_made_anew(
    filled: Store, harm: str
) -> None:
    [note] = [note for note in filled.graphs.notes() if note.part == WHOLE]
    [path] = [it for it in filled.folder.glob("*.json") if note.file.encode() in it.read_bytes()]
    file = filled.folder / note.file
    if harm == "gone":
        file.unlink()
    elif harm == "cut":
        os.truncate(file, note.bytes // 2)
    elif harm == "changed":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 255
        file.write_bytes(data)
    elif harm == "noise":
        path.write_bytes(b"\0\1\2")
    elif harm == "note gone":
        path.unlink()
    else:
        said = orjson.loads(path.read_bytes())
        said |= {"model": "other"} if harm == "model" else {"through": 10**6}
        path.write_bytes(orjson.dumps(said))
    fresh = SqliteVectorIndex(Graphs(filled.folder))  # as a program that starts
    filled.index = fresh
    assert filled.recall() == 1, "everything is compared"
    graphs = Graphs(filled.folder)
    GraphBuilder(filled.path, filled.folder, graphs).catch_up(OURS, MODEL)
    assert graphs.graph(1, WHOLE, MODEL, COUNT) is not None
    filled.index = SqliteVectorIndex(graphs)
    assert filled.recall() >= 0.98


def test_a_broken_off_write_leaves_the_graph_that_was_there(filled: Store) -> None:
    (filled.folder / "half.graph").write_bytes(b"x" * 100)
    assert filled.recall() >= 0.98
    filled.add(9_001, some(400, seed=5), P)
    filled.build()
    assert not (filled.folder / "half.graph").exists()


@pytest.mark.parametrize("harm", ["folder", "save"])
def test_where_nothing_can_be_written_everything_is_compared(
    filled: Store, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(filled.folder.iterdir())
    filled.add(9_001, some(400, seed=5), P)
    if harm == "folder":
        shutil.rmtree(filled.folder)
        filled.folder.write_bytes(b"")
    else:
        Path("/dev/full").is_char_device() or pytest.skip("no device that is always full")
        monkeypatch.setattr(vector_graphs, "new_id", lambda: "../full")
        (filled.path.parent / "full.graph").symlink_to("/dev/full")
    assert filled.builder.catch_up(OURS, MODEL) is False
    assert filled.recall() >= 0.98
    if harm == "save":
        assert sorted(filled.folder.iterdir()) == before


def test_more_than_may_be_kept_in_memory_is_compared_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "KEPT", 700)
    monkeypatch.setattr(vectors, "_AT_ONCE", 256)
    store.add(1, some(COUNT), P)
    assert store.recall() == 1
    assert store.recall([P]) == 1
    assert store.found(store.kept[1][0], [Q]) == []
    assert sum(tail.size for tail in store.index._tails.values()) <= 700


def test_a_kept_row_that_is_gone_is_let_go(store: Store) -> None:
    made = some(300)
    store.add(1, made, P)
    assert store.found(made[3])[0] == 4
    store.remove(*range(1, 200))
    assert store.recall() == 1
    assert store.found(made[3], limit=101) == sorted(
        store.kept, key=lambda n: -float(store.kept[n][0] @ made[3])
    )


def test_each_reader_finds_what_it_sees_whatever_is_in_memory(store: Store) -> None:
    made = some(300)
    store.add(1, made)
    probe = made[3].tobytes()
    engine = make_engine(store.path, writer=False)
    with engine.connect() as earlier:
        earlier.exec_driver_sql("BEGIN")
        seen = store.index.nearest(OURS, earlier, MODEL, probe, None, 10)
        assert seen[0].id == name(4)
        store.remove(4, 5)
        store.add(301, [made[3], made[4]])  # as many as before
        later = store.found(made[3])
        assert later[0] == 301
        assert not {4, 5} & set(later)
        before = store.index.nearest(OURS, earlier, MODEL, probe, None, 300)
        assert {it.id for it in before} == {name(n) for n in range(1, 301)}
        assert store.index.similarities(OURS, earlier, MODEL, probe, ["any"]) is None
        earlier.exec_driver_sql("COMMIT")
    engine.dispose()
    assert store.found(made[3]) == later
    assert store.recall() == 1


def test_a_damaged_row_is_near_to_nothing_and_hides_nothing(store: Store) -> None:
    made = some(50)
    store.add(1, made, P)
    for number, harm in enumerate(("zeroblob(64)", "zeroblob(7)", "x''"), 1):
        statement = f"UPDATE vector_rows SET vector = {harm} WHERE id = ?"
        key = UUID(int=number).bytes
        store.write(lambda tx, it=statement, key=key: tx.exec_driver_sql(it, (key,)))
    whole = np.frombuffer(b"\x00\x7e" * 32, dtype="<f2")  # not a number
    values = (whole.tobytes(), UUID(int=4).bytes)
    store.write(
        lambda tx: tx.exec_driver_sql("UPDATE vector_rows SET vector = ? WHERE id = ?", values)
    )
    for projects in (None, [P]):
        assert store.found(made[9], projects, limit=1) == [10]
        assert len(store.found(made[9], projects, limit=50)) == 50


def test_what_is_kept_is_let_go_where_more_is_gone_than_there_may_be(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "KEPT", 400)
    store.add(1, some(300), P)
    assert store.recall() == 1
    store.remove(*range(1, 301))
    store.add(301, some(300, seed=1))
    assert store.recall() == 1
    assert [tail.size for tail in store.index._tails.values()] == [300]


def test_no_row_is_read_again_where_all_are_in_memory(store: Store) -> None:
    whose = [f"prompt {name(n)} 0" for n in range(300)]
    rows = zip(some(300), whose, strict=True)
    entries = [
        VectorEntry(name(n), P, it.tobytes(), owner) for n, (it, owner) in enumerate(rows, 1)
    ]
    store.write(lambda tx: store.index.add(OURS, tx, MODEL, entries))
    probe = entries[3].vector
    found = store.read(lambda tx: store.index.nearest(OURS, tx, MODEL, probe, None, 10))
    assert found[0][1:] == (1.0, whose[3])

    def asked(tx: Any) -> list[str]:
        """The statements that go to the rows."""
        statements: list[str] = []
        raw = tx.connection.dbapi_connection
        raw.set_trace_callback(statements.append)
        try:
            assert store.index.nearest(OURS, tx, MODEL, probe, [P], 10) == found
            near = store.index.similarities(OURS, tx, MODEL, probe, [f"prompt {name(3)}"])
        finally:
            raw.set_trace_callback(None)
        assert near == {f"prompt {name(3)}": pytest.approx(1, abs=1e-3)}
        return [it.split(" WHERE ")[0] for it in statements if "vector_rows" in it]

    assert not store.read(asked)
    another = VectorEntry(name(301), P, some(1, seed=2)[0].tobytes(), f"prompt {name(300)} 0")
    store.write(lambda tx: store.index.add(OURS, tx, MODEL, [another]))
    since = vectors._AFTER.split(" WHERE ")[0]
    assert store.read(asked) == ["SELECT count(*) FROM vector_rows", since]


def test_what_was_taken_back_is_not_kept(store: Store) -> None:
    one, other = some(2)
    store.add(1, [one])

    class Back(Exception):  # noqa: N818 - not an error of the program
        pass

    engine = make_engine(store.path, writer=True)
    with engine.connect() as tx:
        tx.exec_driver_sql("BEGIN IMMEDIATE")
        store.index.add(OURS, tx, MODEL, [VectorEntry(name(77), None, one.tobytes())])
        seen = store.index.nearest(OURS, tx, MODEL, one.tobytes(), None, 5)
        assert len(seen) == 2
        tx.exec_driver_sql("ROLLBACK")
    engine.dispose()
    store.add(5, [other])
    assert store.found(one) == [1, 5]
    assert store.found(other)[0] == 5


def test_enterprises_have_graphs_of_their_own(filled: Store) -> None:
    entry = VectorEntry(name(1), P, filled.kept[1][0].tobytes())
    filled.write(lambda tx: filled.index.add(THEIRS, tx, MODEL, [entry]))
    probe = filled.kept[1][0].tobytes()
    theirs = filled.read(lambda tx: filled.index.nearest(THEIRS, tx, MODEL, probe, None, 10))
    assert [it.id for it in theirs] == [name(1)]
    filled.write(lambda tx: filled.index.remove(THEIRS, tx, [name(1)]))
    assert filled.found(filled.kept[1][0])[0] == 1


def test_a_model_can_be_loaded_after_a_graph() -> None:
    """As a worker does that was started beside a large store, and is asked before it embeds: not to end the process."""
    code = (
        "from claude_mem.adapters.sqlite.vector_graphs import new_index\n"
        "assert new_index(8) is not None\n"
        "import onnxruntime\n"
        "print(len(onnxruntime.get_available_providers()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1
