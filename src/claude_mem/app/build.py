"""The composition root: settings in, a running system out. The only place that picks implementations."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from claude_mem import __version__
from claude_mem.adapters.local.bus import LocalBus
from claude_mem.adapters.local.gate import FolderGate
from claude_mem.adapters.local.memory import release
from claude_mem.adapters.local.projects import ProjectResolver, branch_of
from claude_mem.adapters.local.rendered import RenderedFiles
from claude_mem.adapters.local.warming import Warmer
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.inbox import SqliteInbox
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.adapters.sqlite.queue import SqliteQueue
from claude_mem.adapters.sqlite.tenants import SqliteTenants
from claude_mem.adapters.sqlite.vector_building import GraphBuilder
from claude_mem.adapters.sqlite.vector_graphs import Graphs
from claude_mem.adapters.sqlite.vectors import SqliteVectorIndex
from claude_mem.api.application import Parts
from claude_mem.app import clearing, copies
from claude_mem.app.counting import Counted
from claude_mem.app.migrate import ensure_current
from claude_mem.app.rerankers import close_models, rerank_with
from claude_mem.app.server_settings import ServerSettings
from claude_mem.app.settings import Settings
from claude_mem.app.vectors import Vectors, put_together
from claude_mem.domains.access import service as access
from claude_mem.domains.access.service import LocalTokens
from claude_mem.domains.capture.jobs import CatchUp, RebuildIndex
from claude_mem.domains.capture.makers import CATCH_UP
from claude_mem.domains.capture.model import Limits
from claude_mem.domains.capture.service import CaptureService, Engines
from claude_mem.domains.context.answer import HookContext, Surroundings
from claude_mem.domains.context.gather import Sources
from claude_mem.domains.context.model import Options
from claude_mem.domains.context.service import ContextService
from claude_mem.domains.intelligence import jobs as summarising
from claude_mem.domains.intelligence import service as intelligence
from claude_mem.domains.memory import service as memory
from claude_mem.domains.ops.model import LiveOptions
from claude_mem.domains.ops.service import LiveService
from claude_mem.domains.ops.sse import StreamTimes
from claude_mem.domains.retrieval.embedding import embed_job
from claude_mem.domains.retrieval.facets import FacetService
from claude_mem.domains.retrieval.hybrid import Understanding
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.domains.retrieval.similar import SimilarService
from claude_mem.domains.retrieval.suggesting import SuggestService
from claude_mem.hook import spool
from claude_mem.hook.home import ensure_token
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.places import Places
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.mcp.door import Door as McpDoor
from claude_mem.mcp.tools import Tools as McpTools
from claude_mem.ports.database import Tx
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.inbox import Inbox
from claude_mem.ports.queue import NewJob
from claude_mem.ports.reranker import Reranker
from claude_mem.worker.loop import JobHandler, Loop, Work

_DRAIN_ON_STOP_S = 20.0
_WARN_FILL = 0.8
_LONGEST_QUIET_S = 1.0
_LOOK_S = 0.05
_log = structlog.get_logger("app")


@dataclass(frozen=True, slots=True)
class System:
    """Everything a worker process holds."""

    settings: Settings | ServerSettings
    parts: Parts
    loop: Loop
    inbox: Inbox


def build_local(
    settings: Settings, embedder: Embedder | None = None, reranker: Reranker | None = None
) -> System:
    """The local profile: embedded engines, one enterprise already made. Opens files; starts no loop.

    `embedder` makes the vectors; without one nothing is found by its meaning. `reranker` reads the first results.
    """
    started, place = time.time(), settings.place
    scope = local_scope()
    token = ensure_token(settings.home)
    ensure_current(settings.database)
    database = SqliteDatabase(settings.database)
    inbox = SqliteInbox(settings.inbox, settings.inbox_bound)
    queue = SqliteQueue()
    lexical = SqliteLexicalIndex()
    graphs = Graphs(settings.home / "vectors")
    builder = GraphBuilder(settings.database, settings.home / "vectors", graphs)
    vectors = put_together(
        database,
        SqliteVectorIndex(graphs),
        queue,
        embedder,
        quiet=lambda: until_quiet(),
        build=lambda scope, model: asyncio.to_thread(builder.catch_up, scope, model),
    )
    indexing = IndexingService(lexical, vectors.keeper, place)
    gate = FolderGate(
        settings.home, settings.max_store_mb * 1024 * 1024, [settings.database, settings.inbox]
    )
    bus = LocalBus()
    # One writer: what is written is committed in that order, and all but at once.
    live = LiveService(database, bus, LiveOptions(overlap_ms=1_000))
    capture = CaptureService(
        Engines(database, inbox, queue, indexing, live.changed),
        gate,
        ProjectResolver(),
        Limits(settings.keep_output_chars, settings.batch_size),
    )
    catch_up = CatchUp(capture, database, queue, settings.catch_up)

    async def renewed(scope: Scope) -> None:
        await vectors.refill(scope)
        await live.index_updated(scope)

    rebuild = RebuildIndex(database, indexing, renewed)
    summarise = summarising.Summarise(
        database,
        indexing,
        queue,
        lambda scope, project_id: context.refresh(scope, project_id),
        changed=live.changed,
    )
    clear = clearing.Clearing(database, inbox, settings)
    handlers: dict[str, JobHandler] = {
        CATCH_UP: catch_up.run,
        "index.rebuild": rebuild.run,
        summarising.KIND: summarise.run,
        clearing.KIND: clear.run,
        **vectors.handlers,
    }
    loop = Loop(
        Work(
            capture=capture,
            inbox=inbox,
            database=database,
            queue=queue,
            handlers=handlers,
            maintain=lambda: maintain(),
            scope=scope,
            answered=lambda: context.answered(),
            spool=settings.spool,
        )
    )

    mcp = McpDoor(McpTools(ProjectResolver()))
    counted = Counted(database)
    understanding = Understanding(embedder, vectors.leg)
    search = SearchService(
        *(database, lexical, memory.get_many),
        understanding=understanding,
        place=place,
        rerank=rerank_with(reranker, settings),
        at_once=True,
    )
    assembling = ContextService(Sources(search, intelligence.current_digest))
    context = HookContext(
        assembling,
        Surroundings(
            database=database,
            rendered=RenderedFiles(settings.home),
            project_keys=ProjectResolver(),
            pending=lambda: waiting(),
            catch_up=lambda: caught_up(),
            branch=branch_of,
            warm=Warmer(lambda: _searched(settings)).begin,
        ),
        Options(
            at_start=settings.context,
            budget=settings.context_budget,
            at_prompt=settings.prompt_context,
            prompt_budget=settings.prompt_budget,
            threshold=settings.prompt_threshold,
        ),
    )

    async def waiting() -> int:
        """What was taken or spooled and is not rows yet; a spool counts as one."""
        return await inbox.pending() + int((settings.spool / "active.jsonl").exists())

    async def until_quiet() -> None:
        """Let who waits for context, and what is to be recorded, have the processor for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_QUIET_S):
                await context.answered()
                while await inbox.pending():  # noqa: ASYNC110 - the loop has it in hand
                    await asyncio.sleep(_LOOK_S)

    async def caught_up() -> None:
        with suppress(Unavailable):  # a full disk: the spool is taken later
            await loop.take_spool_now()
        await capture.drain_all()

    async def maintain() -> None:
        await database.maintain()
        await inbox.maintain()
        await asyncio.to_thread(copies.drop_stale, settings.home, now_ms())
        await asyncio.to_thread(release)
        if gate.fill() >= _WARN_FILL:
            _log.warning("store.nearly_full", bytes=gate.size(), cap_mb=settings.max_store_mb)

    async def health(caller: Scope | None, fresh: bool) -> dict[str, Any]:
        status = "degraded" if loop.health.degraded or gate.fill() >= 1.0 else "healthy"
        if caller is None:
            return {"status": status}
        counts, latency = await counted(scope, fresh=fresh)
        jobs, meaning = await database.read(
            scope, lambda tx: (queue.counts(scope, tx), vectors.check(scope, tx))
        )
        return {
            "status": status,
            "version": __version__,
            "pid": os.getpid(),
            "uptime": int(time.time() - started),
            "timestamp": to_iso(now_ms()),
            "checks": {
                "database": {"status": "healthy", "latency_ms": round(latency, 2)},
                "inbox": {
                    "status": "degraded" if "inbox" in loop.health.degraded else "healthy",
                    "pending": await inbox.pending(),
                    "dead_letters": await _dead_letters(inbox, scope),
                },
                "spool": await asyncio.to_thread(_spool_check, settings, loop),
                "store": {
                    "status": "degraded" if gate.fill() >= _WARN_FILL else "healthy",
                    "bytes": gate.size(),
                    "cap_bytes": settings.max_store_mb * 1024 * 1024,
                    "fill": round(gate.fill(), 4),
                },
            },
            "counts": counts,
            "jobs": jobs,
            "vectors": meaning,
            "paused": gate.paused(),
            "recorded": loop.health.recorded,
            "degraded": loop.health.degraded,
            "last_error": loop.health.last_error,
            "last_error_at": to_iso(loop.health.last_error_at)
            if loop.health.last_error_at
            else None,
        }

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        await database.write(scope, lambda tx: _prepare(scope, tx, indexing, vectors, builder))
        loop.start()
        try:
            yield
        finally:
            left = await loop.stop(_DRAIN_ON_STOP_S)
            _log.info("stopped", pending=left)
            await live.close()
            await bus.close()
            await mcp.close()
            await context.settle()
            await close_models(embedder, reranker)
            if reranker is not None:
                await reranker.close()
            await inbox.close()
            await database.close()

    parts = Parts(
        version=__version__,
        state={
            "capture": capture,
            "catch_up": lambda _scope: caught_up(),
            "changed": live.changed,
            "clearing": clear,
            "context": context,
            "assembling": assembling,
            "database": database,
            "inbox": inbox,
            "indexing": indexing,
            "live": live,
            "places": Places(token.encode()),
            "queue": queue,
            "job_kinds": tuple(handlers),
            "take_spool": loop.take_spool_now,
            "maintain": maintain,
            "search": search,
            "embedder": embedder,
            "vector_keeper": vectors.keeper,
            "vector_leg": vectors.leg,
            "facets": FacetService(database, lexical, search),
            "similar": SimilarService(database, search),
            "suggest": SuggestService(database, lexical, memory.get_many),
            "tenants": SqliteTenants(database),
            "stream_times": StreamTimes(),
        },
        authenticate=LocalTokens(token).authenticate,
        health=health,
        lifespan=lifespan,
        mounts={"/mcp": mcp},
    )
    return System(settings, parts, loop, inbox)


