"""Durable ingest over HTTP: acknowledged and sustained events a second, and what an event costs as the database grows.

    python -m bench.ingest [--json] [--growth [ROWS]]

The real worker in a process of its own, a load generator in another, everything on this machine. The baseline of the
same run is the least that durability can cost: the same bodies inserted into a bare SQLite table, `synchronous=FULL`,
50 a commit, no HTTP, no validation, no masking. `--growth` fills a database to a million events, or as many
as it says (several minutes).
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import sqlean

from bench.generate import Generator
from bench.report import facts, write
from claude_mem.sdk.client import Client
from claude_mem.sdk.local import connect

BATCH = 50


@contextmanager
def worker(home: Path) -> Iterator[Client]:
    """A worker on a port of its own, stopped at the end."""
    env = {**os.environ, "CLAUDE_MEM_HOME": str(home), "CLAUDE_MEM_PORT": "38700"}
    process = subprocess.Popen([sys.executable, "-m", "claude_mem.app.serve"], env=env)
    try:
        while not (home / "door").exists():
            if process.poll() is not None:
                raise RuntimeError("the worker did not start")
            time.sleep(0.01)
        with connect(home, timeout=120) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def rss_mb(pid: int) -> float:
    """Resident memory of a process, where /proc tells."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    """CPU seconds a process has used, where /proc tells: says what a busy machine's clock cannot."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def post(body: bytes, token: str) -> bytes:
    """A `POST /events` as it goes over the wire."""
    head = (
        "POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, since: float
) -> float:
    """Send one request; how many seconds after `since` its answer was here. Raises RuntimeError for any but 202."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 202"):
        raise RuntimeError(head.decode())
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return time.perf_counter() - since


async def drive(port: int, requests: list[bytes], connections: int) -> list[float]:
    """Send everything over `connections` keep-alive connections; the latency of each, in seconds."""
    queue = iter(requests)
    latencies: list[float] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in queue:
            latencies.append(await answered(reader, writer, request, time.perf_counter()))  # noqa: PERF401 - awaits
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return latencies


def _load(
    port: int, token: str, count: int, size: int, connections: int, seed: int, pipe: Any
) -> None:
    """The load generator's process: everything is rendered before the clock starts."""
    # Every load has numbers of its own: the same prompt and tool ids again would be repeats, which cost less.
    events = list(Generator(seed).events(count, start=seed * 1_000_000))
    bodies = [orjson.dumps({"events": events[at : at + size]}) for at in range(0, count, size)]
    requests = [post(body, token) for body in bodies]
    pipe.send("ready")
    pipe.recv()
    started = time.perf_counter()
    latencies = asyncio.run(drive(port, requests, connections))
    pipe.send((time.perf_counter() - started, sorted(latencies)))


def run_load(
    home: Path, client: Client, count: int, size: int, connections: int, seed: int
) -> dict[str, Any]:
    """Acknowledged and sustained rates of one load."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    token = (home / "token").read_text().strip()
    port = int(client.base_url.rsplit(":", 1)[1])
    process = multiprocessing.get_context("spawn").Process(
        target=_load, args=(port, token, count, size, connections, seed, theirs)
    )
    process.start()
    ours.recv()
    health = client.health()
    before, cpu = health["recorded"], cpu_s(health["pid"])
    started = time.perf_counter()
    ours.send("go")
    seconds, latencies = ours.recv()
    while client.health()["recorded"] - before < count:
        time.sleep(0.02)
    sustained = time.perf_counter() - started
    process.join()
    spent = cpu_s(health["pid"]) - cpu
    return {
        "events": count,
        "events_a_request": size,
        "connections": connections,
        "acknowledged_per_s": round(count / seconds),
        "sustained_per_s": round(count / sustained),
        "worker_cpu_us_per_event": round(spent / count * 1e6),
        "ack_ms": {
            "p50": round(latencies[len(latencies) // 2] * 1000, 2),
            "p99": round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
        },
    }


def baseline(folder: Path, count: int) -> float:
    """Events a second of bare durable inserts."""
    bodies = [orjson.dumps(event) for event in Generator(9).events(count)]
    raw = sqlean.connect(str(folder / "baseline.db"), isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, body BLOB)")
    started = time.perf_counter()
    for at in range(0, count, BATCH):
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany(
            "INSERT INTO log (body) VALUES (?)", [(b,) for b in bodies[at : at + BATCH]]
        )
        raw.execute("COMMIT")
    seconds = time.perf_counter() - started
    raw.close()
    return count / seconds


def growth(home: Path, client: Client, sizes: list[int]) -> list[dict[str, Any]]:
    """What an event costs at each database size: the worker's CPU, which a busy machine changes little, and time."""
    rows: list[dict[str, Any]] = []
    filled = 0
    for number, size in enumerate(sizes):
        while filled < size:
            part = min(100_000, size - filled)
            run_load(home, client, part, 500, 4, 1000 + number * 100 + filled // 100_000)
            filled += part
        loads = [run_load(home, client, 10_000, BATCH, 8, 5000 + number * 10 + n) for n in range(3)]
        filled += 30_000
        row = {
            "rows": size,
            "worker_cpu_us_per_event": statistics.median(
                load["worker_cpu_us_per_event"] for load in loads
            ),
            "sustained_per_s": statistics.median(load["sustained_per_s"] for load in loads),
            "bytes_per_event": round((home / "claude-mem.db").stat().st_size / filled),
        }
        row["cpu_vs_first"] = round(
            row["worker_cpu_us_per_event"] / (rows[0] if rows else row)["worker_cpu_us_per_event"],
            2,
        )
        rows.append(row)
        print(f"  {row}", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Measure, print, write bench/results/ingest.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--growth", type=int, nargs="?", const=1_000_000, default=0, metavar="ROWS")
    parser.add_argument("--events", type=int, default=40_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="claude-mem-bench-") as folder:
        home = Path(folder) / "home"
        result: dict[str, Any] = facts()
        sizes = sorted(len(orjson.dumps(event)) for event in Generator(1).events(20_000))
        result["event_bytes"] = {
            "median": sizes[10_000],
            "p95": sizes[19_000],
            "mean": sum(sizes) // 20_000,
        }
        base = baseline(Path(folder), options.events)
        result["baseline_bare_sqlite_per_s"] = round(base)
        with worker(home) as client:
            pid = client.health()["pid"]
            result["rss_mb_idle"] = round(rss_mb(pid), 1)
            run_load(home, client, 5_000, BATCH, 8, 2)  # warm-up
            result["batches"] = run_load(home, client, options.events, BATCH, 8, 3)
            result["single"] = run_load(home, client, options.events // 4, 1, 16, 4)
            result["rss_mb_after"] = round(rss_mb(pid), 1)
            result["acknowledged_vs_baseline"] = round(
                result["batches"]["acknowledged_per_s"] / base, 2
            )
            if options.growth:
                result["growth"] = growth(
                    home,
                    client,
                    [n for n in (10_000, 100_000, 300_000) if n < options.growth]
                    + [options.growth],
                )
        counted = [home / "claude-mem.db", home / "inbox.db"]
        result["bytes_on_disk"] = sum(path.stat().st_size for path in counted)
    write("ingest-growth" if options.growth else "ingest", result, as_json=options.json)


if __name__ == "__main__":
    main()
