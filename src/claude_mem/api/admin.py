"""Looking after the store of a running worker: jobs, the spool, checkpoint, derived data made anew.

What a command may not do to the files itself while a worker is at work on them goes through here. Must never do what
takes the store away for longer than a request: vacuum and recover need the worker stopped.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from claude_mem.domains.access.endpoints import require
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.embedding import embed_job
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.queue import NewJob, Queue

router = APIRouter(prefix="/admin", tags=["Administration"])
Admin = Annotated[Scope, require("admin:write")]
_SUMMARISE = "session.summarise"


class DeadJob(BaseModel):
    """A job that failed as often as it may."""

    id: str
    kind: str
    key: str
    attempts: int
    error: str | None
    at: str | None


class Jobs(BaseModel):
    """Jobs by state, those still to be done by kind, and the dead ones, newest first."""

    counts: dict[str, int]
    waiting: dict[str, int]
    dead: list[DeadJob]


class Retried(BaseModel):
    """How many jobs are to be tried again."""

    retried: int


class Rebuilding(BaseModel):
    """Jobs that make derived data anew, and how many sessions are summarised again."""

    jobs: list[str]
    sessions: int


class Done(BaseModel):
    """It is done."""

    done: bool = True


@router.get("/jobs", summary="Jobs by state, and why the dead ones failed")
async def get_jobs(
    request: Request, scope: Admin, limit: Annotated[int, Query(ge=1, le=200)] = 20
) -> Jobs:
    """Errors name kinds and places, never what was captured."""
    database, queue = _engines(request)

    def work(tx: Tx) -> Jobs:
        dead = [
            DeadJob(
                id=it.id,
                kind=it.kind,
                key=it.key,
                attempts=it.attempts,
                error=it.error,
                at=to_iso(it.at) if it.at is not None else None,
            )
            for it in queue.dead(scope, tx, limit)
        ]
        return Jobs(counts=queue.counts(scope, tx), waiting=queue.waiting(scope, tx), dead=dead)

    return await database.read(scope, work)


@router.post("/jobs/retry", summary="Try the dead jobs again")
async def retry_jobs(request: Request, scope: Admin) -> Retried:
    """Each with all of its attempts."""
    database, queue = _engines(request)
    count = await database.write(scope, lambda tx: queue.revive(scope, tx))
    return Retried(retried=count)


@router.post("/spool/take", summary="Take over what hooks left in the spool")
async def take_spool(request: Request, scope: Admin) -> Done:
    """The worker does so every second by itself."""
    del scope
    await request.app.state.take_spool()
    return Done()


@router.post("/db/checkpoint", summary="Empty the write-ahead logs, refresh planner figures")
async def checkpoint(request: Request, scope: Admin) -> Done:
    """And free pages go back to the disk, a bounded number at once. The worker does so every five minutes."""
    del scope
    await request.app.state.maintain()
    return Done()


@router.post("/vectors/embed", summary="Look again at what has no vector, and at the vector index")
async def embed(request: Request, scope: Admin) -> Done:
    """The worker does so by itself when something was recorded, and when it starts; `GET /admin/jobs` tells how far."""
    database, queue = _engines(request)
    await database.write(scope, lambda tx: queue.enqueue(scope, tx, [embed_job()]))
    return Done()


@router.post("/db/rebuild", status_code=202, summary="Make everything derived anew")
async def rebuild(request: Request, scope: Admin) -> Rebuilding:
    """The text index, and each session's summary where the program makes them; `GET /admin/jobs` tells how far."""
    database, queue = _engines(request)
    kinds: tuple[str, ...] = request.app.state.job_kinds

    def work(tx: Tx) -> int:
        queue.enqueue(scope, tx, [NewJob("index.rebuild", "all", priority=1)])
        return _summarise_all(scope, tx, queue) if _SUMMARISE in kinds else 0

    sessions = await database.write(scope, work)
    jobs = ["index.rebuild", *([_SUMMARISE] if sessions else [])]
    return Rebuilding(jobs=jobs, sessions=sessions)


def _summarise_all(scope: Scope, tx: Tx, queue: Queue) -> int:
    count, after = 0, None
    while rows := memory.export_page(
        scope, tx, "sessions", after=after, since=None, project_id=None
    ):
        queue.enqueue(scope, tx, [NewJob(_SUMMARISE, row["id"]) for row in rows])
        count, after = count + len(rows), rows[-1]["id"]
    return count


def _engines(request: Request) -> tuple[Database, Queue]:
    state: Any = request.app.state
    return state.database, state.queue
