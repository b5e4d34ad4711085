"""A whole deployment for tests: PostgreSQL, Redis and NATS of its own, and processes of the product in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from bench.ports import free_port

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.domains.access import founding
from claude_mem.domains.access.model import Origin
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from nats_servers import NatsServer
from redis_servers import RedisServer
from servers import PostgresServer, Urls

OPERATOR = "an operator's token of these tests"
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """An enterprise with the key of its administrator."""

    id: str
    key: str


@dataclass(frozen=True, slots=True)
class Servers:
    """The three servers of a deployment."""

    postgres: PostgresServer
    redis: RedisServer
    nats: NatsServer


@dataclass
class Serving:
    """One `claude-mem serve` and what it said."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def children(self) -> list[int]:
        """The processes that serve."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@dataclass
class Deployment:
    """Three servers, their addresses, and a folder for what processes say."""

    postgres: PostgresServer
    urls: Urls
    redis: RedisServer
    nats: NatsServer
    folder: Path
    name: str = field(default_factory=lambda: f"cm{secrets.token_hex(4)}")
    serving: list[Serving] = field(default_factory=list)

    def environment(self, **more: str) -> dict[str, str]:
        """What a process is told."""
        return {
            **os.environ,
            "CLAUDE_MEM_DATABASE_URL": self.urls.runtime,
            "CLAUDE_MEM_REDIS_URL": self.redis.url,
            "CLAUDE_MEM_NATS_URL": self.nats.url,
            "CLAUDE_MEM_NAME": self.name,
            "CLAUDE_MEM_OPERATOR_TOKEN": OPERATOR,
            **more,
        }

    def serve(self, processes: int = 1, port: int = 0, **more: str) -> Serving:
        """Start a `claude-mem serve`, on a port that is free unless one is named, and wait until it answers."""
        port = port or free_port()
        log = self.folder / f"serve-{port}.log"
        argv = [sys.executable, "-P", "-m", "claude_mem", "serve", "--port", str(port)]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*argv, "--processes", str(processes)],
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
            )
        serving = Serving(process, port, log)
        self.serving.append(serving)
        try:
            until(
                lambda: answers(port) or process.poll() is not None,
                lambda: log.read_text(errors="replace")[-3000:],
            )
        except BaseException:
            serving.stop()
            raise
        return serving

    def stop(self) -> None:
        """End every process that was started."""
        for serving in self.serving:
            with contextlib.suppress(subprocess.TimeoutExpired):
                serving.stop()

    def found(self, name: str = "acme") -> Tenant:
        """A new enterprise."""
        return asyncio.run(self._found(name))

    async def _found(self, name: str) -> Tenant:
        database = PostgresDatabase(self.urls.runtime, 2)
        try:
            origin = Origin(None, None, time.perf_counter())
            made = await founding.found(database, origin, name, "admin", None)
        finally:
            await database.close()
        return Tenant(made.enterprise["id"], made.key)


def client(port: int, key: str | None, timeout: float = 30.0) -> httpx.Client:
    """A client of what listens on a port; every request a connection of its own, so that any process may answer."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_keepalive_connections=0)
    base = f"http://127.0.0.1:{port}"
    return httpx.Client(
        base_url=base, headers=headers, timeout=timeout, limits=limits, trust_env=False
    )


def answers(port: int, path: str = "/health/ready") -> bool:
    """Whether something there is ready."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def until(
    said: Callable[[], object],
    why: Callable[[], str] = lambda: "",
    seconds: float = _PATIENCE_S,
) -> None:
    """Wait for something to become true; fails with what `why` tells."""
    end = time.monotonic() + seconds
    while not said():
        if time.monotonic() > end:
            raise AssertionError(f"in vain: {why()}")
        time.sleep(0.05)


def prompt(session: str, content: str, **more: Any) -> dict[str, Any]:
    """A sound event."""
    return {
        "id": new_id(),
        "type": "prompt.submitted",
        "occurred_at": to_iso(now_ms()),
        "agent": "claude-code",
        "session": session,
        "project": "ledger",
        "data": {"content": content},
        **more,
    }


@contextlib.contextmanager
def deployment(
    postgres: PostgresServer, redis: RedisServer, nats: NatsServer, folder: Path
) -> Iterator[Deployment]:
    """A deployment on a database of its own; what it started is ended."""
    urls = postgres.database()
    made = Deployment(postgres, urls, redis, nats, folder)
    try:
        yield made
    finally:
        made.stop()
        postgres.drop(urls)
