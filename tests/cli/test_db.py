"""`claude-mem db`: what it says of a store, what it changes, and that a running worker is never worked around."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlean
import typer
from bench.ports import free_port
from typer.testing import CliRunner

from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.cli import db, db_show
from claude_mem.kernel.errors import DatabaseDamaged
from claude_mem.sdk.local import connect
from claude_mem.worker import control
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import ProcessLock
from store_support import copy_store, count, garbage, make_store, pages_of, rows_of, zero


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole") / "data"
    make_store(home, sessions=4, turns=20)
    return home


@pytest.fixture
def home(whole: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store of one's own. Short: a socket's path has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="cm-"))
    home = copy_store(whole, folder / "d")
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(home))
    monkeypatch.setenv("CLAUDE_MEM_PORT", str(free_port()))
    yield home
    assert control.stop(home).ok
    shutil.rmtree(folder)


def run(*arguments: str, code: int = 0, width: int = 80) -> str:
    app = typer.Typer()
    db.register(app)
    app.command("other")(lambda: None)
    environment = {"COLUMNS": str(width)}
    done = CliRunner().invoke(app, ["db", *arguments], env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def told(*arguments: str, code: int = 0) -> dict[str, Any]:
    (line,) = run(*arguments, "--json", code=code).splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def edit(path: Path, *statements: str) -> None:
    raw = sqlean.connect(str(path), isolation_level=None)
    raw.execute("PRAGMA foreign_keys=OFF")
    for statement in statements:
        raw.execute(statement)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw.close()


def test_a_sound_store_is_called_sound(home: Path) -> None:
    before = (home / "claude-mem.db").read_bytes()
    found = told("check", "--thorough")
    assert found["ok"] is True
    assert [it["file"] for it in found["files"]] == ["database", "inbox"]
    assert sum(it["indexed"] for it in found["index"]) > 100
    assert found["next_step"] is None
    assert "faulty" not in run("check")
    assert (home / "claude-mem.db").read_bytes() == before


def test_a_damaged_page_is_found_and_the_way_out_named(home: Path, whole: Path) -> None:
    garbage(pages_of(whole / "claude-mem.db", "prompts")[-1])(home / "claude-mem.db")
    found = told("check", code=1)
    assert found["damaged"] is True
    assert found["next_step"] == "claude-mem db recover"
    shown = run("check", code=1)
    assert "faulty" in shown
    assert "claude-mem db recover" in shown


def a_torn_magic(path: Path) -> None:
    """The mark of ours is whole, what makes it a database is not."""
    with path.open("r+b") as file:
        file.write(b"garbage garbage")


def no_mark(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(68)
        file.write(bytes(4))


@pytest.mark.parametrize("hurt", [a_torn_magic, no_mark])
def test_a_torn_header_is_damage_and_the_way_back_is_gone_to_its_end(
    home: Path, hurt: Callable[[Path], None]
) -> None:
    (home / "worker.failed").write_text('{"reason": "refused", "exit_code": 78}')
    before = count(home / "claude-mem.db", "prompts")
    hurt(home / "claude-mem.db")
    problem = control.start(home).problem
    assert problem is not None
    assert (problem.code, problem.advice) == ("damaged_database", "claude-mem db recover")
    with pytest.raises(DatabaseDamaged, match="db recover"):
        SqliteDatabase(home / "claude-mem.db")
    assert told("check", code=1)["next_step"] == "claude-mem db recover"
    found = told("recover")
    assert (found["ok"], found["next_step"]) == (True, "claude-mem start")
    assert count(home / "claude-mem.db", "prompts") == before
    assert not (home / "worker.failed").exists()
    assert told("check")["ok"] is True


def test_an_index_entry_that_contradicts_its_row_is_found_by_a_thorough_look(home: Path) -> None:
    """Only the index's own pages say so: structure alone is sound."""
    edit(
        home / "claude-mem.db",
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'last_activity_at)', 'started_at)')"
        " WHERE name = 'ix_sessions_recent'",
        "PRAGMA writable_schema=RESET",
        "UPDATE sessions SET last_activity_at = last_activity_at + 5",
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'started_at)', 'last_activity_at)')"
        " WHERE name = 'ix_sessions_recent'",
    )
    assert told("check")["ok"] is True
    assert told("check", "--thorough", code=1)["damaged"] is True


