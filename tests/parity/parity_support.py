"""One engine with the real services on it, and a way to give two of them the same ids and the same moment.

What is random or of now in the domains comes from `same_ids`, so that both engines' rows can be compared to the letter.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.lexical import PostgresLexicalIndex
from claude_mem.adapters.postgres.queue import PostgresQueue
from claude_mem.adapters.postgres.vectors import PostgresVectorIndex
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.inbox import SqliteInbox
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.adapters.sqlite.queue import SqliteQueue
from claude_mem.adapters.sqlite.vectors import SqliteVectorIndex
from claude_mem.app.migrate import ensure_current
from claude_mem.domains.access import service as access
from claude_mem.domains.access.repository import make_enterprise
from claude_mem.domains.capture.model import Limits
from claude_mem.domains.capture.service import CaptureService, Engines
from claude_mem.domains.capture.transcripts import Reading, find_transcripts
from claude_mem.domains.context.gather import Sources
from claude_mem.domains.context.service import ContextService
from claude_mem.domains.intelligence import service as intelligence
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval.embedding import VectorKeeper
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.domains.sql import metadata
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import deterministic_id, new_id
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.inbox import Inbox
from claude_mem.ports.lexical import LexicalIndex
from claude_mem.ports.queue import Queue
from claude_mem.ports.vectors import VectorIndex

T = TypeVar("T")
Row = dict[str, Any]
SCOPE = local_scope()
NOW = 1_795_000_000_000  # after all that the sample tells
SAMPLE = Path(access.__file__).parents[2] / "assets/sample/transcripts"


class OpenGate:
    """Nobody paused or opted out, and there is room."""

    def paused(self) -> bool:
        return False

    def paused_at(self, moment: int) -> bool:
        return False

    def opted_out(self, folder: str) -> bool:
        return False

    def fill(self) -> float:
        return 0.0

    def grew(self, size: int) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Side:
    """One engine, with the services as the program puts them together."""

    name: str
    database: Database
    queue: Queue
    lexical: LexicalIndex
    indexing: IndexingService
    capture: CaptureService
    inbox: Inbox
    search: SearchService
    context: ContextService
    vectors: VectorIndex
    keeper: VectorKeeper

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self.database.read(SCOPE, work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self.database.write(SCOPE, work)

    async def take(self, events: list[Row], scope: Scope = SCOPE) -> None:
        """Record events as a client's are; none may turn out to be poison."""
        for at in range(0, len(events), 500):
            await self.capture.accept(scope, events[at : at + 500])
            await self.capture.drain_all()
        assert [it.reason for it in (await self.inbox.dead_letters(scope, 10)).letters] == [], (
            self.name
        )

    async def distil(self) -> None:
        """Sum every session up, as the job does."""
        for session in await self.read(all_sessions):
            await self.write(
                lambda tx, its=session["id"]: intelligence.distil(SCOPE, tx, self.indexing, its)
            )

    async def tables(self, scope: Scope = SCOPE) -> dict[str, list[Row]]:
        """Every row of every table of the domains, in one order."""
        return await self.database.read(
            scope, lambda tx: {name: _rows(tx, table) for name, table in metadata.tables.items()}
        )


def all_sessions(tx: Tx) -> list[Row]:
    return memory.list_sessions(SCOPE, tx, project_id=None, after=None, limit=1000)


def _rows(tx: Tx, table: sa.Table) -> list[Row]:
    rows = [dict(row) for row in tx.execute(sa.select(table)).mappings()]
    return sorted(rows, key=lambda row: [str(row[column.name]) for column in table.primary_key])


def sample() -> list[Row]:
    """The events of the bundled sample's transcripts."""
    files = find_transcripts(SAMPLE)
    return [event for file in files for event in Reading(file.path, settled=True)]


