"""Taking over what hooks left: nothing is lost, nothing is set aside twice, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from claude_mem.adapters.local.gate import FolderGate
from claude_mem.app.build import System
from claude_mem.domains.capture.door import take_spool
from claude_mem.domains.capture.service import CaptureService
from claude_mem.hook import rejected
from claude_mem.hook.append import append
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import StoreFull
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope

SCOPE = local_scope()


class Spooled:
    """A system with its loop not running, and hooks' lines for it."""

    def __init__(self, system: System) -> None:
        self.capture: CaptureService = system.parts.state["capture"]
        self.home = system.settings.home
        self.folder = system.settings.spool
        self.system = system

    def add(self, event: str, project: str = "", **fields: Any) -> None:
        payload = {"session_id": "s1", "cwd": "/nowhere/x", "hook_event_name": event, **fields}
        line = {"v": 1, "id": new_id(), "ms": now_ms(), "agent": "claude-code", "event": event}
        line |= {"project_dir": project, "payload": payload}
        append(str(self.home), event, json.dumps(line).encode())

    async def take(self) -> Any:
        return await take_spool(self.capture, SCOPE, self.folder)

    async def rows(self) -> list[str]:
        await self.capture.drain_all()
        sql = "SELECT content FROM prompts UNION ALL SELECT content FROM observations"
        database = self.system.parts.state["database"]
        found = await database.read(SCOPE, lambda tx: tx.exec_driver_sql(sql).all())
        return [row[0] for row in found]


@pytest.fixture
def spooled(system: System) -> Spooled:
    return Spooled(system)


async def test_large_lines_are_handed_in_by_bytes_off_the_event_loop(
    spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        spooled.add("UserPromptSubmit", prompt=f"prompt {number} " + "word " * 20_000)
    sizes: list[tuple[int, int]] = []
    accept = spooled.capture.accept_valid

    async def noted(scope: Any, events: Any, size: int = 0) -> Any:
        sizes.append((len(events), size))
        return await accept(scope, events, size)

    monkeypatch.setattr(spooled.capture, "accept_valid", noted)
    entry, loop_thread = spooled.capture._entry, []

    def watched(scope: Any, event: Any) -> Any:
        try:
            asyncio.get_running_loop()
            loop_thread.append(event)
        except RuntimeError:
            pass  # another thread: as it should be
        return entry(scope, event)

    monkeypatch.setattr(spooled.capture, "_entry", watched)
    assert (await spooled.take()).events == 30
    assert len(sizes) >= 3
    assert all(size < 2 << 20 for _, size in sizes)
    assert loop_thread == []
    assert len(await spooled.rows()) == 30


async def test_what_is_no_event_is_set_aside_once_whatever_is_tried_again(
    spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(str(spooled.home), "Stop", b"{ torn")
    spooled.add("UserPromptSubmit", prompt="kept")
    fill = 2.0
    monkeypatch.setattr(spooled.capture._gate, "fill", lambda: fill)
    for _ in range(3):
        with pytest.raises(StoreFull):
            await spooled.take()
    assert rejected.count(spooled.folder) == 0
    fill = 0.0
    report = await spooled.take()
    assert (report.events, report.rejected) == (1, 1)
    assert rejected.count(spooled.folder) == 1
    assert not list(spooled.folder.glob("ready-*"))


async def test_at_the_cap_prompts_go_in_and_tool_events_wait(
    spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = {"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_response": "listed"}
    spooled.add("PostToolUse", **tool)
    spooled.add("UserPromptSubmit", prompt="still room for this")
    fill = 1.01
    monkeypatch.setattr(spooled.capture._gate, "fill", lambda: fill)
    for _ in range(2):
        with pytest.raises(StoreFull):
            await spooled.take()
        assert await spooled.rows() == ["still room for this"]
    assert len(list(spooled.folder.glob("ready-*"))) == 1
    fill = 0.5
    await spooled.take()
    assert len(await spooled.rows()) == 2
    assert not list(spooled.folder.glob("ready-*"))


async def test_a_spooled_session_of_a_project_that_opted_out_is_not_kept(
    spooled: Spooled, tmp_path: Path
) -> None:
    (tmp_path / ".claude-mem-off").touch()
    spooled.add("UserPromptSubmit", project=str(tmp_path), prompt="not for the record")
    spooled.add("UserPromptSubmit", session_id="s2", prompt="kept")
    await spooled.take()
    assert await spooled.rows() == ["kept"]


def test_what_was_taken_in_counts_at_once(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.write_bytes(b"x" * 500)
    gate = FolderGate(tmp_path, 1000, [store])
    assert gate.fill() == 0.5
    gate.grew(600)
    assert gate.fill() == 1.1


async def test_what_was_forgotten_makes_the_file_smaller(system: System) -> None:
    database = system.parts.state["database"]

    def fill(tx: Any) -> None:
        tx.exec_driver_sql("CREATE TABLE bulk (text BLOB)")
        tx.exec_driver_sql("INSERT INTO bulk VALUES (zeroblob(8000000))")

    await database.write(SCOPE, fill)
    await database.maintain()
    before = system.settings.database.stat().st_size
    await database.write(SCOPE, lambda tx: tx.exec_driver_sql("DROP TABLE bulk"))
    await database.maintain()
    assert system.settings.database.stat().st_size < before - 7_000_000


def test_the_rejected_are_bounded_and_counted_for_good(tmp_path: Path) -> None:
    for number in range(100):
        rejected.set_aside(tmp_path, [b"%03d " % number + b"x" * 95], most=2000)
    lines = (tmp_path / rejected.REJECTED).read_bytes().splitlines()
    assert rejected.count(tmp_path) == 100
    assert sum(map(len, lines)) <= 2000
    assert lines[-1].startswith(b"099")
    assert lines == sorted(lines)
    rejected.set_aside(tmp_path, [b"y" * 5000], most=2000)
    assert rejected.count(tmp_path) == 101
