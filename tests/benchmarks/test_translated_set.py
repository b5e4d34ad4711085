"""Questions in one language whose answers are in the other: the glossary finds them, and loses none that was found."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.retrieval.data import sets
from bench.translated import read, write

from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.app.migrate import ensure_current
from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import NewObservation, NewSession, Recording
from claude_mem.domains.retrieval import glossary
from claude_mem.domains.retrieval.model import IndexEntry, Query
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Tx

pytestmark = pytest.mark.anyio

SCOPE = local_scope()
NOW = 1_795_000_000_000
PROBES = read()


def _remember(tx: Tx) -> None:
    project = access.ensure_project(SCOPE, tx, "/home/dev/translated")
    session, recording, entries = new_id(NOW), Recording(), []
    recording.sessions.append(
        NewSession(session, project, None, "claude-code", "s", "A session", NOW, {})
    )
    for at, probe in enumerate(PROBES):
        entity = new_id(NOW + at)
        recording.observations.append(
            NewObservation(
                id=entity,
                session_id=session,
                prompt_id=None,
                event_id=entity,
                observation_type="tool_result",
                source_tool="Bash",
                title="",
                content=probe.text,
                content_hash="",
                command=None,
                exit_status=None,
                importance=0.5,
                tags=(),
                metadata={},
                subagent_id=None,
                occurred_at=NOW + at,
            )
        )
        entries.append(
            IndexEntry(
                kind="observation",
                entity_id=entity,
                title="",
                body=probe.text,
                project_id=project,
                session_id=None,
                type="tool_result",
                tool="Bash",
                role=None,
                tags=(),
                files=(),
                occurred_at=NOW + at,
            )
        )
    memory.record(SCOPE, tx, recording)
    IndexingService(SqliteLexicalIndex()).index(SCOPE, tx, entries)


async def _shares(folder: Path) -> dict[str, tuple[float, float]]:
    """Category -> the share of its questions whose answer is first, and among the first five."""
    ensure_current(folder / "test.db")
    database = SqliteDatabase(folder / "test.db")
    await database.write(SCOPE, access.make_local_organisation)
    await database.write(SCOPE, _remember)
    search = SearchService(database, SqliteLexicalIndex(), memory.get_many)
    ranks: dict[str, list[int]] = {}
    for probe in PROBES:
        if probe.question:
            result = await search.search(SCOPE, Query(probe.question, limit=5), NOW)
            texts = [hit.row["content"] for hit in result.hits]
            rank = texts.index(probe.text) + 1 if probe.text in texts else 99
            ranks.setdefault(probe.category, []).append(rank)
    await database.close()
    return {
        name: (sum(it == 1 for it in of) / len(of), sum(it <= 5 for it in of) / len(of))
        for name, of in ranks.items()
    }


async def test_the_glossary_finds_what_words_alone_do_not(tmp_path: Path) -> None:
    found = await _shares(tmp_path)
    assert found["zh"][1] >= 0.9
    assert found["en"][1] >= 0.8
    assert found["same"][1] == 1.0
    assert found["same"][0] >= 0.85


async def test_without_it_hardly_any_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glossary, "phrases", lambda *_, **__: ())
    found = await _shares(tmp_path)
    assert found["zh"][1] <= 0.1
    assert found["en"][1] <= 0.2


def test_the_set_is_as_it_is_said_to_be(tmp_path: Path) -> None:
    (made,) = sets(write(tmp_path))
    assert len(made.said) == len(PROBES) > 120
    asked = [probe.category for probe in PROBES if probe.question]
    assert min(asked.count(it) for it in ("zh", "en", "same")) >= 14
    assert [question.category for question in made.questions] == asked
