"""The `Queue` port on the `task_queue` table of PostgreSQL, for any number of workers.

Every statement runs under row-level security as the tenant whose job it is. Only a claim acts before a tenant is known:
the function `claim_tasks` leases, and gives back ids and tenants; the jobs are then read as their tenants.

A lease belongs to a worker. Who lost it changes nothing any more: what another worker made of the job meanwhile stays.
A job re-armed while it runs keeps its lease until it ends, so that it never runs twice at once, and each claim prolongs
the leases of what its worker is busy with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy.exc import DBAPIError

from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import DeadJob, Job, NewJob

CHANNEL = "claude_mem_jobs"  # notified, without a word of whose, when jobs were added
_MAX_ATTEMPTS = 5
_TOO_FAR_MS = 86_400_000  # nothing is put off or leased for a day: the clock was wrong when it was
_LONGEST_ERROR = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TENANT = "app.current_enterprise_id"
_UPSERT = """
INSERT INTO task_queue AS held (enterprise_id, id, task_type, task_key, payload_json, priority, status, run_at,
                                retry_count, max_retries, created_at)
VALUES (%s, %s, %s, %s, %s::jsonb, %s, 'pending', %s, 0, %s, %s)
ON CONFLICT (enterprise_id, task_type, task_key) DO UPDATE SET
  payload_json = excluded.payload_json, priority = greatest(held.priority, excluded.priority), status = 'pending',
  run_at = CASE WHEN held.status = 'pending' THEN least(held.run_at, excluded.run_at) ELSE excluded.run_at END,
  retry_count = 0, error_message = NULL, completed_at = NULL
"""
_CLAIM = """
SELECT enterprise_id::text, id::text FROM claim_tasks(
  %(worker)s::text, %(now)s::timestamptz, %(lease)s::timestamptz, %(far)s::timestamptz, %(busy)s::uuid[], %(limit)s)
"""
_READ = """
SELECT id::text, task_type, task_key, payload_json::text, retry_count, max_retries FROM task_queue
WHERE enterprise_id = %s AND id = ANY(%s::uuid[])
"""
_MINE = "WHERE enterprise_id = %(enterprise)s AND id = %(id)s AND worker_id = %(worker)s"
_COMPLETE = f"DELETE FROM task_queue {_MINE} AND status = 'running'"  # noqa: S608 - our own words
_END_RUN = f"""
UPDATE task_queue SET status = %(status)s, run_at = %(run_at)s, retry_count = greatest(retry_count - %(back)s, 0),
  error_message = %(error)s, completed_at = %(completed_at)s, lease_until = NULL, worker_id = NULL
{_MINE} AND status = 'running'
"""  # noqa: S608
_RELEASE = f"""
UPDATE task_queue SET lease_until = NULL, worker_id = NULL {_MINE} AND status = 'pending'
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class LeasedJob(Job):
    """A claimed job that knows whose lease it is under."""

    worker: str


