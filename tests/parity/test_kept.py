"""What is kept in a cache, on both engines: the same answers as without, whatever is written or forgotten meanwhile."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from parity_support import SCOPE, Row, Side, make_tenant, on_postgres, on_sqlite, other_tenant

from claude_mem.adapters.local.cache import LocalCache
from claude_mem.adapters.redis.cache import RedisCache
from claude_mem.adapters.redis.connection import Connection
from claude_mem.domains.capture import forget
from claude_mem.domains.context.working import Working, WorkingMemory, working_memory
from claude_mem.domains.memory import recent
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import repository
from claude_mem.domains.retrieval.model import Filters, IndexEntry, Query, SearchResult
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.domains.retrieval.tables import search_statistics
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import NotFound
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.cache import Cache
from claude_mem.ports.database import Tx
from claude_mem.ports.lexical import Candidates, LexicalPlan
from redis_servers import RedisServer, redis_server

DAY = 86_400_000
NOW = 1_795_000_000_000


class Watched:
    """A cache that remembers what went through it."""

    def __init__(self, inner: Cache) -> None:
        self._inner = inner
        self.values: dict[tuple[str, str], bytes] = {}
        self.found = 0

    async def get(self, scope: Scope, name: str) -> bytes | None:
        value = await self._inner.get(scope, name)
        self.found += value is not None
        return value

    async def put(self, scope: Scope, name: str, value: bytes, ttl_s: int) -> None:
        assert 0 < ttl_s <= 3600
        self.values[scope.enterprise_id, name] = value
        await self._inner.put(scope, name, value, ttl_s)

    async def drop(self, scope: Scope, names: Sequence[str]) -> None:
        for name in names:
            self.values.pop((scope.enterprise_id, name), None)
        await self._inner.drop(scope, names)

    async def close(self) -> None:
        await self._inner.close()


class CountedIndex:
    """A text index that counts how often it is asked."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.asked = 0

    def candidates(self, scope: Scope, tx: Tx, plan: LexicalPlan) -> Candidates:
        self.asked += 1
        found: Candidates = self._inner.candidates(scope, tx, plan)
        return found

    def newest(self, scope: Scope, tx: Tx, plan: LexicalPlan) -> tuple[int, ...]:
        found: tuple[int, ...] = self._inner.newest(scope, tx, plan)
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
async def side(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Side]:
    if request.param == "sqlite":
        opened = on_sqlite(tmp_path)
    else:
        opened = on_postgres(tmp_path, request.getfixturevalue("postgres_urls").runtime)
    async with opened as made:
        yield made


