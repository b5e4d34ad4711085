"""What the benchmarks of the server profile share: a real PostgreSQL, its tenants, and what a question cost.

The server is that of the tests, with a real one's memory and without durability, which searching does not need: what
is measured is reading. What was filled may be kept in a folder, to be measured again. Tenants are of very different
sizes. A question's processor time is that of the server's process
and of ours: it grows little with what else runs on the machine, while the time on the clock grows with all of it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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
def postgres(keep: Path | None = None) -> Iterator[Any]:
    """A running `servers.PostgresServer` (of the tests), with `SETTINGS`; its data stays in `keep`, if given."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    with importlib.import_module("servers").postgres_server(SETTINGS, keep) as server:
        yield server


@contextlib.contextmanager
def filled(
    server: Any, size: int, fill: Callable[[Any], dict[str, Any]], keep: Path | None
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A database of `size` rows, and what `fill` said of filling it: now, or when it was kept.

    A kept one is brought to this program's schema; one that is not goes when it was used.
    """
    if keep is None:
        urls = server.database()
        yield urls, fill(urls)
        server.drop(urls)
        return
    said = keep / f"filled-{size}.json"
    urls, was_there = server.kept_database(f"bench_{size}")
    if was_there and not said.exists():  # filling it was broken off
        server.drop(urls)
        urls, _ = server.kept_database(f"bench_{size}")
    if not said.exists():
        said.write_text(json.dumps(fill(urls)))
    yield urls, json.loads(said.read_text())


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

    @property
    def sum_ms(self) -> float:
        """All of them together on the clock."""
        return sum(self._clock)

    @property
    def cpu_sum_ms(self) -> float:
        """All of them together, of processors."""
        return sum(self._cpu)

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