def _searched(settings: Settings) -> list[Path]:
    """The files that a search reads."""
    return [settings.database, *(settings.home / "vectors").glob("*.graph")]


def _prepare(
    scope: Scope, tx: Tx, indexing: IndexingService, vectors: Vectors, builder: GraphBuilder
) -> None:
    """The local organisation; an index that another version of the text analysis made is made anew; vectors go on.

    Where there are to be graphs they are looked at: their files may have gone, or been damaged, meanwhile.
    """
    access.make_local_organisation(tx)
    if not indexing.is_current(scope, tx):
        vectors.queue.enqueue(scope, tx, [NewJob("index.rebuild", "all")])
    left = vectors.left(scope, tx)
    if not left and vectors.embedder is not None and builder.is_wanted(scope, tx):
        left = [embed_job()]
    vectors.queue.enqueue(scope, tx, left)


async def _dead_letters(inbox: Inbox, scope: Scope) -> int | None:
    """How many; None while the ingest log cannot be asked: a report is wanted most when the disk is full."""
    try:
        return await inbox.count_dead_letters(scope)
    except Unavailable:
        return None


def _spool_check(settings: Settings, loop: Loop) -> dict[str, Any]:
    state = spool.status(settings.spool)
    return {
        "status": "degraded" if state.losing or "spool" in loop.health.degraded else "healthy",
        "bytes": state.bytes,
        "events": state.events,
        "refused": state.refused,
        "taken": loop.health.spooled,
        "rejected": state.rejected,
    }
