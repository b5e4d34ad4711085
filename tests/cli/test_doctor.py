"""`claude-mem doctor`: each thing that can be wrong is found and named with its way out, and only what is safe is mended."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from doctor_support import edit, examine, one, trouble
from typer.testing import CliRunner

from claude_mem.app.doctor import fixes, worker
from claude_mem.app.doctor.fixes import FIXES
from claude_mem.app.doctor.run import GROUPS
from claude_mem.cli import doctor
from claude_mem.worker import control
from claude_mem.worker.journal import Journal
from claude_mem.worker.layout import Layout
from store_support import garbage, pages_of, zero

pytestmark = pytest.mark.slow

Hurt = Callable[[Path], None]


def test_a_sound_installation_has_only_its_worker_down(home: Path) -> None:
    found = examine(code=0)
    assert trouble(found) == {"worker": "warn"}
    assert one(found, "worker")["fix"] == "claude-mem start"
    assert {it["group"] for it in found["checks"]} == set(GROUPS)
    assert len(found["checks"]) >= 20
    for it in found["checks"]:
        assert set(it) == {"group", "id", "title", "status", "found", "fix", "safe_fix"}
        assert (it["fix"] is None) == (it["status"] == "ok"), it


def test_looking_changes_nothing(home: Path, settings: Path) -> None:
    home.chmod(0o755)
    (home / "door").write_text("unix:/nowhere\ntoken\n")
    before = snapshot(home), settings.read_bytes()
    examine()
    assert (snapshot(home), settings.read_bytes()) == before


def snapshot(home: Path) -> dict[str, tuple[int, bytes]]:
    """Modes and content of everything but what SQLite keeps for readers beside a file."""
    return {
        str(path.relative_to(home)): (path.stat().st_mode, path.read_bytes())
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_nothing_installed_at_all(private_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(private_home)
    found = examine(code=1)
    assert one(found, "hooks")["fix"] == "claude-mem install"
    assert not (private_home / ".claude-mem").exists()


# -- data folder ------------------------------------------------------------------------------


def test_what_lies_in_a_private_folder_is_nobody_elses(home: Path) -> None:
    (home / "plugin").mkdir()
    (home / "plugin").chmod(0o755)
    (home / "notes.txt").touch()
    (home / "notes.txt").chmod(0o644)
    assert trouble(examine(code=0)) == {"worker": "warn"}


@pytest.mark.parametrize("name", ["", "token", "claude-mem.db", "hook"])
def test_what_others_may_read_is_closed(home: Path, name: str) -> None:
    (home / name).chmod(0o755)
    if name != "token":
        home.chmod(0o755)
    assert "fail" in trouble(examine(code=1)).values()
    found = examine("--fix", code=0)
    assert found["fixed"][0]["fix"] == "modes"
    assert (home / name).stat().st_mode & 0o077 == 0


def test_a_missing_token_is_made(home: Path) -> None:
    (home / "token").unlink()
    assert one(examine(code=1), "token")["safe_fix"] is True
    examine("--fix", code=0)
    assert (home / "token").read_text().strip()


def test_a_bad_setting_is_named_and_everything_else_is_looked_at_all_the_same(home: Path) -> None:
    (home / "config.toml").write_text("max_rss_mb = 1\n")
    (home / "config.toml").chmod(0o600)
    found = examine(code=1)
    assert "max_rss_mb" in one(found, "settings")["found"]
    assert any(it["id"] == "database" and it["status"] == "ok" for it in found["checks"])


def test_another_programs_database_is_named_and_never_touched(home: Path) -> None:
    path = home / "claude-mem.db"
    path.unlink()
    edit(path, "PRAGMA application_id=7", "CREATE TABLE observations (id INTEGER PRIMARY KEY)")
    before = path.read_bytes()
    found = examine("--fix", code=1)
    assert "import --upstream" in one(found, "database.owner")["fix"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("there", [True, False])
def test_a_database_that_is_gone_is_a_failure_and_no_empty_one_is_made(
    home: Path, there: bool
) -> None:
    """The inbox says that there was a store: an empty one in its place would hide that it is lost."""
    path = home / "claude-mem.db"
    path.unlink()
    if there:
        path.touch(0o600)
    found = one(examine(code=1), "database")
    assert ("0 bytes" if there else "missing") in found["found"]
    assert "inbox.db" in found["found"]
    assert "claude-mem import" in found["fix"]
    [start] = [it for it in examine("--fix", code=1)["fixed"] if it["fix"] == "start"]
    assert start["result"] == "failed"
    assert path.exists() is there
    copy = home / "backups" / "claude-mem-0003-1790000000000.db"
    copy.parent.mkdir(exist_ok=True, mode=0o700)
    copy.write_bytes(b"x")
    assert str(copy) in one(examine(code=1), "database")["fix"]


def test_before_the_first_start_there_is_no_database_and_that_is_well(home: Path) -> None:
    for path in home.glob("*.db*"):
        path.unlink()
    assert trouble(examine(code=0)) == {"worker": "warn"}


def test_a_token_in_a_file_of_the_repository_is_found(home: Path) -> None:
    token = (home / "token").read_text()
    Path(".mcp.json").write_text(json.dumps({"mcpServers": {"x": {"env": {"TOKEN": token}}}}))
    found = one(examine(code=1), "token.leak")
    assert ".mcp.json" in found["found"]
    assert token.strip() not in json.dumps(found)


def test_files_from_the_future_mean_a_wrong_clock(home: Path) -> None:
    later = time.time() + 7200
    os.utime(home / "token", (later, later))
    assert trouble(examine())["clock"] == "warn"


def test_a_store_at_its_cap_is_a_failure(home: Path) -> None:
    (home / "config.toml").write_text("max_store_mb = 16\n")
    (home / "config.toml").chmod(0o600)
    with (home / "inbox.db-wal").open("wb") as file:
        file.truncate(20 << 20)
    (home / "inbox.db-wal").chmod(0o600)
    assert trouble(examine(code=1))["store.cap"] == "fail"


@pytest.mark.parametrize(("free", "level"), [(10 << 20, "fail"), (500 << 20, "warn")])
def test_a_full_disk(home: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, free))
    assert trouble(examine())["disk"] == level


# -- worker -----------------------------------------------------------------------------------


def test_what_a_dead_worker_left_is_removed_and_a_worker_started(home: Path) -> None:
    (home / "door").write_text("unix:/nowhere\ntoken\n")
    (home / "door").chmod(0o600)
    assert one(examine(code=0), "locks")["safe_fix"] is True
    found = examine("--fix", code=0)
    assert {it["fix"]: it["result"] for it in found["fixed"]} == {"door": "done", "start": "done"}
    assert trouble(found) == {}
    told = {it["id"]: it["found"] for it in found["checks"]}
    assert "finds what is there" in told["search"]
    assert "ms" in told["latency"]
    assert "program and worker" in told["worker.version"]


def test_a_port_that_another_program_holds_is_told_with_its_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("CLAUDE_MEM_PORT", str(server.getsockname()[1]))
        found = one(examine(code=0), "port")
        assert f"process {os.getpid()}" in found["found"]
        monkeypatch.setenv("CLAUDE_MEM_STRICT_PORT", "true")
        assert trouble(examine(code=1))["port"] == "fail"


def test_restarts_and_errors_of_the_last_day_are_counted(home: Path) -> None:
    (home / "logs").mkdir(exist_ok=True, mode=0o700)
    journal = Journal(home / "logs" / "supervisor.jsonl")
    for _ in range(3):
        journal.write("error", "worker.restarting", "The worker ended unexpectedly (-9)")
    old = {"timestamp": "2020-01-01T00:00:00Z", "level": "error", "message": "long ago"}
    with (home / "logs" / "worker.jsonl").open("a") as file:
        file.write(json.dumps(old) + "\n")
    (home / "logs" / "worker.jsonl").chmod(0o600)
    found = examine(code=0)
    assert one(found, "restarts")["found"].startswith("3 within a day")
    assert one(found, "log")["found"].startswith("3 errors within a day")


def test_a_worker_that_gave_up_is_explained(home: Path) -> None:
    record = {"reason": "crash_loop", "exit_code": 1, "exits": 21, "at": "2026-11-20T10:00:00Z"}
    Layout(home).worker_failed.write_text(json.dumps(record))
    Layout(home).worker_failed.chmod(0o600)
    found = one(examine(code=1), "worker")
    assert "crashed 21 times" in found["found"]
    assert found["fix"]


# -- capture ----------------------------------------------------------------------------------


def test_a_pause_and_an_opt_out_are_told(home: Path) -> None:
    (home / "paused").touch(mode=0o600)
    assert one(examine(code=0), "paused")["fix"] == "claude-mem resume"
    (home / "paused").unlink()
    Path(".claude-mem-off").touch()
    assert trouble(examine(code=0))["opted_out"] == "warn"


def test_nothing_captured_for_long(home: Path) -> None:
    edit(home / "claude-mem.db", "UPDATE sessions SET updated_at = 1700000000000")
    assert "nothing captured since" in one(examine(code=0), "last_event")["found"]


def test_what_comes_from_the_future_can_be_forgotten(home: Path) -> None:
    edit(home / "claude-mem.db", "UPDATE sessions SET last_activity_at = 253400000000000")
    found = one(examine(code=0), "last_event")
    assert "ahead" in found["found"]
    assert re.search(r"claude-mem forget session [0-9a-f-]{36}$", found["fix"])


def test_the_spool_is_told_and_taken_over(home: Path) -> None:
    (home / "spool").mkdir(mode=0o700, exist_ok=True)
    (home / "spool" / "active.jsonl").write_text('{"torn": \n' * 3)
    (home / "spool" / "refused").write_text("PostToolUse\n")
    for path in (home / "spool").iterdir():
        path.chmod(0o600)
    found = examine(code=0)
    assert "3 events" in one(found, "spool")["found"]
    assert "1 events refused" in one(found, "spool.lost")["found"]
    after = examine("--fix", code=0)
    assert {"spool", "start"} <= {it["fix"] for it in after["fixed"] if it["result"] == "done"}


def test_dead_letters_and_dead_jobs_are_told_and_jobs_tried_again(home: Path) -> None:
    edit(home / "inbox.db", "INSERT INTO dead_letters VALUES ('e', 'x', 'no', 1, x'00')")
    edit(
        home / "claude-mem.db",
        "INSERT INTO task_queue (enterprise_id, id, task_type, task_key, payload_json, priority, status,"
        " run_at, retry_count, max_retries, created_at, error_message, completed_at)"
        " VALUES ('00000000-0000-7000-8000-000000000001', '01a00000-0000-7000-8000-000000000001',"
        " 'index.rebuild', 'all', '{}', 0, 'dead', 0, 5, 5, 0, 'OSError: the disk went', 1)",
    )
    found = examine(code=0)
    assert "1 events" in one(found, "inbox.dead")["found"]
    assert "OSError: the disk went" in one(found, "jobs")["found"]
    after = examine("--fix", code=0)
    assert {"fix": "jobs", "result": "done", "said": "1 jobs are tried again"} in after["fixed"]
    assert "jobs" not in trouble(after)


# -- store ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hurt", [zero(1), garbage(1)])
def test_a_destroyed_header_is_damage_and_not_another_programs(home: Path, hurt: Hurt) -> None:
    hurt(home / "claude-mem.db")
    assert one(examine(code=1), "database.owner")["fix"] == "claude-mem db recover"
    problem = control.start(home).problem
    assert problem is not None
    assert (problem.code, problem.advice) == ("damaged_database", "claude-mem db recover")


def test_a_damaged_database_is_not_mended_behind_a_persons_back(home: Path, whole: Path) -> None:
    zero(*pages_of(whole / "claude-mem.db", "observations"))(home / "claude-mem.db")
    before = (home / "claude-mem.db").read_bytes()
    found = one(examine(code=1), "database")
    assert (found["fix"], found["safe_fix"]) == ("claude-mem db recover", False)
    assert (home / "claude-mem.db").read_bytes() == before


def test_an_index_that_lost_documents_is_made_anew(home: Path) -> None:
    edit(home / "claude-mem.db", "DELETE FROM search_documents WHERE kind = 'prompt'")
    assert trouble(examine(code=1))["index"] == "fail"
    found = examine("--fix")
    assert "rebuild" in {it["fix"] for it in found["fixed"] if it["result"] == "done"}
    assert "index" not in trouble(found)


def test_an_index_at_odds_with_itself_is_not_called_mended_beside_a_worker(home: Path) -> None:
    """The engine's own list has entries that no row leads to: a worker takes out rows, not these."""
    edit(
        home / "claude-mem.db",
        "INSERT INTO search_fts(rowid, title, body, labels) VALUES (999999, 'a', 'b', 'c')",
    )
    assert control.start(home).problem is None
    found = examine("--fix", code=1)
    (fixed,) = [it for it in found["fixed"] if it["fix"] == "rebuild"]
    assert fixed["result"] == "failed"
    assert "claude-mem stop, then claude-mem db rebuild, then claude-mem start" in fixed["said"]
    assert control.stop(home).ok
    again = examine("--fix", code=0)
    assert "index" not in trouble(again)