class PostgresQueue:
    """Implements `ports.queue.Queue`."""

    def enqueue(self, scope: Scope, tx: Tx, jobs: Sequence[NewJob]) -> None:
        """See the port. In one order whoever adds, so that two transactions do not wait for each other."""
        if not jobs:
            return
        now = now_ms()
        rows = [
            (
                *(scope.enterprise_id, new_id(now), job.kind, job.key),
                *(orjson.dumps(job.payload).decode(), job.priority, _moment(job.run_at or now)),
                *(_MAX_ATTEMPTS, _moment(now)),
            )
            for job in sorted(jobs, key=lambda job: (job.kind, job.key))
        ]
        tx.exec_driver_sql(_UPSERT, rows)
        _notify(tx)

    def claim(
        self,
        tx: Tx,
        *,
        worker: str,
        now: int,
        lease_ms: int,
        limit: int,
        busy: Collection[str] = (),
    ) -> list[Job]:
        """See the port. With a `limit` of 0 it only prolongs the leases of what is `busy`."""
        values = {
            "worker": worker,
            "now": _moment(now),
            "lease": _moment(now + lease_ms),
            "far": _moment(now + _TOO_FAR_MS),
            "busy": list(busy),
            "limit": limit,
        }
        leased = [(row[0], row[1]) for row in tx.exec_driver_sql(_CLAIM, values)]
        found: dict[tuple[str, str], Job] = {}
        for enterprise in sorted({enterprise for enterprise, _ in leased}):
            ids = [key for owner, key in leased if owner == enterprise]
            with _as_tenant(tx, enterprise):
                rows = tx.exec_driver_sql(_READ, (enterprise, ids)).all()
            for key, kind, name, payload, attempt, most in rows:
                found[enterprise, key] = LeasedJob(
                    enterprise, key, kind, name, orjson.loads(payload), attempt, most, worker
                )
        return [found[lease] for lease in leased]

    def complete(self, tx: Tx, job: Job) -> None:
        """See the port."""
        _end(tx, job, _COMPLETE, {})

    def fail(self, tx: Tx, job: Job, *, now: int, retry_at: int, error: str) -> bool:
        """See the port."""
        dead = job.attempt >= job.max_attempts
        values = {
            "status": "dead" if dead else "pending",
            "run_at": _moment(retry_at),
            "back": 0,
            "error": _storable(error),
            "completed_at": _moment(now) if dead else None,
        }
        return _end(tx, job, _END_RUN, values) and dead

    def defer(self, tx: Tx, job: Job, *, run_at: int, error: str) -> None:
        """See the port."""
        values = {
            "status": "pending",
            "run_at": _moment(run_at),
            "back": 1,
            "error": _storable(error),
            "completed_at": None,
        }
        _end(tx, job, _END_RUN, values)

    def counts(self, scope: Scope, tx: Tx) -> dict[str, int]:
        """See the port."""
        rows = tx.exec_driver_sql(
            "SELECT status, count(*) FROM task_queue WHERE enterprise_id = %s GROUP BY status",
            (scope.enterprise_id,),
        ).all()
        return {str(status): int(count) for status, count in rows}

    def dead(self, scope: Scope, tx: Tx, limit: int) -> list[DeadJob]:
        """See the port."""
        rows = tx.exec_driver_sql(
            "SELECT id::text, task_type, task_key, retry_count, error_message, completed_at FROM task_queue"
            " WHERE enterprise_id = %s AND status = 'dead' ORDER BY completed_at DESC, id DESC LIMIT %s",
            (scope.enterprise_id, limit),
        ).all()
        return [
            DeadJob(key, kind, name, attempts, error, _epoch_ms(at))
            for key, kind, name, attempts, error, at in rows
        ]

    def revive(self, scope: Scope, tx: Tx) -> int:
        """See the port."""
        changed = tx.exec_driver_sql(
            "UPDATE task_queue SET status = 'pending', run_at = %s, retry_count = 0, completed_at = NULL"
            " WHERE enterprise_id = %s AND status = 'dead'",
            (_moment(now_ms()), scope.enterprise_id),
        )
        if changed.rowcount:
            _notify(tx)
        return int(changed.rowcount)

    def waiting(self, scope: Scope, tx: Tx) -> dict[str, int]:
        """See the port."""
        rows = tx.exec_driver_sql(
            "SELECT task_type, count(*) FROM task_queue WHERE enterprise_id = %s"
            " AND status IN ('pending', 'running') GROUP BY task_type",
            (scope.enterprise_id,),
        ).all()
        return {str(kind): int(count) for kind, count in rows}


def _end(tx: Tx, job: Job, sql: str, values: dict[str, Any]) -> bool:
    """Run `sql` on a job that its worker still has; True when it did anything. What was re-armed becomes free."""
    if not isinstance(job, LeasedJob):
        raise TypeError("a job is given back to the queue that it was claimed from")
    mine = {"enterprise": job.enterprise_id, "id": job.id, "worker": job.worker}
    with _as_tenant(tx, job.enterprise_id):
        if tx.exec_driver_sql(sql, {**mine, **values}).rowcount:
            return True
        tx.exec_driver_sql(_RELEASE, mine)
    return False


@contextmanager
def _as_tenant(tx: Tx, enterprise: str) -> Iterator[None]:
    """Statements inside see the rows of `enterprise`; those after it see what those before it saw."""
    before = tx.exec_driver_sql("SELECT current_setting(%s, true)", (_TENANT,)).scalar()
    if before == enterprise:
        yield
        return
    _set_tenant(tx, enterprise)
    try:
        yield
    except BaseException:
        # Nothing more runs in a transaction that the server failed, and its end takes the setting back.
        with suppress(DBAPIError):
            _set_tenant(tx, before)
        raise
    _set_tenant(tx, before)


def _set_tenant(tx: Tx, enterprise: str | None) -> None:
    tx.exec_driver_sql("SELECT set_config(%s, %s, true)", (_TENANT, enterprise or ""))


def _notify(tx: Tx) -> None:
    """Told at the commit, once a transaction."""
    tx.exec_driver_sql("SELECT pg_notify(%s, '')", (CHANNEL,))


def _storable(error: str) -> str:
    """An error's text as the engine takes it: neither NUL nor half a character may keep a job from failing."""
    return error[:_LONGEST_ERROR].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _moment(epoch_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=epoch_ms)


def _epoch_ms(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MILLISECOND
