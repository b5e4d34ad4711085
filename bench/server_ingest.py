"""Durable ingest of the server profile: from `POST /events` until rows are committed and can be found.

    python -m bench.server_ingest [--json] [--growth [ROWS]] [--events N] [--processes N]

Everything on this machine: the load generator, `claude-mem serve`, PostgreSQL (every commit flushed to its disk), NATS
JetStream and Redis. Four tenants, each with a key of its own. Sustained is what counts: the clock stops when the inbox
is empty, which is after the commit of the last event, and what is in the tables is counted afterwards. Then the time to
the answer at half of that rate, sent on a clock that waits for no answer (`open_loop`); how late the generator itself
was is told apart. `--growth` fills a database to
a million events, or as many as it says, and tells what an event costs at each size.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import sys
import time
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import orjson

from bench.deployed import cpu_by_part, durable_deployment
from bench.generate import Generator
from bench.ingest import BATCH, answered, drive, post
from bench.report import facts, write
from claude_mem.adapters.nats.inbox import NatsInbox

_TENANTS = 4
_LOOK_S = 0.05
_GROWTH = (10_000, 30_000, 100_000, 300_000)


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: `count` events, `size` a request, over `connections`; at `rate` a second, or as fast as it goes."""

    count: int
    size: int
    connections: int
    seed: int
    rate: float = 0.0


def _requests(load: Load, keys: list[str]) -> list[bytes]:
    """Everything that is sent, tenants in turn; each has sessions of its own."""
    own = []
    for number, key in enumerate(keys):
        # Every load has numbers of its own: the same prompt and tool ids again would be repeats, which cost less.
        generator = Generator(load.seed * _TENANTS + number)
        share = load.count // len(keys)
        events = list(generator.events(share, start=load.seed * 1_000_000))
        parts = (events[at : at + load.size] for at in range(0, share, load.size))
        own.append([post(orjson.dumps({"events": part}), key) for part in parts])
    return [one for one in chain.from_iterable(zip_longest(*own)) if one is not None]


async def _open_loop(
    port: int, requests: list[bytes], pause: float
) -> tuple[list[float], list[float]]:
    """Send one every `pause` seconds whatever was answered.

    Each one's latency from when it was due, and how long after that it was sent, which is part of it and not the
    server's: in seconds.
    """
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    latencies: list[float] = []
    lags: list[float] = []

    async def one(request: bytes, due: float) -> None:
        lags.append(time.perf_counter() - due)
        line = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        latencies.append(await answered(*line, request, due))
        free.append(line)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as running:
        for number, request in enumerate(requests):
            due = began + number * pause
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            running.create_task(one(request, due))
    for _, writer in free:
        writer.close()
    return latencies, lags


async def _closed_loop(
    port: int, requests: list[bytes], connections: int
) -> tuple[list[float], list[float]]:
    """As fast as it goes: nothing is due, so nothing is late."""
    return await drive(port, requests, connections), []


def _percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(seconds)
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        name: round(ordered[int(len(ordered) * share)] * 1000, 2) for name, share in shares.items()
    }


def _generator(port: int, load: Load, keys: list[str], pipe: Any) -> None:
    """The load generator's process: everything is rendered before the clock starts."""
    requests = _requests(load, keys)
    pipe.send("ready")
    pipe.recv()
    started = time.perf_counter()
    sending = (
        _open_loop(port, requests, load.size / load.rate)
        if load.rate
        else _closed_loop(port, requests, load.connections)
    )
    latencies, lags = asyncio.run(sending)
    pipe.send((time.perf_counter() - started, latencies, lags))