def test_rows_and_index_that_disagree_are_told_and_mended_by_rebuild(home: Path) -> None:
    path = home / "claude-mem.db"
    edit(
        path,
        "DELETE FROM search_documents WHERE kind = 'prompt' AND id % 3 = 0",
        "DELETE FROM search_fts WHERE rowid = (SELECT min(id) FROM search_documents)",
        "INSERT INTO search_fts(rowid, title, body, labels) VALUES (999999, 'a', 'b', 'c')",
        "DELETE FROM observations WHERE rowid = 1",
    )
    found = told("check", code=1)
    by_kind = {it["kind"]: it for it in found["index"]}
    assert by_kind["prompt"]["missing"] > 0
    assert by_kind["observation"]["stray"] == 1
    assert len(found["index_faults"]) == 2
    assert found["next_step"] == "claude-mem db rebuild"
    assert "missing" in run("check", code=1)
    made = told("rebuild")
    assert (made["through"], made["ok"]) == ("file", True)
    assert made["documents"] == count(path, "search_documents")
    assert told("check")["ok"] is True


def test_a_forgotten_learning_is_no_fault(home: Path) -> None:
    """Its empty row stays, so that it is not learned again: that row is in no index, and need not be."""
    edit(
        home / "claude-mem.db",
        "INSERT INTO learnings (enterprise_id, id, category, title, description, context_json,"
        " examples_json, tags_json, confidence_score, usage_count, source_session_ids, is_verified,"
        " is_deleted, version, created_at, updated_at)"
        " SELECT enterprise_id, 'gone', 'general', '', '', '{}', '[]', '[]', 0, 0, '[]', 0, 1, 2, 0, 0"
        " FROM sessions LIMIT 1",
    )
    found = told("check")
    [learnings] = [it for it in found["index"] if it["kind"] == "learning"]
    assert (found["ok"], learnings["missing"], learnings["rows"]) == (
        True,
        0,
        learnings["indexed"],
    )
    edit(home / "claude-mem.db", "UPDATE learnings SET is_deleted = 0 WHERE id = 'gone'")
    assert told("check", code=1)["ok"] is False


def test_rows_without_their_parent_are_told(home: Path) -> None:
    edit(home / "claude-mem.db", "DELETE FROM sessions WHERE rowid = 1")
    found = told("check", code=1)
    assert found["references"]["prompts -> sessions"] == 20
    assert "prompts -> sessions" in run("check", code=1)
    step = found["next_step"].split()
    assert step[:3] == ["claude-mem", "db", "recover"]
    assert told(*step[2:], "--yes")["ok"] is True
    assert told("check")["references"] == {}


def test_figures_add_up(home: Path) -> None:
    found = told("stats", "--days", "3")
    path = home / "claude-mem.db"
    assert found["rows"]["prompts"] == count(path, "prompts") == 80
    assert sum(it["bytes"] for it in found["sizes"]) <= path.stat().st_size
    assert {it["name"] for it in found["projects"]} == {"project-0", "project-1"}
    assert sum(it["sessions"] for it in found["projects"]) == count(path, "sessions")
    assert len(found["growth"]) == 3
    assert "Nothing happened in the last 3 days" in run("stats", "--days", "3")
    long = told("stats", "--days", "366")
    rows = [count(path, table) for table in ("prompts", "observations", "code_changes")]
    assert sum(day["rows"] for day in long["growth"]) == sum(rows)
    assert "█" in run("stats", "--days", "366")


def test_space_names_the_largest_and_what_could_be_given_back(home: Path) -> None:
    found = told("space")
    sizes = [it["bytes"] for it in found["sessions"]]
    assert len(sizes) == 4
    assert sizes == sorted(sizes, reverse=True)
    assert found["vacuum_is_worth_it"] is False
    edit(home / "claude-mem.db", "DELETE FROM observations")
    assert told("space")["free_pages_bytes"] > found["free_pages_bytes"]
    for line in run("space").splitlines():
        assert len(line) <= 80, line


