"""Damaged files, and what comes back of them: every row that is on a page that can still be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlean

from claude_mem.adapters.sqlite import check
from claude_mem.adapters.sqlite.pages import Damaged, Pages, record, varint
from claude_mem.app.rebuild import indexed_tables
from claude_mem.app.recover import (
    NothingToRecover,
    NotRecoverable,
    Recovered,
    damaged_files,
    recover,
)
from claude_mem.app.settings import Settings, load
from claude_mem.kernel.errors import ForeignDatabase, NewerDatabase, StoreFull, Unavailable
from store_support import (
    PAGE,
    Hurt,
    copy_store,
    count,
    cut,
    garbage,
    make_store,
    pages_of,
    rows_of,
    zero,
)

CONTENT = ("sessions", "prompts", "observations", "code_changes")
KEPT = (*CONTENT, "projects", "natural_keys", "ingested_events", "change_journal")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole") / "data"
    make_store(home)
    return home


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Settings:
    return load(copy_store(whole, tmp_path / "data"), {})


def quiet(_what: str, _done: int, _of: int) -> None:
    """Nobody watches."""


def mend(store: Settings, hurt: Hurt) -> Recovered:
    """Damage the database, recover it, and hold the new file to what every new file must be."""
    hurt(store.database)
    damaged = store.database.read_bytes()
    assert damaged_files(store) == [store.database]
    made = recover(store, store.database, quiet)
    assert Path(made.kept).read_bytes() == damaged, "the damaged file is kept as it was"
    assert made.faults == []
    with check.read_only(store.database) as raw:
        assert check.integrity(raw, thorough=True) == []
        assert check.foreign_keys(raw) == {}
        assert all(it.ok for it in check.agreements(raw, indexed_tables()))
        assert check.engine_difference(raw) == check.counted_difference(raw) == 0
    assert damaged_files(store) == []
    return made


def root_of(path: Path, name: str) -> int:
    return pages_of(path, name)[0]


def assert_all_there(whole: Path, store: Settings) -> None:
    for table in KEPT:
        assert rows_of(store.database, table) == rows_of(whole / "claude-mem.db", table), table


def test_a_sound_store_has_nothing_to_recover(store: Settings) -> None:
    assert damaged_files(store) == []


def test_a_file_that_somebody_has_locked_is_not_called_damaged(
    store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_PATIENCE_MS", 1)
    raw = sqlean.connect(str(store.database), isolation_level=None)
    raw.execute("PRAGMA journal_mode=DELETE").fetchall()
    raw.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable):
        check.file_faults(store.database)
    raw.close()
    assert check.file_faults(store.database) == []


@pytest.mark.parametrize("hurt", [zero(1), garbage(1), zero(2), garbage(1, 2)])
def test_without_header_or_pointer_map_every_row_comes_back(
    store: Settings, whole: Path, hurt: Hurt
) -> None:
    made = mend(store, hurt)
    assert_all_there(whole, store)
    assert made.rescue.lost == 0


@pytest.mark.parametrize("name", ["ix_observations_session", "sqlite_autoindex_prompts_1"])
def test_a_damaged_index_costs_no_row(store: Settings, whole: Path, name: str) -> None:
    mend(store, garbage(*pages_of(whole / "claude-mem.db", name)))
    assert_all_there(whole, store)


@pytest.mark.parametrize("name", ["search_fts_data", "search_fts_docsize", "search_documents"])
def test_a_damaged_search_index_is_made_anew(store: Settings, whole: Path, name: str) -> None:
    made = mend(store, zero(*pages_of(whole / "claude-mem.db", name)))
    assert_all_there(whole, store)
    tables = indexed_tables().values()
    assert made.indexed == sum(count(whole / "claude-mem.db", table) for table in tables) > 0


def test_an_inner_page_that_is_gone_costs_no_row(store: Settings, whole: Path) -> None:
    root = root_of(whole / "claude-mem.db", "observations")
    assert len(pages_of(whole / "claude-mem.db", "observations")) > 10
    mend(store, zero(root))
    assert_all_there(whole, store)


@pytest.mark.parametrize("harm", [zero, garbage])
def test_pages_in_the_middle_cost_the_rows_on_them_and_no_other(
    store: Settings, whole: Path, harm: type
) -> None:
    before = rows_of(whole / "claude-mem.db", "prompts")
    leaves = leaf_pages(whole / "claude-mem.db", "prompts")
    lost_page = leaves[len(leaves) // 2]
    on_it = rows_on(whole / "claude-mem.db", lost_page)
    made = mend(store, harm(lost_page))
    after = rows_of(store.database, "prompts")
    assert after < before
    assert len(before - after) == on_it > 0
    [report] = [it for it in made.rescue.tables if it.lost]
    assert (report.name, report.lost, report.bad_pages) == ("prompts", on_it, 1)
    for table in set(KEPT) - {"prompts"}:
        assert rows_of(store.database, table) == rows_of(whole / "claude-mem.db", table), table


def test_a_tail_that_is_gone_leaves_the_rest(store: Settings, whole: Path) -> None:
    size = (whole / "claude-mem.db").stat().st_size // PAGE
    made = mend(store, cut(size * 2 // 3))
    assert made.rescue.lost > 0
    kept = sum(count(store.database, table) for table in KEPT)
    there = sum(count(whole / "claude-mem.db", table) for table in KEPT)
    assert there // 3 < kept < there
    for table in ("prompts", "observations", "code_changes"):
        assert rows_of(store.database, table) <= rows_of(whole / "claude-mem.db", table), table


def test_noise_all_over_never_makes_a_row_that_was_not_there(store: Settings, whole: Path) -> None:
    size = (whole / "claude-mem.db").stat().st_size // PAGE
    mend(store, garbage(*range(5, size, 7)))
    for table in ("prompts", "observations", "code_changes", "change_journal", "ingested_events"):
        assert rows_of(store.database, table) <= rows_of(whole / "claude-mem.db", table), table


def test_lost_sessions_get_a_stand_in_that_goes_on(store: Settings, whole: Path) -> None:
    path = whole / "claude-mem.db"
    pages = pages_of(path, "sessions")
    made = mend(store, zero(*pages))
    assert made.stand_ins["sessions"] == count(path, "sessions") > 0
    query = "SELECT id, project_id, agent, agent_session FROM sessions"
    assert selected(store.database, query) == selected(path, query)
    assert rows_of(store.database, "prompts") == rows_of(path, "prompts")


def test_lost_sessions_and_their_indexes_keep_their_content(store: Settings, whole: Path) -> None:
    path = whole / "claude-mem.db"
    names = ["sessions", "sqlite_autoindex_sessions_1", "sqlite_autoindex_sessions_2"]
    names += ["ix_sessions_project", "ix_sessions_recent", "projects", "users"]
    mend(store, zero(*(number for name in names for number in pages_of(path, name))))
    for table in ("prompts", "observations", "code_changes", "users"):
        assert count(store.database, table) == count(path, table), table
    assert selected(store.database, "SELECT id FROM sessions") == selected(
        path, "SELECT id FROM sessions"
    )


LEARNING = (
    "INSERT INTO learnings (enterprise_id, id, project_id, session_id, category, title, description,"
    " context_json, examples_json, tags_json, confidence_score, usage_count, source_session_ids,"
    " is_verified, is_deleted, version, created_at, updated_at, occurred_at)"
    " SELECT enterprise_id, 'learned-' || id, project_id, id, 'general', 'Title', 'A description', '{}',"
    " '[]', '[]', 0.5, 0, '[]', 0, 0, 1, 1, 1, started_at FROM sessions"
)
SOURCE = (
    "INSERT INTO learning_sources (enterprise_id, learning_id, session_id, title, description,"
    " context_json, examples_json, tags_json, refs_json, confidence_score, importance_score, occurred_at)"
    " SELECT enterprise_id, id, session_id, title, description, '{}', '[]', '[]', '[]', 0.5, 0.5, occurred_at"
    " FROM learnings"
)


def edit(path: Path, *statements: str) -> None:
    raw = sqlean.connect(str(path), isolation_level=None)
    raw.execute("PRAGMA foreign_keys=OFF")
    for statement in statements:
        raw.execute(statement)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw.close()


def test_links_to_what_is_lost_go_with_it(store: Settings) -> None:
    """Else `db check` names them for ever, and recovering again mends nothing."""
    edit(store.database, LEARNING, SOURCE)
    before = count(store.database, "learning_sources")
    made = mend(store, zero(*pages_of(store.database, "learnings")))
    assert before == made.stand_ins["loose_keys"] > 0
    assert count(store.database, "learning_sources") == 0


def test_links_that_an_earlier_recovery_left_go_too(store: Settings) -> None:
    edit(store.database, LEARNING, SOURCE, "DELETE FROM learnings WHERE rowid % 2")
    left = count(store.database, "learnings")
    recover(store, store.database, quiet)
    with check.read_only(store.database) as raw:
        assert check.foreign_keys(raw) == {}
    assert count(store.database, "learnings") == count(store.database, "learning_sources") == left


@pytest.mark.parametrize("with_content", [True, False])
def test_learnings_whose_sessions_are_lost_are_found_again(
    store: Settings, with_content: bool
) -> None:
    path = store.database
    edit(path, LEARNING, SOURCE)
    projects = selected(path, "SELECT id, project_id FROM sessions")
    lost = ["sessions", "sqlite_autoindex_sessions_1", "sqlite_autoindex_sessions_2"]
    lost += ["ix_sessions_project", "ix_sessions_recent"]
    if not with_content:
        lost += ["prompts", "observations", "code_changes"]
    made = mend(store, zero(*(number for name in lost for number in pages_of(path, name))))
    assert made.stand_ins["sessions"] == len(projects)
    assert count(path, "learnings") == count(path, "learning_sources") == len(projects)
    assert selected(path, "SELECT id, project_id FROM sessions") == projects
    query = "SELECT count(*) FROM search_documents WHERE kind = 'learning'"
    assert selected(path, query) == {(len(projects),)}


@pytest.mark.parametrize("name", ["prompts", "search_fts_data"])
def test_transcripts_are_read_anew_only_where_something_was_lost(
    store: Settings, name: str
) -> None:
    """The record of imports says of what is lost that it was read."""
    record = store.home / "imports.json"
    record.write_text("{}")
    made = mend(store, zero(pages_of(store.database, name)[-1]))
    assert record.exists() is (name != "prompts")
    assert Path(made.kept).with_name("imports.json").exists() is (name == "prompts")


def test_what_was_freed_does_not_come_back(store: Settings) -> None:
    raw = sqlean.connect(str(store.database), isolation_level=None)
    raw.execute("PRAGMA foreign_keys=OFF")
    [victim] = raw.execute("SELECT id FROM sessions ORDER BY id LIMIT 1").fetchone()
    for table in ("prompts", "observations", "code_changes"):
        raw.execute(f"DELETE FROM {table} WHERE session_id = ?", (victim,))
    assert raw.execute("PRAGMA freelist_count").fetchone()[0] > 0
    left = raw.execute("SELECT count(*) FROM prompts").fetchone()[0]
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw.close()
    mend(store, zero(1))
    assert count(store.database, "prompts") == left
    assert (
        selected(store.database, f"SELECT id FROM prompts WHERE session_id = '{victim}'") == set()
    )


def write_in_log(path: Path, title: str) -> bytes:
    """Change a row so that the change is in the log only; returns the log."""
    raw = sqlean.connect(str(path), isolation_level=None)
    raw.execute("PRAGMA wal_autocheckpoint=0")
    raw.execute("UPDATE sessions SET title = ?", (title,))
    log = path.with_name(path.name + "-wal").read_bytes()
    keep = path.read_bytes()
    raw.close()  # checkpoints: the file before and the log are put back as a crash would leave them
    path.write_bytes(keep)
    path.with_name(path.name + "-wal").write_bytes(log)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return log


def test_the_write_ahead_log_counts(store: Settings, whole: Path) -> None:
    write_in_log(store.database, "changed in the log")
    made = mend(store, zero(root_of(whole / "claude-mem.db", "observations")))
    assert made.rescue.log == "used"
    assert selected(store.database, "SELECT DISTINCT title FROM sessions") == {
        ("changed in the log",)
    }
    assert Path(made.kept + "-wal").exists()
    assert not store.database.with_name("claude-mem.db-wal").exists()


def test_a_torn_log_counts_up_to_its_last_whole_commit(store: Settings, whole: Path) -> None:
    log = write_in_log(store.database, "changed in the log")
    store.database.with_name("claude-mem.db-wal").write_bytes(log[:-10] + b"\0" * 10)
    made = mend(store, zero(root_of(whole / "claude-mem.db", "observations")))
    assert made.rescue.log == "none"
    assert_all_there(whole, store)


def test_a_log_of_another_file_is_left_out(store: Settings, whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_store(other, sessions=9, turns=30)
    raw = sqlean.connect(str(other / "claude-mem.db"), isolation_level=None)
    raw.execute("PRAGMA wal_autocheckpoint=0")
    raw.execute("UPDATE observations SET title = title || ' again'")
    log = (other / "claude-mem.db-wal").read_bytes()
    raw.close()

    def wrong_log(path: Path) -> None:
        path.with_name("claude-mem.db-wal").write_bytes(log)

    made = mend(store, wrong_log)
    assert made.rescue.log == "left_out"
    assert_all_there(whole, store)


def test_a_kept_file_can_be_recovered_again(store: Settings, whole: Path) -> None:
    first = mend(store, zero(1))
    store.database.unlink()
    again = recover(store, store.database, quiet, source=Path(first.kept))
    assert again.rescue.lost == 0
    assert_all_there(whole, store)


def test_an_older_revision_is_recovered_and_then_migrated(tmp_path: Path, whole: Path) -> None:
    from claude_mem.adapters.sqlite.connection import make_engine
    from claude_mem.app import migrate
    from claude_mem.app.migrations import HEAD

    store = load(copy_store(whole, tmp_path / "old"), {})
    engine = make_engine(store.database, writer=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        migrate.run(connection, "downgrade", "0001")
        connection.exec_driver_sql("COMMIT")
    engine.dispose()
    prompts = rows_of(store.database, "prompts")
    mend(store, zero(1))
    assert selected(store.database, "SELECT version_num FROM alembic_version") == {(HEAD,)}
    assert rows_of(store.database, "prompts") == prompts


def test_the_inbox_is_recovered_too(store: Settings) -> None:
    raw = sqlean.connect(str(store.inbox), isolation_level=None)
    rows = [(f"e-{number}", f"event-{number}", b"x" * 900) for number in range(50)]
    raw.executemany("INSERT INTO inbox (enterprise_id, event_id, body) VALUES (?, ?, ?)", rows)
    raw.execute("INSERT INTO dead_letters VALUES ('e', 'buried', 'no reason', 1, x'00')")
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw.close()
    before = rows_of(store.inbox, "inbox")
    garbage(1)(store.inbox)
    assert damaged_files(store) == [store.inbox]
    recover(store, store.inbox, quiet)
    assert rows_of(store.inbox, "inbox") == before
    assert count(store.inbox, "dead_letters") == 1
    assert damaged_files(store) == []


def all_noise(path: Path) -> None:
    garbage(*range(1, path.stat().st_size // PAGE + 1))(path)


def no_database(path: Path) -> None:
    path.write_bytes(b"hello" * 500)


@pytest.mark.parametrize("hurt", [no_database, all_noise, garbage(1, 2), zero(1, 2, 3, 4)])
def test_an_unreadable_inbox_is_kept_and_made_anew(
    store: Settings, whole: Path, hurt: Hurt
) -> None:
    """A sound store must not stay down for it, and what it held is called unknown rather than nothing."""
    hurt(store.inbox)
    damaged = store.inbox.read_bytes()
    assert damaged_files(store) == [store.inbox]
    made = recover(store, store.inbox, quiet)
    assert Path(made.kept).read_bytes() == damaged
    assert Path(made.kept).is_relative_to(store.home / "damaged")
    assert (made.faults, made.rescue.rows) == ([], 0)
    assert made.rescue.unclaimed == -(-len(damaged) // PAGE)
    assert damaged_files(store) == []
    assert count(store.inbox, "inbox") == count(store.inbox, "dead_letters") == 0
    assert_all_there(whole, store)


def test_an_inbox_is_never_taken_for_a_database(store: Settings, whole: Path) -> None:
    with pytest.raises(NotRecoverable):
        recover(store, store.database, quiet, source=whole / "inbox.db")
    assert_all_there(whole, store)


def test_what_cannot_be_recovered_changes_nothing(
    store: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage(*range(1, store.database.stat().st_size // PAGE + 1))(store.database)
    before = store.database.read_bytes()
    with pytest.raises(NotRecoverable):
        recover(store, store.database, quiet)
    with pytest.raises(NothingToRecover):
        recover(store, store.database, quiet, source=tmp_path / "none.db")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(StoreFull):
        recover(store, store.database, quiet)
    assert store.database.read_bytes() == before
    assert sorted(it.name for it in store.home.glob(".claude-mem*")) == []


def test_another_programs_database_is_left_alone(store: Settings, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    raw = sqlean.connect(str(foreign))
    raw.execute("CREATE TABLE observations (id INTEGER PRIMARY KEY, text TEXT)")
    raw.commit()
    raw.close()
    before = foreign.read_bytes()
    with pytest.raises(ForeignDatabase):
        recover(store, store.database, quiet, source=foreign)
    garbage(1)(foreign)
    hurt = foreign.read_bytes()
    with pytest.raises(NotRecoverable):
        recover(store, store.database, quiet, source=foreign)
    assert foreign.read_bytes() == hurt != before


def test_a_newer_programs_file_is_left_alone(store: Settings) -> None:
    raw = sqlean.connect(str(store.database), isolation_level=None)
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw.close()
    zero(1)(store.database)
    with pytest.raises(NewerDatabase):
        recover(store, store.database, quiet)


@pytest.mark.parametrize(
    "payload", [b"", b"\x02", b"\x09\x01\x01", b"\x02\x0a", b"\x03\x01\x01\x05", b"\x02\x17abc"]
)
def test_what_is_no_record_is_refused(payload: bytes) -> None:
    with pytest.raises((Damaged, IndexError)):
        record(payload, len(payload))


def test_numbers_of_every_length_are_read() -> None:
    assert varint(b"\x7f", 0) == (127, 1)
    assert varint(b"\x81\x00", 0) == (128, 2)
    assert varint(b"\xff" * 9, 0) == ((1 << 64) - 1, 9)
    assert record(b"\x05\x00\x08\x01\x13\xfeabc", 9) == [None, 0, -2, "abc"]


def selected(path: Path, query: str) -> set[tuple[object, ...]]:
    raw = sqlean.connect(str(path))
    try:
        return set(raw.execute(query).fetchall())
    finally:
        raw.close()


def leaf_pages(path: Path, table: str) -> list[int]:
    raw = sqlean.connect(str(path))
    try:
        found = raw.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)
        )
        return [row[0] for row in found]
    finally:
        raw.close()


def rows_on(path: Path, page: int) -> int:
    pages = Pages(path, wal=False)
    try:
        return sum(cell is not None for cell in pages.cells(page))
    finally:
        pages.close()
