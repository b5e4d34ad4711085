"""The server profile put together: PostgreSQL, Redis and NATS JetStream behind the same domains. Any number may run.

Nothing is kept in a replica that another one would need: what it remembers only saves asking. Must never migrate: that
is the owner's (`claude-mem db upgrade`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy.exc import NoResultFound, ProgrammingError

from claude_mem import __version__
from claude_mem.adapters.local.limits import LocalLimiter
from claude_mem.adapters.local.unlimited import (
    EngineClears,
    NoFiles,
    OpenGate,
    name_of_project,
)
from claude_mem.adapters.nats.bus import NatsBus
from claude_mem.adapters.nats.inbox import NatsInbox
from claude_mem.adapters.postgres.bell import JobBell
from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.lease import RENEW_S, Lease
from claude_mem.adapters.postgres.lexical import PostgresLexicalIndex
from claude_mem.adapters.postgres.partitions import MonthsAhead
from claude_mem.adapters.postgres.queue import PostgresQueue
from claude_mem.adapters.postgres.tenants import PostgresTenants
from claude_mem.adapters.postgres.vectors import PostgresVectorIndex
from claude_mem.adapters.redis.cache import RedisCache
from claude_mem.adapters.redis.connection import Connection as Redis
from claude_mem.adapters.redis.limits import RedisLimiter
from claude_mem.api.application import Parts
from claude_mem.api.throttle import Rates, Throttle, address
from claude_mem.app.build import System
from claude_mem.app.counting import Counted
from claude_mem.app.migrate import READER_VERSION
from claude_mem.app.rerankers import close_models, rerank_with
from claude_mem.app.server_settings import ServerSettings
from claude_mem.app.shares import Shared
from claude_mem.app.vectors import Vectors, put_together
from claude_mem.domains.access.authentication import ServerTokens
from claude_mem.domains.capture.jobs import RebuildIndex
from claude_mem.domains.capture.model import Limits
from claude_mem.domains.capture.service import CaptureService, Engines
from claude_mem.domains.context.answer import HookContext, Surroundings
from claude_mem.domains.context.gather import Sources
from claude_mem.domains.context.model import Options
from claude_mem.domains.context.service import ContextService
from claude_mem.domains.intelligence import jobs as summarising
from claude_mem.domains.intelligence import service as intelligence
from claude_mem.domains.memory import service as memory
from claude_mem.domains.ops.service import LiveService
from claude_mem.domains.ops.sse import StreamTimes
from claude_mem.domains.retrieval.facets import FacetService
from claude_mem.domains.retrieval.hybrid import Understanding
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.domains.retrieval.similar import SimilarService
from claude_mem.domains.retrieval.suggesting import SuggestService
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import NewerDatabase, Unavailable
from claude_mem.kernel.places import Places, stretched
from claude_mem.kernel.scope import NOBODY, Scope, nobody, tenant_scope
from claude_mem.mcp.door import Door as McpDoor
from claude_mem.mcp.tools import Tools as McpTools
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.queue import NewJob
from claude_mem.ports.reranker import Reranker
from claude_mem.worker.board import Board
from claude_mem.worker.loop import JobHandler, Loop, Work
from claude_mem.worker.schedule import Schedule, Task

_DAY_S: Final = 86_400.0
_TENANTS_AT_ONCE: Final = 500
_LONGEST_CHECK_S: Final = 3.0
_ASK_AGAIN_S: Final = 1.0  # the engines, for health: probes come often
_PATIENCE_S: Final = 2.0  # for what was handed in before to become rows
_LOOK_S: Final = 0.05
_MANY: Final = 0.8  # of the bound of dead letters: from there on health says so
# Of a process's connections, what an enterprise's requests and its hooks' contexts have at once: with three or more
# connections never all together.
_ASKED, _CONTEXTS = 3 / 8, 1 / 4
_log = structlog.get_logger("app")


def build_server(
    settings: ServerSettings,
    board: Board | None = None,
    embedder: Embedder | None = None,
    reranker: Reranker | None = None,
) -> System:
    """One replica. Connects to nothing yet; starts no loop. Where others record, their `board` tells how it goes.

    `embedder` makes the vectors; without one nothing is found by its meaning.
    """
    database = PostgresDatabase(settings.database_url, settings.database_connections)
    asked = Shared(database, _share(settings, _ASKED))
    for_contexts = Shared(database, _share(settings, _CONTEXTS))
    nats = [address.strip() for address in settings.nats_url.split(",")]
    inbox = NatsInbox(
        nats,
        name=settings.name,
        bound=settings.inbox_bound,
        letters_bound=settings.dead_letters_bound,
        replicas=settings.nats_replicas,
    )
    bus = NatsBus(nats, name=settings.name)
    live = LiveService(database, bus)
    tokens = ServerTokens(database, settings.operator_token or None)
    tenants = PostgresTenants(database)
    redis = Redis(settings.redis_url, prefix=settings.name)
    cache = RedisCache(redis)
    queue = PostgresQueue()
    bell = JobBell(settings.database_url)
    lexical = PostgresLexicalIndex()
    vectors = put_together(
        database, PostgresVectorIndex(), queue, embedder, quiet=lambda: context.answered()
    )
    indexing = IndexingService(lexical, vectors.keeper, settings.timezone)
    capture = CaptureService(
        Engines(database, inbox, queue, indexing, live.changed),
        OpenGate(),
        name_of_project,
        Limits(settings.keep_output_chars, settings.batch_size, reads_transcripts=False),
    )

    async def renewed(scope: Scope) -> None:
        await vectors.refill(scope)
        await live.index_updated(scope)

    rebuild = RebuildIndex(database, indexing, renewed)
    summarise = summarising.Summarise(database, indexing, queue, changed=live.changed)
    handlers: dict[str, JobHandler] = {
        "index.rebuild": rebuild.run,
        summarising.KIND: summarise.run,
        **vectors.handlers,
    }
    understanding = Understanding(embedder, vectors.leg)
    search = SearchService(
        *(asked, lexical, memory.get_many, cache, understanding),
        place=settings.timezone,
        rerank=rerank_with(reranker, settings),
    )
    assembling = ContextService(Sources(search, intelligence.current_digest))
    context = HookContext(
        assembling,
        Surroundings(
            database=for_contexts,
            rendered=NoFiles(),
            project_keys=name_of_project,
            pending=_nothing_waits,
            catch_up=_nothing,
            branch=lambda _folder: "",
            shared=True,
            cache=cache,
        ),
        Options(
            at_start=settings.context,
            budget=settings.context_budget,
            at_prompt=settings.prompt_context,
            prompt_budget=settings.prompt_budget,
            threshold=settings.prompt_threshold,
        ),
    )
    loop = Loop(
        Work(
            capture=capture,
            inbox=inbox,
            database=database,
            queue=queue,
            handlers=handlers,
            maintain=_nothing,
            scope=nobody(),
            answered=context.answered,
            job_added=bell.wait,
        )
    )
    mcp = McpDoor(McpTools(name_of_project))
    tasks = [
        Task("partitions", _DAY_S / 4, partial(_make_months, MonthsAhead(database, nobody()))),
        Task("indexes", _DAY_S / 24, lambda: _renew_indexes(database, tenants, indexing, vectors)),
    ]
    schedule = Schedule(Lease(database, "schedule"), tasks, RENEW_S)
    health = _Health(database, asked, inbox, vectors, redis, _Recording(loop, schedule, board))

    async def caught_up(scope: Scope) -> None:
        """Let what the enterprise handed in before become rows. Raises Unavailable when that takes too long."""
        until = time.monotonic() + _PATIENCE_S
        while await inbox.waiting(scope):
            if time.monotonic() > until:
                raise Unavailable(
                    "events that were handed in before wait to be recorded: try again shortly",
                    retry_after=5,
                )
            await asyncio.sleep(_LOOK_S)

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        if board is None:
            loop.start()
            schedule.start()
        try:
            yield
        finally:
            await schedule.stop()
            await loop.stop(0.0)  # what was taken goes to other replicas
            await live.close()
            await bus.close()
            await bell.close()
            await mcp.close()
            await context.settle()
            await close_models(embedder, reranker)
            await inbox.close()
            await tokens.close()
            await redis.close()
            await asked.close()
            await for_contexts.close()
            await database.close()
            _log.info("stopped")

    parts = Parts(
        version=__version__,
        state={
            "address_of": lambda scope: address(scope, settings.proxies),
            "capture": capture,
            "catch_up": caught_up,
            "changed": live.changed,
            "clearing": EngineClears(),
            "context": context,
            "assembling": assembling,
            "database": asked,
            "inbox": inbox,
            "indexing": indexing,
            "live": live,
            "places": Places(stretched(settings.operator_token or settings.database_url)),
            "queue": queue,
            "job_kinds": tuple(handlers),
            "take_spool": _nothing,
            "maintain": _nothing,
            "says": health.recording.says,
            "search": search,
            "embedder": embedder,
            "vector_keeper": vectors.keeper,
            "vector_leg": vectors.leg,
            "facets": FacetService(asked, lexical, search),
            "similar": SimilarService(asked, search),
            "suggest": SuggestService(asked, lexical, memory.get_many),
            "tenants": tenants,
            "stream_times": StreamTimes(),
        },
        authenticate=tokens.authenticate,
        health=health,
        lifespan=lifespan,
        hosts=_names(settings.hosts),
        throttle=lambda app: Throttle(
            app,
            RedisLimiter(redis, meanwhile=LocalLimiter()),
            _rates(settings),
            _limit_of,
            settings.proxies,
        ),
        mounts={"/mcp": mcp},
    )
    return System(settings, parts, loop, inbox)


def _share(settings: ServerSettings, of_it: float) -> int:
    return max(int(settings.database_connections * of_it), 1)


class _Health:
    """What a replica says of itself. Without its database it can do nothing; without the others less, or slower."""

    def __init__(
        self,
        database: PostgresDatabase,
        asked: Database,
        inbox: NatsInbox,
        vectors: Vectors,
        redis: Redis,
        recording: _Recording,
    ) -> None:
        self._database, self._asked_of = database, asked
        self._inbox, self._vectors, self._redis = inbox, vectors, redis
        self.recording = recording
        self._counted = Counted(asked)
        self._started = time.time()
        self._asked: tuple[float, dict[str, dict[str, Any]]] = (0.0, {})
        self._asking = asyncio.Lock()

    async def __call__(self, caller: Scope | None, fresh: bool) -> dict[str, Any]:
        """A status word for anybody; the engines for who holds a key; rows and jobs of their own enterprise."""
        checks = await self._checks()
        degraded = self.recording.degraded()
        status = _status(checks, degraded)
        if caller is None:
            return {"status": status}
        report = {
            "status": status,
            "version": __version__,
            "pid": os.getpid(),
            "uptime": int(time.time() - self._started),
            "timestamp": to_iso(now_ms()),
            "checks": checks,
            "degraded": degraded,
        }
        if caller.enterprise_id == NOBODY:
            return {**report, **self.recording.report()}
        if checks["database"]["status"] == "healthy":
            counts, _ = await self._counted(caller, fresh=fresh)
            report |= {"counts": counts, **await self._own(caller)}
        if checks["inbox"]["status"] == "healthy":
            letters = await self._inbox.count_dead_letters(caller)
            report["checks"] = {**checks, "inbox": {**checks["inbox"], "dead_letters": letters}}
            if letters >= self._inbox.letters_bound * _MANY:
                degraded = {**degraded, "dead_letters": self._said_of(letters)}
                report |= {"degraded": degraded, "status": _status(checks, degraded)}
        return report

    def _said_of(self, letters: int) -> str:
        bound = self._inbox.letters_bound
        return f"{letters} events could not be recorded: at {bound} no new ones are taken (claude-mem dead-letters)"

    async def _own(self, caller: Scope) -> dict[str, Any]:
        def work(tx: Tx) -> dict[str, Any]:
            jobs = self._vectors.queue.counts(caller, tx)
            return {"jobs": jobs, "vectors": self._vectors.check(caller, tx)}

        return await self._asked_of.read(caller, work)

    async def _checks(self) -> dict[str, dict[str, Any]]:
        """Asked at most once a second, whoever wants to know: probes come often."""
        async with self._asking:
            if time.monotonic() >= self._asked[0]:
                found = await asyncio.gather(
                    _check(partial(check_schema, self._database)),
                    _check(self._inbox.pending, "pending"),
                )
                checks = dict(zip(("database", "inbox"), found, strict=True))
                checks["redis"] = self._redis.health()
                self._asked = (time.monotonic() + _ASK_AGAIN_S, checks)
        return self._asked[1]


class _Recording:
    """How recording and scheduled work go: here, or as those processes say that do nothing else."""

    def __init__(self, loop: Loop, schedule: Schedule, board: Board | None) -> None:
        self._loop, self._schedule, self._board = loop, schedule, board

    def says(self) -> dict[str, Any]:
        """Of this process."""
        leader = {"leads": self._schedule.leads, "failing": dict(self._schedule.failing)}
        return {
            "pid": os.getpid(),
            "degraded": dict(self._loop.health.degraded),
            "recorded": self._loop.health.recorded,
            "schedule": leader,
        }

    def degraded(self) -> dict[str, str]:
        """What does not go on, and why."""
        if self._board is None:
            return dict(self._loop.health.degraded)
        found: dict[str, str] = {}
        for number, said in enumerate(self._board.read(), 1):
            if said is None:
                found[f"worker {number}"] = "says nothing: it starts, or hangs"
            else:
                found |= said.get("degraded", {})
        return found

    def report(self) -> dict[str, Any]:
        """For the operator."""
        if self._board is None:
            own = self.says()
            return {"recorded": own["recorded"], "schedule": own["schedule"]}
        workers = self._board.read()
        known = [said for said in workers if said is not None]
        return {"recorded": sum(it.get("recorded", 0) for it in known), "workers": workers}


def _status(checks: dict[str, dict[str, Any]], degraded: dict[str, str]) -> str:
    if checks["database"]["status"] != "healthy":
        return "unhealthy"
    sound = all(check["status"] == "healthy" for check in checks.values())
    return "healthy" if sound and not degraded else "degraded"


async def check_schema(database: PostgresDatabase) -> None:
    """Raises Unavailable, or NewerDatabase when the database asks for a newer program than this one."""
    try:
        wanted = await database.min_reader_version()
    except (ProgrammingError, NoResultFound):
        raise Unavailable(
            "the database has no schema of ours: run `claude-mem db upgrade`"
        ) from None
    if wanted > READER_VERSION:
        raise NewerDatabase(
            f"the database asks for reader version {wanted}, this program is {READER_VERSION}: upgrade the program"
        )


async def _check(ask: Callable[[], Awaitable[Any]], name: str | None = None) -> dict[str, Any]:
    """How an engine answers, within a bounded time. Says what is wrong in our words: no address, no password."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_LONGEST_CHECK_S):
            answer = await ask()
    except (Unavailable, NewerDatabase) as error:
        return {"status": "unhealthy", "reason": error.message}
    except TimeoutError:
        return {"status": "unhealthy", "reason": f"no answer within {_LONGEST_CHECK_S:g} s"}
    took = round((time.perf_counter() - began) * 1000, 2)
    return {"status": "healthy", "latency_ms": took, **({name: answer} if name else {})}