def test_an_older_schema_is_told(home: Path) -> None:
    edit(home / "claude-mem.db", "UPDATE alembic_version SET version_num = '0000'")
    assert one(examine(code=0), "schema")["safe_fix"] is True
    edit(home / "claude-mem.db", "UPDATE alembic_version SET version_num = '9999'")
    assert one(examine(code=0), "schema")["safe_fix"] is False


def test_an_index_of_an_older_analysis_is_told(home: Path) -> None:
    edit(home / "claude-mem.db", "UPDATE search_statistics SET analysis_version = 1")
    assert one(examine(code=0), "index.version")["fix"] == "claude-mem start"


def test_a_log_that_was_never_written_back(home: Path) -> None:
    with (home / "claude-mem.db-wal").open("wb") as file:
        file.truncate(200 << 20)
    (home / "claude-mem.db-wal").chmod(0o600)
    assert one(examine(), "database.log")["safe_fix"] is True


# -- the whole --------------------------------------------------------------------------------


def test_one_check_that_falls_over_hides_no_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(_: object) -> None:
        raise ZeroDivisionError("on the way")

    monkeypatch.setattr(worker, "port_holder", fall)
    found = examine(code=0)
    assert "ZeroDivisionError" in one(found, "worker.port")["found"]
    assert any(it["id"] == "database" for it in found["checks"])


def test_a_fix_that_fails_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> str:
        raise fixes.NotMended("somebody is at it")

    monkeypatch.setitem(FIXES, "start", refuse)
    [done] = examine("--fix")["fixed"]
    assert done == {"fix": "start", "result": "failed", "said": "somebody is at it"}


def test_a_person_sees_marks_fixes_and_a_sum(home: Path, settings: Path) -> None:
    settings.unlink()
    app = typer.Typer()
    doctor.register(app)
    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "80"})
    assert done.exit_code == 1
    for text in ("✗ Hooks", "→ claude-mem install", "! Worker", "✓ SQLite", "1 failed", "--fix"):
        assert text in done.output
    paths = (str(home), str(settings), sys.executable, "/")
    for line in done.output.splitlines():
        assert len(line) <= 80 or any(path in line for path in paths), line
