"""The contract of a lexical index: the same tests for every engine.

An engine joins by another parameter of `store`: an `index`, and `run`, which runs a function in a
transaction of a scope. That PostgreSQL's functions keep tenants apart is a matter of
`tests/security/test_search_functions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_mem.adapters.postgres.lexical import PostgresLexicalIndex
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.lexical import CREATE, SqliteLexicalIndex
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.candidates import PROBE
from claude_mem.ports.lexical import Candidates, LexicalDocument, LexicalIndex, LexicalPlan
from servers import PostgresServer, Urls

OURS = local_scope()
THEIRS = Scope("00000000-0000-7000-8000-0000000000ff", "u", frozenset())


@dataclass
class Store:
    """An engine's empty index and its transactions."""

    index: LexicalIndex
    run: Callable[[Scope, Callable[[Any], Any]], Any]

    def add(self, *documents: LexicalDocument, scope: Scope = OURS) -> None:
        self.run(scope, lambda tx: self.index.add(scope, tx, documents))

    def remove(self, *numbers: int, scope: Scope = OURS) -> None:
        self.run(scope, lambda tx: self.index.remove(scope, tx, numbers))

    def find(self, plan: LexicalPlan, scope: Scope = OURS) -> Candidates:
        found = self.run(scope, lambda tx: self.index.candidates(scope, tx, plan))
        assert isinstance(found, Candidates)
        return found


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    engine = make_engine(tmp_path / "test.db", writer=True)
    with engine.connect() as connection:
        connection.exec_driver_sql(CREATE)

        def run(scope: Scope, work: Callable[[Any], Any]) -> Any:
            connection.exec_driver_sql("BEGIN")
            try:
                return work(connection)
            finally:
                connection.exec_driver_sql("COMMIT")

        yield Store(SqliteLexicalIndex(), run)
    engine.dispose()


@pytest.fixture
def urls(postgres: PostgresServer) -> Iterator[Urls]:
    made = postgres.database()
    yield made
    postgres.drop(made)


_AS_TENANT = "SELECT set_config('app.current_enterprise_id', %s, true)"


@pytest.fixture
def postgres_store(urls: Urls) -> Iterator[Store]:
    engine = sa.create_engine(urls.runtime)

    def run(scope: Scope, work: Callable[[Any], Any]) -> Any:
        with engine.begin() as connection:
            connection.exec_driver_sql(_AS_TENANT, (scope.enterprise_id,))
            return work(connection)

    yield Store(PostgresLexicalIndex(), run)
    engine.dispose()


@pytest.fixture(params=["sqlite_store", "postgres_store"], ids=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Store)
    return made


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
    store.remove(1, 99)
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


def test_labels_that_most_have_may_be_left_to_who_asks(store: Store) -> None:
    """A loose plan finds all that has the labels, and may bring others along only where most documents have them."""
    count = 900
    store.add(
        *(
            document(
                number,
                "everywhere" + (" rare" if number % 90 == 7 else ""),
                labels="k.prompt p.small" if number % 10 == 0 else "k.prompt p.large",
            )
            for number in range(1, count + 1)
        )
    )
    base = replace(PLAN, documents=count, last=count, limit=30, loose=True)
    wanted = {number for number in range(1, count + 1) if number % 90 == 7 and number % 10}
    for words in (("rare",), ("rare", "everywhere")):
        found = store.find(replace(base, words=words, labels=(("p.large",),)))
        assert wanted <= set(found.numbers)
        assert len(found.numbers) <= 40
        held = [number for number in found.numbers if number % 10]
        assert len(held) >= min(30, len(wanted) if words == ("rare",) else 30)
    few = store.find(replace(base, words=("everywhere",), labels=(("p.small",),)))
    assert len(few.numbers) == 30
    assert all(number % 10 == 0 for number in few.numbers)
    both = replace(base, words=("everywhere",), labels=(("p.large",), ("k.prompt",)))
    assert all(number % 10 for number in store.find(both).numbers)
    without = replace(base, words=("rare",), labels=(("p.large",),), excluded=(("nowhere",),))
    assert set(store.find(without).numbers) == wanted


