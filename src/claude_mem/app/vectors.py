"""Vectors put together for a profile: what keeps them, what makes them, what asks for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from claude_mem.domains.intelligence.index import entry
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.embedding import KIND, Coverage, VectorKeeper, embed_job
from claude_mem.domains.retrieval.jobs import Build, EmbedDocuments, Engines, nothing_to_build
from claude_mem.domains.retrieval.vector_leg import VectorLeg
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.queue import Job, NewJob, Queue
from claude_mem.ports.vectors import VectorIndex
from claude_mem.worker.loop import JobHandler


@dataclass(frozen=True, slots=True)
class Vectors:
    """`leg` is None where nothing makes vectors. `handlers` are there in any case: a job may be left over."""

    database: Database
    keeper: VectorKeeper
    leg: VectorLeg | None
    handlers: dict[str, JobHandler]
    embedder: Embedder | None
    queue: Queue

    def left(self, scope: Scope, tx: Tx) -> list[NewJob]:
        """The job that embeds what was left, also by a worker that was killed; none where all is done."""
        is_left = self.embedder is not None and self.keeper.coverage(scope, tx).waiting
        return [embed_job()] if is_left else []

    async def refill(self, scope: Scope) -> None:
        """Put every vector that was made into the engine again, in steps."""
        models = await self.database.read(scope, lambda tx: self.keeper.models(scope, tx))
        for model in models:
            after: str | None = None
            while True:
                step = partial(self.keeper.refill, scope, model=model, after=after)
                after = await self.database.write(scope, step)
                if after is None:
                    break

    def check(self, scope: Scope, tx: Tx) -> dict[str, Any]:
        """How far it is, for who asks after our health."""
        return shown(self.keeper.coverage(scope, tx))


def put_together(
    database: Database,
    index: VectorIndex,
    queue: Queue,
    embedder: Embedder | None,
    quiet: Callable[[], Awaitable[None]],
    build: Build = nothing_to_build,
) -> Vectors:
    """Loads nothing. `build` is what the engine does outside of transactions, where it does."""
    keeper = VectorKeeper(index, embedder, queue)
    if embedder is None:
        return Vectors(database, keeper, None, {KIND: _nothing}, None, queue)
    engines = Engines(database, index, embedder, queue, keeper, memory.get_with_before, entry)
    handlers: dict[str, JobHandler] = {KIND: EmbedDocuments(engines, quiet, build=build).run}
    return Vectors(database, keeper, VectorLeg(index, keeper, embedder), handlers, embedder, queue)


def shown(found: Coverage) -> dict[str, Any]:
    """Coverage as a check of health. No model is no fault: everything else is found by its words."""
    state = "healthy" if not found.waiting else "waiting" if found.reason else "embedding"
    return {
        "status": state,
        "embedded": found.embedded,
        "total": found.total,
        "model": None if found.model is None else found.model.name,
        "dimension": None if found.model is None else found.model.dimension,
        **({"reason": found.reason} if found.reason else {}),
    }


async def _nothing(scope: Scope, job: Job) -> None:
    """Nothing makes vectors any more."""
    del scope, job
