"""The same events and the same questions on SQLite and on PostgreSQL: the same rows and the same answers.

The bundled sample and some awkward events are recorded, summed up, read and partly forgotten through the real services,
once an engine; the tests then compare what was collected.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from parity_questions import answers
from parity_support import (
    NOW,
    SCOPE,
    Row,
    Side,
    awkward,
    make_tenant,
    on_postgres,
    on_sqlite,
    other_tenant,
    same_ids,
    sample,
    with_nul,
)

from claude_mem.domains.capture import forget, recorder, reindex
from claude_mem.domains.capture import repository as positions
from claude_mem.domains.capture.makers import Built
from claude_mem.domains.context import repository as given
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import repository as documents
from claude_mem.ports.database import Tx
from servers import PostgresServer, Urls


@dataclass(frozen=True, slots=True)
class Story:
    """What one engine held and answered: after recording, and after something was forgotten."""

    recorded: dict[str, list[Row]]
    answered: dict[str, object]
    left: dict[str, list[Row]]
    answered_then: dict[str, object]


async def _told(side: AbstractAsyncContextManager[Side]) -> Story:
    with same_ids():
        async with side as it:
            await it.take(sample())
            await it.take(awkward())
            await it.distil()
            await it.write(_notes)
            recorded, answered = await it.tables(), await answers(it)
            await _forget(it)
            return Story(recorded, answered, await it.tables(), await answers(it))


def _notes(tx: Tx) -> None:
    """What is noted beside recording, each twice: the second time meets the first."""
    rows = memory.list_sessions(SCOPE, tx, project_id=None, after=None, limit=3)
    refs = [EntityRef("session", row["id"]) for row in rows]
    units = [("session", row["id"], f"unit {number}") for number, row in enumerate(rows)]
    for turn in (1, 2):
        memory.note_use(SCOPE, tx, [*refs, *refs[:turn]], NOW + turn)
        positions.keep_position(SCOPE, tx, "/a/transcript", {"offset": turn}, NOW + turn)
        given.note_given(SCOPE, tx, "agent-1", units[: turn + 1], "SessionStart", NOW + turn)
    given.note_given(SCOPE, tx, "agent-2", units, "SessionStart", NOW)
    given.cut_short(SCOPE, tx, "agent-2", "PreCompact", NOW + 9)


async def _forget(side: Side) -> None:
    """A turn, a session, a tool's output and a learning."""
    sessions = await side.read(
        lambda tx: memory.list_sessions(SCOPE, tx, project_id=None, after=None, limit=9)
    )
    observed = await side.read(
        lambda tx: memory.list_of_session(
            SCOPE, tx, "observations", sessions[6]["id"], after=None, limit=2
        )
    )
    learned = await side.read(lambda tx: memory.learnings(SCOPE, tx, None, limit=2))
    refs = [EntityRef("observation", observed[0]["id"]), EntityRef("learning", learned[0]["id"])]
    await side.write(lambda tx: forget.forget_last(SCOPE, tx, side.indexing, None))
    await side.write(
        lambda tx: forget.forget_session(SCOPE, tx, side.indexing, sessions[4]["agent_session"])
    )
    for ref in refs:
        await side.write(lambda tx, ref=ref: forget.forget_entity(SCOPE, tx, side.indexing, ref))


@pytest.fixture(scope="module")
def urls(postgres: PostgresServer) -> Iterator[Urls]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory, urls: Urls) -> tuple[Story, Story]:
    folder: Path = tmp_path_factory.mktemp("parity")
    on_one = asyncio.run(_told(on_sqlite(folder)))
    return on_one, asyncio.run(_told(on_postgres(folder, urls.runtime)))


def _differing(one: dict[str, list[Row]], other: dict[str, list[Row]]) -> dict[str, object]:
    """Table -> the first pair of rows that are not the same, or how many there are."""
    found: dict[str, object] = {}
    for table, rows in one.items():
        pairs = zip(rows, other[table], strict=False)
        unequal = [(ours, theirs) for ours, theirs in pairs if ours != theirs]
        if unequal:
            ours, theirs = unequal[0]
            found[table] = [
                (name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]
            ]
        elif len(rows) != len(other[table]):
            found[table] = (len(rows), len(other[table]))
    return found


def _same_answers(one: dict[str, object], other: dict[str, object]) -> None:
    for name, answer in one.items():
        assert answer, f"nothing was asked: {name}"
        assert answer == other[name], name


def test_every_table_holds_the_same(stories: tuple[Story, Story]) -> None:
    sqlite, postgres = stories
    assert _differing(sqlite.recorded, postgres.recorded) == {}
    for table in ("prompts", "code_changes", "summaries", "learnings", "injections", "entity_use"):
        assert postgres.recorded[table], f"nothing of {table} was compared"
    assert any(row["token_count"] > 1 << 40 for row in postgres.recorded["sessions"])


def test_every_question_is_answered_the_same(stories: tuple[Story, Story]) -> None:
    sqlite, postgres = stories
    _same_answers(sqlite.answered, postgres.answered)


