"""Speed of hybrid search by size of the store: words alone, with a question's vector at hand, and with it being made.

    python -m bench.hybrid [--models DIR] [--sizes 10000,100000,1000000] [--embed 10000] [--store FOLDER] [--out FILE]

Corpus and questions are those of `bench.search`. Of stores of up to `--embed` observations the vectors are the model's
own, made by the job that makes them in a worker: seven minutes for 10,000, more than an hour for 100,000. Of larger
ones they are generated (those of `bench.server_vectors`): there the nearest by meaning are others than the best by
words, which is the most work that a search has, and questions are near to nothing, which makes the walk through a graph
the longest. The vectors of the questions are the model's own, from DIR, as `claude-mem model install` leaves it.

A search is measured from the call of the service to its result, with rows and highlights, in a process of its own that
does nothing else; the file is in the system's cache. The baseline is what FTS5 does by itself with the same words.
Recall is the share of the ten nearest by 32-bit arithmetic that the vector leg finds: for the questions, or, where
vectors are generated, for such as are near to them. `owners_in_turn`: the same questions, each asked of an engine that
tells whose a vector is and of one that does not, as it was before, the one and the other first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from bench import search as lexical
from bench.corpus import Corpus
from bench.report import facts
from bench.server_vectors import World
from claude_mem.adapters.local.query_vectors import QueryVectors
from claude_mem.adapters.onnx.embedder import OnnxEmbedder
from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.adapters.sqlite.queue import SqliteQueue
from claude_mem.adapters.sqlite.vector_building import GraphBuilder
from claude_mem.adapters.sqlite.vector_graphs import Graphs
from claude_mem.adapters.sqlite.vectors import SqliteVectorIndex
from claude_mem.app.collecting import settle
from claude_mem.app.vectors import put_together
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import vector_repository
from claude_mem.domains.retrieval.embedding import KIND, VectorKeeper
from claude_mem.domains.retrieval.hybrid import Understanding
from claude_mem.domains.retrieval.model import Query
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.domains.retrieval.tables import search_documents
from claude_mem.domains.retrieval.vector_leg import VectorLeg
from claude_mem.domains.retrieval.vector_repository import Stored
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import Job
from claude_mem.ports.vectors import Neighbour, VectorEntry, VectorModel

_SCOPE = local_scope()
_ASKED = 200
_QUESTIONS = 40  # for recall
_BATCH = 5_000
_PROJECT = "project0"


def embedder(models: Path) -> OnnxEmbedder:
    """The model that comes along, in the precision it comes in."""
    return OnnxEmbedder(ModelFolder(models), "int8")


def model(models: Path) -> VectorModel:
    """Whose vectors they are."""
    state = embedder(models).state()
    if not state.ready or state.model is None:
        raise SystemExit(f"no model in {models}: {state.reason} (claude-mem model install)")
    return state.model


def questions(size: int) -> dict[str, list[Query]]:
    """By family, every one another."""
    corpus, made = Corpus(seed=17), lexical.families(Corpus(seed=17), size)

    def typical() -> Query:
        return Query(corpus.random.choice((corpus.english(4), corpus.english(8))))

    return {
        "a few words": [typical() for _ in range(_ASKED)],
        "of one project": [replace(typical(), project=_PROJECT) for _ in range(_ASKED)],
        "paste of 200 words": made["paste of 200 words"][:40],
        "Chinese": made["Chinese"][:40],
    }


class Vectors:
    """Gives every document of a store its vector, and builds graphs of them."""

    def __init__(self, path: Path, of: VectorModel, kept: Any, graphs: Path | None = None) -> None:
        self._path, self._model, self._kept = path, of, kept
        self.graphs = graphs or path.parent / "graphs"

    def fill(self) -> dict[str, Any]:
        """Those that have none yet; processor seconds of keeping them and of building."""
        began, added_any = time.process_time(), False
        engine = make_engine(self._path, writer=True)
        with engine.connect() as tx:
            tx.exec_driver_sql("PRAGMA synchronous=OFF")  # not what is measured here
            while self._some(tx):
                added_any = True
            self._note(tx)
            tx.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        engine.dispose()
        added = time.process_time() - began
        built = build_graphs(self._path, self.graphs, self._model)
        if not added_any:  # of a store that was kept: what it cost was said when it was made
            return {}
        return {"vectors": "generated", "add_s": round(added, 1), **built}

    def _note(self, tx: Tx) -> None:
        """That nothing is left to be embedded, as the job for it does."""
        tx.exec_driver_sql("BEGIN")
        has = vector_repository.reach_for_new(_SCOPE, tx, self._model)
        for gap in has.gaps:
            settle = partial(vector_repository.settle_gap, _SCOPE, tx, self._model, gap)
            settle(down_to=gap[0], embedded=gap[1] - gap[0])
        tx.exec_driver_sql("COMMIT")

    def _some(self, tx: Tx) -> int:
        done = tx.exec_driver_sql("SELECT count(*) FROM vector_embeddings").scalar_one()
        d = search_documents.c
        rows = tx.execute(
            sa.select(d.id, d.kind, d.entity_id, d.project_id)
            .where(d.enterprise_id == _SCOPE.enterprise_id)
            .order_by(d.id)
            .offset(done)
            .limit(_BATCH)
        ).all()
        if not rows:
            return 0
        ids = [new_id() for _ in rows]
        vectors = [self._kept[(done + n) % len(self._kept)].tobytes() for n in range(len(rows))]
        stored = [
            Stored(key, EntityRef(row[1], row[2]), self._model, 0, 1, b"", b"", vector)
            for key, row, vector in zip(ids, rows, vectors, strict=True)
        ]
        entries = [
            VectorEntry(it.id, row[3], it.vector, it.owner)
            for it, row in zip(stored, rows, strict=True)
        ]
        tx.exec_driver_sql("BEGIN")
        vector_repository.add(_SCOPE, tx, stored)
        SqliteVectorIndex().add(_SCOPE, tx, self._model, entries)
        tx.exec_driver_sql("COMMIT")
        return len(rows)


def build_graphs(path: Path, folder: Path, of: VectorModel) -> dict[str, float]:
    """Build what is missing of them; processor seconds and size."""
    began, builder = time.process_time(), GraphBuilder(path, folder, Graphs(folder))
    while builder.catch_up(_SCOPE, of):
        pass
    size = sum(it.stat().st_size for it in folder.glob("*")) if folder.exists() else 0
    return {
        "build_graphs_s": round(time.process_time() - began, 1),
        "graphs_mb": round(size / 1e6, 1),
    }


async def embed(path: Path, models: Path) -> dict[str, Any]:
    """Give every document of a store its vectors as a worker does, with nobody to wait for; processor seconds."""
    database, index = SqliteDatabase(path), SqliteVectorIndex()
    kept = put_together(database, index, SqliteQueue(), embedder(models), _nobody)
    began, job = time.process_time(), Job(_SCOPE.enterprise_id, "", KIND, "all", {}, 1, 1)
    steps = 0
    while True:
        done = await database.read(_SCOPE, lambda tx: kept.keeper.coverage(_SCOPE, tx))
        print(f"  {done.embedded} of {done.total} embedded", flush=True)
        if not done.waiting:
            break
        await kept.handlers[KIND](_SCOPE, job)
        steps += 1
    await database.close()
    if not steps:  # of a store that was kept: it was said when it was made
        return {}
    return {"vectors": "the model's", "embed_s": round(time.process_time() - began, 1)}


async def _nobody() -> None:
    """Nobody is to be waited for."""


def measure(path: Path, models: Path, size: int) -> dict[str, Any]:
    """Of one store; runs in a process of its own."""
    return asyncio.run(_measure(path, models, size))


async def _measure(path: Path, models: Path, size: int) -> dict[str, Any]:
    database, words = SqliteDatabase(path), SqliteLexicalIndex()
    index = SqliteVectorIndex(Graphs(path.parent / "graphs"))
    makes = QueryVectors(embedder(models), _ASKED)
    keeper = VectorKeeper(index, makes)
    leg = VectorLeg(index, keeper, makes)
    alone = SearchService(database, words, memory.get_many)
    both = SearchService(
        *(database, words, memory.get_many),
        understanding=Understanding(makes, leg),
        at_once=True,
    )
    began = time.perf_counter()
    await both.search(_SCOPE, Query("the first question of all"))
    settle()  # as a worker does
    found: dict[str, Any] = {"first_search_ms": round((time.perf_counter() - began) * 1000, 1)}
    for name, family in questions(size).items():
        found[name] = {
            "words_alone": await _timed(alone, family),
            "vector_being_made": await _timed(both, family),
            "vector_at_hand": await _timed(both, family),
        }
        base = partial(lexical._baseline, family=family[:5])
        found[name]["fts5_alone_p50_ms"] = round(await database.read(_SCOPE, base), 2)
        print(f"  {name:20s}", found[name], flush=True)
    found["memory_mb"] = _resident_mb()
    untold = VectorLeg(_Untold(Graphs(path.parent / "graphs")), keeper, makes)
    looking_up = SearchService(
        *(database, words, memory.get_many),
        understanding=Understanding(makes, untold),
        at_once=True,
    )
    found["owners_in_turn"] = await _in_turn(
        {"told_p50_ms": both, "looked_up_p50_ms": looking_up}, questions(size)["a few words"]
    )
    print("  owners in turn:", found["owners_in_turn"], flush=True)
    await makes.close()
    await database.close()
    return found | {"load_average": round(os.getloadavg()[0], 1)}


class _Untold(SqliteVectorIndex):
    """An engine that does not know whose its vectors are."""

    def nearest(self, *asked: Any, **more: Any) -> tuple[Neighbour, ...]:
        """See the port."""
        return tuple(it._replace(owner="") for it in super().nearest(*asked, **more))


async def _in_turn(services: dict[str, SearchService], asked: Sequence[Query]) -> dict[str, float]:
    """The middle of what each takes; before each question another one is asked, for both alike."""
    took: dict[str, list[float]] = {name: [] for name in services}
    for number, query in enumerate(asked):
        for name in sorted(services, reverse=bool(number % 2)):
            await services[name].search(_SCOPE, asked[number - 1])
            began = time.perf_counter()
            await services[name].search(_SCOPE, query)
            took[name].append((time.perf_counter() - began) * 1000)
    return {name: round(statistics.median(each), 2) for name, each in took.items()}


def _resident_mb() -> int | None:
    """Of this process now, graphs that are mapped among it; the system's own peak is that of who started it."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return None
    return int(statm.read_text().split()[1]) * resource.getpagesize() // 1_000_000


