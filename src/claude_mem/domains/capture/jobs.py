"""Jobs of capture: catching up with the agent's own transcript.

Hooks carry neither the assistant's intermediate texts nor token counts; the transcript does. What both carry meets by
its natural key. The path comes from a hook that held our token, but what it names is not trusted: see `paths`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import structlog

from claude_mem.domains.capture import reindex, repository
from claude_mem.domains.capture.paths import transcript_at
from claude_mem.domains.capture.service import CaptureService
from claude_mem.domains.capture.transcripts import Position, read_new
from claude_mem.domains.capture.transcripts.reader import IDLE_SECONDS
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.queue import Job, NewJob, Queue

Renewed = Callable[[Scope], Awaitable[None]]
_BATCH = 200
_READ_AT_ONCE = 1_000  # events: a bound for memory, and for what a job that ran out of time loses
_log = structlog.get_logger("catch_up")
_SETTLE_MS = 65_000  # a little more than the reader's own idea of "nothing comes any more"


class CatchUp:
    """The handler of `transcript.catch_up`; `enabled` is the person's switch."""

    def __init__(
        self, capture: CaptureService, database: Database, queue: Queue, enabled: bool
    ) -> None:
        self._capture = capture
        self._database = database
        self._queue = queue
        self._enabled = enabled

    async def run(self, scope: Scope, job: Job) -> None:
        """Read what is new since the last time and hand it in; progress is kept after each batch.

        What the file holds back (a message that may get more blocks) is read when it has settled.
        """
        named: str = job.payload["path"]
        path = await asyncio.to_thread(transcript_at, named) if self._enabled else None
        if path is None:
            return
        kept = await self._database.read(scope, lambda tx: repository.position(scope, tx, named))
        position = Position.from_dict(kept)
        while True:
            settled = _age(path) >= IDLE_SECONDS
            fresh = await asyncio.to_thread(
                read_new, path, position, settled=settled, limit=_READ_AT_ONCE
            )
            for at in range(0, len(fresh.events), _BATCH):
                _, faults = await self._capture.accept_valid(scope, fresh.events[at : at + _BATCH])
                for event, reason in faults:
                    _log.warning("transcript.event_refused", id=event.get("id"), reason=reason)
            moved = fresh.position != position
            position = fresh.position
            await self._keep(scope, position, job)
            if position.complete or not moved or not fresh.events:
                return

    async def _keep(self, scope: Scope, position: Position, job: Job) -> None:
        value = position.to_dict()

        def work(tx: Tx) -> None:
            now = now_ms()
            repository.keep_position(scope, tx, job.payload["path"], value, now)
            if not position.complete:
                again = NewJob(job.kind, job.key, job.payload, run_at=now + _SETTLE_MS)
                self._queue.enqueue(scope, tx, [again])

        await self._database.write(scope, work)


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


class RebuildIndex:
    """The handler of `index.rebuild`: the search index made anew from the rows, a page a transaction.

    `renewed` is told when it is done, and never fails.
    """

    def __init__(
        self, database: Database, indexing: IndexingService, renewed: Renewed | None = None
    ) -> None:
        self._database = database
        self._indexing = indexing
        self._renewed = renewed

    async def run(self, scope: Scope, _job: Job) -> None:
        """Searches find old and new meanwhile; what was done before a break is not done again."""
        write, indexing, count = self._database.write, self._indexing, 0
        await write(scope, lambda tx: indexing.start_renewal(scope, tx))
        for kind in reindex.INDEXED_KINDS:
            renewed, after = await write(scope, partial(self._renew, scope, kind, None))
            count += renewed
            while after is not None:
                renewed, after = await write(scope, partial(self._renew, scope, kind, after))
                count += renewed
        while not await write(scope, lambda tx: indexing.finish_renewal(scope, tx)):
            pass
        _log.info("index.rebuilt", documents=count)
        if self._renewed is not None:
            await self._renewed(scope)

    def _renew(self, scope: Scope, kind: str, after: str | None, tx: Tx) -> tuple[int, str | None]:
        entries, after = reindex.page(scope, tx, kind, after)
        return self._indexing.renew(scope, tx, entries), after