def test_forgetting_leaves_the_same(stories: tuple[Story, Story]) -> None:
    sqlite, postgres = stories
    assert _differing(sqlite.left, postgres.left) == {}
    assert postgres.left["forgotten"], "nothing was forgotten"
    _same_answers(sqlite.answered_then, postgres.answered_then)


@pytest.fixture
async def side(postgres_urls: Urls, tmp_path: Path) -> AsyncIterator[Side]:
    async with on_postgres(tmp_path, postgres_urls.runtime) as made:
        yield made


@pytest.mark.anyio
async def test_two_recorders_at_once_make_nothing_twice(
    side: Side, postgres_urls: Urls, tmp_path: Path
) -> None:
    """As two replicas do: the same events of the same sessions, in batches that cross."""
    (tmp_path / "second").mkdir()
    events = sample()[:240]
    async with on_postgres(tmp_path / "second", postgres_urls.runtime) as second:
        batches = [events[at : at + 30] for at in range(0, len(events), 30)]

        async def record(by: Side, order: list[list[Row]]) -> None:
            for batch in order:
                await by.take(batch)

        await asyncio.gather(record(side, batches), record(second, batches[1:] + batches[:1]))
    tables = await side.tables()
    assert len(tables["ingested_events"]) == len({event["id"] for event in events})
    for kind, table in (("prompt", "prompts"), ("observation", "observations")):
        made = sum(row["made"] == kind for row in tables["ingested_events"])
        assert len(tables[table]) == made > 0
    assert tables["search_statistics"][0]["documents"] == len(tables["search_documents"])
    assert sum(row["prompt_count"] for row in tables["sessions"]) == len(tables["prompts"])


def _record(side: Side, tx: Tx, events: list[Row]) -> Built:
    built = recorder.build(SCOPE, tx, events)
    memory.record(SCOPE, tx, built.recording)
    side.indexing.index(SCOPE, tx, built.entries)
    return built


def _until_somebody_waits(tx: Tx) -> None:
    """Go on when another transaction asks for what this one holds."""
    for _ in range(1_000):
        if tx.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar():
            return
        time.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.parametrize("same", [True, False], ids=["the same events", "another session"])
async def test_who_records_second_finds_what_the_first_made(side: Side, same: bool) -> None:
    """Both begin before either ends: keys, projects and numbers of documents are not given twice."""
    events = sample()
    name = events[0]["session"]
    first = [event for event in events if event["session"] == name]
    second = first if same else [event for event in events if event["session"] != name][:40]
    begun = threading.Event()

    def one(tx: Tx) -> Built:
        built = _record(side, tx, first)
        begun.set()
        _until_somebody_waits(tx)
        return built

    def other(tx: Tx) -> Built:
        assert begun.wait(60)
        return _record(side, tx, second)

    early, late = await asyncio.gather(side.write(one), side.write(other))
    assert early.made == len(first)
    assert late.made == (0 if same else len(second))
    documents_now = (await side.tables())["search_documents"]
    assert len({row["id"] for row in documents_now}) == len(documents_now)


@pytest.mark.anyio
async def test_a_second_tenant_changes_nothing_for_the_first(side: Side) -> None:
    """The same events under the same ids: keys lead with the tenant, and numbers of documents are its own."""
    events, theirs = sample()[:120], other_tenant()
    await side.take(events)
    before = await side.tables()
    await side.database.write(theirs, lambda tx: make_tenant(tx, theirs))
    await side.take(events, theirs)
    assert await side.tables() == before
    after = await side.tables(theirs)
    for table in ("prompts", "observations", "natural_keys", "search_documents"):
        assert len(after[table]) == len(before[table]), table
    assert {row["enterprise_id"] for row in after["prompts"]} == {theirs.enterprise_id}


@pytest.mark.anyio
async def test_the_index_is_renewed_without_losing_what_comes_meanwhile(side: Side) -> None:
    events = sample()
    await side.take(events[:60])
    await side.write(lambda tx: side.indexing.start_renewal(SCOPE, tx))
    await side.take(events[60:120])
    renewed = await side.write(
        lambda tx: side.indexing.renew(SCOPE, tx, list(reindex.entries(SCOPE, tx)))
    )
    assert renewed > 0
    assert await side.write(lambda tx: side.indexing.finish_renewal(SCOPE, tx))
    tables = await side.tables()
    entries = await side.read(lambda tx: list(reindex.entries(SCOPE, tx)))
    assert {row["entity_id"] for row in tables["search_documents"]} == {
        entry.entity_id for entry in entries
    }
    found = await side.read(lambda tx: documents.collection(SCOPE, tx))
    assert found.documents == len(entries)


@pytest.mark.anyio
async def test_a_character_it_cannot_hold_keeps_no_event_out(side: Side) -> None:
    await side.take(with_nul())
    tables = await side.tables()
    assert [row["content"] for row in tables["prompts"]] == ["before\ufffdafter"]
    assert tables["sessions"][0]["metadata_json"]["cwd"] == "/before\ufffdafter"
