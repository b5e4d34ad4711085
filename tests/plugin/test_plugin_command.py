"""`claude-mem plugin`: what it writes, where it refuses to, and that the written half fits the program."""

from __future__ import annotations

import ast
import json
import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from tools import icon
from typer.testing import CliRunner

import claude_mem
from claude_mem import __version__
from claude_mem.cli import plugin as command
from claude_mem.cli.status import plugin_state
from claude_mem.hook.agents.claude import EVENTS
from claude_mem.hook.settings_file import handler
from claude_mem.mcp import stdio

ROOT = Path(__file__).parents[2]
ICON = "memory/.claude-plugin/icon.png"
PREFIX = "mcp__plugin_memory_claude-mem__"

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run() -> Run:
    """Run the command with --json; stdout must be one object."""
    app = typer.Typer()
    command.register(app)

    def call(*arguments: str, exit_code: int = 0) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == exit_code, done.output
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    return call


@pytest.fixture
def made() -> dict[str, str]:
    """Every file of the marketplace that is text."""
    return {name: content.decode() for name, content in command.render().items() if name != ICON}


def parsed(made: dict[str, str], name: str) -> dict[str, Any]:
    found = json.loads(made[name])
    assert isinstance(found, dict)
    return found


# --- what it writes ---------------------------------------------------------------------------------


def test_it_goes_into_the_data_folder_and_says_what_is_next(run: Run, private_home: Path) -> None:
    said = run()
    folder = private_home / ".claude-mem" / "plugin"
    assert said["output"] == str(folder)
    assert said["next_steps"][0] == f"claude plugin marketplace add {folder}"
    assert said["next_steps"][1] == "claude plugin install memory@claude-mem"
    assert said["version"] == __version__
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == set(said["files"]) == set(command.render())
    assert (private_home / ".claude-mem").stat().st_mode & 0o777 == 0o700


def test_manifests_are_of_this_version(made: dict[str, str]) -> None:
    manifest = parsed(made, "memory/.claude-plugin/plugin.json")
    market = parsed(made, ".claude-plugin/marketplace.json")
    [entry] = market["plugins"]
    assert manifest["version"] == entry["version"] == __version__
    assert (manifest["name"], entry["name"], market["name"]) == ("memory", "memory", "claude-mem")
    assert entry["source"] == "./memory"


def test_the_hooks_are_those_that_install_writes(made: dict[str, str]) -> None:
    hooks = parsed(made, "memory/hooks/hooks.json")["hooks"]
    assert list(hooks) == list(EVENTS)
    for event, groups in hooks.items():
        script = "${CLAUDE_PLUGIN_ROOT}/hooks/hook.py"
        assert groups == [{"hooks": [handler("python3", script, event)]}]
    assert "memory/hooks/hook.py" in made


def test_the_server_is_the_one_of_the_package(made: dict[str, str]) -> None:
    server = parsed(made, "memory/.mcp.json")["mcpServers"]["claude-mem"]
    assert server["args"][-1] == "${CLAUDE_PLUGIN_ROOT}/mcp/server.py"
    source = Path(claude_mem.__file__).parent / "mcp" / "stdio.py"
    assert made["memory/mcp/stdio.py"] == source.read_text(encoding="utf-8")
    assert "memory/mcp/server.py" in made


def test_nothing_of_this_machine_is_in_it(made: dict[str, str], private_home: Path) -> None:
    for name, text in made.items():
        for place in (str(ROOT), str(private_home), str(Path.home())):
            assert place not in text, name


def test_its_programs_need_nothing_but_python(made: dict[str, str]) -> None:
    """The client installs no packages for a plugin."""
    programs = [text for name, text in made.items() if name.endswith(".py")]
    assert len(programs) == 3
    for text in programs:
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names, names


