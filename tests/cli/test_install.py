"""`claude-mem install` and `uninstall`, as a person runs them: real files, real git, real hook."""

import json
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from claude_mem.cli import install as command
from claude_mem.hook.agents.claude import EVENTS
from claude_mem.hook.settings_file import handler, ours_in

OTHER = {"hooks": [{"type": "command", "command": "notify-send done"}]}


@pytest.fixture
def home(private_home: Path) -> Path:
    """The data folder that the environment names; not made yet."""
    return private_home / ".claude-mem"


@pytest.fixture
def settings(private_home: Path) -> Path:
    """The person's settings file; not made yet."""
    return private_home / ".claude" / "settings.json"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, with a folder in it as the current one."""
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    monkeypatch.chdir(root / "src")
    return root


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command without a terminal and without starting a worker."""
    (tmp_path / "nowhere").mkdir()
    monkeypatch.chdir(tmp_path / "nowhere")
    app = typer.Typer()
    command.register(app)

    def call(*arguments: str, answer: str | None = None) -> Result:
        extra = ["--no-start"] if arguments[0] == "install" else []
        return CliRunner().invoke(app, [*arguments, *extra], input=answer)

    return call


@pytest.fixture
def run_json(run: Callable[..., Result]) -> Callable[..., dict[str, Any]]:
    """Run a command with --json; stdout must be one object."""

    def call(*arguments: str, exit_code: int = 0) -> dict[str, Any]:
        done = run(*arguments, "--json")
        assert done.exit_code == exit_code, done.output
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    return call


