"""The plugin's hook: the data folder's own does the work, or a person is told why nobody does."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from plugin_support import configured, run_hook, written

import claude_mem
from claude_mem.hook.agents.claude import EVENTS
from claude_mem.hook.home import default_home
from claude_mem.hook.installation import install, prepare_home
from claude_mem.hook.interpreter import OLDEST

SHIM = Path(claude_mem.__file__).parent / "assets" / "plugin" / "hooks" / "hook.py"
NOTHING = ["/bin/true"]  # a plan to start the worker that starts none


@pytest.fixture
def shim() -> ModuleType:
    """The hook's own functions, in this process."""
    module = ModuleType("plugin_hook")
    exec(SourceFileLoader("plugin_hook", str(SHIM)).get_code("plugin_hook"), module.__dict__)  # noqa: S102
    return module


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The plugin, written out."""
    return written(tmp_path / "market")


@pytest.fixture
def environment(private_home: Path) -> dict[str, str]:
    """What the client gives its hooks, as far as it matters here."""
    return {"HOME": str(private_home), "PATH": os.environ["PATH"]}


def spooled(home: Path) -> list[str]:
    """The hook events that wait in the spool."""
    path = home / "spool" / "active.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["event"] for line in lines]


def test_an_event_reaches_the_data_folder(
    plugin: Path, private_home: Path, environment: dict[str, str]
) -> None:
    home = private_home / ".claude-mem"
    prepare_home(home, NOTHING)
    done = run_hook(plugin, "UserPromptSubmit", environment, {"prompt": "hello"})
    assert (done.stdout, done.stderr) == (b"", b"")
    assert spooled(home) == ["UserPromptSubmit"]
    assert '"prompt":"hello"' in (home / "spool" / "active.jsonl").read_text()


def test_a_folder_of_ones_own(plugin: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    home = tmp_path / "elsewhere"
    prepare_home(home, NOTHING)
    run_hook(plugin, "Stop", environment | {"CLAUDE_MEM_HOME": str(home)})
    assert spooled(home) == ["Stop"]


@pytest.mark.parametrize("event", EVENTS)
def test_without_the_program_a_person_is_told_once_a_session(
    plugin: Path, private_home: Path, environment: dict[str, str], event: str
) -> None:
    done = run_hook(plugin, event, environment)
    assert done.stderr == b""
    if event == "SessionStart":
        said = json.loads(done.stdout)
        assert set(said) == {"systemMessage"}
        assert "claude-mem start" in said["systemMessage"]
        assert str(private_home / ".claude-mem") in said["systemMessage"]
    else:
        assert done.stdout == b""
    assert not (private_home / ".claude-mem").exists()


@pytest.mark.parametrize("where", ["person", "project"])
def test_where_install_put_hooks_the_plugin_is_silent(
    plugin: Path, private_home: Path, tmp_path: Path, environment: dict[str, str], where: str
) -> None:
    home, project = private_home / ".claude-mem", tmp_path / "project"
    prepare_home(home, NOTHING)
    settings = {
        "person": private_home / ".claude" / "settings.json",
        "project": project / ".claude" / "settings.local.json",
    }[where]
    install(home, settings, sys.executable, EVENTS)
    env = environment | {"CLAUDE_PROJECT_DIR": str(project)}
    for event in EVENTS:
        done = run_hook(plugin, event, env)
        assert (done.stdout, done.stderr) == (b"", b"")
    assert spooled(home) == []


def test_install_for_another_project_does_not_silence_it(
    plugin: Path, private_home: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    home = private_home / ".claude-mem"
    prepare_home(home, NOTHING)
    other = tmp_path / "other" / ".claude" / "settings.local.json"
    install(home, other, sys.executable, EVENTS)
    env = environment | {"CLAUDE_PROJECT_DIR": str(tmp_path / "project")}
    run_hook(plugin, "Stop", env)
    assert spooled(home) == ["Stop"]


def test_settings_of_others_do_not_silence_it(
    plugin: Path, private_home: Path, environment: dict[str, str]
) -> None:
    home = private_home / ".claude-mem"
    prepare_home(home, NOTHING)
    (private_home / ".claude").mkdir()
    theirs = {"type": "command", "command": "python3", "args": ["/x/hook/hook.py"]}
    settings = {"hooks": {"Stop": [{"hooks": [theirs]}]}, "enabledPlugins": {"a@b": True}}
    (private_home / ".claude" / "settings.json").write_text(json.dumps(settings))
    run_hook(plugin, "Stop", environment)
    assert spooled(home) == ["Stop"]


def test_the_programs_own_calls_are_not_recorded(
    plugin: Path, private_home: Path, environment: dict[str, str]
) -> None:
    done = run_hook(plugin, "SessionStart", environment | {"CLAUDE_MEM_INTERNAL": "1"})
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_plugin_that_is_gone_blocks_nothing(
    plugin: Path, private_home: Path, environment: dict[str, str]
) -> None:
    """An update of the plugin may remove the folder that a running session still points to."""
    command = configured(plugin, "UserPromptSubmit")
    (plugin / "hooks" / "hook.py").unlink()
    done = subprocess.run(command, input=b"{}", capture_output=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_damaged_hook_disturbs_nobody(
    plugin: Path, private_home: Path, environment: dict[str, str]
) -> None:
    home = private_home / ".claude-mem"
    prepare_home(home, NOTHING)
    (home / "hook" / "hook.py").write_text("this is no Python")
    done = run_hook(plugin, "Stop", environment)
    assert done.stdout == b""
    assert b"event not recorded" in done.stderr


def test_an_old_python_hands_over_to_the_programs_own(
    shim: ModuleType, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python3` of the PATH may be older than the one that the program was installed with."""
    home = private_home / ".claude-mem"
    hook = prepare_home(home, [sys.executable, "-m", "x"])
    became: list[list[str]] = []
    monkeypatch.delenv("CLAUDE_MEM_HOME")
    monkeypatch.setattr(shim, "OLDEST", (99, 0))
    monkeypatch.setattr(shim.posix, "execv", lambda program, argv: became.append([program, *argv]))
    monkeypatch.setattr(
        shim.posix, "environ", {os.fsencode(k): os.fsencode(v) for k, v in os.environ.items()}
    )
    shim.run("Stop")
    assert became == [[sys.executable, sys.executable, "-I", "-S", str(hook), "Stop"]]