async def _nothing() -> None:
    """The engines look after themselves."""


async def _nothing_waits() -> int:
    """Who asks for context does not wait for what others hand in."""
    return 0


async def _make_months(months: MonthsAhead) -> None:
    """Have a part of every growing table ready before its month begins; what is held back is its owner's to mend."""
    for made in await months.make():
        note = _log.info if made.outcome == "made" else _log.warning
        note("partition.made_ahead", part=made.name, outcome=made.outcome)


async def _renew_indexes(
    database: PostgresDatabase,
    tenants: PostgresTenants,
    indexing: IndexingService,
    vectors: Vectors,
) -> None:
    """Have every index made anew that another version of the text analysis made, and embedded what was left."""
    after: str | None = None

    def lacking(scope: Scope, tx: Tx) -> list[NewJob]:
        jobs = [] if indexing.is_current(scope, tx) else [NewJob("index.rebuild", "all")]
        return [*jobs, *vectors.left(scope, tx)]

    while ids := await tenants.ids(after, _TENANTS_AT_ONCE):
        for scope in map(tenant_scope, ids):
            if jobs := await database.read(scope, partial(lacking, scope)):
                enqueue = partial(vectors.queue.enqueue, scope, jobs=jobs)
                await database.write(scope, enqueue)
        after = ids[-1]


def _rates(settings: ServerSettings) -> Rates:
    return Rates(
        requests=settings.rate_requests,
        events=settings.rate_events,
        searches=settings.rate_searches,
        strangers=settings.rate_strangers,
        enterprise_events=settings.rate_enterprise_events,
        enterprise_searches=settings.rate_enterprise_searches,
    )


def _limit_of(scope: Scope) -> tuple[str, int] | None:
    """A key's own number of requests a minute; the usual one where it says nothing."""
    if scope.key_id is None or scope.rate_limit_rpm is None:
        return None
    return f"key {scope.key_id}", scope.rate_limit_rpm


def _names(hosts: str) -> tuple[str, ...] | None:
    """Names a Host header may hold; None for any: whoever holds a key is let in under every name."""
    return tuple(name for it in hosts.split(",") if (name := it.strip().lower())) or None
