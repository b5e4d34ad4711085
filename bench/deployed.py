"""A whole deployment for benchmarks and proofs: the servers of the tests, as durable as an operator leaves them.

Owns starting them and what they cost. The servers come with the test dependencies and hold nothing but what is
measured; what is on the machine's standard ports is left alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TESTS = str(Path(__file__).parent.parent / "tests")


def test_module(name: str) -> Any:
    """A module of the tests that benchmarks share: servers and deployments."""
    if _TESTS not in sys.path:
        sys.path.insert(0, _TESTS)
    return __import__(name)


@contextmanager
def durable_deployment() -> Iterator[Any]:
    """A `Deployment` of the tests on servers that lose nothing: PostgreSQL flushes each commit, NATS each write."""
    servers = test_module("servers")
    with (
        tempfile.TemporaryDirectory(prefix="claude-mem-bench-") as folder,
        servers.postgres_server(servers.DURABLE) as postgres,
        test_module("redis_servers").redis_server() as redis,
        test_module("nats_servers").nats_server() as nats,
        test_module("deployment").deployment(postgres, redis, nats, Path(folder)) as made,
    ):
        yield made


def cpu_of(pid: int) -> float:
    """CPU seconds that a process, its children, and those of them that ended have used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_of(int(child)) for child in children)


def cpu_by_part(deployed: Any, serving: Iterable[Any]) -> dict[str, float]:
    """CPU seconds so far, by part of the deployment."""
    return {
        "api_and_recording": sum(cpu_of(one.process.pid) for one in serving),
        "postgresql": cpu_of(deployed.postgres.pid),
        "nats": cpu_of(deployed.nats.pid),
        "redis": cpu_of(deployed.redis.pid),
    }
