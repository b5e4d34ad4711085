"""Ours as the others are asked: by a call in a process of its own, without HTTP, over the store that a worker filled.

The same service with the same defaults as the worker's, rows read and reasons told. Marked passages are left out, which
no other system makes. The process is spawned, so that it holds nothing but this; the worker may run beside it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.rivals.drive import resident_mb
from claude_mem.adapters.local.query_vectors import QueryVectors
from claude_mem.adapters.onnx.embedder import OnnxEmbedder
from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.adapters.sqlite.vector_graphs import Graphs
from claude_mem.adapters.sqlite.vectors import SqliteVectorIndex
from claude_mem.app.collecting import settle
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.embedding import VectorKeeper
from claude_mem.domains.retrieval.hybrid import Understanding
from claude_mem.domains.retrieval.model import Filters, Query
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.domains.retrieval.vector_leg import VectorLeg
from claude_mem.kernel.scope import local_scope


@dataclass(frozen=True, slots=True)
class Task:
    """Whom to ask what: the database and graphs of a worker, the folder of the model (None: without one), questions as
    (id, text).
    """

    database: Path
    graphs: Path
    models: Path | None
    questions: Sequence[tuple[str, str]]
    k: int
    warm: int
    only: str | None = None


def measure(task: Task) -> dict[str, Any]:
    """`took_s` and `found` (ids of events, the best first) of every question, and `rss_mb`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
        return own.submit(_measured, task).result()


def _measured(task: Task) -> dict[str, Any]:
    return asyncio.run(_asked(task))


async def _asked(task: Task) -> dict[str, Any]:
    database = SqliteDatabase(task.database)
    index = SqliteVectorIndex(Graphs(task.graphs))
    makes: QueryVectors | None = None
    understanding = Understanding(None, None)
    if task.models is not None:
        makes = QueryVectors(OnnxEmbedder(ModelFolder(task.models), "int8"), kept=1)
        understanding = Understanding(makes, VectorLeg(index, VectorKeeper(index, makes), makes))
    service = SearchService(
        *(database, SqliteLexicalIndex(), memory.get_many),
        understanding=understanding,
        at_once=True,
    )
    scope, took, found = local_scope(), [], {}
    try:
        for number, (key, text) in enumerate((*task.questions[: task.warm], *task.questions)):
            if number == task.warm:
                settle()  # as a worker does
            asked = Query(text, Filters(kind=task.only), limit=task.k, marked=False)
            began = time.perf_counter()
            result = await service.search(scope, asked)
            if number >= task.warm:
                took.append(time.perf_counter() - began)
                found[key] = [str(hit.row["event_id"]) for hit in result.hits]
            if result.degraded:
                raise RuntimeError(f"nothing is measured: {result.degraded}")
    finally:
        if makes is not None:
            await makes.close()
        await database.close()
    return {"took_s": took, "found": found, "rss_mb": resident_mb()}
