"""A developer's store in an enterprise of PostgreSQL: everything of it, once, whatever broke off in between."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlean
from migrating_support import (
    OTHER,
    E,
    Row,
    as_in_store,
    bring,
    changes_of,
    event,
    in_store,
    on_target,
    ordered,
    plain,
    record,
    written,
)
from parity_support import (
    NOW,
    SCOPE,
    Side,
    on_postgres,
    on_sqlite,
)

from claude_mem.app.migrate import ensure_current
from claude_mem.app.transfer import run as running
from claude_mem.app.transfer.plan import LEFT, MOVED, TOMBSTONES, relations
from claude_mem.domains.intelligence import service as intelligence
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.memory.repository import journal
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_ENTERPRISE, LOCAL_USER, Scope
from servers import PostgresServer, Urls

pytestmark = pytest.mark.slow

# -- what is brought -----------------------------------------------------------------------------


def test_every_table_is_brought_or_left_for_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    ensure_current(path)
    raw = sqlean.connect(str(path))
    names = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    raw.close()
    ours = {name for name in names if not name.startswith(("sqlite_", "search_fts_"))}
    assert ours == {*MOVED, *LEFT}
    assert not set(MOVED) & set(LEFT)
    assert {
        json.dumps(it, separators=(",", ":")) for it in (journal.FORGOTTEN, journal.WITHDRAWN)
    } == TOMBSTONES


@pytest.mark.parametrize("table", MOVED)
def test_every_row_is_there_to_the_letter(
    table: str, whole: Path, brought: tuple[Urls, Row], postgres: PostgresServer
) -> None:
    urls, told = brought
    assert told["ok"], told
    expected = plain(whole, table)
    assert expected or table == "forgotten"
    assert ordered(as_in_store(on_target(postgres, urls, table), table)) == ordered(expected)
    assert told["tables"][table]["sent"] == len(expected)
    assert on_target(postgres, urls, table, OTHER) == []


def test_nothing_of_the_local_organisation_is_left_in_it(
    brought: tuple[Urls, Row], postgres: PostgresServer
) -> None:
    urls, _ = brought
    for table in MOVED:
        for local in (LOCAL_ENTERPRISE, LOCAL_USER):
            found = postgres.execute(
                f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%{local}%'", urls.name
            )
            assert found == [(0,)], table
    projects = on_target(postgres, urls, "projects")
    assert projects
    assert {row["solution_id"] for row in projects} == {E.user_id}


def test_nul_is_counted_and_told(brought: tuple[Urls, Row]) -> None:
    _, told = brought
    nuls = {name: it["nuls"] for name, it in told["tables"].items() if it["nuls"]}
    assert set(nuls) >= {"prompts", "sessions", "natural_keys"}


def test_what_is_found_here_is_found_there(
    whole: Path, brought: tuple[Urls, Row], tmp_path: Path
) -> None:
    from claude_mem.domains.retrieval.model import Query

    urls, told = brought
    assert told["indexed"] > 100

    async def ask(side: Side, scope: Scope) -> list[list[str]]:
        found = []
        for text in ("test", "error OR failed", "发票", "duck", "Größe", "before"):
            result = await side.search.search(scope, Query(text), NOW)
            found.append(sorted(hit.ref.id for hit in result.hits))
        return found

    async def compare() -> None:
        folder = tmp_path / "copy"
        shutil.copytree(whole, folder)
        async with on_sqlite(folder) as here:
            mine = await ask(here, SCOPE)
        async with on_postgres(tmp_path, urls.runtime) as there:
            assert await ask(there, E) == mine
            assert sum(map(len, mine)) > 10
            assert await ask(there, OTHER) == [[], [], [], [], [], []]

    asyncio.run(compare())


# -- again, and after a break --------------------------------------------------------------------


def test_a_second_run_sends_nothing(whole: Path, brought: tuple[Urls, Row]) -> None:
    urls, _ = brought
    again = bring(whole, urls)
    assert again["ok"]
    assert {name: it["sent"] for name, it in again["tables"].items()} == dict.fromkeys(MOVED, 0)
    assert again["indexed"] == 0
    assert again["tables"]["prompts"]["ranges_kept"] > 0


def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "CHUNK", 25)


def test_only_what_is_new_is_sent(
    store: Path, urls: Urls, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_ranges(monkeypatch)
    first = bring(store, urls)
    assert first["ok"]
    # New at the end, new in between (an import of old sessions), changed in place, without a word in the journal.
    record(store, [event("later", at, f"quetzal {at}") for at in range(3)])
    old = new_id(NOW - 400 * 86_400_000)
    with written(store) as tx:
        tx.exec_driver_sql(
            "UPDATE observations SET prompt_id = NULL WHERE id = (SELECT max(id) FROM observations)"
        )
        row = tx.exec_driver_sql("SELECT * FROM prompts ORDER BY id LIMIT 1").mappings().one()
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        tx.exec_driver_sql(
            f"INSERT INTO prompts ({names}) VALUES ({marks})", tuple({**row, "id": old}.values())
        )
    looked = bring(store, urls, dry_run=True)
    before = changes_of(postgres, urls)
    assert min(before.values()) > 0
    second = bring(store, urls)
    # Whoever keeps a copy of something of a session can tell.
    after = changes_of(postgres, urls)
    assert after["later"] > 0
    grew = {name for name, number in before.items() if after[name] > number}
    assert grew
    assert second["ok"], second
    sent = {name: it["sent"] for name, it in second["tables"].items()}
    assert sent == {name: it["sent"] for name, it in looked["tables"].items()}
    assert 0 < sum(sent.values()) < sum(it["sent"] for it in first["tables"].values()) / 3
    for table in MOVED:
        assert ordered(as_in_store(on_target(postgres, urls, table), table)) == ordered(
            plain(store, table)
        )
    assert second["indexed"] >= 4


def test_what_is_forgotten_here_is_gone_there(
    store: Path, urls: Urls, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_ranges(monkeypatch)
    record(store, [event("secret", at, f"the quetzal flies at {at}") for at in range(4)])
    assert bring(store, urls)["ok"]
    words = f"SELECT count(*) FROM {{}} t WHERE enterprise_id = '{E.enterprise_id}' AND t::text LIKE '%quetzal%'"
    assert postgres.execute(words.format("prompts"), urls.name) == [(4,)]
    assert postgres.execute(words.format("search_index"), urls.name)[0][0] >= 4

    async def forget() -> None:
        async with on_sqlite(store) as side:
            session = (await side.read(lambda tx: memory.get_session(SCOPE, tx, "secret")))["id"]
            rows = await side.read(
                lambda tx: [
                    r["id"] for r in memory.session_rows(SCOPE, tx, "prompt", None, session)
                ]
            )
            learnings = [row["id"] for row in in_store(store, "learnings")][:1]
            refs = [
                *(EntityRef("prompt", it) for it in rows),
                *(EntityRef("learning", it) for it in learnings),
            ]
            await side.write(lambda tx: intelligence.withdraw(SCOPE, tx, side.indexing, session))
            await side.write(lambda tx: memory.erase(SCOPE, tx, refs))

    asyncio.run(forget())
    told = bring(store, urls, verify_only=True)
    assert not told["ok"]
    assert len(told["verified"]["prompts"]["still_there"]) == 4
    before = changes_of(postgres, urls)
    told = bring(store, urls)
    assert told["ok"], told
    assert told["removed"] >= 4
    assert changes_of(postgres, urls)["secret"] > before["secret"]
    for table in (
        "prompts",
        "change_journal",
        "search_index",
        "sessions",
        "learnings",
        "learning_sources",
    ):
        expected = (
            0
            if table != "sessions"
            else len([r for r in in_store(store, "sessions") if "quetzal" in str(r)])
        )
        assert postgres.execute(words.format(table), urls.name) == [(expected,)], table
    for table in MOVED:
        assert ordered(as_in_store(on_target(postgres, urls, table), table)) == ordered(
            plain(store, table)
        )


def test_killed_at_any_moment_it_goes_on(
    store: Path, urls: Urls, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL after every so many transactions, in a process of its own, until it comes through."""
    program = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from claude_mem.adapters.postgres.database import PostgresDatabase\n"
        "from claude_mem.app.transfer import run\n"
        "from claude_mem.app.transfer.postgres import Task, migrate\n"
        "run.CHUNK = 100\n"
        "left = int(sys.argv[4])\n"
        "once = PostgresDatabase._run_once\n"
        "def counted(self, begin, work):\n"
        "    global left\n"
        "    left -= 'READ WRITE' in begin\n"
        "    def dying(tx):\n"
        "        made = work(tx)\n"
        "        if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return made\n"
        "    made = once(self, begin, dying)\n"
        "    if left < 0 and 'READ WRITE' in begin: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return made\n"
        "PostgresDatabase._run_once = counted\n"
        "asyncio.run(migrate(Task(Path(sys.argv[1]), sys.argv[2], sys.argv[3]), lambda *_: None))\n"
    )
    ends = []
    for survives in (0, 1, 5, 9, 14, 10_000):
        arguments = [str(store / "claude-mem.db"), urls.runtime, E.enterprise_id, str(survives)]
        done = subprocess.run([sys.executable, "-c", program, *arguments], check=False, timeout=120)
        ends.append(done.returncode)
    assert ends[:-1] == [-signal.SIGKILL] * (len(ends) - 1)
    assert ends[-1] == 0
    told = bring(store, urls)
    assert told["ok"]
    assert sum(it["sent"] for it in told["tables"].values()) == 0
    assert told["indexed"] == 0
    for table in MOVED:
        assert ordered(as_in_store(on_target(postgres, urls, table), table)) == ordered(
            plain(store, table)
        )
    documents = postgres.execute(
        f"SELECT kind, count(*) FROM search_documents WHERE enterprise_id = '{E.enterprise_id}' GROUP BY 1",
        urls.name,
    )
    assert dict(documents)["prompt"] == len(in_store(store, "prompts"))


def test_a_writer_in_the_store_is_not_disturbed(store: Path, urls: Urls) -> None:
    """One state from beginning to end; what is written meanwhile comes the next time."""
    from claude_mem.app.transfer.source import opened

    with opened(store / "claude-mem.db") as source:
        before = source.count(relations()["prompts"])
        record(store, [event("meanwhile", at, "hello") for at in range(2)])
        assert source.count(relations()["prompts"]) == before
    assert len(in_store(store, "prompts")) == before + 2