def test_phrases_of_common_words(crowded: tuple[Store, LexicalPlan]) -> None:
    store, base = crowded
    found = store.find(replace(base, phrases=(("half", "rare"),)))
    assert set(found.numbers) == {7, 1007, 2007}
    assert not store.find(replace(base, phrases=(("rare", "everywhere"),))).numbers


def test_what_is_found_does_not_depend_on_what_was_asked_before(store: Store) -> None:
    """A long question looks less deep, and takes for common what a short one knows all documents of."""
    names = ["caroline"] * 300 + ["melanie"] * 2_140 + ["caroline"] * 60
    store.add(*(document(n, f"report {name}") for n, name in enumerate(names, 1)))
    short = plan("caroline", documents=2_500, last=2_500, limit=150)
    long = replace(short, words=("caroline", "report", *(f"other{n}" for n in range(16))))
    first, told = store.find(short), store.find(long)
    assert first.frequencies == {"caroline": 360}
    assert (store.find(short), store.find(long)) == (first, told)
    wide = replace(
        short, words=("melanie", "report"), limit=900
    )  # more than is looked at of a word
    assert store.find(wide) == store.find(wide)


def test_documents_far_apart(store: Store) -> None:
    store.add(
        *(
            document(
                number * 1000,
                f"everywhere n{number}" + (" oldest word" if number == 1 else " word oldest"),
                labels=f"k.observation p.{number % 3}",
            )
            for number in range(1, 301)
        )
    )
    base = replace(PLAN, documents=300, first=1000, last=300_000, limit=20)
    assert store.find(replace(base, words=("n1",))).numbers == (1000,)
    assert store.find(replace(base, words=("n1*",), labels=(("p.1",),))).total == 39
    assert store.find(replace(base, phrases=(("oldest", "word"),))).numbers == (1000,)
    found = store.find(replace(base, words=("everywhere",), excluded=(("n3*",), ("n2*",))))
    assert (len(found.numbers), found.total) == (20, 300 - 12 - 111)
    assert found.frequencies == {"everywhere": 300}


def test_of_many_documents_with_a_word_those_come_that_speak_of_it(store: Store) -> None:
    store.add(
        *(document(n, "cache " + "padding " * 40) for n in range(1, 301)),
        document(301, "cache cold cache warm cache"),
        document(302, "something else", title="cache"),
        *(document(n, "cache " + "padding " * 40) for n in range(303, 400)),
    )
    found = store.find(replace(PLAN, words=("cache",), documents=399, last=399, limit=10))
    assert set(found.numbers[:2]) == {301, 302}
    assert (len(found.numbers), found.total) == (10, 399)


def test_long_documents(store: Store) -> None:
    """Longer than an engine may count positions, words more frequent, tokens longer than any key."""
    many = " ".join(f"w{n}" for n in range(40_000))
    longest = " ".join(chr(0x20000 + n) * 8 for n in range(32_000))
    long_token = "x" * 3_000
    store.add(
        document(1, f"{many} the very end {long_token}"),
        document(2, "again and " * 1_000 + "never"),
        document(3, f"{many} end very the"),
        document(4, f"first {longest}"),
    )
    assert store.find(plan("first")).numbers == (4,)
    assert store.find(plan(phrases=(("very", "end"),))).numbers == (1,)
    assert store.find(plan(phrases=(("w39999", "end"),))).numbers == (3,)
    assert store.find(plan(phrases=(("and", "never"),))).numbers == (2,)
    assert store.find(plan("again", excluded=(("again", "never"),))).numbers == (2,)
    assert store.find(plan(long_token)).numbers == (1,)


_SMALL = st.sampled_from("abcd")
_DOCUMENT = st.tuples(
    st.lists(_SMALL, max_size=3), st.lists(_SMALL, max_size=8), st.sampled_from("123")
)