async def _timed(service: SearchService, asked: Sequence[Query]) -> dict[str, float]:
    took, busy, meant = [], [], 0
    for query in asked:
        began, working = time.perf_counter(), time.process_time()
        result = await service.search(_SCOPE, query)
        took.append((time.perf_counter() - began) * 1000)
        busy.append((time.process_time() - working) * 1000)
        if result.degraded:
            raise SystemExit(f"nothing is measured: {result.degraded}")
        meant += any(name == "meaning" for hit in result.hits for name, _ in hit.reasons)
    return {
        "p50_ms": round(statistics.median(took), 2),
        "p99_ms": round(lexical._percentile(took, 0.99), 2),
        "cpu_p50_ms": round(statistics.median(busy), 2),
        "with_meaning": round(meant / len(asked), 2),
    }


def recall(path: Path, of: VectorModel, kept: Any, probes: Any) -> dict[str, float]:
    """Of everything, and of a project."""
    engine = make_engine(path, writer=False)
    index = SqliteVectorIndex(Graphs(path.parent / "graphs"))
    with engine.connect() as tx:
        rows = tx.exec_driver_sql("SELECT number, id, project_id FROM vector_rows ORDER BY number")
        ids, projects = zip(*[(str(UUID(bytes=row[1])), row[2]) for row in rows], strict=True)
        name = tx.exec_driver_sql(
            "SELECT id FROM projects WHERE name = ?", (_PROJECT,)
        ).scalar_one()
        of_project = np.flatnonzero(np.array(projects) == name)
        found = {}
        for title, places, within in (
            ("everything", np.arange(len(ids)), None),
            (f"project of {len(of_project)}", of_project, [name]),
        ):
            shares = []
            for probe in probes:
                best = places[np.argsort(-(kept[places] @ probe))[:10]]
                got = index.nearest(_SCOPE, tx, of, probe.tobytes(), within, 10)
                shares.append(len({ids[n] for n in best} & {it.id for it in got}) / 10)
            found[title] = round(statistics.fmean(shares), 4)
    engine.dispose()
    return found