Run = Callable[..., Result]
RunJson = Callable[..., dict[str, Any]]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file under a folder: when it was changed, and its bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def foreign_database(path: Path) -> None:
    """A database as the other program of our name leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE observations (id INTEGER PRIMARY KEY)")
    connection.close()


def test_a_first_install(run_json: RunJson, home: Path, settings: Path) -> None:
    done = run_json("install")
    assert done["changed"] is True
    assert done["backup"] is None
    assert done["warnings"] == []
    assert list(ours_in(json.loads(settings.read_text()))) == list(EVENTS)
    for path, mode in [(home, 0o700), (home / "token", 0o600), (home / "hook/hook.py", 0o700)]:
        assert stat.S_IMODE(path.stat().st_mode) == mode
    plan = json.loads((home / "hook" / "launch.json").read_text())
    assert "claude_mem.worker.supervisor" in plan["argv"]
    assert str(home) in plan["argv"]


def test_the_installed_command_records(run_json: RunJson, home: Path, settings: Path) -> None:
    run_json("install")
    [one] = ours_in(json.loads(settings.read_text()))["UserPromptSubmit"]
    done = subprocess.run(
        [one["command"], *one["args"]],
        input=b'{"session_id": "s", "prompt": "hello"}',
        capture_output=True,
        check=True,
        env={},
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert '"prompt":"hello"' in (home / "spool" / "active.jsonl").read_text()


def test_no_secret_enters_the_settings(run_json: RunJson, home: Path, settings: Path) -> None:
    run_json("install")
    token = (home / "token").read_text()
    text = settings.read_text()
    assert token not in text
    assert "cm_sk_" not in text


def test_a_second_install_changes_nothing(run: Run, settings: Path) -> None:
    run("install")
    before = snapshot(settings.parent)
    done = run("install")
    assert "already installed" in done.output
    assert snapshot(settings.parent) == before


@pytest.mark.parametrize(
    "text",
    [
        '{\n  "model": "opus"\n}\n',
        '{"model":"opus",   "hooks":{"Stop":[]}}',
        '{\n\t"hooks": {\n\t\t"Stop": [ {"hooks": [{"type": "command", "command": "x"}]} ]\n\t}\n}',
        "{}",
        "",
        "  \n",
    ],
)
def test_uninstall_gives_back_the_bytes_that_were_there(
    run_json: RunJson, settings: Path, text: str
) -> None:
    settings.parent.mkdir()
    settings.write_text(text)
    run_json("install")
    run_json("install", "--without", "Stop")  # an upgrade in between
    done = run_json("uninstall")
    assert done["changed"] is True
    assert settings.read_text() == text


def test_uninstall_removes_a_file_that_install_made(run_json: RunJson, settings: Path) -> None:
    run_json("install")
    assert run_json("uninstall")["removed_file"] is True
    assert not settings.exists()
    assert run_json("uninstall")["changed"] is False


def test_uninstall_keeps_what_came_after(run_json: RunJson, settings: Path) -> None:
    settings.parent.mkdir()
    settings.write_text('{"model": "opus"}')
    run_json("install")
    changed = json.loads(settings.read_text())
    changed["hooks"]["Stop"].insert(0, OTHER)
    changed["theme"] = "dark"
    settings.write_text(json.dumps(changed))
    run_json("uninstall")
    assert json.loads(settings.read_text()) == {
        "model": "opus",
        "hooks": {"Stop": [OTHER]},
        "theme": "dark",
    }


def test_uninstall_works_without_its_record(run_json: RunJson, home: Path, settings: Path) -> None:
    settings.parent.mkdir()
    settings.write_text('{"hooks": {"Stop": [' + json.dumps(OTHER) + "]}}")
    run_json("install")
    (home / "hook" / "installed.json").write_text("{")
    run_json("uninstall")
    assert json.loads(settings.read_text()) == {"hooks": {"Stop": [OTHER]}}


def test_the_hook_stays_until_it_is_purged(run_json: RunJson, home: Path) -> None:
    run_json("install")
    run_json("uninstall")
    assert (home / "hook" / "hook.py").exists()
    assert run_json("uninstall", "--purge-hook")["purged_hook"] is True
    assert not (home / "hook").exists()
    assert (home / "token").exists()


def test_a_backup_is_kept(run_json: RunJson, settings: Path) -> None:
    settings.parent.mkdir()
    settings.write_text('{"model": "opus"}')
    done = run_json("install")
    assert Path(done["backup"]).read_text() == '{"model": "opus"}'
    assert run_json("install")["backup"] is None


def test_an_upgrade_replaces_what_points_elsewhere(run_json: RunJson, settings: Path) -> None:
    stale = handler("/gone/python", "/gone/.claude-mem/hook/hook.py", "Stop")
    settings.parent.mkdir()
    settings.write_text(json.dumps({"hooks": {"Stop": [{"hooks": [stale]}]}}))
    assert run_json("install")["changed"] is True
    assert "/gone/" not in settings.read_text()
    assert len(ours_in(json.loads(settings.read_text()))["Stop"]) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--without", "PostToolUse", "--without", "Stop"], set(EVENTS) - {"PostToolUse", "Stop"}),
        (["--events", "Stop,UserPromptSubmit"], {"Stop", "UserPromptSubmit"}),
        (["--events", "all", "--without", "Stop"], set(EVENTS) - {"Stop"}),
    ],
)
def test_each_hook_can_be_switched_off_and_stays_off(
    run_json: RunJson, settings: Path, arguments: list[str], expected: set[str]
) -> None:
    run_json("install")
    run_json("install", *arguments)
    assert set(ours_in(json.loads(settings.read_text()))) == expected
    assert run_json("install")["changed"] is False  # an upgrade keeps the choice
    run_json("install", "--events", "all")
    assert set(ours_in(json.loads(settings.read_text()))) == set(EVENTS)


@pytest.mark.parametrize(
    "arguments",
    [["--without", "Nothing"], ["--events", "stop"], ["--events", "Stop", "--without", "Stop"]],
)
def test_an_unknown_event_is_wrong_usage(
    run_json: RunJson, private_home: Path, arguments: list[str]
) -> None:
    assert run_json("install", *arguments, exit_code=2)["code"] == "USAGE"
    assert snapshot(private_home) == {}


def test_a_dry_run_writes_nothing(run_json: RunJson, private_home: Path) -> None:
    done = run_json("install", "--dry-run")
    assert (done["changed"], done["dry_run"]) == (True, True)
    assert snapshot(private_home) == {}


@pytest.mark.parametrize("text", ['{"model": ', "[]", '{"hooks": []}', '{"a": 1, "a": 2}'])
@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_broken_settings_file_is_refused_untouched(
    run_json: RunJson, private_home: Path, settings: Path, text: str, verb: str
) -> None:
    settings.parent.mkdir()
    settings.write_text(text)
    before = snapshot(private_home)
    done = run_json(verb, exit_code=1)
    assert done["code"] == "SETTINGS_REFUSED"
    assert str(settings) in done["error"]
    assert snapshot(private_home) == before


def test_linked_settings_stay_linked(run_json: RunJson, settings: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    real.chmod(0o644)
    settings.parent.mkdir()
    settings.symlink_to(real)
    run_json("install")
    assert settings.is_symlink()
    assert set(ours_in(json.loads(real.read_text()))) == set(EVENTS)
    assert stat.S_IMODE(real.stat().st_mode) == 0o644
    run_json("uninstall")
    assert settings.is_symlink()
    assert real.read_text() == "{}"


def test_project_scope_stays_local(run_json: RunJson, run: Run, project: Path, home: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(project / "src")
    done = run_json("install", "--scope", "project")
    target = project / ".claude" / "settings.local.json"
    assert done["settings"] == str(target)
    assert set(ours_in(json.loads(target.read_text()))) == set(EVENTS)
    status = ["git", "-C", str(project), "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(status, capture_output=True, check=True).stdout == b""
    token = (home / "token").read_text()
    assert all(token.encode() not in content for _, content in snapshot(project).values())
    exclude = project / ".git" / "info" / "exclude"
    assert "/.claude/settings.local.json" in exclude.read_text().splitlines()
    run_json("uninstall", "--scope", "project")
    assert not target.exists()
    assert "settings.local.json" not in exclude.read_text()


def test_project_scope_leaves_an_ignoring_repository_alone(
    run_json: RunJson, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "src")
    (project / ".gitignore").write_text("settings.local.json\n")
    exclude = project / ".git" / "info" / "exclude"
    before = exclude.read_bytes()
    run_json("install", "--scope", "project")
    assert exclude.read_bytes() == before


def test_a_tracked_local_settings_file_is_pointed_out(
    run_json: RunJson, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "src")
    (project / ".claude").mkdir()
    (project / ".claude" / "settings.local.json").write_text("{}")
    subprocess.run(["git", "-C", str(project), "add", "-f", ".claude"], check=True)
    [warning] = run_json("install", "--scope", "project")["warnings"]
    assert "under version control" in warning


def test_project_scope_outside_a_repository(run_json: RunJson, tmp_path: Path) -> None:
    done = run_json("install", "--scope", "project")
    assert done["settings"] == str(tmp_path / "nowhere" / ".claude" / "settings.local.json")


def test_both_scopes_together_are_pointed_out(run_json: RunJson) -> None:
    run_json("install")
    [warning] = run_json("install", "--scope", "project")["warnings"]
    assert "has our hooks too" in warning


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"enabledPlugins": {"claude-mem@thedotmack": true}}',
            "claude plugin disable claude-mem@",
        ),
        ('{"hooks": {"Stop": [{"hooks": [{"command": "x/claude-mem/y"}]}]}}', "hook on Stop"),
        ('{"disableAllHooks": true}', "nothing is recorded"),
        ('{"enabledPlugins": {"memory@claude-mem": true}}', "its hooks stay silent"),
    ],
)
def test_what_works_against_us_is_said(
    run_json: RunJson, settings: Path, text: str, said: str
) -> None:
    settings.parent.mkdir()
    settings.write_text(text)
    [warning] = run_json("install")["warnings"]
    assert said in warning


def test_a_foreign_database_is_left_alone(run: Run, run_json: RunJson, home: Path,
                                          settings: Path) -> None:  # fmt: skip
    foreign_database(home / "claude-mem.db")
    home.chmod(0o755)
    before = snapshot(home)
    assert run_json("install", exit_code=1)["code"] == "FOREIGN_DATABASE"
    assert run("install", answer="y\n").exit_code == 1  # no terminal: nobody was asked
    assert snapshot(home) == before
    assert not settings.exists()
    done = run_json("install", "--yes")
    assert done["home"] == str(home / "v2")
    assert done["foreign_database"] == str(home / "claude-mem.db")
    assert done["import_command"] == f"claude-mem import --upstream {home / 'claude-mem.db'}"
    assert {name: known for name, known in snapshot(home).items() if "/v2/" not in name} == before
    assert stat.S_IMODE(home.stat().st_mode) == 0o755
    assert stat.S_IMODE((home / "v2").stat().st_mode) == 0o700
    assert str(home / "v2" / "hook" / "hook.py") in settings.read_text()


def test_the_choice_of_v2_is_remembered(run_json: RunJson, home: Path, settings: Path) -> None:
    foreign_database(home / "claude-mem.db")
    run_json("install", "--yes")
    again = run_json("install")
    assert (again["changed"], again["home"]) == (False, str(home / "v2"))
    assert again["import_command"] is not None
    run_json("uninstall")
    assert not settings.exists()


def test_two_foreign_databases_need_a_person(run_json: RunJson, home: Path) -> None:
    foreign_database(home / "claude-mem.db")
    foreign_database(home / "v2" / "claude-mem.db")
    before = snapshot(home)
    done = run_json("install", "--yes", exit_code=1)
    assert "CLAUDE_MEM_HOME" in done["next_step"]
    assert snapshot(home) == before


def test_a_folder_that_cannot_be_written_is_explained(run_json: RunJson, home: Path) -> None:
    home.write_text("in the way")
    done = run_json("install", exit_code=1)
    assert done["code"] == "NOT_WRITABLE"


def test_what_a_person_sees(run: Run, home: Path, settings: Path) -> None:
    settings.parent.mkdir()
    settings.write_text("{}")
    shown = run("install").output
    assert "SessionStart" in shown
    assert "Backup: " in shown
    assert str(home) in shown
    assert f"Hooks taken out of {settings}" in run("uninstall").output
    assert "No hooks of ours" in run("uninstall").output
