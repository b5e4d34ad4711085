"""A store with real content, made by the product itself, and ways to damage its files."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import sqlean

from claude_mem.app.build import build_local
from claude_mem.app.settings import load
from claude_mem.domains.access import service as access
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope

PAGE = 4096
NOON = 1_790_000_000_000
Hurt = Callable[[Path], None]


def make_store(home: Path, sessions: int = 6, turns: int = 25) -> None:
    """A data folder with recorded sessions, closed: one file a database, its log emptied."""
    home.mkdir(mode=0o700, parents=True)
    asyncio.run(_record(home, list(_events(sessions, turns))))


async def _record(home: Path, events: list[dict[str, Any]]) -> None:
    system = build_local(load(home, {}))
    state = system.parts.state
    await state["database"].write(local_scope(), access.make_local_organisation)
    await state["capture"].accept(local_scope(), events)
    await state["capture"].drain_all()
    await state["maintain"]()
    await system.inbox.close()
    await state["database"].close()


def _events(sessions: int, turns: int) -> Iterable[dict[str, Any]]:
    words = random.Random(7)
    for number in range(sessions * turns):
        session, turn = divmod(number, turns)
        common = {
            "agent": "claude-code",
            "session": f"session-{session}",
            "project": f"project-{session % 2}",
            "occurred_at": to_iso(NOON + number * 1000),
        }
        asked = " ".join(words.choices(WORDS, k=words.randrange(4, 60)))
        data = {"content": f"Question {number}: {asked}", "prompt_id": f"p-{number}"}
        yield {"id": new_id(), "type": "prompt.submitted", **common, "data": data}
        said = " ".join(words.choices(WORDS, k=1_500 if turn % 10 == 0 else 40))
        tool: dict[str, Any] = {
            "tool": "Write" if turn % 3 == 0 else "Bash",
            "tool_use_id": f"t-{number}",
            "input": {"file_path": f"/src/file{number}.py", "content": f"{said}\n"}
            if turn % 3 == 0
            else {"command": f"make step-{number}"},
            "response": {} if turn % 3 == 0 else {"stdout": said},
        }
        yield {"id": new_id(), "type": "tool.used", **common, "data": tool}


WORDS = [
    "ledger",
    "invoice",
    "rounding",
    "customer",
    "ship",
    "parcel",
    "发票",
    "四舍五入",
    "token",
    "cache",
    "retry",
    "lock",
    "index",
]


def rows_of(path: Path, table: str) -> set[tuple[Any, ...]]:
    """Every row of a table."""
    raw = sqlean.connect(str(path))
    try:
        return set(raw.execute(f"SELECT * FROM {table}").fetchall())
    finally:
        raw.close()


def count(path: Path, table: str) -> int:
    """How many rows a table has."""
    raw = sqlean.connect(str(path))
    try:
        return int(raw.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        raw.close()


def pages_of(path: Path, name: str) -> list[int]:
    """The pages of a table or index of a sound file, its root first."""
    raw = sqlean.connect(str(path))
    try:
        found = raw.execute("SELECT pageno FROM dbstat WHERE name = ? ORDER BY path", (name,))
        return [row[0] for row in found]
    finally:
        raw.close()


def zero(*numbers: int) -> Hurt:
    """Zeros over pages."""
    return lambda path: _over(path, {number: bytes(PAGE) for number in numbers})


def garbage(*numbers: int) -> Hurt:
    """Noise over pages."""
    noise = random.Random(11)
    return lambda path: _over(path, {number: noise.randbytes(PAGE) for number in numbers})


def cut(pages: int, more: int = 100) -> Hurt:
    """Only the first pages are left, and a bit of the next."""

    def hurt(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(pages * PAGE + more)

    return hurt


def _over(path: Path, contents: dict[int, bytes]) -> None:
    with path.open("r+b") as file:
        for number, content in contents.items():
            file.seek((number - 1) * PAGE)
            file.write(content)


def copy_store(source: Path, home: Path) -> Path:
    """A store of one's own to damage."""
    shutil.copytree(source, home)
    return home
