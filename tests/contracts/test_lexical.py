"""The contract of a lexical index: the same tests for every engine.

An engine joins by another parameter of `make_store`: something with a `scope`-less `write(work)` and
`read(work)` that run a function of an open transaction, and an `index`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.lexical import CREATE, PROBE, SqliteLexicalIndex
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.lexical import Candidates, LexicalDocument, LexicalIndex, LexicalPlan

OURS = local_scope()
THEIRS = Scope("00000000-0000-7000-8000-0000000000ff", "u", frozenset())


@dataclass
class Store:
    """An engine's empty index and its transactions."""

    index: LexicalIndex
    write: Callable[[Callable[[Any], Any]], Any]
    read: Callable[[Callable[[Any], Any]], Any]

    def add(self, *documents: LexicalDocument, scope: Scope = OURS) -> None:
        self.write(lambda tx: self.index.add(scope, tx, documents))

    def find(self, plan: LexicalPlan, scope: Scope = OURS) -> Candidates:
        found = self.read(lambda tx: self.index.candidates(scope, tx, plan))
        assert isinstance(found, Candidates)
        return found


def _sqlite(folder: Path) -> Iterator[Store]:
    engine = make_engine(folder / "test.db", writer=True)
    with engine.connect() as connection:
        connection.exec_driver_sql(CREATE)

        def run(work: Callable[[Any], Any]) -> Any:
            connection.exec_driver_sql("BEGIN")
            try:
                return work(connection)
            finally:
                connection.exec_driver_sql("COMMIT")

        yield Store(SqliteLexicalIndex(), run, run)
    engine.dispose()