def awkward() -> list[Row]:
    """What engines like to disagree on: other scripts, quotes, great numbers, empty texts, sums that are doubled."""
    texts = [
        "Größe, 大小, حجم, 🦆 and \\u0000 spelled out",
        "'; DROP TABLE prompts; --",
        "100% %s {} ?",
        "\ue000\uffff",
        "a" * 70_000,
    ]
    events = [
        _event("prompt.submitted", at, {"content": text, "prompt_id": f"odd-{at}"})
        for at, text in enumerate(texts)
    ]
    usage = {"input_tokens": 1 << 39, "output_tokens": 1 << 39}
    for at in (10, 11, 12):
        said = {"content": f"Said {at}", "message_id": f"m-{at}", "usage": usage}
        events.append(_event("assistant.replied", at, said))
    failed = {"tool": "Bash", "input": {"command": "x"}, "error": "Exit code 139\nno"}
    events.append(_event("tool.failed", 20, {**failed, "tool_use_id": "odd-tool"}))
    nested = {"deep": {"": None, "a": [1, 2.5, True, 1e300]}, "z": 1, "aa": "é"}
    events.append(_event("tool.used", 21, {"tool": "Odd", "input": nested, "response": nested}))
    return events


def with_nul() -> list[Row]:
    """The one character that PostgreSQL cannot hold, in a text and in a document."""
    data = {"content": "before\0after", "cwd": "/before\0after", "prompt_id": "nul\0"}
    return [_event("prompt.submitted", 0, data) | {"session": "nul\0", "project": "/nul\0"}]


def _event(kind: str, at: int, data: Row) -> Row:
    moment = NOW - 86_400_000 + at
    return {
        "id": deterministic_id(moment, f"{kind} {at}"),
        "type": kind,
        "occurred_at": to_iso(moment),
        "agent": "claude-code",
        "session": "odd one",
        "project": "/odd/Größe",
        "data": data,
    }


@contextmanager
def same_ids() -> Iterator[None]:
    """Ids in one sequence, from its beginning, and one moment for everything: in the domains only."""
    numbers = count()

    def next_id(epoch_ms: int | None = None) -> str:
        return deterministic_id(NOW if epoch_ms is None else epoch_ms, f"parity {next(numbers)}")

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if not name.startswith("claude_mem.domains."):
                continue
            if getattr(module, "new_id", None) is new_id:
                patch.setattr(module, "new_id", next_id)
            if getattr(module, "now_ms", None) is now_ms:
                patch.setattr(module, "now_ms", lambda: NOW)
        yield


@asynccontextmanager
async def on_sqlite(folder: Path, embedder: Embedder | None = None) -> AsyncIterator[Side]:
    path = folder / "claude-mem.db"
    ensure_current(path)
    parts = SqliteDatabase(path), SqliteQueue(), SqliteLexicalIndex(), SqliteVectorIndex()
    async with _side("sqlite", folder, *parts, embedder) as it:
        yield it


@asynccontextmanager
async def on_postgres(
    folder: Path, url: str, embedder: Embedder | None = None
) -> AsyncIterator[Side]:
    """As the runtime role: what the policies would hide is missed."""
    parts = PostgresDatabase(url), PostgresQueue(), PostgresLexicalIndex(), PostgresVectorIndex()
    async with _side("postgres", folder, *parts, embedder) as it:
        yield it


@asynccontextmanager
async def _side(
    name: str,
    folder: Path,
    database: Database,
    queue: Queue,
    lexical: LexicalIndex,
    vectors: VectorIndex,
    embedder: Embedder | None,
) -> AsyncIterator[Side]:
    inbox = SqliteInbox(folder / f"{name}-inbox.db", 10_000)
    keeper = VectorKeeper(vectors, embedder, queue)
    indexing = IndexingService(lexical, keeper)
    search = SearchService(database, lexical, memory.get_many)
    capture = CaptureService(
        Engines(database, inbox, queue, indexing), OpenGate(), lambda folder: folder, Limits()
    )
    context = ContextService(Sources(search, intelligence.current_digest))
    try:
        await database.write(SCOPE, access.make_local_organisation)
        services = indexing, capture, inbox, search, context, vectors, keeper
        yield Side(name, database, queue, lexical, *services)
    finally:
        await inbox.close()
        await database.close()


def other_tenant() -> Scope:
    """Somebody else on the same database."""
    return Scope(
        "00000000-0000-7000-8000-0000000000b1",
        "00000000-0000-7000-8000-0000000000b3",
        SCOPE.permissions,
    )


def make_tenant(tx: Tx, scope: Scope) -> None:
    """What an enterprise needs before its first event."""
    make_enterprise(
        tx,
        enterprise_id=scope.enterprise_id,
        solution_id=scope.user_id,
        user_id=scope.user_id,
        now=NOW,
    )