def test_an_old_python_alone_says_so(
    shim: ModuleType,
    private_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    home = private_home / ".claude-mem"
    prepare_home(home, ["/nowhere/python3"])
    monkeypatch.setattr(shim, "OLDEST", (99, 0))
    monkeypatch.setattr(shim.posix, "environ", {b"HOME": os.fsencode(private_home)})
    shim.run("SessionStart")
    assert "older than 3.11" in json.loads(capfd.readouterr().out)["systemMessage"]


def test_what_is_old_is_what_the_program_says(shim: ModuleType) -> None:
    assert shim.OLDEST == OLDEST


def foreign(folder: Path) -> None:
    """A database that another program made."""
    folder.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(folder / "claude-mem.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.close()


@pytest.mark.parametrize("name", ["", "own", "~/tilde", "relative", "with space/é"])
@pytest.mark.parametrize("database", ["none", "ours", "foreign", "empty"])
@pytest.mark.parametrize("second", [False, True])
def test_it_finds_the_data_folder_that_the_program_uses(
    shim: ModuleType,
    private_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    database: str,
    second: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = str(tmp_path / name) if name.startswith(("own", "with")) else name
    env = {"HOME": str(private_home)} | ({"CLAUDE_MEM_HOME": given} if given else {})
    monkeypatch.setattr(
        shim.posix, "environ", {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
    )
    base = Path(shim.data_folder())
    if second:
        (base / "v2").mkdir(parents=True)
        (base / "v2" / "token").write_text("x")
    base.mkdir(parents=True, exist_ok=True)
    if database == "foreign":
        foreign(base)
    elif database != "none":
        header = bytes(68) + b"CMEM" if database == "ours" else b""
        (base / "claude-mem.db").write_bytes(header)
    assert shim.data_folder() == str(default_home(env))
