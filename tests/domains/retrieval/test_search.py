"""Searching what was remembered: the service over the real store, rows and index together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_support import DAY, NOW, OURS, THEIRS, Memory, Note, search_store

from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.analysis import ANALYSIS_VERSION
from claude_mem.domains.retrieval.model import Filters
from claude_mem.ports.database import Tx

__all__ = ["search_store"]

pytestmark = pytest.mark.anyio


async def their_organisation(store: Memory) -> None:
    from claude_mem.domains.access import repository as organisation

    def work(tx: Tx) -> None:
        organisation.make_enterprise(
            tx,
            enterprise_id=THEIRS.enterprise_id,
            solution_id="00000000-0000-7000-8000-000000000002",
            user_id=THEIRS.user_id,
            now=NOW,
        )

    await store.database.write(THEIRS, work)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("The users were logged out", "user logging"),
        ("fixed getUserById in src/auth/jwt.ts", "getUserById"),
        ("fixed getUserById in src/auth/jwt.ts", "getuserbyid"),
        ("fixed getUserById in src/auth/jwt.ts", "user"),
        ("fixed getUserById in src/auth/jwt.ts", "jwt.ts"),
        ("fixed getUserById in src/auth/jwt.ts", "auth/jwt.ts"),
        ("fixed getUserById in src/auth/jwt.ts", "getUser*"),
        ("error TS2345 and ECONNREFUSED", "econnrefused"),
        ("commit a1b2c3d4e5f60718", "a1b2c3d"),
        ("数据库连接池已满", "连接池"),
        ("数据库连接池已满", "满"),
        ("修复了 login 模块的错误", "login错误"),
        ("ＦＵＬＬ　ｗｉｄｔｈ", "full width"),
        ("um café à Genève", "geneve"),
        ("データベース接続", "接続"),
        ("to be or not to be", "to be or not"),
        ("the upgrade broke the build", "why did it break"),
        ("breaks the build", "broken"),
        ("the broken build", "brok*"),
        ("the build was broken", '"build was broke"'),
        ("we wrote_log twice", "write"),
        ("the indices are rebuilt", "index"),
        ("its behaviour when offline", "behavior"),
        ("initializeCache runs first", "initialise"),
    ],
)
async def test_what_is_found(store: Memory, text: str, query: str) -> None:
    await store.remember("something else entirely", text)
    assert await store.bodies(query) == [text]


async def test_better_matches_come_first_with_reasons(store: Memory) -> None:
    await store.remember(
        "the token was refreshed",
        Note("the refresh of the token failed", title="Token refresh"),
        "a cookie jar " * 20 + "token",
        "nothing of it",
    )
    found = await store.find("token refresh")
    assert [hit.row["title"] for hit in found.hits] == ["Token refresh", "", ""]
    best = found.hits[0]
    assert best.matched_fields == ("title", "content")
    assert {word for word, _ in best.shares} == {"token", "refresh"}
    assert sum(share for _, share in best.reasons) == pytest.approx(best.relevance)
    assert best.reasons[0][0] == "lexical"
    assert best.highlights == ("the <mark>refresh</mark> of the <mark>token</mark> failed",)
    assert best.project == "ledger"
    relevances = [hit.relevance for hit in found.hits]
    assert relevances == sorted(relevances, reverse=True)
    assert all(0 < relevance <= 1 for relevance in relevances)
    assert (found.total, found.total_is_estimate) == (3, False)


async def test_operators(store: Memory) -> None:
    await store.remember("connection pool full", "pool of connections", "connection lost", "pools")
    assert await store.bodies('"connection pool"') == ["connection pool full"]
    assert await store.bodies("connection -pool") == ["connection lost"]
    assert set(await store.bodies('pool -"connection pool"')) == {"pool of connections", "pools"}
    assert len(await store.bodies("conn*")) == 3
    assert await store.bodies("-pool") == []
    assert (await store.find("the pool")).dropped == ("the",)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(tool="Edit"), {"edited"}),
        (Filters(tool="edit"), {"edited"}),
        (Filters(kind="observation", type="error"), {"failed"}),
        (Filters(kind="prompt"), set()),
        (Filters(role="后端 team"), {"by role"}),
        (Filters(tag="P0: urgent!"), {"tagged"}),
        (Filters(file="jwt.ts"), {"edited"}),
        (Filters(file="src/auth/jwt.ts"), {"edited"}),
        (Filters(file="/home/dev/ledger/src/auth/jwt.ts"), {"edited"}),
        (Filters(file="th/jwt.ts"), set()),
        (Filters(until=NOW - 30 * DAY), {"old"}),
        (Filters(since=NOW - 50 * DAY, until=NOW - 30 * DAY), {"old"}),
        (Filters(since=NOW + 1), set()),
        (Filters(since=NOW, type="error"), {"failed"}),
        (Filters(since=NOW - 2 * DAY, until=NOW - 3 * DAY), set()),
        (Filters(tool="Edit", type="error"), set()),
    ],
)
async def test_filters(store: Memory, filters: Filters, expected: set[str]) -> None:
    await store.remember(
        Note("edited token", tool="Edit", files=("/home/dev/ledger/src/auth/jwt.ts",)),
        Note("failed token", type="error"),
        Note("by role token", role="后端 team"),
        Note("tagged token", tags=("P0: urgent!",)),
        Note("old token", occurred_at=NOW - 40 * DAY),
    )
    found = await store.bodies("token", filters=filters)
    assert {body.removesuffix(" token") for body in found} == expected


async def test_moments_are_exact_though_labels_are_days(store: Memory) -> None:
    await store.remember(*(Note(f"token {n}", occurred_at=NOW + n * 60_000) for n in range(5)))
    cut = Filters(since=NOW + 60_000, until=NOW + 180_000)
    found = await store.find("token", filters=cut)
    assert {hit.row["content"] for hit in found.hits} == {"token 1", "token 2", "token 3"}
    assert found.total == 3


async def test_what_is_of_a_day_that_is_named_is_found_whatever_it_says(store: Memory) -> None:
    noise = [Note(f"a walk in the park, number {number}") for number in range(200)]
    await store.remember(Note("the lock is released", occurred_at=NOW - 40 * DAY), *noise)
    asked = "what of the park on 25 August 2024"  # NOW - 40 days
    assert "the lock is released" in await store.bodies(asked, limit=10)
    assert "the lock is released" not in await store.bodies("what of the park", limit=10)
    assert "the lock is released" not in await store.bodies(asked, limit=10, fusion="lexical")


async def test_projects_and_sessions_by_what_people_call_them(store: Memory) -> None:
    first, _ = await store.remember("token a", Note("token b", project="/home/dev/shop"))
    assert await store.bodies("token", project="shop") == ["token b"]
    assert await store.bodies("token", project="/home/dev/shop") == ["token b"]
    assert await store.bodies("token", project="none") == []
    session = next(e.session_id for e in store.entries if e.entity_id == first.id)
    assert await store.bodies("token", session=session) == ["token a"]
    assert await store.bodies("token", session=f"agent-{session}") == ["token a"]
    assert await store.bodies("token", session="unknown") == []


async def test_pages_do_not_overlap(store: Memory) -> None:
    await store.remember(*(f"token number{n}" for n in range(30)))
    pages = [await store.bodies("token", limit=10, offset=start) for start in (0, 10, 20, 30)]
    assert [len(page) for page in pages] == [10, 10, 10, 0]
    assert len({body for page in pages for body in page}) == 30


async def test_what_is_forgotten_is_not_found(store: Memory) -> None:
    refs = await store.remember("token a", "token b")

    def forget(tx: Tx) -> None:
        store.indexing.remove(OURS, tx, refs[:1])
        memory.erase(OURS, tx, refs[:1])

    await store.database.write(OURS, forget)
    assert await store.bodies("token") == ["token b"]
    left = await store.collection()
    assert (left.documents, left.body_tokens) == (1, 2)


async def test_indexing_again_replaces(store: Memory) -> None:
    await store.remember("token old")
    changed = replace(store.entries[0], body="cookie new and longer")
    await store.database.write(OURS, lambda tx: store.indexing.index(OURS, tx, [changed, changed]))
    assert (await store.find("token")).hits == ()
    assert len((await store.find("cookie")).hits) == 1
    left = await store.collection()
    assert (left.documents, left.body_tokens) == (1, 4)


async def test_a_rebuilt_index_equals_the_grown_one(store: Memory) -> None:
    await store.remember(
        *(Note(f"token alpha{n % 7} 数据{n}", title=f"note {n}") for n in range(60))
    )
    await store.remember("cookie")
    before = await store.find("token alpha3 数据", limit=60)
    statistics = await store.collection()
    count = await store.database.write(
        OURS, lambda tx: store.indexing.rebuild(OURS, tx, iter(store.entries))
    )
    after = await store.find("token alpha3 数据", limit=60)
    assert count == 61
    assert [(h.ref, h.relevance) for h in after.hits] == [(h.ref, h.relevance) for h in before.hits]
    rebuilt = await store.collection()
    assert (rebuilt.documents, rebuilt.title_tokens, rebuilt.body_tokens) == (
        statistics.documents,
        statistics.title_tokens,
        statistics.body_tokens,
    )
    assert rebuilt.analysis_version == ANALYSIS_VERSION
    assert await store.database.read(OURS, lambda tx: store.indexing.is_current(OURS, tx))


def _make_old(tx: Tx) -> None:
    """The index as the migration leaves one of an older program: found, but without terms."""
    tx.exec_driver_sql("UPDATE search_documents SET terms_title = x'0A', terms_body = x'0A'")
    tx.exec_driver_sql("UPDATE search_statistics SET analysis_version = 1, stale_through = NULL")


async def test_an_old_index_is_renewed_in_steps_and_searched_meanwhile(store: Memory) -> None:
    refs = await store.remember(*(f"token alpha{n % 7} 数据{n}" for n in range(40)), "gone")
    before = [(h.ref, h.relevance) for h in (await store.find("token alpha3", limit=40)).hits]
    write, indexing, entries = store.database.write, store.indexing, store.entries[:40]
    await write(OURS, _make_old)
    await write(OURS, lambda tx: memory.erase(OURS, tx, refs[40:]))

    async def found() -> set[EntityRef]:
        return {hit.ref for hit in (await store.find("token alpha3", limit=40)).hits}

    assert await found() == {ref for ref, _ in before}
    assert not await store.database.read(OURS, lambda tx: indexing.is_current(OURS, tx))
    await write(OURS, lambda tx: indexing.start_renewal(OURS, tx))
    assert await write(OURS, lambda tx: indexing.renew(OURS, tx, entries[:15])) == 15
    assert await found() == {ref for ref, _ in before}
    # Broken off; another process goes on.
    await write(OURS, lambda tx: indexing.start_renewal(OURS, tx))
    assert not await store.database.read(OURS, lambda tx: indexing.is_current(OURS, tx))
    assert await write(OURS, lambda tx: indexing.renew(OURS, tx, entries)) == 25
    assert await write(OURS, lambda tx: indexing.finish_renewal(OURS, tx))
    after = [(h.ref, h.relevance) for h in (await store.find("token alpha3", limit=40)).hits]
    assert {ref for ref, _ in after} == {ref for ref, _ in before}
    assert (await store.collection()).documents == 40
    assert await store.database.read(OURS, lambda tx: indexing.is_current(OURS, tx))


@pytest.mark.parametrize("count", [1, 3, 40])
async def test_a_renewal_loses_nothing_however_small_the_pages(store: Memory, count: int) -> None:
    """The last page leaves its old numbers, the greatest there are: no new document may get one of them."""
    refs = await store.remember(*(f"token alpha{n}" for n in range(count)))
    write, indexing = store.database.write, store.indexing
    for again in (False, True):
        if not again:
            await write(OURS, _make_old)
        await write(OURS, lambda tx: indexing.start_renewal(OURS, tx))
        for at in reversed(range(0, count, 15)):  # the greatest numbers first
            page = store.entries[at : at + 15]
            renew = partial(indexing.renew, OURS, entries=page)
            assert await write(OURS, renew) == len(page)
        assert await write(OURS, lambda tx: indexing.finish_renewal(OURS, tx))
        assert (await store.collection()).documents == count
        hits = (await store.find("token", limit=100)).hits
        assert {hit.ref for hit in hits} == set(refs)


async def test_what_is_remembered_while_a_renewal_waits_is_kept(store: Memory) -> None:
    """Also when what had the greatest number was forgotten in between."""
    refs = await store.remember("token one", "token two", "token three")
    write, indexing = store.database.write, store.indexing
    await write(OURS, _make_old)
    await write(OURS, lambda tx: indexing.start_renewal(OURS, tx))
    await write(OURS, lambda tx: indexing.remove(OURS, tx, refs[1:]))
    late = await store.remember("token late")
    await write(OURS, lambda tx: indexing.renew(OURS, tx, store.entries[:1]))
    assert await write(OURS, lambda tx: indexing.finish_renewal(OURS, tx))
    hits = (await store.find("token", limit=100)).hits
    assert {hit.ref for hit in hits} == {refs[0], *late}


async def test_a_renewal_by_another_analysis_begins_afresh(store: Memory) -> None:
    await store.remember("token one", "token two")
    write, indexing = store.database.write, store.indexing

    def by_another(tx: Tx) -> None:
        sql = "UPDATE search_statistics SET analysis_version = -99, stale_through = 0"
        tx.exec_driver_sql(sql)

    await write(OURS, by_another)
    await write(OURS, lambda tx: indexing.start_renewal(OURS, tx))
    assert await write(OURS, lambda tx: indexing.renew(OURS, tx, store.entries)) == 2


async def test_enterprises_see_neither_each_others_rows_nor_statistics(store: Memory) -> None:
    await their_organisation(store)
    await store.remember("token ours", "cookie ours", "other ours")
    alone = (await store.find("token")).hits[0].relevance
    await store.remember(*(f"token theirs {n}" for n in range(20)), scope=THEIRS)
    ours, theirs = await store.find("token"), await store.find("token", THEIRS)
    assert [hit.row["content"] for hit in ours.hits] == ["token ours"]
    assert ours.hits[0].relevance == alone
    assert len(theirs.hits) == 20
    assert await store.bodies("cookie", THEIRS) == []
    await store.database.write(
        THEIRS,
        lambda tx: store.indexing.remove(
            THEIRS, tx, [EntityRef(e.kind, e.entity_id) for e in store.entries]
        ),
    )
    assert await store.bodies("token", THEIRS) == []
    assert await store.bodies("token") == ["token ours"]


async def test_a_rebuild_leaves_other_enterprises_alone(store: Memory) -> None:
    await their_organisation(store)
    await store.remember("token ours")
    await store.remember("token theirs", scope=THEIRS)
    await store.database.write(OURS, lambda tx: store.indexing.rebuild(OURS, tx, []))
    assert await store.bodies("token") == []
    assert await store.bodies("token", THEIRS) == ["token theirs"]


async def test_an_empty_store(store: Memory) -> None:
    assert (await store.find("anything")).hits == ()
    assert (await store.collection()).documents == 0


STRANGE = [
    "",
    "   ",
    '"',
    '""" "" -" -',
    "AND OR NOT NEAR(a, b)",
    "title:token",
    "token*",
    "^token",
    "(token",
    "token)",
    "{token}",
    "a\x00b",
    "\x01\x02",
    "🎉👍",
    "שלום עולם",
    "-token",
    "'; DROP TABLE search_fts; --",
    "\ud800",
    "%_\\",
    "数",
]


@pytest.mark.parametrize("text", [*STRANGE, "token " * 1_666, "数据" * 5_000, '"' * 10_000])
async def test_any_text_is_searched_safely(store: Memory, text: str) -> None:
    await store.remember("the token", "数据库")
    found = await store.find(text)
    assert len(found.hits) <= 2


def random_texts() -> Any:
    return st.text(max_size=80) | st.text(alphabet='to ken"*-()数AND:', max_size=60)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(st.lists(random_texts(), min_size=1, max_size=8))
async def test_random_texts(store: Memory, texts: Sequence[str]) -> None:
    await store.remember('the token (数据) "quoted" and:or')
    for text in texts:
        for hit in (await store.find(text)).hits:
            assert 0 <= hit.relevance <= 1
