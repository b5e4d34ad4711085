"""A store with its search, rows and index together, and what a test remembers in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.app.migrate import ensure_current
from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef, NewObservation, NewSession, Recording
from claude_mem.domains.retrieval import repository
from claude_mem.domains.retrieval.model import IndexEntry, Query, SearchResult
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.database import Tx

OURS = local_scope()
THEIRS = Scope(
    "00000000-0000-7000-8000-0000000000ff", "00000000-0000-7000-8000-0000000000fe", frozenset()
)
DAY = 86_400_000
NOW = 20_000 * DAY + 12 * 3_600_000


@dataclass(frozen=True)
class Note:
    """What a test remembers: by default something observed today in the project `ledger`."""

    body: str
    title: str = ""
    project: str = "/home/dev/ledger"
    type: str = "tool_result"
    tool: str = "Bash"
    role: str | None = None
    tags: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    occurred_at: int = NOW


@dataclass
class Memory:
    """A store with its search."""

    database: SqliteDatabase
    indexing: IndexingService
    search: SearchService
    entries: list[IndexEntry] = field(default_factory=list)

    async def remember(self, *notes: Note | str, scope: Scope = OURS) -> list[EntityRef]:
        """Write rows and index them in one transaction, as recording does."""
        made = [Note(note) if isinstance(note, str) else note for note in notes]

        def work(tx: Tx) -> list[IndexEntry]:
            recording, entries = Recording(), []
            for note in made:
                session, observation, entry = _rows(scope, tx, note)
                recording.sessions.append(session)
                recording.observations.append(observation)
                entries.append(entry)
            memory.record(scope, tx, recording)
            self.indexing.index(scope, tx, entries)
            return entries

        entries = await self.database.write(scope, work)
        self.entries += entries
        return [EntityRef(entry.kind, entry.entity_id) for entry in entries]

    async def find(self, text: str, scope: Scope = OURS, **options: Any) -> SearchResult:
        return await self.search.search(scope, Query(text, **options), now=NOW)

    async def bodies(self, text: str, scope: Scope = OURS, **options: Any) -> list[str]:
        found = await self.find(text, scope, **options)
        return [hit.row["content"] for hit in found.hits]

    async def collection(self, scope: Scope = OURS) -> Any:
        return await self.database.read(scope, lambda tx: repository.collection(scope, tx))


def _rows(scope: Scope, tx: Tx, note: Note) -> tuple[NewSession, NewObservation, IndexEntry]:
    project = access.ensure_project(scope, tx, note.project)
    session, entity = new_id(note.occurred_at), new_id(note.occurred_at)
    return (
        NewSession(
            session, project, note.role, "claude-code", f"agent-{session}", "A session", NOW, {}
        ),
        NewObservation(
            id=entity,
            session_id=session,
            prompt_id=None,
            event_id=new_id(note.occurred_at),
            observation_type=note.type,
            source_tool=note.tool,
            title=note.title,
            content=note.body,
            content_hash="",
            command=None,
            exit_status=None,
            importance=0.5,
            tags=note.tags,
            metadata={},
            subagent_id=None,
            occurred_at=note.occurred_at,
        ),
        IndexEntry(
            kind="observation",
            entity_id=entity,
            title=note.title,
            body=note.body,
            project_id=project,
            session_id=session,
            type=note.type,
            tool=note.tool,
            role=note.role,
            tags=note.tags,
            files=note.files,
            occurred_at=note.occurred_at,
        ),
    )


@pytest.fixture(name="store")
async def search_store(tmp_path: Path) -> AsyncIterator[Memory]:
    path = tmp_path / "test.db"
    ensure_current(path)
    database = SqliteDatabase(path)
    await database.write(OURS, access.make_local_organisation)
    lexical = SqliteLexicalIndex()
    yield Memory(
        database, IndexingService(lexical), SearchService(database, lexical, memory.get_many)
    )
    await database.close()
