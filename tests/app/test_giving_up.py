"""A caller that gives up (a stopping loop, a client gone) must not take the engine's writer with it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from claude_mem.adapters.sqlite.inbox import SqliteInbox
from claude_mem.adapters.sqlite.writer import GroupWriter
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.inbox import Entry

pytestmark = pytest.mark.anyio
SCOPE = local_scope()


def entry() -> Entry:
    return Entry(new_id(), b"{}")


class Hold:
    """Keeps a writer busy until it is let go."""

    def __init__(self, writer: GroupWriter) -> None:
        self._release = threading.Event()
        started = threading.Event()

        def work(_connection: object) -> None:
            started.set()
            assert self._release.wait(30)

        self.future = writer.submit(work)
        assert started.wait(30)

    def let_go(self) -> None:
        self._release.set()
        self.future.result(30)


async def test_work_given_up_while_it_waits_is_not_done_and_the_next_is(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db")
    hold = Hold(inbox._writer)
    given_up = asyncio.create_task(inbox.append(SCOPE, [entry()]))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    hold.let_go()
    assert await asyncio.wait_for(inbox.append(SCOPE, [entry()]), 30) == 1
    assert await inbox.pending() == len(await inbox.take(10)) == 1
    await inbox.close()


async def test_work_given_up_while_it_runs_is_done_and_counted(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db")
    running, release = threading.Event(), threading.Event()
    original = inbox._writer._execute

    def slow(raw: object, sql: str) -> None:
        if sql == "COMMIT":
            running.set()
            assert release.wait(30)
        original(raw, sql)

    inbox._writer._execute = slow
    given_up = asyncio.create_task(inbox.append(SCOPE, [entry(), entry()]))
    assert await asyncio.to_thread(running.wait, 30)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    release.set()
    taken = await asyncio.wait_for(inbox.take(10), 30)
    assert len(taken) == 2
    assert await inbox.pending() == 2
    await inbox.ack([pending.position for pending in taken])
    assert await inbox.pending() == 0
    await inbox.close()
