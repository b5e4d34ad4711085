"""`claude-mem migrate postgres`, from the addresses to the report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import DBAPIError

from claude_mem.adapters.postgres import partitions
from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.lexical import PostgresLexicalIndex
from claude_mem.adapters.postgres.queue import PostgresQueue
from claude_mem.adapters.postgres.vectors import PostgresVectorIndex
from claude_mem.app.migrations import HEAD
from claude_mem.app.transfer import index, meeting
from claude_mem.app.transfer.convert import Fault
from claude_mem.app.transfer.run import Report, Say, Transfer
from claude_mem.app.transfer.source import Source, opened
from claude_mem.app.transfer.verify import Compared, verify
from claude_mem.domains.retrieval.embedding import VectorKeeper
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.errors import Detail, Invalid, MemError
from claude_mem.kernel.ids import id_epoch_ms, is_id
from claude_mem.kernel.scope import ALL_PERMISSIONS, Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import NewJob

URL: Final = "CLAUDE_MEM_DATABASE_URL"
_CONNECTIONS = 2
_NO_TABLE = "42P01"


@dataclass(frozen=True, slots=True)
class Task:
    """What to bring where. `user` is an id, a name or an address; None where the enterprise has one user."""

    store: Path
    url: str = field(repr=False)
    enterprise: str
    user: str | None = None
    dry_run: bool = False
    verify_only: bool = False
    with_index: bool = True


def url_of(environ: Mapping[str, str] | None = None) -> str:
    """The address of the program's own role, of the environment. Raises Invalid, which never repeats it."""
    env = os.environ if environ is None else environ
    url = env.get(URL, "")
    if not url and (path := env.get(f"{URL}_FILE")):
        try:
            url = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _fault(f"{URL}_FILE", f"cannot be read: {error}") from error
    if not url:
        raise _fault(
            URL,
            "is needed: postgresql://role:password@host:port/database, of the role the program"
            f" runs as, or a file that holds it, named by {URL}_FILE",
        )
    return url


async def migrate(task: Task, say: Say) -> dict[str, Any]:
    """Bring a store in, or look, or compare. Raises MemError; a run that broke off is begun again and goes on."""
    database = PostgresDatabase(task.url, connections=_CONNECTIONS)
    try:
        with opened(task.store) as source:
            return await _migrate(task, source, database, say)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _NO_TABLE:
            raise MemError(
                "that database has no schema yet: its owner runs `claude-mem db upgrade`"
            ) from error
        raise
    finally:
        await database.close()


async def _migrate(
    task: Task, source: Source, database: PostgresDatabase, say: Say
) -> dict[str, Any]:
    nobody = Scope(task.enterprise, "", ALL_PERMISSIONS)
    await database.read(nobody, _check_schema)
    scope = Scope(
        task.enterprise, await meeting.find_user(database, nobody, task.user), ALL_PERMISSIONS
    )
    is_writing = not (task.dry_run or task.verify_only)
    found = await meeting.meet(source, database, scope, write=is_writing)
    indexing = IndexingService(PostgresLexicalIndex(), VectorKeeper(PostgresVectorIndex()))
    transfer = Transfer(source, database, scope, found, indexing)
    told: dict[str, Any] = {
        "enterprise": scope.enterprise_id,
        "user": scope.user_id,
        "projects": {"met": found.projects_met, "new": found.projects_new},
        "learnings_met": len(found.learnings),
        "advice": await _advice(source, database, scope),
    }
    report = await transfer.run(say, write=is_writing) if not task.verify_only else None
    if report is not None:
        told |= _told(report)
    if is_writing:
        told["summaries_queued"] = await _queue_summaries(source, database, scope)
        if task.with_index:
            told["indexed"] = await index.complete(database, scope, indexing, say)
        else:
            job = NewJob("index.rebuild", "all")
            await database.write(scope, lambda tx: PostgresQueue().enqueue(scope, tx, [job]))
    if not task.dry_run:
        compared = await verify(transfer, say)
        told["verified"] = {name: asdict(it) for name, it in compared.items()}
    told["ok"] = not told.get("fault_count") and (task.dry_run or _is_whole(compared))
    return told


def _is_whole(compared: Mapping[str, Compared]) -> bool:
    return not any(it.fault_count for it in compared.values())


def _told(report: Report) -> dict[str, Any]:
    return {
        "tables": {name: asdict(it) for name, it in report.tables.items()},
        "removed": report.removed,
        "faults": [_as_dict(it) for it in report.faults],
        "fault_count": report.fault_count,
        "seconds": round(report.seconds, 3),
    }


def _as_dict(fault: Fault) -> dict[str, str]:
    return {"table": fault.table, "key": fault.key, "what": fault.what}


def _check_schema(tx: Tx) -> None:
    found = tx.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found != HEAD:
        raise MemError(
            f"that database is at revision {found}, this program at {HEAD}: its owner runs `claude-mem db upgrade`"
        )


async def _advice(source: Source, database: PostgresDatabase, scope: Scope) -> str | None:
    """What the owner had better do first: months that have no partition are slower to take out later."""
    firsts = [source.first_id(it) for it in ("prompts", "observations", "code_changes")]
    moments = [id_epoch_ms(it) for it in firsts if it is not None and is_id(it)]
    if not moments:
        return None
    oldest = datetime.fromtimestamp(min(moments) / 1000, UTC).date().replace(day=1)
    there = await database.read(scope, partitions.listed)
    made = min((it.month for it in there if it.month is not None), default=date.max)
    if made <= oldest:
        return None
    return f"the store goes back to {oldest:%Y-%m}: its owner runs `claude-mem db partitions --since {oldest:%Y-%m}`"


async def _queue_summaries(source: Source, database: PostgresDatabase, scope: Scope) -> int:
    """Sessions that the developer's worker has yet to sum up are summed up by the target's."""
    rows = source.select(
        "SELECT task_key FROM task_queue"
        " WHERE enterprise_id = ? AND task_type = 'session.summarise' AND status <> 'completed'"
    )
    keys = sorted({row[0] for row in rows})
    jobs = [NewJob("session.summarise", key) for key in keys]
    await database.write(scope, lambda tx: PostgresQueue().enqueue(scope, tx, jobs))
    return len(jobs)


def _fault(name: str, message: str) -> Invalid:
    return Invalid(f"{name} {message}", details=(Detail(name, message),))