def main() -> None:
    """Build, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path(".venv/models"))
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--embed", type=int, default=10_000, help="the largest store to embed")
    parser.add_argument(
        "--store", type=Path, help="keep the stores below here, and go on with them"
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results/hybrid.json"))
    given = parser.parse_args()
    of, sizes = model(given.models), sorted(int(size) for size in given.sizes.split(","))
    report: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    report |= facts()
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            below = (given.store or Path(folder)) / str(size)
            found = _one_size(below, given.models, of, size, embeds=size <= given.embed)
            before = {} if "vectors" in found else report.get(str(size), {})
            report[str(size)] = before | found
            given.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _one_size(
    folder: Path, models: Path, of: VectorModel, size: int, *, embeds: bool
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench.db"
    lexical.Build(path).fill(Corpus(), size)
    if embeds:
        built = asyncio.run(embed(path, models))
        graphs = build_graphs(path, folder / "graphs", of)
        built |= graphs if built else {}
        kept, probes = _vectors(path, of), asyncio.run(_probes(models, size))
    else:
        world = World()
        kept = world.vectors(_SCOPE, size)
        probes = world.questions(kept, _QUESTIONS)
        built = Vectors(path, of, kept).fill()
    result: dict[str, Any] = {"file_mb": round(path.stat().st_size / 1e6, 1), **built}
    print(size, "observations", result, flush=True)
    lexical._warm(path)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
        result["searches"] = own.submit(measure, path, models, size).result()
    result["vector_recall_at_10"] = recall(path, of, kept, probes)
    print("  recall:", result["vector_recall_at_10"], flush=True)
    return result


def _vectors(path: Path, of: VectorModel) -> Any:
    """All of a store as they were made, in the order of the engine's rows."""
    engine = make_engine(path, writer=False)
    with engine.connect() as tx:
        made: dict[str, bytes] = {
            row[0]: row[1]
            for row in tx.exec_driver_sql("SELECT id, vector_data FROM vector_embeddings")
        }
        rows = tx.exec_driver_sql("SELECT id FROM vector_rows ORDER BY number").all()
    engine.dispose()
    flat = b"".join(made[str(UUID(bytes=row[0]))] for row in rows)
    return np.frombuffer(flat, dtype="<f4").reshape(-1, of.dimension)


async def _probes(models: Path, size: int) -> list[Any]:
    asked = questions(size)["a few words"][:_QUESTIONS]
    makes = embedder(models)
    found = [np.frombuffer(await makes.query(it.text), dtype="<f4") for it in asked]
    await makes.close()
    return found


if __name__ == "__main__":
    main()
