"""Vector search on SQLite by size: speed, recall, memory and room; before there is a graph, and with one.

    python -m bench.vectors [--sizes 1000,5000,20000,100000] [--json]

The vectors are those of `bench.server_vectors`, in six projects of a half to a hundredth of all. A question is asked
through the adapter, in a transaction of a reader; the file is in the system's cache. Times are of the processor, so
that others at work on the machine do not count; recall is what share of the ten nearest by 32-bit arithmetic comes
back, of everything and of each project.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import facts, write
from bench.server import Cost, machine
from bench.server_vectors import MODEL, World, numbered, project
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.vector_building import FROM, GraphBuilder
from claude_mem.adapters.sqlite.vector_graphs import Graphs
from claude_mem.adapters.sqlite.vectors import CREATE, KEPT, SqliteVectorIndex
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.vectors import VectorEntry

_SCOPE = local_scope()
_QUESTIONS = 40
_PROJECTS = 6
_AT_ONCE = 500


def measure(tx: Any, index: SqliteVectorIndex, kept: Any, questions: Any) -> dict[str, Any]:
    """Of one state of the index: of everything, and of each project."""
    of = np.array([project(number) for number in range(len(kept))])
    found: dict[str, Any] = {"everything": _asked(tx, index, kept, None, None, questions)}
    for each in range(_PROJECTS):
        places = np.flatnonzero(of == each)
        if len(places) >= 10:
            found[f"project of {len(places)}"] = _asked(tx, index, kept, places, each, questions)
    return found


def _asked(
    tx: Any, index: SqliteVectorIndex, kept: Any, places: Any, of: int | None, questions: Any
) -> dict[str, float]:
    cost, shares = Cost(0), []
    within = kept if places is None else kept[places]
    asked = None if of is None else [numbered(of)]
    index.nearest(_SCOPE, tx, MODEL, questions[0].tobytes(), asked, 10)  # what is kept is read once
    for query in questions:
        with cost.of_one():
            answer = index.nearest(_SCOPE, tx, MODEL, query.tobytes(), asked, 10)
        best = np.argsort(-(within @ query))[:10]
        ids = {numbered(int(n if places is None else places[n])) for n in best}
        shares.append(len(ids & {each.id for each in answer}) / len(ids))
    return {"recall_at_10": round(float(np.mean(shares)), 4), **cost.figures()}


def one_size(folder: Path, world: World, size: int) -> dict[str, Any]:
    """Added, then with graphs where there are so many that they are made."""
    kept = world.vectors(_SCOPE, size)
    questions = world.questions(kept, _QUESTIONS)
    path = folder / f"{size}.db"
    graphs = Graphs(folder / f"{size}")
    writer = make_engine(path, writer=True)
    with writer.connect() as tx:
        for statement in CREATE:
            tx.exec_driver_sql(statement)
        added = _timed(lambda: _add(tx, kept))
        tx.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    writer.dispose()
    found: dict[str, Any] = {"add_us": round(added / size * 1e6, 1)}
    reader = make_engine(path, writer=False)
    with reader.connect() as tx:
        index = SqliteVectorIndex(graphs)
        began = time.process_time()
        index.nearest(_SCOPE, tx, MODEL, questions[0].tobytes(), None, 10)
        found["first_search_ms"] = round((time.process_time() - began) * 1000, 1)
        if size <= KEPT:
            found["without_graphs"] = measure(tx, index, kept, questions)
        if size >= FROM:
            builder = GraphBuilder(path, folder / f"{size}", graphs)
            found["build_s"] = round(_timed(lambda: _built(builder)), 1)
            found["with_graphs"] = measure(tx, SqliteVectorIndex(graphs), kept, questions)
            files = [note.bytes for note in graphs.notes()]
            found["graphs_mb"] = round(sum(files) / 1e6, 1)
    reader.dispose()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "most_memory_mb": round(used / 1e3, 1),
    }


def _add(tx: Any, kept: Any) -> None:
    index = SqliteVectorIndex()
    for start in range(0, len(kept), _AT_ONCE):
        some = enumerate(kept[start : start + _AT_ONCE], start)
        entries = [VectorEntry(numbered(n), numbered(project(n)), it.tobytes()) for n, it in some]
        tx.exec_driver_sql("BEGIN")
        index.add(_SCOPE, tx, MODEL, entries)
        tx.exec_driver_sql("COMMIT")


def _built(builder: GraphBuilder) -> None:
    while builder.catch_up(_SCOPE, MODEL):
        pass


def _timed(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,5000,20000,100000")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    world, result = World(), facts()
    with tempfile.TemporaryDirectory() as folder:
        for size in (int(size) for size in given.sizes.split(",")):
            result[str(size)] = one_size(Path(folder), world, size)
            print(size, result[str(size)], flush=True)
    write("vectors", result | machine(), as_json=given.json)


if __name__ == "__main__":
    main()
