"""`claude-mem status`, `start`, `stop` where no worker can run, and what they say."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from claude_mem.cli import logs, start, status
from claude_mem.hook.settings_file import handler, merge
from claude_mem.worker.journal import Journal
from claude_mem.worker.layout import Layout

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "data"
    home.mkdir(mode=0o700)
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(home))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    monkeypatch.chdir(tmp_path / "project")
    return home


@pytest.fixture
def run(home: Path) -> Run:
    app = typer.Typer()
    for command in (start, status, logs):
        command.register(app)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})

    return invoke


def told(run: Run, *arguments: str) -> dict[str, Any]:
    """The one JSON object that the command printed."""
    lines = run(*arguments, "--json").stdout.splitlines()
    assert len(lines) == 1
    found = json.loads(lines[0])
    assert isinstance(found, dict)
    return found


def fail_with(home: Path, exit_code: int, **line: object) -> None:
    """What a supervisor leaves that gave up."""
    files = Layout(home)
    files.logs.mkdir()
    files.worker_stderr.write_text(json.dumps({"level": "error", **line}) + "\n")
    record = {"reason": "refused", "exit_code": exit_code, "at": "2026-11-20T10:00:00Z"}
    files.worker_failed.write_text(json.dumps(record))


def test_nothing_was_ever_started(run: Run) -> None:
    found = told(run, "status")
    assert (found["ok"], found["state"], found["worker"]) == (True, "stopped", None)
    assert (found["inbox_pending"], found["hooks"], found["problem"]) == (0, [], None)
    shown = run("status").stdout
    assert "stopped" in shown
    assert "claude-mem start" in shown
    assert "not installed" in shown


def test_what_finds_meanings_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(run, "status")["search_by_meaning"]
    assert (found["state"], found["model"]) == ("no_model", "all-MiniLM-L6-v2")
    assert (found["installed"], found["embedded"], found["total"]) == (False, 0, 0)
    assert "claude-mem model install" in run("status").stdout
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_PROVIDER", "off")
    assert told(run, "status")["search_by_meaning"]["state"] == "off"
    assert "search finds words" in run("status").stdout


def test_a_failed_worker_is_explained(run: Run, home: Path) -> None:
    message = "the database [x] was made by a newer program"
    fail_with(home, 78, code="VERSION_REQUIRED", message=message)
    found = told(run, "status")
    assert (found["ok"], found["state"]) == (False, "failed")
    assert found["problem"]["code"] == "newer_database"
    assert found["problem"]["message"] == message
    assert found["problem"]["next_step"]
    assert message in run("status").stdout


def test_what_waits_in_a_stopped_inbox_is_counted(run: Run, home: Path) -> None:
    with sqlite3.connect(home / "inbox.db") as inbox:
        inbox.execute("CREATE TABLE inbox (position INTEGER PRIMARY KEY)")
        inbox.executemany("INSERT INTO inbox VALUES (?)", [(n,) for n in range(3)])
    inbox.close()
    assert told(run, "status")["inbox_pending"] == 3
    assert "inbox 3 events" in run("status").stdout
    assert told(run, "stop") == {"ok": True, "state": "not_running", "inbox_pending": 3}
    assert "3 events wait" in run("stop").stdout


def test_an_unreadable_inbox_is_unknown(run: Run, home: Path) -> None:
    (home / "inbox.db").write_text("not a database at all, but long enough to be looked at")
    assert told(run, "status")["inbox_pending"] is None
    assert "inbox unknown" in run("status").stdout


def test_spool_pause_and_size_are_shown(run: Run, home: Path) -> None:
    (home / "spool").mkdir()
    (home / "spool" / "active.jsonl").write_text("{}\n" * 4)
    (home / "spool" / "refused").write_text("PostToolUse\n")
    (home / "spool" / "rejected.jsonl").write_text("{}\n" * 2)
    (home / "paused").touch()
    (home / "config.toml").write_text("max_store_mb = 16\n")
    (home / "claude-mem.db").write_bytes(b"\0" * (14 * 1024 * 1024))
    found = told(run, "status")
    assert found["spool"] == {"bytes": 12, "events": 4, "refused": 1, "rejected": 2}
    assert found["paused"] is True
    assert "87 %" in found["database"]["warning"]
    shown = run("status").stdout
    for text in ("spool 4 events", "1 refused", "2 rejected", "paused", "14 MB of 16 MB", "87 %"):
        assert text in shown


def test_a_pause_with_an_end_says_when(run: Run, home: Path) -> None:
    (home / "paused").write_text("4102444800000")
    assert "until 2100-01-01T00:00:00.000Z" in run("status").stdout


def test_the_last_error_is_shown(run: Run, home: Path) -> None:
    (home / "logs").mkdir()
    journal = Journal(home / "logs" / "supervisor.jsonl")
    journal.write("error", "test", "it fell over [twice]")
    assert told(run, "status")["last_error"]["message"] == "it fell over [twice]"
    assert "it fell over [twice]" in run("status").stdout


def install(settings: Path, home: Path) -> None:
    settings.parent.mkdir(parents=True)
    hook = str(home / "hook" / "hook.py")
    wanted = {event: handler("/usr/bin/python3", hook, event) for event in ("SessionStart", "Stop")}
    settings.write_text(json.dumps(merge({}, wanted)))


def test_installed_hooks_are_found_for_person_and_project(
    run: Run, home: Path, tmp_path: Path
) -> None:
    own = tmp_path / "claude" / "settings.json"
    project = tmp_path / "project" / ".claude" / "settings.local.json"
    install(own, home)
    install(project, tmp_path / "elsewhere")
    found = told(run, "status")["hooks"]
    assert [(it["settings"], it["events"], it["home"]) for it in found] == [
        (str(own), ["SessionStart", "Stop"], str(home)),
        (str(project), ["SessionStart", "Stop"], str(tmp_path / "elsewhere")),
    ]
    shown = run("status").stdout
    assert "2 events" in shown
    assert "another data folder" in shown


def test_our_plugin_is_shown_and_whether_it_is_silent(run: Run, home: Path) -> None:
    settings = home.parent / "claude" / "settings.json"
    settings.parent.mkdir()
    enabled: dict[str, Any] = {"enabledPlugins": {"memory@claude-mem": True}}
    settings.write_text(json.dumps(enabled))
    assert told(run, "status")["plugin"] == {"settings": str(settings), "silent": False}
    shown = run("status").stdout
    assert f"plugin, enabled in {settings}" in shown
    assert "not installed: run" not in shown
    hook = handler("/usr/bin/python3", str(home / "hook" / "hook.py"), "Stop")
    settings.write_text(json.dumps(merge(enabled, {"Stop": hook})))
    assert "silent: the hooks above do its work" in run("status").stdout


def test_hooks_that_install_remembers_are_found_from_anywhere(
    run: Run, home: Path, tmp_path: Path
) -> None:
    remembered = tmp_path / "other" / ".claude" / "settings.local.json"
    install(remembered, home)
    (home / "hook").mkdir()
    (home / "hook" / "installed.json").write_text(json.dumps({str(remembered): {}}))
    assert [it["settings"] for it in told(run, "status")["hooks"]] == [str(remembered)]


def test_a_settings_file_that_cannot_be_read_is_said(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "claude" / "settings.json"
    own.parent.mkdir()
    own.write_text("{ no json")
    assert "not valid JSON" in told(run, "status")["hooks"][0]["error"]
    assert "not valid JSON" in run("status").stdout


@pytest.mark.parametrize("command", ["start", "restart", "status"])
def test_a_bad_setting_is_named(run: Run, home: Path, command: str) -> None:
    (home / "config.toml").write_text("port = 'x'\n")
    found = told(run, command)
    assert (found["ok"], found["code"]) == (False, "BAD_CONFIGURATION")
    assert "port" in found["error"]
    assert run(command).exit_code == 1


@pytest.mark.parametrize("command", ["start", "stop", "restart"])
def test_wrong_usage(run: Run, command: str) -> None:
    assert run(command, "--timeout", "soon").exit_code == 2
    assert run(command, "--timeout", "0").exit_code == 2