def test_the_license_is_the_projects(made: dict[str, str]) -> None:
    assert made["memory/LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_icon_is_what_its_program_draws() -> None:
    """Compared by pixels: another version of the compressor may pack them otherwise."""
    content = command.render()[ICON]
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    length = int.from_bytes(content[33:37], "big")
    assert zlib.decompress(content[41 : 41 + length]) == icon.pixels()


# --- the written half fits the program --------------------------------------------------------------


def written_pages(made: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in made.items() if name.endswith(".md")}


def test_every_tool_that_is_named_exists(made: dict[str, str]) -> None:
    named: set[str] = set()
    for name, text in written_pages(made).items():
        tools = set(re.findall(rf"{PREFIX}([a-z_]+)", text))
        assert tools <= stdio.NAMES, name
        named |= tools
    assert named >= {"search", "timeline", "get", "save", "forget", "context"}


def test_the_readme_and_the_skill_name_real_tools(made: dict[str, str]) -> None:
    [row] = re.findall(r"^\| MCP server .*$", made["memory/README.md"], re.MULTILINE)
    assert set(re.findall(r"`([a-z]+)`", row)) == stdio.NAMES
    skill = made["memory/skills/memory/SKILL.md"]
    assert {name for name in stdio.NAMES if f"`{name}`" in skill} >= {"search", "timeline", "get"}
    assert f"{PREFIX}search" in skill
    assert "mcp__claude-mem__search" in skill


def test_pages_say_what_they_are_for(made: dict[str, str]) -> None:
    pages = written_pages(made)
    commands = {name for name in pages if "/commands/" in name}
    assert {Path(name).stem for name in commands} == {"recall", "remember", "timeline", "forget"}
    for name in [*commands, "memory/skills/memory/SKILL.md"]:
        head = pages[name].split("---\n")[1]
        assert re.search(r"^description: \S", head, re.MULTILINE), name
    for name in commands:
        assert "$ARGUMENTS" in pages[name]
    assert len(pages["memory/README.md"].split()) >= 40


def test_forgetting_by_command_asks_the_person_each_time(made: dict[str, str]) -> None:
    """Reading may be allowed beforehand; what deletes must never be."""
    for name, text in written_pages(made).items():
        head = text.split("---\n")[1] if text.startswith("---") else ""
        assert f"{PREFIX}forget" not in head, name


# --- where it refuses -------------------------------------------------------------------------------


def test_it_replaces_its_own_and_leaves_the_rest(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out"
    run("--output", str(target))
    (target / "memory" / "commands" / "of-an-older-version.md").write_text("x")
    (target / "notes.txt").write_text("mine")
    run("--output", str(target))
    assert not (target / "memory" / "commands" / "of-an-older-version.md").exists()
    assert (target / "notes.txt").read_text() == "mine"


def test_a_folder_with_something_else_needs_force(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    (target / "memory").mkdir(parents=True)
    (target / "memory" / "notes.txt").write_text("mine")
    said = run("--output", str(target), exit_code=1)
    assert said["code"] == "NOT_EMPTY"
    assert [path.name for path in target.rglob("*")] == ["memory", "notes.txt"]
    run("--output", str(target), "--force")
    assert (target / "memory" / "notes.txt").read_text() == "mine"
    assert (target / "memory" / ".mcp.json").is_file()


def test_a_place_that_cannot_be_written_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    said = run("--output", str(tmp_path / "file" / "out"), exit_code=1)
    assert said["code"] == "NOT_WRITABLE"


# --- beside `install` -------------------------------------------------------------------------------


def settings_with(private_home: Path, settings: dict[str, Any]) -> None:
    folder = private_home / ".claude"
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings))


def test_hooks_in_the_settings_are_pointed_out(run: Run, private_home: Path) -> None:
    script = str(private_home / ".claude-mem" / "hook" / "hook.py")
    hooks = {"Stop": [{"hooks": [handler("/usr/bin/python3", script, "Stop")]}]}
    settings_with(private_home, {"hooks": hooks})
    [warning] = run()["warnings"]
    assert "stay silent" in warning


def test_status_knows_of_the_plugin(private_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(private_home)
    home = private_home / ".claude-mem"
    assert plugin_state(home) is None
    enabled: dict[str, Any] = {"enabledPlugins": {"memory@claude-mem": True}}
    settings_with(private_home, enabled)
    where = str(private_home / ".claude" / "settings.json")
    assert plugin_state(home) == {"settings": where, "silent": False}
    hooks = {"Stop": [{"hooks": [handler("python3", str(home / "hook/hook.py"), "Stop")]}]}
    settings_with(private_home, enabled | {"hooks": hooks})
    assert plugin_state(home) == {"settings": where, "silent": True}


def test_in_the_data_folder_it_is_its_owners_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "data"
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(home))
    assert run()["output"] == str(home / "plugin")
    made = [home / "plugin", *(home / "plugin").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}