def test_vacuum_makes_the_file_smaller_and_loses_nothing(home: Path) -> None:
    path = home / "claude-mem.db"
    edit(path, "DELETE FROM observations WHERE rowid % 2")
    before = rows_of(path, "prompts"), rows_of(path, "observations")
    made = told("vacuum")
    assert 0 < made["bytes_after"] < made["bytes_before"]
    assert made["freed_bytes"] == made["bytes_before"] - made["bytes_after"]
    assert (rows_of(path, "prompts"), rows_of(path, "observations")) == before
    raw = sqlean.connect(str(path))
    assert raw.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    raw.close()


def test_vacuum_asks_for_room_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 1 << 20))
    found = told("vacuum", code=1)
    assert (found["code"], found["ok"]) == ("STORE_FULL", False)
    assert "1 MB are free" in found["error"]


def test_full_does_it_all(home: Path) -> None:
    found = told("full")
    assert [(it["step"], it["ok"]) for it in found["steps"]] == [
        ("check", True),
        ("checkpoint", True),
        ("vacuum", True),
        ("check", True),
    ]
    assert "not worth it" in run("full")


def test_full_stops_at_damage(home: Path, whole: Path) -> None:
    zero(*pages_of(whole / "claude-mem.db", "prompts"))(home / "claude-mem.db")
    found = told("full", code=1)
    assert [it["step"] for it in found["steps"]] == ["check"]
    assert found["next_step"] == "claude-mem db recover"
    assert "claude-mem db recover" in run("full", code=1)


def test_recover_says_what_came_back_and_where_the_damaged_file_is(home: Path, whole: Path) -> None:
    lost = pages_of(whole / "claude-mem.db", "prompts")
    zero(1, lost[-1])(home / "claude-mem.db")
    shown = run("recover", "--yes")
    assert "rows came over" in shown
    assert "lost" in shown
    [kept] = (home / "damaged").glob("*/claude-mem.db")
    assert str(kept) in shown.replace("\n", "")
    assert told("check")["ok"] is True
    assert told("recover", code=1)["code"] == "NOTHING_TO_RECOVER"


def test_an_empty_file_is_called_empty(home: Path) -> None:
    (home / "claude-mem.db").write_bytes(b"")
    said = told("recover", code=1)
    assert said["code"] == "NOTHING_TO_RECOVER"
    assert "0 bytes" in said["error"]
    assert "claude-mem import" in said["next_step"]


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_done_with_a_database_that_is_lost(home: Path, there: bool) -> None:
    path = home / "claude-mem.db"
    path.unlink()
    if there:
        path.touch()
    for command in ("check", "stats", "space", "vacuum", "rebuild", "drop-copies"):
        said = told(command, code=1)
        assert said["code"] == "NOT_FOUND", command
        assert "inbox.db" in said["error"], command
        assert "claude-mem import" in said["next_step"], command
    assert path.exists() is there
    assert told("recover", code=1)["code"] == "NOTHING_TO_RECOVER"


def no_database(path: Path) -> None:
    path.write_bytes(b"hello" * 500)


@pytest.mark.parametrize("lost", [False, True])
def test_an_unreadable_inbox_is_made_anew_beside_a_sound_database(home: Path, lost: bool) -> None:
    no_database(home / "inbox.db")
    if lost:  # then only the inbox is damaged: the database is not there
        (home / "claude-mem.db").unlink()
    before = () if lost else rows_of(home / "claude-mem.db", "prompts")
    shown = run("recover", "--yes", width=200)
    assert "is not known" in shown
    [kept] = (home / "damaged").glob("*/inbox.db")
    assert str(kept) in shown
    if not lost:
        assert told("check")["ok"] is True
        assert rows_of(home / "claude-mem.db", "prompts") == before


@pytest.mark.parametrize("copied", [False, True])
def test_of_an_unreadable_database_the_way_back_is_one_that_is_there(
    home: Path, copied: bool
) -> None:
    no_database(home / "claude-mem.db")
    copy = home / "backups" / "claude-mem-0003-1790000000000.db"
    if copied:
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(b"x")
    said = told("recover", code=1)
    assert said["code"] == "NOT_RECOVERABLE"
    assert str(home / "claude-mem.db") in said["error"]
    assert (str(copy) in said["next_step"]) is copied
    assert ("claude-mem import" in said["next_step"]) is not copied