@pytest.fixture(params=[_sqlite], ids=["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    yield from request.param(tmp_path)


def document(
    number: int, body: str, title: str = "", labels: str = "k.observation"
) -> LexicalDocument:
    return LexicalDocument(number, title, body, labels)


PLAN = LexicalPlan(
    words=(),
    phrases=(),
    excluded=(),
    labels=(),
    documents=10,
    first=1,
    last=10,
    shared=False,
    limit=50,
)


def plan(*words: str, **changes: Any) -> LexicalPlan:
    return replace(PLAN, words=words, **changes)


def test_any_word_matches_and_more_words_come_first(store: Store) -> None:
    store.add(
        document(1, "token refresh failed"),
        document(2, "the cookie"),
        document(3, "token refresh and cookie"),
    )
    found = store.find(plan("token", "cookie", "nowhere"))
    assert found.numbers[0] == 3
    assert set(found.numbers) == {1, 2, 3}
    assert found.frequencies == {"token": 2, "cookie": 2, "nowhere": 0}
    assert (found.total, found.total_is_estimate) == (3, False)


def test_tokens_are_taken_as_they_are(store: Store) -> None:
    tokens = ["src/auth/jwt.ts", "a_b", "x-y", "1.2.3", "数据", "ไท", "__init__", "é"]
    store.add(
        document(1, " ".join(tokens)), document(2, "src auth jwt ts a b x y 1 2 3 数 据 init e")
    )
    for token in tokens:
        assert store.find(plan(token)).numbers == (1,), token


def test_titles_are_searched_too_and_labels_never_are(store: Store) -> None:
    store.add(document(1, "body", title="heading", labels="k.prompt g.secret"))
    assert store.find(plan("heading")).numbers == (1,)
    assert store.find(plan("secret")).numbers == ()
    assert store.find(plan("k.prompt")).numbers == ()
    assert store.find(plan("k.pro*")).numbers == ()
    assert store.find(plan(phrases=(("k.prompt", "g.secret"),))).numbers == ()
    assert store.find(plan("heading", excluded=(("k.prompt",),))).numbers == (1,)


def test_phrases_are_required(store: Store) -> None:
    store.add(
        document(1, "the connection pool is full"),
        document(2, "pool connection"),
        document(3, "connection", title="pool"),
        document(4, "full"),
    )
    found = store.find(plan("full", phrases=(("connection", "pool"),)))
    assert found.numbers == (1,)
    assert found.total == 1
    assert found.frequencies["pool"] == 3


def test_several_phrases_are_all_required(store: Store) -> None:
    store.add(document(1, "a b x c d"), document(2, "a b"), document(3, "c d"))
    assert store.find(plan(phrases=(("a", "b"), ("c", "d")))).numbers == (1,)


def test_beginnings(store: Store) -> None:
    store.add(document(1, "connection"), document(2, "connect"), document(3, "disconnect"))
    found = store.find(plan("connec*"))
    assert set(found.numbers) == {1, 2}
    assert found.frequencies["connec*"] == 2


def test_exclusions(store: Store) -> None:
    store.add(
        document(1, "token cookie"),
        document(2, "token session store"),
        document(3, "token store session"),
        document(4, "token", title="cookie"),
    )
    found = store.find(plan("token", excluded=(("cookie",), ("session", "store"))))
    assert found.numbers == (3,)
    assert store.find(plan("token", excluded=(("cook*",),))).numbers == (3, 2)


def test_labels_are_all_required_each_group_by_one(store: Store) -> None:
    store.add(
        document(1, "token", labels="k.prompt p.1"),
        document(2, "token", labels="k.observation p.1"),
        document(3, "token", labels="k.observation p.2"),
    )
    assert store.find(plan("token", labels=(("k.observation",), ("p.1", "p.9")))).numbers == (2,)
    assert store.find(plan("token", labels=(("k.none",),))).numbers == ()


def test_removed_documents_are_gone_and_their_numbers_free(store: Store) -> None:
    store.add(document(1, "token"), document(2, "token"))
    store.write(lambda tx: store.index.remove(OURS, tx, [1, 99]))
    assert store.find(plan("token")).numbers == (2,)
    assert store.find(plan("token")).frequencies == {"token": 1}
    store.add(document(1, "cookie"))
    assert store.find(plan("cookie")).numbers == (1,)


def test_enterprises_never_meet(store: Store) -> None:
    store.add(document(1, "token secret"))
    store.add(document(2, "token"), document(3, "token"), scope=THEIRS)
    shared = plan("token", "secret", shared=True)
    ours, theirs = store.find(shared), store.find(shared, THEIRS)
    assert ours.numbers == (1,)
    assert set(theirs.numbers) == {2, 3}
    assert ours.frequencies == {"token": 1, "secret": 1}
    assert theirs.frequencies == {"token": 2, "secret": 0}


@pytest.fixture
def crowded(store: Store) -> tuple[Store, LexicalPlan]:
    """More documents with a word than an engine looks at."""
    count = PROBE + 500
    store.add(
        *(
            document(
                number,
                "everywhere"
                + (" half" if number % 2 else " other")
                + (" rare" if number % 1000 == 7 else ""),
                labels=f"k.observation p.{number % 100}",
            )
            for number in range(1, count + 1)
        )
    )
    return store, replace(PLAN, documents=count, last=count, limit=40)


def test_a_word_that_is_everywhere_is_estimated_and_bounded(
    crowded: tuple[Store, LexicalPlan],
) -> None:
    store, base = crowded
    found = store.find(replace(base, words=("everywhere",)))
    assert len(found.numbers) == 40
    assert found.numbers[0] == base.last
    assert found.total_is_estimate
    assert 40 <= found.total <= base.documents
    assert found.frequencies["everywhere"] == pytest.approx(base.documents, rel=0.01)


def test_a_rare_word_is_found_among_common_ones_however_old(
    crowded: tuple[Store, LexicalPlan],
) -> None:
    store, base = crowded
    found = store.find(replace(base, words=("everywhere", "half", "rare")))
    assert {7, 1007, 2007} <= set(found.numbers)
    assert found.frequencies["rare"] == 3


def test_common_words_are_looked_for_together_first(crowded: tuple[Store, LexicalPlan]) -> None:
    store, base = crowded
    store.add(document(base.last + 1, "everywhere"), document(base.last + 2, "everywhere"))
    # Both words have more documents than are looked at only when `half` is made common as well.
    store.add(
        *(document(base.last + 10 + n, "half solo") for n in range(PROBE)),
    )
    wide = replace(base, documents=base.documents + PROBE + 2, last=base.last + 10 + PROBE)
    found = store.find(replace(wide, words=("everywhere", "half")))
    assert set(found.numbers[:20]) <= {n for n in range(1, base.last + 1) if n % 2}


def test_filters_do_not_starve_on_common_words(crowded: tuple[Store, LexicalPlan]) -> None:
    store, base = crowded
    found = store.find(replace(base, words=("everywhere",), labels=(("p.3",),)))
    assert set(found.numbers) == set(range(3, base.last + 1, 100))
    both = store.find(replace(base, words=("everywhere", "rare"), labels=(("p.7",),)))
    assert {7, 1007, 2007} <= set(both.numbers)
    assert all(number % 100 == 7 for number in both.numbers)


def test_phrases_of_common_words(crowded: tuple[Store, LexicalPlan]) -> None:
    store, base = crowded
    found = store.find(replace(base, phrases=(("half", "rare"),)))
    assert set(found.numbers) == {7, 1007, 2007}
    assert not store.find(replace(base, phrases=(("rare", "everywhere"),))).numbers


_TOKEN = st.text(alphabet="abé数据_./-1", min_size=1, max_size=6)
_WORD = _TOKEN | st.sampled_from(["and", "or", "not", "near", "title", "rowid", "a*", "-", "."])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    words=st.lists(_WORD, max_size=5),
    phrases=st.lists(st.lists(_TOKEN, min_size=1, max_size=3), max_size=2),
    excluded=st.lists(st.lists(_TOKEN, min_size=1, max_size=3), max_size=2),
)
def test_no_token_can_break_the_engine(
    store: Store, words: list[str], phrases: list[list[str]], excluded: list[list[str]]
) -> None:
    wanted = plan(
        *dict.fromkeys(words),
        phrases=tuple(map(tuple, phrases)),
        excluded=tuple(map(tuple, excluded)),
        shared=True,
    )
    assert store.find(wanted).total >= 0