@pytest.fixture
async def cache(side: Side, request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    """In process beside SQLite, Redis beside PostgreSQL."""
    inner: Cache = LocalCache()
    if side.name == "postgres":
        server = request.getfixturevalue("server")
        server.say("FLUSHALL")
        inner = RedisCache(Connection(server.url, patience_s=10))
    made = Watched(inner)
    yield made
    await made.close()


@pytest.fixture
def index(side: Side) -> CountedIndex:
    return CountedIndex(side.lexical)


@pytest.fixture
def search(side: Side, index: CountedIndex, cache: Watched) -> SearchService:
    return SearchService(side.database, index, memory.get_many, cache)  # type: ignore[arg-type]


def prompt(text: str, at: int = 0, session: str = "one", **changes: Any) -> Row:
    return (
        _event("prompt.submitted", {"content": text, "prompt_id": new_id()}, at, session) | changes
    )


def failed(text: str, at: int, session: str = "one") -> Row:
    data = {"tool": "Bash", "tool_use_id": new_id(), "input": {"command": "make"}, "error": text}
    return _event("tool.failed", data, at, session)


def changed(path: str, at: int, session: str = "one") -> Row:
    given = {"file_path": path, "content": f"about {path}\n"}
    data = {"tool": "Write", "tool_use_id": new_id(), "input": given, "response": {}}
    return _event("tool.used", data, at, session)


def _event(kind: str, data: Row, at: int, session: str) -> Row:
    return {
        "id": new_id(),
        "type": kind,
        "occurred_at": to_iso(NOW - DAY + at),
        "agent": "claude-code",
        "session": session,
        "project": f"/srv/{session}",
        "data": data,
    }


def bodies(found: SearchResult) -> set[str]:
    return {str(hit.row["content"]) for hit in found.hits}


async def session_of(side: Side, agent_session: str) -> Row:
    return await side.read(lambda tx: memory.get_session(SCOPE, tx, agent_session))


async def generation(side: Side, scope: Scope = SCOPE) -> int:
    return await side.database.read(scope, lambda tx: repository.collection(scope, tx).generation)


# --- searches ---------------------------------------------------------------------------------


async def test_the_same_search_asks_the_index_once_and_answers_the_same(
    side: Side, search: SearchService, index: CountedIndex, cache: Watched
) -> None:
    await side.take([prompt(f"rounding of invoice number {n}", n) for n in range(30)])
    first = await search.search(SCOPE, Query("rounding invoice"), NOW)
    assert index.asked == 1
    assert len(first.hits) == 20
    second = await search.search(SCOPE, Query("  rounding   invoice "), NOW)
    assert (index.asked, cache.found) == (1, 1)
    assert second == first
    assert first == await side.search.search(SCOPE, Query("rounding invoice"), NOW)


async def test_whatever_is_asked_the_answer_is_that_without_a_cache(
    side: Side, search: SearchService, index: CountedIndex
) -> None:
    await side.take(
        [
            *(prompt(f"rounding of invoice {n}", n * DAY // 20, f"s{n % 3}") for n in range(20)),
            *(failed(f"rounding broke in case {n}", n, f"s{n % 3}") for n in range(8)),
            *(changed(f"/src/rounding{n}.py", n, f"s{n % 3}") for n in range(5)),
        ]
    )
    asked = [
        Query(text, **options)
        for text in (
            "rounding",
            '"rounding broke"',
            "round*",
            "rounding -case",
            "the",
            "",
            "none",
            "舍入",
        )
        for options in (
            {},
            {"limit": 3},
            {"limit": 3, "offset": 3},
            {"offset": 500},
            {"marked": False},
            {"project": "s1"},
            {"project": "nowhere"},
            {"session": "s2"},
            {"session": "nowhere"},
            {"filters": Filters(kind="observation")},
            {"filters": Filters(tool="Bash")},
            {"filters": Filters(file="rounding2.py")},
            {"filters": Filters(since=NOW - DAY + 5)},
            {"filters": Filters(since=NOW - DAY + 6, until=NOW - DAY + 1000)},
        )
    ]
    for turn in range(2):
        for query in asked:
            for moment in (NOW, NOW + 400 * DAY):
                found = await search.search(SCOPE, query, moment)
                assert found == await side.search.search(SCOPE, query, moment), query
        if turn == 0:
            once = index.asked
    assert index.asked == once > 50


async def test_what_is_written_is_found_and_what_is_forgotten_is_not(
    side: Side, search: SearchService
) -> None:
    await side.take([prompt("rounding of invoices", 0)])
    assert bodies(await search.search(SCOPE, Query("rounding"), NOW)) == {"rounding of invoices"}
    await side.take([prompt("rounding of ledgers", 10, "two")])
    both = {"rounding of invoices", "rounding of ledgers"}
    assert bodies(await search.search(SCOPE, Query("rounding"), NOW)) == both
    session = await session_of(side, "one")
    await side.write(lambda tx: forget.forget_session(SCOPE, tx, side.indexing, session["id"]))
    found = await search.search(SCOPE, Query("rounding"), NOW)
    assert bodies(found) == {"rounding of ledgers"}
    assert found.total == 1


async def test_a_row_that_is_gone_is_not_shown_whatever_is_kept(
    side: Side, search: SearchService, index: CountedIndex
) -> None:
    await side.take([prompt("rounding of invoices", 0), prompt("rounding of ledgers", 10, "two")])
    first = await search.search(SCOPE, Query("rounding"), NOW)
    gone = next(hit.ref for hit in first.hits if "ledgers" in hit.row["content"])
    # The row alone, behind the index's back.
    await side.write(lambda tx: memory.erase(SCOPE, tx, [EntityRef(gone.kind, gone.id)]))
    second = await search.search(SCOPE, Query("rounding"), NOW)
    assert index.asked == 1, "the ranking is the kept one"
    assert bodies(second) == {"rounding of invoices"}


async def test_a_document_that_takes_anothers_place_and_size_is_another(
    side: Side, search: SearchService
) -> None:
    await side.take([prompt("rounding alpha", 0)])
    (hit,) = (await search.search(SCOPE, Query("alpha"), NOW)).hits
    before = await side.read(lambda tx: repository.collection(SCOPE, tx))
    other = IndexEntry(
        kind=hit.ref.kind,
        entity_id=hit.ref.id,
        title="rounding gamma",
        body="rounding gamma",
        project_id=hit.row["project_id"],
        session_id=hit.row["session_id"],
        type="user",
        tool=None,
        role=None,
        tags=(),
        files=(),
        occurred_at=hit.row["occurred_at"],
    )
    await side.write(lambda tx: side.indexing.index(SCOPE, tx, [other]))
    after = await side.read(lambda tx: repository.collection(SCOPE, tx))
    assert replace(after, generation=before.generation) == before, "by its numbers it is the same"
    assert (await search.search(SCOPE, Query("alpha"), NOW)).hits == ()


async def test_nothing_remembered_is_kept_of_a_search(
    side: Side, search: SearchService, cache: Watched
) -> None:
    await side.take([prompt("rounding of the clandestine invoice", 0, "hushhush")])
    found = await search.search(SCOPE, Query("round*"), NOW)
    assert found.hits[0].highlights
    assert len(cache.values) == 1
    for (_, name), value in cache.values.items():
        for word in ("clandestine", "invoice", "rounding", "hushhush"):
            assert word not in name
            assert word.encode() not in value


async def test_callers_meet_in_no_ranking(
    side: Side, search: SearchService, index: CountedIndex, cache: Watched
) -> None:
    other = other_tenant()
    await side.database.write(other, lambda tx: make_tenant(tx, other))
    await side.take([prompt("rounding of invoices", 0)])
    await side.take([prompt("rounding of theirs", 0)], other)
    colleague = replace(SCOPE, user_id=new_id())
    reader = replace(SCOPE, permissions=frozenset({"search:read"}))
    for scope, seen in (
        (SCOPE, "rounding of invoices"),
        (other, "rounding of theirs"),
        (colleague, "rounding of invoices"),
        (reader, "rounding of invoices"),
    ):
        assert bodies(await search.search(scope, Query("rounding"), NOW)) == {seen}
    assert index.asked == 4
    assert len({name for _, name in cache.values}) == 4
    # Permissions have no order.
    again = replace(SCOPE, permissions=frozenset(sorted(SCOPE.permissions, reverse=True)))
    await search.search(again, Query("rounding"), NOW)
    assert index.asked == 4


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"[[[1]],[],1,false,{}]", b"\xff", b"null"])
async def test_what_makes_no_ranking_is_none(
    side: Side, search: SearchService, index: CountedIndex, cache: Watched, value: bytes
) -> None:
    await side.take([prompt("rounding of invoices", 0)])
    await search.search(SCOPE, Query("rounding"), NOW)
    ((_, name),) = cache.values
    await cache.put(SCOPE, name, value, 100)
    assert bodies(await search.search(SCOPE, Query("rounding"), NOW)) == {"rounding of invoices"}
    assert index.asked == 2


async def test_every_change_of_the_index_makes_a_new_generation(side: Side) -> None:
    seen = [await generation(side)]
    await side.take([prompt("one", 0)])
    seen.append(await generation(side))
    await side.take([prompt("two", 10)])
    seen.append(await generation(side))
    session = await session_of(side, "one")
    await side.write(lambda tx: forget.forget_last(SCOPE, tx, side.indexing, None))
    seen.append(await generation(side))
    await side.write(lambda tx: forget.forget_session(SCOPE, tx, side.indexing, session["id"]))
    seen.append(await generation(side))
    assert seen == sorted(set(seen)), "each is greater than all before"

    def undone(tx: Tx) -> None:
        side.indexing.rebuild(SCOPE, tx, [])
        raise NotFound("on purpose")

    with pytest.raises(NotFound):
        await side.write(undone)
    assert await generation(side) == seen[-1]


@pytest.mark.parametrize("ahead", [-10_000_000_000, 10_000_000_000])
async def test_a_generation_comes_once_also_after_a_backup_and_when_the_clock_goes_back(
    side: Side, ahead: int
) -> None:
    await side.take([prompt("one", 0)])
    set_to = now_ms() + ahead
    change = sa.update(search_statistics).values(generation=set_to)
    await side.write(lambda tx: tx.execute(change))
    await side.take([prompt("two", 10)])
    found = await generation(side)
    assert found > max(set_to, now_ms() - 60_000)


# --- working memory ---------------------------------------------------------------------------


async def direct(side: Side, session_id: str) -> Working:
    return await side.read(lambda tx: working_memory(SCOPE, tx, session_id))


async def test_working_memory_is_read_once_until_something_changes(
    side: Side, cache: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await side.take([prompt("mend it", 0), failed("it broke", 5), changed("/src/a.py", 9)])
    reads = 0
    actual = recent.latest_messages

    def counted(*arguments: Any) -> list[Row]:
        nonlocal reads
        reads += 1
        return actual(*arguments)

    monkeypatch.setattr(recent, "latest_messages", counted)
    working = WorkingMemory(side.database, cache)
    first = await working.get(SCOPE, "one")
    assert (first.task or {})["content"] == "mend it"
    assert [row["title"] for row in first.failures]
    assert first.files == ("/src/a.py",)
    own = first.session["id"]
    assert await working.get(SCOPE, own) == first == await working.get(SCOPE, "one")
    assert (reads, cache.found) == (1, 2)
    await side.take([prompt("and the other", 20)])
    assert [row["content"] for row in (await working.get(SCOPE, own)).messages][
        -1
    ] == "and the other"
    assert reads == 2
    assert len(cache.values) == 1, "one value a session, however often it changes"


async def test_working_memory_is_true_after_whatever_happens(side: Side, cache: Watched) -> None:
    chance = random.Random(5)
    working = WorkingMemory(side.database, cache)
    sessions = ("one", "two")

    async def write(at: int) -> None:
        make = chance.choice((prompt, failed, changed))
        # Late ones too: what happened earlier and is told afterwards.
        await side.take(
            [make(f"/thing/{at}", chance.choice((at * 10, at)), chance.choice(sessions))]
        )

    async def forget_turn(at: int) -> None:
        await side.write(lambda tx: forget.forget_last(SCOPE, tx, side.indexing, None))

    async def forget_one(at: int) -> None:
        found = await direct(side, chance.choice(sessions))
        refs = [EntityRef("prompt", row["id"]) for row in found.messages]
        refs += [EntityRef("observation", row["id"]) for row in found.failures]
        if refs:
            ref = chance.choice(refs)
            await side.write(lambda tx: forget.forget_entity(SCOPE, tx, side.indexing, ref))

    await side.take([prompt("begin", 0, session) for session in sessions])
    for at in range(1, 40):
        await chance.choice((write, write, write, forget_turn, forget_one))(at)
        if not (await direct(side, "one")).messages:
            await side.take([prompt(f"again {at}", at * 10, "one")])
        for session in sessions:
            for _ in range(2):
                assert await working.get(SCOPE, session) == await direct(side, session), at
    assert cache.found >= 40
    own = (await session_of(side, "one"))["id"]
    await side.write(lambda tx: forget.forget_session(SCOPE, tx, side.indexing, own))
    with pytest.raises(NotFound):
        await working.get(SCOPE, own)


async def test_working_memory_is_the_tenants_own(side: Side, cache: Watched) -> None:
    other = other_tenant()
    await side.database.write(other, lambda tx: make_tenant(tx, other))
    await side.take([prompt("ours", 0)])
    working = WorkingMemory(side.database, cache)
    own = (await working.get(SCOPE, "one")).session["id"]
    for session_id in (own, "one"):
        with pytest.raises(NotFound):
            await working.get(other, session_id)
    await side.take([prompt("theirs", 0)], other)
    found = await working.get(other, "one")
    assert [row["content"] for row in found.messages] == ["theirs"]
    # A value that got under another session's name says of which it is.
    (ours, theirs) = (cache.values[place] for place in cache.values)
    await cache.put(SCOPE, f"working {own}", theirs, 100)
    assert [row["content"] for row in (await working.get(SCOPE, own)).messages] == ["ours"]
    assert ours != theirs


async def test_what_is_dropped_is_nowhere(side: Side, cache: Watched) -> None:
    await side.take([prompt("the clandestine invoice", 0)])
    working = WorkingMemory(side.database, cache)
    session = (await working.get(SCOPE, "one")).session["id"]
    assert b"clandestine" in b"".join(cache.values.values())
    await working.drop(SCOPE, [session])
    assert cache.values == {}
    found = cache.found
    await working.get(SCOPE, "one")
    assert cache.found == found
