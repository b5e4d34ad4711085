"""What the MCP server costs: its start beside the bare interpreter, a call, and the worker's memory.

    python -m bench.mcp [--runs N] [--json] [--out FILE]

Every round starts, one after the other: the bare interpreter, the interpreter with `json`, and the forwarder up to its
answer to `initialize`. Then calls through one forwarder to a real worker, and the worker's resident memory: idle, after
those calls, and once a client has spoken streamable HTTP to it, which loads the SDK.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from bench.durability import Site
from claude_mem.hook.interpreter import choose
from claude_mem.hook.mcp_registration import write_server
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.sdk.local import connect

START_TARGET = 3.0  # x the bare interpreter, for the answer to `initialize`
_CALLS = 100
_NOTES = 500
_HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}


class Forwarder:
    """A running forwarder."""

    def __init__(self, site: Site, python: str) -> None:
        command = [python, "-I", "-S", str(site.home / "mcp" / "stdio.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=site.environment
        )

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """One request and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def call(self, name: str, **given: Any) -> dict[str, Any]:
        """A tool's result."""
        params = {"name": name, "arguments": given}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        result: dict[str, Any] = self.ask(message)["result"]
        assert not result.get("isError"), result
        return result

    def close(self) -> None:
        """End it as a client does."""
        self._process.communicate()


def measure(runs: int) -> dict[str, Any]:
    """Times in milliseconds, memory in megabytes."""
    python = choose().path
    with Site() as site:
        write_server(site.home)
        starts = _starts(site, python, runs)
        holder = site.start()
        assert holder.pid is not None
        time.sleep(1)
        memory = {"idle": _rss(holder.pid)}
        _fill(site)
        calls = _calls(site, python)
        memory["after_stdio_calls"] = _rss(holder.pid)
        first = _first_http_call(site)
        memory["after_http"] = _rss(holder.pid)
    bare = statistics.median(starts["bare"])
    ratio = statistics.median(starts["initialize"]) / bare
    return {
        "bench": "mcp",
        "runs": runs,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "median_ms": {name: round(statistics.median(row), 2) for name, row in starts.items()},
        "ratio_to_bare": round(ratio, 2),
        "call_ms": {
            name: {
                "p50": round(statistics.median(row), 2),
                "p95": round(statistics.quantiles(row, n=20)[18], 2),
            }
            for name, row in calls.items()
        },
        "first_http_call_ms": round(first, 1),
        "worker_rss_mb": {name: round(value, 1) for name, value in memory.items()},
        "targets": {"start_ratio": START_TARGET},
        "met": ratio <= START_TARGET,
    }


def _starts(site: Site, python: str, runs: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"bare": [], "with_json": [], "initialize": []}
    for _ in range(runs):
        for name, code in (("bare", "pass"), ("with_json", "import json")):
            started = time.perf_counter()
            subprocess.run([python, "-I", "-S", "-c", code], check=True)
            times[name].append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        forwarder = Forwarder(site, python)
        forwarder.ask(_HELLO)
        times["initialize"].append((time.perf_counter() - started) * 1000)
        forwarder.close()
    return times


def _fill(site: Site) -> None:
    """Something to find: notes of a few lines each."""
    with connect(site.home) as client:
        client.post_events(
            [
                {
                    "id": new_id(),
                    "type": "observation.added",
                    "occurred_at": to_iso(now_ms()),
                    "agent": "bench",
                    "session": "bench",
                    "project": "/bench",
                    "data": {
                        "observation_type": "info",
                        "content": f"Note {number}: the ledger rounds half to even. " * 8,
                    },
                }
                for number in range(_NOTES)
            ]
        )
        assert client.wait_until_indexed()


def _calls(site: Site, python: str) -> dict[str, list[float]]:
    forwarder = Forwarder(site, python)
    forwarder.ask(_HELLO)
    found = forwarder.call("search", query="ledger", project="*", limit=5)
    ids = [hit["id"] for hit in found["structuredContent"]["results"]]
    times: dict[str, list[float]] = {"search": [], "timeline": [], "get": [], "save": []}
    for number in range(_CALLS):
        for name, given in (
            ("search", {"query": f"ledger {number}", "project": "*"}),
            ("timeline", {"around": ids[number % 5]}),
            ("get", {"ids": ids}),
            ("save", {"content": f"Saved {number}", "project": "/bench"}),
        ):
            started = time.perf_counter()
            forwarder.call(name, **given)
            times[name].append((time.perf_counter() - started) * 1000)
    forwarder.close()
    return times


def _first_http_call(site: Site) -> float:
    record = json.loads((site.home / "worker.json").read_text(encoding="utf-8"))
    started = time.perf_counter()
    answer = httpx.post(
        f"http://{record['host']}:{record['port']}/mcp",
        json=_HELLO,
        headers={
            "authorization": f"Bearer {site.token}",
            "accept": "application/json, text/event-stream",
        },
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return (time.perf_counter() - started) * 1000


def _rss(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--out", type=Path, default=Path("bench/results/mcp.json"))
    chosen = parser.parse_args()
    found = measure(chosen.runs)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(found, indent=None if chosen.json else 2) + "\n")


if __name__ == "__main__":
    main()