class Bench:
    """A deployment under load."""

    def __init__(self, deployed: Any, processes: int) -> None:
        self.deployed = deployed
        self.serving = deployed.serve(processes)
        self.tenants = [deployed.found(f"tenant-{number}") for number in range(_TENANTS)]

    def rows(self) -> int:
        """Events that are in the tables."""
        sql = "SELECT count(*) FROM ingested_events"
        return int(self.deployed.postgres.execute(sql, self.deployed.urls.name)[0][0])

    def run(self, load: Load) -> dict[str, Any]:
        """Acknowledged and sustained rates of one load, and what an event of it costs."""
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        keys = [tenant.key for tenant in self.tenants]
        process = multiprocessing.get_context("spawn").Process(
            target=_generator, args=(self.serving.port, load, keys, theirs)
        )
        process.start()
        theirs.close()  # so that its end is seen here
        ours.recv()
        before, cpu = self.rows(), cpu_by_part(self.deployed, [self.serving])
        started = time.perf_counter()
        ours.send("go")
        seconds, latencies, lags = ours.recv()
        asyncio.run(self._until_recorded())
        sustained = time.perf_counter() - started
        process.join()
        spent = cpu_by_part(self.deployed, [self.serving])
        recorded = self.rows() - before
        if recorded != load.count:
            raise RuntimeError(f"{load.count} events were acknowledged, {recorded} recorded")
        print(f"  {load}: {load.count / sustained:.0f}/s", file=sys.stderr, flush=True)
        by_part = {name: (spent[name] - cpu[name]) / load.count * 1e6 for name in cpu}
        return {
            "events": load.count,
            "events_a_request": load.size,
            "connections": load.connections,
            "acknowledged_per_s": round(load.count / seconds),
            "sustained_per_s": round(load.count / sustained),
            "cpu_us_per_event": round(sum(by_part.values())),
            "cpu_us_per_event_by_part": {name: round(value) for name, value in by_part.items()},
            "ack_ms": _percentiles(latencies),
            **({"generator_lag_ms": _percentiles(lags)} if lags else {}),
        }

    async def _until_recorded(self) -> None:
        inbox = NatsInbox([self.deployed.nats.url], name=self.deployed.name)
        try:
            while await inbox.pending():  # noqa: ASYNC110 - other processes empty it
                await asyncio.sleep(_LOOK_S)
        finally:
            await inbox.close()

    def growth(self, sizes: list[int]) -> list[dict[str, Any]]:
        """What an event costs at each size: CPU of all processes, which a busy machine changes little, and time."""
        table: list[dict[str, Any]] = []
        filled, seed = self.rows(), 1_000
        for size in sizes:
            while filled < size:
                part = min(40_000, size - filled)
                self.run(Load(part, 200, 8, seed))
                filled, seed = filled + part, seed + 1
            loads = [self.run(Load(8_000, BATCH, 8, seed + n)) for n in range(3)]
            filled, seed = filled + 24_000, seed + 3
            row: dict[str, Any] = {"rows": size}
            for name in ("cpu_us_per_event", "sustained_per_s"):
                row[name] = statistics.median(load[name] for load in loads)
            first = table[0] if table else row
            row["cpu_vs_first"] = round(row["cpu_us_per_event"] / first["cpu_us_per_event"], 2)
            row["wall_vs_first"] = round(first["sustained_per_s"] / row["sustained_per_s"], 2)
            row["load_average"] = round(os.getloadavg()[0], 1)
            table.append(row)
            print(f"  {row}", file=sys.stderr, flush=True)
        return table


def measure(deployed: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as it is written down."""
    result: dict[str, Any] = facts()
    result["postgresql"] = deployed.postgres.execute("SHOW server_version")[0][0]
    result["processes"] = options.processes
    result["load_average_before"] = [round(load, 1) for load in os.getloadavg()]
    bench = Bench(deployed, options.processes)
    bench.run(Load(4_000, BATCH, 8, 1))  # warm-up
    if options.growth:
        result["growth"] = bench.growth(
            [n for n in _GROWTH if n < options.growth] + [options.growth]
        )
        return result
    result["batches"] = bench.run(Load(options.events, BATCH, 8, 2))
    result["single"] = bench.run(Load(options.events // 4, 1, 16, 3))
    rate = result["batches"]["sustained_per_s"] / 2
    result["open_loop"] = bench.run(Load(int(rate * 15) // 200 * 200, BATCH, 0, 4, rate))
    result["open_loop"]["offered_per_s"] = round(rate)
    result["load_average_after"] = [round(load, 1) for load in os.getloadavg()]
    return result


def main() -> None:
    """Measure, print, write bench/results/server-ingest.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--growth", type=int, nargs="?", const=1_000_000, default=0, metavar="ROWS")
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args()
    with durable_deployment() as deployed:
        result = measure(deployed, options)
    write(
        "server-ingest-growth" if options.growth else "server-ingest", result, as_json=options.json
    )


if __name__ == "__main__":
    main()
