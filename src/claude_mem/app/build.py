"""The composition root: settings in, a running system out. The only place that picks implementations."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from claude_mem import __version__
from claude_mem.adapters.local.gate import FolderGate
from claude_mem.adapters.local.memory import release
from claude_mem.adapters.local.projects import ProjectResolver, branch_of
from claude_mem.adapters.local.rendered import RenderedFiles
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.inbox import SqliteInbox
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.adapters.sqlite.queue import SqliteQueue
from claude_mem.api.application import Parts
from claude_mem.app import clearing, copies
from claude_mem.app.migrate import ensure_current
from claude_mem.app.settings import Settings
from claude_mem.domains.access import service as access
from claude_mem.domains.access.service import LocalTokens
from claude_mem.domains.capture.jobs import CatchUp, RebuildIndex
from claude_mem.domains.capture.model import Limits
from claude_mem.domains.capture.service import CaptureService, Engines
from claude_mem.domains.context.answer import HookContext, Surroundings
from claude_mem.domains.context.gather import Sources
from claude_mem.domains.context.model import Options
from claude_mem.domains.context.service import ContextService
from claude_mem.domains.intelligence import jobs as summarising
from claude_mem.domains.intelligence import service as intelligence
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.hook import spool
from claude_mem.hook.home import ensure_token
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.mcp.door import Door as McpDoor
from claude_mem.mcp.tools import Tools as McpTools
from claude_mem.ports.database import Tx
from claude_mem.ports.inbox import Inbox
from claude_mem.ports.queue import NewJob, Queue
from claude_mem.worker.loop import JobHandler, Loop, Work

_DRAIN_ON_STOP_S = 20.0
_WARN_FILL = 0.8
_COUNT_SHARE = 50  # slow counting may take a fiftieth of the time
_SLOW_COUNT_S = 0.05
_log = structlog.get_logger("app")


@dataclass(frozen=True, slots=True)
class System:
    """Everything a worker process holds."""

    settings: Settings
    parts: Parts
    loop: Loop
    inbox: Inbox


def build_local(settings: Settings) -> System:
    """The local profile: embedded engines, one enterprise already made. Opens files; starts no loop."""
    started = time.time()
    scope = local_scope()
    token = ensure_token(settings.home)
    ensure_current(settings.database)
    database = SqliteDatabase(settings.database)
    inbox = SqliteInbox(settings.inbox, settings.inbox_bound)
    queue = SqliteQueue()
    lexical = SqliteLexicalIndex()
    indexing = IndexingService(lexical)
    gate = FolderGate(
        settings.home, settings.max_store_mb * 1024 * 1024, [settings.database, settings.inbox]
    )
    capture = CaptureService(
        Engines(database, inbox, queue, indexing),
        gate,
        ProjectResolver(),
        Limits(settings.keep_output_chars, settings.batch_size),
    )
    catch_up = CatchUp(capture, database, queue, settings.catch_up)
    rebuild = RebuildIndex(database, indexing)
    summarise = summarising.Summarise(
        database,
        indexing,
        queue,
        lambda scope, project_id: context.refresh(scope, project_id),
    )
    clear = clearing.Clearing(database, inbox, settings)
    handlers: dict[str, JobHandler] = {
        "transcript.catch_up": catch_up.run,
        "index.rebuild": rebuild.run,
        summarising.KIND: summarise.run,
        clearing.KIND: clear.run,
    }
    loop = Loop(
        Work(
            capture=capture,
            inbox=inbox,
            database=database,
            queue=queue,
            handlers=handlers,
            maintain=lambda: maintain(),
            spool=settings.spool,
            scope=scope,
            answered=lambda: context.answered(),
        )
    )

    mcp = McpDoor(McpTools(ProjectResolver()))
    counted = _Counted(database, scope)
    search = SearchService(database, lexical, memory.get_many)
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

    async def health(full: bool, fresh: bool) -> dict[str, Any]:
        status = "degraded" if loop.health.degraded or gate.fill() >= 1.0 else "healthy"
        if not full:
            return {"status": status}
        counts, latency = await counted(fresh)
        jobs = await database.read(scope, lambda tx: queue.counts(scope, tx))
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
        await database.write(scope, lambda tx: _prepare(scope, tx, indexing, queue))
        loop.start()
        try:
            yield
        finally:
            left = await loop.stop(_DRAIN_ON_STOP_S)
            _log.info("stopped", pending=left)
            await mcp.close()
            await context.settle()
            await inbox.close()
            await database.close()

    parts = Parts(
        version=__version__,
        state={
            "capture": capture,
            "clearing": clear,
            "context": context,
            "assembling": assembling,
            "database": database,
            "inbox": inbox,
            "indexing": indexing,
            "queue": queue,
            "job_kinds": tuple(handlers),
            "take_spool": loop.take_spool_now,
            "maintain": maintain,
            "search": search,
        },
        authenticate=LocalTokens(token).authenticate,
        health=health,
        lifespan=lifespan,
        mounts={"/mcp": mcp},
    )
    return System(settings, parts, loop, inbox)


class _Counted:
    """Row counts for health: counting a large table takes a while, so an answer is kept fifty times as long."""

    def __init__(self, database: SqliteDatabase, scope: Scope) -> None:
        self._database = database
        self._scope = scope
        self._kept: tuple[float, dict[str, int], float] = (0.0, {}, 0.0)

    async def __call__(self, fresh: bool) -> tuple[dict[str, int], float]:
        """(rows by table, milliseconds it took); `fresh` counts anew whatever that takes."""
        started = time.perf_counter()
        if fresh or started >= self._kept[0]:
            counts = await self._database.read(
                self._scope, lambda tx: memory.counts(self._scope, tx)
            )
            took = time.perf_counter() - started
            keep = took * _COUNT_SHARE if took > _SLOW_COUNT_S else 0.0
            self._kept = (started + keep, counts, took * 1000)
        return self._kept[1], self._kept[2]


def _prepare(scope: Scope, tx: Tx, indexing: IndexingService, queue: Queue) -> None:
    """The local organisation; and an index that another version of the text analysis made is made anew."""
    access.make_local_organisation(tx)
    if not indexing.is_current(scope, tx):
        queue.enqueue(scope, tx, [NewJob("index.rebuild", "all")])


async def _dead_letters(inbox: Inbox, scope: Scope) -> int | None:
    """How many; None while the ingest log cannot be asked: a report is wanted most when the disk is full."""
    try:
        return len(await inbox.dead_letters(scope, 1000))
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
