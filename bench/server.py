"""What the benchmarks of the server profile share: a real PostgreSQL, its tenants, and what a question cost.

The server is that of the tests, with a real one's memory and without durability, which searching does not need: what
is measured is reading. Tenants are of very different sizes. A question's processor time is that of the server's process
and of ours: it grows little with what else runs on the machine, while the time on the clock grows with all of it.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.kernel.scope import ALL_PERMISSIONS, Scope

SETTINGS: Final = {
    "shared_buffers": "2GB",
    "maintenance_work_mem": "1GB",
    "max_parallel_maintenance_workers": "2",
    "effective_cache_size": "6GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "random_page_cost": "1.1",
}
# Shares of all rows, in thousandths, and how many tenants have each: 100 tenants.
SHARES: Final = ((300, 1), (100, 2), (50, 4), (20, 10), (100 / 83, 83))


@contextlib.contextmanager
def postgres() -> Iterator[Any]:
    """A running `servers.PostgresServer` (of the tests), with `SETTINGS`."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    with importlib.import_module("servers").postgres_server(SETTINGS) as server:
        yield server


def tenants(rows: int) -> dict[str, tuple[Scope, ...]]:
    """Scopes by how many of `rows` rows each has, as a label, the largest first."""
    found: dict[str, tuple[Scope, ...]] = {}
    number = 0
    for share, count in SHARES:
        names = [str(UUID(int=(1 << 80) + number + n)) for n in range(count)]
        number += count
        size = round(rows * share / 1_000)
        found[str(size)] = tuple(Scope(name, name, ALL_PERMISSIONS) for name in names)
    return found


class Cost:
    """Milliseconds of questions: on the clock, and of processors."""

    def __init__(self, server_pid: int) -> None:
        self._schedule = Path(f"/proc/{server_pid}/schedstat")
        self._clock: list[float] = []
        self._cpu: list[float] = []

    @contextlib.contextmanager
    def of_one(self) -> Iterator[None]:
        """Around one question."""
        began, busy = time.perf_counter(), self._busy()
        yield
        self._clock.append((time.perf_counter() - began) * 1_000)
        self._cpu.append((self._busy() - busy) * 1_000)

    def _busy(self) -> float:
        theirs = int(self._schedule.read_text().split()[0]) / 1e9 if self._schedule.exists() else 0
        return time.process_time() + theirs

    def figures(self) -> dict[str, float]:
        """Rounded."""
        return {
            "queries": len(self._clock),
            "p50_ms": round(statistics.median(self._clock), 2),
            "p99_ms": round(percentile(self._clock, 0.99), 2),
            "cpu_p50_ms": round(statistics.median(self._cpu), 2),
            "cpu_p99_ms": round(percentile(self._cpu, 0.99), 2),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not pass."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


async def backend(database: PostgresDatabase, scope: Scope) -> int:
    """The process that answers a database of one connection."""
    return int(
        await database.read(
            scope, lambda tx: tx.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        )
    )


def machine() -> dict[str, float]:
    """What else ran: the load, and the processor time of a piece of work that is always the same, to divide by."""
    times = []
    for _ in range(9):
        busy = time.process_time()
        sum(map(len, map(str, range(200_000))))
        times.append((time.process_time() - busy) * 1_000)
    return {
        "load_average": round(os.getloadavg()[0], 1),
        "reference_cpu_ms": round(statistics.median(times), 1),
    }