def test_copies_go_after_a_yes(home: Path, whole: Path) -> None:
    path = home / "claude-mem.db"
    zero(1)(path)
    run("recover", "--yes")
    [kept] = (home / "damaged").iterdir()
    backups = home / "backups"
    backups.mkdir(exist_ok=True)
    mine, ours = backups / "mine.db", backups / "claude-mem-0003-1790000000000.db"
    for file in (mine, ours):
        file.write_bytes(b"x")
    assert told("drop-copies", code=1)["code"] == "USAGE"
    assert kept.exists()
    gone = told("drop-copies", "--yes")["deleted"]
    assert set(gone) == {f"backups/{ours.name}", f"damaged/{kept.name}"}
    assert (kept.exists(), ours.exists(), mine.exists()) == (False, False, True)
    assert told("check")["ok"] is True


def test_without_a_yes_nothing_is_recovered(home: Path) -> None:
    zero(1)(home / "claude-mem.db")
    before = (home / "claude-mem.db").read_bytes()
    run("recover", code=1)  # nobody answers
    assert (home / "claude-mem.db").read_bytes() == before
    assert not (home / "damaged").exists()


@pytest.mark.parametrize("command", ["vacuum", "recover"])
def test_nothing_is_changed_beside_another_process(home: Path, command: str) -> None:
    """A process that holds the folder and does not answer is neither worked around nor ended."""
    if command == "recover":
        zero(1)(home / "claude-mem.db")
    before = (home / "claude-mem.db").read_bytes()
    lock = ProcessLock(Layout(home).supervisor_lock, "supervisor")
    assert lock.acquire()
    try:
        found = told(command, code=1)
        assert found["code"] == "WORKER_RUNS"
        assert found["next_step"]
    finally:
        lock.release()
    assert (home / "claude-mem.db").read_bytes() == before


def test_another_programs_database_is_named_and_left_alone(home: Path) -> None:
    path = home / "claude-mem.db"
    path.unlink()
    edit(path, "PRAGMA application_id=7", "CREATE TABLE observations (id INTEGER PRIMARY KEY)")
    before = path.read_bytes()
    for command in ("check", "stats", "space", "vacuum", "recover", "rebuild", "checkpoint"):
        assert told(command, code=1)["code"] == "FOREIGN_DATABASE", command
    assert path.read_bytes() == before


def test_without_a_database_the_next_step_is_told(home: Path) -> None:
    for path in home.glob("*.db*"):
        path.unlink()
    for command, code in (("check", "NOT_FOUND"), ("recover", "NOTHING_TO_RECOVER")):
        found = told(command, code=1)
        assert (found["code"], found["ok"]) == (code, False)
        assert "no database" in found["error"]
    shutil.rmtree(home)
    assert told("recover", "--from", "/tmp", code=1)["code"] == "NOT_FOUND"


def test_sizes_are_for_people() -> None:
    assert [db_show.size(it) for it in (0, 1023, 1024, 5 << 20, 3 << 30)] == [
        "0 B",
        "1023 B",
        "1 KB",
        "5 MB",
        "3.0 GB",
    ]


def log_emptied(home: Path) -> bool:
    assert told("checkpoint")["through"] == "worker"
    return (home / "claude-mem.db-wal").stat().st_size == 0


@pytest.mark.slow
def test_beside_a_running_worker(home: Path) -> None:
    """Looking is free; changing goes through the worker, or stops it for the time and starts it again."""
    path = home / "claude-mem.db"
    started = control.start(home, 60.0)
    assert started.ok, started.problem
    with connect(home) as client:
        assert client.wait_until_indexed()
    assert told("check")["ok"] is True
    # The worker goes on with its jobs, so the log it has emptied may have a first entry again when we look.
    assert any(log_emptied(home) for _ in range(20))
    made = told("rebuild")
    assert made["through"] == "worker"
    assert made["documents"] >= count(path, "prompts")
    refused = told("vacuum", code=1)
    assert refused["code"] == "WORKER_RUNS"
    assert "--yes" in refused["next_step"]
    assert told("vacuum", "--yes")["ok"] is True
    again = control.start(home, 30.0)
    assert again.state == "already_running"
    assert again.pid != started.pid
    assert told("full")["ok"] is True
    assert control.stop(home).ok
    zero(1)(path)
    assert told("recover", "--yes")["ok"] is True
    assert control.start(home, 60.0).ok
    with connect(home) as client:
        assert client.search("ledger")["results"]
