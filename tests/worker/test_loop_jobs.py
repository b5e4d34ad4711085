"""The worker's jobs: one that hangs, fails or finds the disk full holds up no other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from claude_mem.adapters.sqlite.queue import SqliteQueue
from claude_mem.app.build import System
from claude_mem.domains.capture.jobs import CatchUp
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import StoreFull
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import Job, NewJob
from claude_mem.worker import loop as module
from claude_mem.worker.loop import JobHandler, Loop, Work

SCOPE = local_scope()


class Bench:
    """The system's queue with a loop over handlers of the test's own."""

    def __init__(self, system: System, spool: Path) -> None:
        state = system.parts.state
        self.database, self.capture = state["database"], state["capture"]
        self.queue, self.inbox, self.spool = SqliteQueue(), system.inbox, spool

    @asynccontextmanager
    async def running(self, **handlers: JobHandler) -> AsyncIterator[Loop]:
        async def nothing() -> None:
            return None

        loop = Loop(
            Work(
                capture=self.capture,
                inbox=self.inbox,
                database=self.database,
                queue=self.queue,
                handlers=handlers,
                maintain=nothing,
                spool=self.spool,
                scope=SCOPE,
                answered=nothing,
            )
        )
        loop.start()
        try:
            yield loop
        finally:
            await loop.stop(1.0)

    async def add(self, *jobs: NewJob) -> None:
        await self.database.write(SCOPE, lambda tx: self.queue.enqueue(SCOPE, tx, jobs))

    async def rows(self, columns: str) -> list[tuple[Any, ...]]:
        sql = f"SELECT {columns} FROM task_queue ORDER BY task_key"
        found = await self.database.read(SCOPE, lambda tx: tx.exec_driver_sql(sql).all())
        return [tuple(row) for row in found]

    async def until(self, said: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(30):
            while not await said():  # noqa: ASYNC110 - a row in a table sets no event
                await asyncio.sleep(0.02)


@pytest.fixture
def bench(system: System, tmp_path: Path) -> Bench:
    return Bench(system, tmp_path / "spool")


async def test_a_job_that_hangs_does_not_hold_up_the_others(bench: Bench) -> None:
    done: list[str] = []

    async def run(_scope: Scope, job: Job) -> None:
        if job.key == "0 hangs":
            await asyncio.Event().wait()
        done.append(job.key)

    names = [f"{number}" for number in range(1, 12)]
    await bench.add(*(NewJob("k", key) for key in ["0 hangs", *names]))

    async def over() -> bool:
        return await bench.rows("task_key") == [("0 hangs",)]

    async with bench.running(k=run):
        await bench.until(over)
    assert sorted(done) == sorted(names)


async def test_a_job_out_of_time_has_failed_and_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_S", 0.05)

    async def run(_scope: Scope, _job: Job) -> None:
        await asyncio.Event().wait()

    await bench.add(NewJob("k", "a"))

    async def failed() -> bool:
        [(status, error)] = await bench.rows("status, error_message")
        return status == "pending" and str(error).startswith("TimeoutError")

    async with bench.running(k=run):
        await bench.until(failed)
    assert await bench.rows("retry_count") == [(1,)]


async def test_a_full_store_costs_a_job_no_attempt(bench: Bench) -> None:
    async def run(_scope: Scope, _job: Job) -> None:
        raise StoreFull("the disk is full", retry_after=60)

    await bench.add(NewJob("k", "a"))

    async def put_off() -> bool:
        return await bench.rows("status, error_message") == [("pending", "the disk is full")]

    before = now_ms()
    async with bench.running(k=run) as loop:
        await bench.until(put_off)
        assert loop.health.degraded == {}
    [(attempts, run_at)] = await bench.rows("retry_count, run_at")
    assert attempts == 0
    assert run_at >= before + 60_000


async def test_a_job_that_ends_every_process_is_given_up(bench: Bench) -> None:
    ran: list[int] = []

    async def run(_scope: Scope, job: Job) -> None:
        ran.append(job.attempt)

    def claimed_and_killed(tx: Tx) -> None:
        for _ in range(module._MOST_CLAIMS):
            assert bench.queue.claim(tx, worker="killed", now=now_ms(), lease_ms=-1, limit=1)

    await bench.add(NewJob("k", "a"))
    await bench.database.write(SCOPE, claimed_and_killed)

    async def dead() -> bool:
        [(status, error)] = await bench.rows("status, error_message")
        return status == "dead" and "ended meanwhile" in str(error)

    async with bench.running(k=run):
        await bench.until(dead)
    assert ran == []


async def test_a_stop_hook_that_names_a_pipe_ends_no_jobs(bench: Bench, tmp_path: Path) -> None:
    pipe = tmp_path / "projects" / "a" / "s.jsonl"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    data = {"content": "Done.", "transcript_path": str(pipe), "origin": "live"}
    event = {
        "id": new_id(),
        "type": "assistant.replied",
        "occurred_at": to_iso(now_ms()),
        "agent": "claude-code",
        "session": "s",
        "project": "/nowhere/ledger",
        "data": data,
    }
    await bench.capture.accept(SCOPE, [event])
    await bench.capture.drain_all()
    assert ("transcript.catch_up", "pending") in await bench.rows("task_type, status")
    catch_up = CatchUp(bench.capture, bench.database, bench.queue, enabled=True)

    async def nothing(_scope: Scope, _job: Job) -> None:
        return None

    async def over() -> bool:
        return ("transcript.catch_up",) not in await bench.rows("task_type")

    handlers = {"transcript.catch_up": catch_up.run, "session.summarise": nothing}
    async with bench.running(**handlers):
        await bench.until(over)


@pytest.mark.parametrize(
    ("part", "asked", "seconds"),
    [("spool", 60, 15.0), ("spool", 9, 9.0), ("spool", None, 2.0), ("inbox", 60, 2.0)],
)
def test_a_full_store_says_when_the_spool_is_read_again(
    part: str, asked: int | None, seconds: float
) -> None:
    assert module.pause_after(part, StoreFull("the disk is full", retry_after=asked)) == seconds
    assert module.pause_after(part, ValueError("something else")) == 2.0
