"""The `Queue` port on the `task_queue` table of SQLite. One writer: a claim needs no row locks."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import orjson

from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import DeadJob, Job, NewJob

_MAX_ATTEMPTS = 5
_TOO_FAR_MS = 86_400_000  # nothing is put off or leased for a day: the clock was wrong when it was
_UPSERT = """
INSERT INTO task_queue (enterprise_id, id, task_type, task_key, payload_json, priority, status, run_at,
                        retry_count, max_retries, created_at)
VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, 0, ?, ?)
ON CONFLICT (enterprise_id, task_type, task_key) DO UPDATE SET
  payload_json = excluded.payload_json, priority = max(priority, excluded.priority), status = 'pending',
  run_at = CASE WHEN status = 'pending' THEN min(run_at, excluded.run_at) ELSE excluded.run_at END,
  retry_count = 0, lease_until = NULL, worker_id = NULL, error_message = NULL, completed_at = NULL
"""
_CLAIM = """
UPDATE task_queue SET status = 'running', worker_id = :worker, lease_until = :lease,
  started_at = :now, retry_count = retry_count + 1
WHERE (enterprise_id, id) IN (
  SELECT enterprise_id, id FROM task_queue
  WHERE ((status = 'pending' AND (run_at <= :now OR run_at > :far))
      OR (status = 'running' AND (lease_until < :now OR lease_until > :far)))
    AND id NOT IN (SELECT value FROM json_each(:busy))
  ORDER BY priority DESC, run_at, id LIMIT :limit)
RETURNING enterprise_id, id, task_type, task_key, payload_json, retry_count, max_retries
"""


class SqliteQueue:
    """Implements `ports.queue.Queue`."""

    def enqueue(self, scope: Scope, tx: Tx, jobs: Sequence[NewJob]) -> None:
        """See the port."""
        if not jobs:
            return
        now = now_ms()
        rows = [
            (
                *(scope.enterprise_id, new_id(now), job.kind, job.key),
                *(orjson.dumps(job.payload).decode(), job.priority, job.run_at or now),
                *(_MAX_ATTEMPTS, now),
            )
            for job in jobs
        ]
        tx.exec_driver_sql(_UPSERT, rows)

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
        """See the port."""
        values = {
            "worker": worker,
            "now": now,
            "lease": now + lease_ms,
            "far": now + _TOO_FAR_MS,
            "busy": orjson.dumps(list(busy)).decode(),
            "limit": limit,
        }
        rows = tx.exec_driver_sql(_CLAIM, values).all()
        return [
            Job(row[0], row[1], row[2], row[3], orjson.loads(row[4]), row[5], row[6])
            for row in rows
        ]

    def complete(self, tx: Tx, job: Job) -> None:
        """See the port."""
        tx.exec_driver_sql(
            "DELETE FROM task_queue WHERE enterprise_id = ? AND id = ? AND status = 'running'",
            (job.enterprise_id, job.id),
        )

    def fail(self, tx: Tx, job: Job, *, now: int, retry_at: int, error: str) -> bool:
        """See the port."""
        dead = job.attempt >= job.max_attempts
        tx.exec_driver_sql(
            "UPDATE task_queue SET status = ?, run_at = ?, error_message = ?, lease_until = NULL,"
            " worker_id = NULL, completed_at = ?"
            " WHERE enterprise_id = ? AND id = ? AND status = 'running'",
            (
                "dead" if dead else "pending",
                retry_at,
                error[:2000],
                now if dead else None,
                job.enterprise_id,
                job.id,
            ),
        )
        return dead

    def defer(self, tx: Tx, job: Job, *, run_at: int, error: str) -> None:
        """See the port."""
        tx.exec_driver_sql(
            "UPDATE task_queue SET status = 'pending', run_at = ?, error_message = ?, lease_until = NULL,"
            " worker_id = NULL, retry_count = max(retry_count - 1, 0)"
            " WHERE enterprise_id = ? AND id = ? AND status = 'running'",
            (run_at, error[:2000], job.enterprise_id, job.id),
        )

    def counts(self, scope: Scope, tx: Tx) -> dict[str, int]:
        """See the port."""
        rows = tx.exec_driver_sql(
            "SELECT status, count(*) FROM task_queue WHERE enterprise_id = ? GROUP BY status",
            (scope.enterprise_id,),
        ).all()
        return {str(status): int(count) for status, count in rows}

    def dead(self, scope: Scope, tx: Tx, limit: int) -> list[DeadJob]:
        """See the port."""
        rows = tx.exec_driver_sql(
            "SELECT id, task_type, task_key, retry_count, error_message, completed_at FROM task_queue"
            " WHERE enterprise_id = ? AND status = 'dead' ORDER BY completed_at DESC, id DESC LIMIT ?",
            (scope.enterprise_id, limit),
        ).all()
        return [DeadJob(*row) for row in rows]

    def revive(self, scope: Scope, tx: Tx) -> int:
        """See the port."""
        changed = tx.exec_driver_sql(
            "UPDATE task_queue SET status = 'pending', run_at = ?, retry_count = 0, completed_at = NULL"
            " WHERE enterprise_id = ? AND status = 'dead'",
            (now_ms(), scope.enterprise_id),
        )
        return int(changed.rowcount)

    def waiting(self, scope: Scope, tx: Tx) -> dict[str, int]:
        """See the port."""
        rows = tx.exec_driver_sql(
            "SELECT task_type, count(*) FROM task_queue WHERE enterprise_id = ?"
            " AND status IN ('pending', 'running') GROUP BY task_type",
            (scope.enterprise_id,),
        ).all()
        return {str(kind): int(count) for kind, count in rows}
