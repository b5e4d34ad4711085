"""`claude-mem doctor`: each thing that can be wrong is found and named with its way out, and only what is safe is mended."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlean
import typer
from bench.ports import free_port
from typer.testing import CliRunner

from claude_mem.app.doctor import client, fixes, worker
from claude_mem.app.doctor.fixes import FIXES
from claude_mem.app.doctor.run import GROUPS
from claude_mem.cli import doctor
from claude_mem.hook import mcp_registration
from claude_mem.hook.agents.claude import EVENTS
from claude_mem.hook.installation import install, prepare_home
from claude_mem.worker import control
from claude_mem.worker.journal import Journal
from claude_mem.worker.launch import supervisor_argv
from claude_mem.worker.layout import Layout
from store_support import copy_store, garbage, make_store, pages_of, zero

pytestmark = pytest.mark.slow

Hurt = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole") / "data"
    make_store(home, sessions=2, turns=10)
    return home


@pytest.fixture
def settings(private_home: Path) -> Path:
    """The person's settings of the client."""
    return private_home / ".claude" / "settings.json"


@pytest.fixture
def home(
    whole: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A sound installation whose worker is down. Short: a socket's path has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="cm-"))
    home = copy_store(whole, folder / "d")
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(home))
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_PROVIDER", "off")  # the model has its own tests
    monkeypatch.setenv("CLAUDE_MEM_PORT", str(free_port()))
    prepare_home(home, supervisor_argv(home))
    install(home, settings, sys.executable, EVENTS)
    mcp_registration.install(home, mcp_registration.config_path(), sys.executable, None)
    (tmp_path / "project" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    yield home
    for path in (folder, home):
        path.chmod(0o700)
    assert control.stop(home).ok
    shutil.rmtree(folder)


def examine(*arguments: str, code: int | None = None) -> dict[str, Any]:
    app = typer.Typer()
    doctor.register(app)
    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert done.exit_code == (0 if found["ok"] else 1)
    assert code is None or done.exit_code == code, found
    return found


def trouble(found: dict[str, Any]) -> dict[str, str]:
    """What is not ok, by id."""
    return {it["id"]: it["status"] for it in found["checks"] if it["status"] != "ok"}


def one(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(it for it in found["checks"] if it["id"] == name and it["status"] != "ok")


def edit(path: Path, *statements: str) -> None:
    raw = sqlean.connect(str(path), isolation_level=None)
    for statement in statements:
        raw.execute(statement)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw.close()


def change(settings: Path, values: dict[str, Any]) -> None:
    settings.write_text(json.dumps(json.loads(settings.read_text()) | values))


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


# -- agent ------------------------------------------------------------------------------------


def test_hooks_that_are_not_installed(home: Path, settings: Path) -> None:
    settings.unlink()
    found = one(examine(code=1), "hooks")
    assert (found["status"], found["fix"], found["safe_fix"]) == (
        "fail",
        "claude-mem install",
        False,
    )
    settings.write_text(json.dumps({"enabledPlugins": {client.PLUGIN: True}}))
    assert "hooks" not in trouble(examine(code=0))


def test_missing_events_are_named(home: Path, settings: Path) -> None:
    value = json.loads(settings.read_text())
    del value["hooks"]["Stop"]
    settings.write_text(json.dumps(value))
    assert "Stop" in one(examine(code=0), "hooks")["found"]


def test_events_left_out_by_choice_are_no_fault(home: Path, settings: Path) -> None:
    settings.unlink()
    install(home, settings, sys.executable, [it for it in EVENTS if it != "Stop"])
    assert "hooks" not in trouble(examine(code=0))


def test_an_interpreter_that_is_gone(home: Path, settings: Path) -> None:
    settings.write_text(settings.read_text().replace(sys.executable, "/nowhere/python3"))
    found = one(examine(code=1), "hooks.python")
    assert "/nowhere/python3 is gone" in found["found"]


def test_a_hook_of_another_version_is_written_anew(home: Path) -> None:
    (home / "hook" / "VERSION").write_text("0.0.1\n")
    assert one(examine(code=0), "hook.file")["safe_fix"] is True
    found = examine("--fix", code=0)
    assert {"fix": "hook", "result": "done", "said": "wrote the hook anew"} in found["fixed"]
    assert "hook.file" not in trouble(found)


def test_a_hook_that_is_gone_comes_back(home: Path) -> None:
    (home / "hook" / "hook.py").unlink()
    assert trouble(examine(code=1))["hooks.script"] == "fail"
    examine("--fix", code=0)
    assert (home / "hook" / "hook.py").exists()


def test_switched_off_hooks_and_other_programs_are_told(home: Path, settings: Path) -> None:
    plugins = {"claude-mem@thedotmack": True}
    change(settings, {"disableAllHooks": True, "enabledPlugins": plugins})
    before = settings.read_bytes()
    found = examine("--fix", code=1)
    assert one(found, "hooks.off")["status"] == "fail"
    assert one(found, "hooks.other")["fix"] == "claude plugin disable claude-mem@thedotmack"
    assert settings.read_bytes() == before, "a person's settings are theirs"


def test_managed_settings_that_allow_no_hooks(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    managed = tmp_path / "managed-settings.json"
    managed.write_text(json.dumps({"allowManagedHooksOnly": True}))
    monkeypatch.setattr(client, "_MANAGED", {"linux": str(managed), "darwin": str(managed)})
    assert trouble(examine(code=1))["hooks.managed"] == "fail"


def test_hooks_for_person_and_project_are_one_too_many(home: Path) -> None:
    install(home, Path(".claude/settings.local.json").absolute(), sys.executable, EVENTS)
    assert trouble(examine(code=0))["hooks.twice"] == "warn"


def test_a_settings_file_the_client_cannot_read(home: Path, settings: Path) -> None:
    settings.write_text("{ no json")
    found = examine(code=1)
    assert "not valid JSON" in one(found, "settings.client")["found"]
    assert "cannot be told" in one(found, "hooks")["found"]


def test_an_mcp_server_that_is_missing_or_gone(home: Path) -> None:
    mcp_registration.server_path(home).unlink()
    assert trouble(examine(code=1))["mcp"] == "fail"
    examine("--fix", code=0)
    assert mcp_registration.server_path(home).exists()
    text = mcp_registration.config_path().read_text()
    mcp_registration.config_path().write_text(text.replace(str(home), "/elsewhere"))
    assert "/elsewhere" in one(examine(code=0), "mcp")["found"]
    mcp_registration.config_path().unlink()
    assert one(examine(code=0), "mcp")["fix"] == "claude-mem install"


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
