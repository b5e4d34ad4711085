"""The job that keeps a session's summary and learnings up to date."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog

from claude_mem.domains.intelligence import service
from claude_mem.domains.intelligence.model import Digest
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import Changed, Derived, untold
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.queue import Job, NewJob, Queue

KIND = "session.summarise"
SOON_MS = 3_000  # after a turn: what comes at once with it is taken along
QUIET_MS = 600_000  # without a sign of life a session counts as quiet
_SPACING = 15  # times as long as a summary takes lie between two: under load there is better use for the processor
# A slow disk is no reason to put somebody off for minutes.
_FIRST_PACE_S, _LONGEST_PACE_S = 0.1, 1.0
_BEHIND = -1  # priority: what records comes first
_LONGEST_WAIT_S = 10.0
Told = Callable[[Scope, str], Awaitable[None]]
Clock = Callable[[], float]  # seconds, ever growing
_log = structlog.get_logger("summarise")


def summarise_job(session_id: str, run_at: int) -> NewJob:
    """The one job of a session; enqueueing it again moves it forward, never back."""
    return NewJob(KIND, session_id, {}, run_at=run_at, priority=_BEHIND)


class _Pace:
    """Whose turn it is: each summary gets a moment of its own, far enough from the one before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._step = _FIRST_PACE_S
        self._next = 0.0
        self._promised: set[str] = set()

    def turn(self, key: str) -> float:
        """Seconds until it is this one's turn; 0 for now. Who was sent away once is not sent away again."""
        now = self._clock()
        if key in self._promised:
            self._promised.discard(key)
            return 0.0
        wait = max(self._next - now, 0.0)
        # Each session comes again with its next turn: without a bound many would put each other off for minutes.
        self._next = min(max(self._next, now) + self._step, now + _LONGEST_WAIT_S)
        if wait:
            self._promised.add(key)
        return wait

    def began(self) -> float:
        return self._clock()

    def took(self, began: float) -> None:
        """How long the last one took sets the distance to the next, counted from its end, however slow it was."""
        now = self._clock()
        self._step = min((now - began) * _SPACING, _LONGEST_PACE_S)
        self._next = max(self._next, now + self._step)


class Summarise:
    """The handler of `session.summarise`; `told` hears of every project something changed in, after the commit."""

    def __init__(
        self,
        database: Database,
        indexing: IndexingService,
        queue: Queue,
        told: Told | None = None,
        clock: Clock = time.monotonic,
        changed: Changed = untold,
    ) -> None:
        self._database = database
        self._indexing = indexing
        self._queue = queue
        self._told = told
        self._changed = changed
        self._pace = _Pace(clock)

    async def run(self, scope: Scope, job: Job) -> None:
        """Nothing is written when nothing changed. Comes back until the session is quiet.

        Waits its turn where many sessions are due: recording needs the processor more. The digest is made in a read and
        taken only if what stood there before still does: forgetting makes the summary anew, so that a digest from
        before it is not kept.
        """
        wait = self._pace.turn(job.key)
        if wait > 0:
            later = summarise_job(job.key, now_ms() + int(wait * 1000))
            await self._database.write(scope, lambda tx: self._queue.enqueue(scope, tx, [later]))
            return
        began, since = self._pace.began(), now_ms()
        before, found = await self._database.read(scope, lambda tx: self._look(scope, tx, job.key))
        derived, project_id = await self._database.write(
            scope, lambda tx: self._work(scope, tx, job.key, before, found)
        )
        self._pace.took(began)
        if derived.changed or derived.removed:
            _log.info("session.summarised", id=job.key, changed=len(derived.changed))
            await self._changed(scope, since)
            if self._told is not None:
                await self._told(scope, project_id)

    def _look(self, scope: Scope, tx: Tx, session_id: str) -> tuple[int | None, Digest | None]:
        """(version of the summary that is there, the digest that is to follow it)."""
        row = memory.summary_of(scope, tx, session_id)
        if row is None or not service.is_stale(scope, tx, session_id):
            return None, None
        return row["version"], service.digest(scope, tx, session_id)

    def _work(
        self, scope: Scope, tx: Tx, session_id: str, before: int | None, found: Digest | None
    ) -> tuple[Derived, str]:
        try:
            session = memory.get_session(scope, tx, session_id)
        except NotFound:  # forgotten meanwhile
            return Derived(), ""
        now = now_ms()
        quiet_at = session["last_activity_at"] + QUIET_MS
        if session["ended_at"] is None and now < quiet_at:
            self._queue.enqueue(scope, tx, [summarise_job(session["id"], quiet_at)])
        if not service.is_stale(scope, tx, session["id"]):
            return Derived(), ""
        row = memory.summary_of(scope, tx, session["id"])
        still = row is not None and row["version"] == before
        derived = service.distil(scope, tx, self._indexing, session["id"], found if still else None)
        return derived, session["project_id"]
