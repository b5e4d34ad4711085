"""What is put aside: an event that fails again, and never one that met an engine which was just going."""

from __future__ import annotations

from typing import Any, ClassVar

import psycopg
import pytest
from sqlalchemy.exc import InterfaceError

from claude_mem.app.build import System
from claude_mem.domains.capture.makers import Built
from claude_mem.domains.capture.service import CaptureService
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Tx

SCOPE = local_scope()


def prompt(content: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "type": "prompt.submitted",
        "occurred_at": to_iso(now_ms()),
        "agent": "claude-code",
        "session": "s1",
        "project": "/nowhere/ledger",
        "data": {"content": content},
    }


@pytest.fixture
def capture(system: System) -> CaptureService:
    made: CaptureService = system.parts.state["capture"]
    made.__class__ = Going
    return made


async def contents(system: System) -> list[str]:
    def read(tx: Tx) -> list[str]:
        return [row[0] for row in tx.exec_driver_sql("SELECT content FROM prompts")]

    found: list[str] = await system.parts.state["database"].read(SCOPE, read)
    return found


class Going(CaptureService):
    """Whose first attempts meet an engine that is just going."""

    faults: ClassVar[list[Exception]] = []

    def _record_as(self, *args: Any) -> Built:
        if self.faults:
            raise self.faults.pop(0)
        return super()._record_as(*args)


def _of_the_connection() -> Exception:
    return InterfaceError("INSERT", None, psycopg.InterfaceError("the connection is lost"))


async def test_a_lost_connection_is_never_taken_for_a_poisoned_event(
    system: System, capture: CaptureService
) -> None:
    Going.faults = [_of_the_connection()]
    await capture.accept(SCOPE, [prompt("good")])
    with pytest.raises(Unavailable):
        await capture.drain()
    assert await system.inbox.pending() == 1
    report = await capture.drain_all()
    assert (report.events, report.buried) == (1, [])
    assert await contents(system) == ["good"]


async def test_an_event_is_buried_at_its_second_fault_only(
    system: System, capture: CaptureService
) -> None:
    await capture.accept(SCOPE, [prompt("good")])
    Going.faults = [RuntimeError("once")]
    report = await capture.drain_all()
    assert (report.events, report.buried) == (1, [])
    Going.faults = [RuntimeError("twice"), RuntimeError("twice")]
    await capture.accept(SCOPE, [prompt("bad")])
    report = await capture.drain_all()
    assert (report.events, len(report.buried)) == (1, 1)