def _has(document: tuple[list[str], list[str], str], phrase: tuple[str, ...]) -> bool:
    size = len(phrase)
    return any(
        tuple(field[at : at + size]) == phrase
        for field in document[:2]
        for at in range(len(field) - size + 1)
    )


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(
    documents=st.lists(_DOCUMENT, min_size=1, max_size=12),
    words=st.sets(_SMALL, max_size=3),
    phrases=st.lists(st.lists(_SMALL, min_size=1, max_size=3).map(tuple), max_size=2),
    excluded=st.lists(st.lists(_SMALL, min_size=1, max_size=2).map(tuple), max_size=2),
    wanted=st.sets(st.sampled_from("123"), max_size=2),
)
def test_what_is_found_is_what_matches(
    store: Store,
    documents: list[tuple[list[str], list[str], str]],
    words: set[str],
    phrases: list[tuple[str, ...]],
    excluded: list[tuple[str, ...]],
    wanted: set[str],
) -> None:
    numbered = dict(enumerate(documents, 1))
    store.add(
        *(
            document(number, " ".join(body), " ".join(title), f"p.{label}")
            for number, (title, body, label) in numbered.items()
        )
    )
    labels = (tuple(sorted(f"p.{label}" for label in wanted)),) if wanted else ()
    found = store.find(
        plan(*sorted(words), phrases=tuple(phrases), excluded=tuple(excluded), labels=labels)
    )
    store.remove(*numbered)
    matching = {
        number
        for number, each in numbered.items()
        if all(_has(each, phrase) for phrase in phrases)
        and not any(_has(each, phrase) for phrase in excluded)
        and (not wanted or each[2] in wanted)
        and (phrases or any(_has(each, (word,)) for word in words))
    }
    assert set(found.numbers) == matching
    assert (found.total, found.total_is_estimate) == (len(matching), False)
    assert found.frequencies == {
        word: sum(_has(each, (word,)) for each in documents) for word in words.union(*phrases)
    }


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


def test_a_search_reads_the_index_and_not_the_table(postgres_store: Store) -> None:
    postgres_store.add(*(document(n, f"word w{n}") for n in range(1, 1_001)))

    def scans(tx: Any) -> Any:
        assert postgres_store.index.candidates(OURS, tx, plan("w7", "word", limit=5)).numbers
        query = "SELECT seq_scan, idx_scan > 0 FROM pg_stat_xact_user_tables WHERE relname = 'search_index'"
        return tx.exec_driver_sql(query).one()

    assert tuple(postgres_store.run(OURS, scans)) == (0, True)


def newest(store: Store, asked: LexicalPlan, scope: Scope = OURS) -> list[int]:
    return list(store.run(scope, lambda tx: store.index.newest(scope, tx, asked)))


def test_the_newest_with_a_word_or_a_beginning(store: Store) -> None:
    store.add(
        document(1, "rotate tokens"),
        document(2, "tokenizer", labels="k.observation f.src/jwt.ts"),
        document(3, "nothing of it", labels="k.observation f.jwt.ts w.bash"),
    )
    store.add(document(4, "token"), scope=THEIRS)
    assert newest(store, plan("token*", shared=True)) == [2, 1]
    assert newest(store, plan("to*", shared=True)) == [2, 1]
    assert newest(store, plan("of*", shared=True)) == [3]
    assert newest(store, plan("token*", shared=True, limit=1)) == [2]
    assert newest(store, plan("rotate", "nothing", shared=True)) == [3, 1]
    assert newest(store, plan("token*", phrases=(("rotate", "tokens"),), shared=True)) == [1]
    assert newest(store, plan(phrases=(("nothing",),), shared=True)) == [3]
    assert newest(store, plan("token*", labels=(("f.src/jwt.ts",),), shared=True)) == [2]
    assert newest(store, plan(labels=(("f.jw*", "w.ba*"),), shared=True)) == [3]
    assert newest(store, plan(labels=(("f.jw*", "f.src*"),), shared=True)) == [3, 2]
    assert newest(store, plan(labels=(("f.*",),), shared=True)) == [3, 2]
    assert newest(store, plan("nobody*", shared=True)) == []
    assert newest(store, plan(shared=True)) == []
