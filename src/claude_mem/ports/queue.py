"""Jobs: work to be done after a transaction, enqueued in that transaction (no dual write)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to enqueue. (kind, key) is unique an enterprise: enqueueing again re-arms the one row."""

    kind: str
    key: str
    payload: dict[str, Any] = field(default_factory=dict)
    run_at: int = 0  # Unix ms; 0 means at once
    priority: int = 0  # larger goes first


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job."""

    enterprise_id: str
    id: str
    kind: str
    key: str
    payload: dict[str, Any]
    attempt: int  # 1 for the first run
    max_attempts: int


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that failed as often as it may; `at` is when it did so last (Unix ms)."""

    id: str
    kind: str
    key: str
    attempts: int
    error: str | None
    at: int | None


class Queue(Protocol):
    """One row a job; a claim is a lease, so that a killed worker's job is run again."""

    def enqueue(self, scope: Scope, tx: Tx, jobs: Sequence[NewJob]) -> None:
        """Add or re-arm jobs in the caller's transaction."""
        ...

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
        """Take due jobs of every tenant, most important first, and lease them to `worker`.

        `busy` are ids of jobs that the worker still runs: neither a lease that ran out nor a re-arming gives them out
        a second time meanwhile. Due is also what waits for a moment over a day away: a clock that was wrong wrote it.
        """
        ...

    def complete(self, tx: Tx, job: Job) -> None:
        """The job is done; if it was re-armed meanwhile it stays pending."""
        ...

    def fail(self, tx: Tx, job: Job, *, now: int, retry_at: int, error: str) -> bool:
        """The job failed: retried at `retry_at`, or dead after its last attempt. True when dead."""
        ...

    def defer(self, tx: Tx, job: Job, *, run_at: int, error: str) -> None:
        """The job could not run and it is not its fault: run again at `run_at`; the attempt does not count."""
        ...

    def counts(self, scope: Scope, tx: Tx) -> dict[str, int]:
        """How many jobs of the enterprise are in each state."""
        ...

    def dead(self, scope: Scope, tx: Tx, limit: int) -> list[DeadJob]:
        """The enterprise's dead jobs, those that died last first."""
        ...

    def revive(self, scope: Scope, tx: Tx) -> int:
        """Give the enterprise's dead jobs all their attempts again, due at once; how many."""
        ...

    def waiting(self, scope: Scope, tx: Tx) -> dict[str, int]:
        """How many of the enterprise's jobs of each kind are still to be done, or being done."""
        ...
