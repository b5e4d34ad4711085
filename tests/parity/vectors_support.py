"""An engine with an embedder, the job that uses it, and the leg that asks: for tests of vectors on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from parity_support import SCOPE, Side, on_postgres, on_sqlite

from claude_mem.domains.intelligence.index import entry
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.embedding import KIND
from claude_mem.domains.retrieval.jobs import EmbedDocuments, Engines
from claude_mem.domains.retrieval.tables import vector_embeddings
from claude_mem.domains.retrieval.vector_leg import VectorLeg
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.queue import Job
from word_embedder import WordEmbedder


@dataclass
class World:
    """A side with an embedder, the job that uses it, and the leg that asks."""

    side: Side
    embedder: WordEmbedder
    told: int = 0
    waits: list[int] = field(default_factory=list)
    reads: Any = memory.get_many  # most tests are of texts that stand alone

    def job(self, embedder: WordEmbedder | None = None) -> EmbedDocuments:
        async def quiet() -> None:
            self.waits.append(1)

        used = embedder or self.embedder
        engines = Engines(
            self.side.database,
            self.side.vectors,
            used,
            self.side.queue,
            self.side.keeper,
            self.reads,
            entry,
        )
        return EmbedDocuments(engines, quiet)

    @property
    def leg(self) -> VectorLeg:
        return VectorLeg(self.side.vectors, self.side.keeper, self.embedder)

    async def tell(self, *texts: str, session: str = "one", scope: Scope = SCOPE) -> None:
        events = []
        for text in texts:
            self.told += 1
            events.append(
                {
                    "id": new_id(),
                    "type": "prompt.submitted",
                    "occurred_at": to_iso(now_ms() - 3_600_000 + self.told * 1000),
                    "agent": "claude-code",
                    "session": session,
                    "project": f"/{session}",
                    "data": {"content": text},
                }
            )
        await self.side.take(events, scope)

    async def embed(self, scope: Scope = SCOPE, embedder: WordEmbedder | None = None) -> None:
        await self.job(embedder).run(scope, Job(scope.enterprise_id, "j", KIND, "all", {}, 1, 5))

    async def texts(self, scope: Scope = SCOPE) -> dict[str, EntityRef]:
        rows = await self.side.database.read(
            scope, lambda tx: memory.session_rows(scope, tx, "prompt", None, None)
        )
        return {row["content"]: EntityRef("prompt", row["id"]) for row in rows}

    async def near(self, text: str, scope: Scope = SCOPE, **more: Any) -> list[str]:
        """Contents of the nearest prompts."""
        by_ref = {ref: content for content, ref in (await self.texts(scope)).items()}
        vector = self.embedder.vector(text)
        projects, limit = more.get("projects"), more.get("limit", 3)
        found = await self.side.database.read(
            scope, lambda tx: self.leg.nearest(scope, tx, vector, projects, limit)
        )
        return [by_ref[it.ref] for it in found]

    async def rows(self, scope: Scope = SCOPE) -> list[dict[str, Any]]:
        query = sa.select(vector_embeddings)
        return await self.side.database.read(
            scope, lambda tx: [dict(row) for row in tx.execute(query).mappings()]
        )

    async def refill(self) -> None:
        """Put all vectors into the engine again."""
        at: str | None = None
        while True:
            step = partial(self.side.keeper.refill, SCOPE, model=self.embedder.model, after=at)
            at = await self.side.write(step)
            if at is None:
                return

    async def in_engine(self, scope: Scope = SCOPE) -> set[str]:
        """Ids the engine holds of the model."""
        probe, model = self.embedder.vector("anything"), self.embedder.model
        found = await self.side.database.read(
            scope, lambda tx: self.side.vectors.nearest(scope, tx, model, probe, None, 1000)
        )
        return {it.id for it in found}

    async def check_in_step(self) -> None:
        rows = await self.rows()
        mine = {row["id"] for row in rows if row["model_name"] == self.embedder.name}
        assert mine == await self.in_engine()
        coverage = await self.coverage()
        firsts = {row["resource_id"] for row in rows if row["model_name"] == self.embedder.name}
        assert coverage.embedded == len(firsts)

    async def coverage(self, scope: Scope = SCOPE) -> Any:
        return await self.side.database.read(scope, lambda tx: self.leg.coverage(scope, tx))

    async def waiting(self) -> dict[str, int]:
        return await self.side.read(lambda tx: self.side.queue.waiting(SCOPE, tx))


@asynccontextmanager
async def side_on(name: str, folder: Path, url: str, embedder: WordEmbedder) -> AsyncIterator[Side]:
    side = on_sqlite(folder, embedder) if name == "sqlite" else on_postgres(folder, url, embedder)
    async with side as it:
        yield it
