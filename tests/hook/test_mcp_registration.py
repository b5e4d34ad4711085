"""Our MCP server in the client's own configuration: in once, out exactly, all else untouched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claude_mem.hook import mcp_registration as registration
from claude_mem.hook.settings_file import SettingsError

PYTHON = "/usr/bin/python3"
PROJECT = "/srv/ledger"
# As the client keeps it: much that is none of our business.
CONFIG = {
    "firstStartTime": "2026-01-01T00:00:00.000Z",
    "projects": {
        "/srv/other": {"allowedTools": [], "mcpServers": {"linear": {"type": "http", "url": "x"}}}
    },
    "mcpServers": {"files": {"type": "stdio", "command": "files", "args": [], "env": {"A": "1"}}},
    "emoji": "🐧",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    made = tmp_path / "client" / ".claude.json"
    made.parent.mkdir()
    return made


def keep(config: Path, content: Any) -> bytes:
    raw = json.dumps(content, indent=2, ensure_ascii=False).encode()
    config.write_bytes(raw)
    config.chmod(0o600)
    return raw


def place(config: Path, project: str | None) -> Any:
    found = json.loads(config.read_text())
    return (found["projects"][project] if project else found)["mcpServers"]


@pytest.mark.parametrize("project", [None, PROJECT, "/srv/other"])
@pytest.mark.parametrize("content", [CONFIG, {}, {"mcpServers": {}}, {"projects": {}}])
def test_in_and_out_again_leaves_the_file_as_it_was(
    project: str | None, content: Any, home: Path, config: Path
) -> None:
    raw = keep(config, content)
    done = registration.install(home, config, PYTHON, project)
    assert done.changed
    entry = place(config, project)["claude-mem"]
    assert entry["command"] == PYTHON
    assert entry["args"] == ["-I", "-S", str(home / "mcp" / "stdio.py")]
    assert Path(entry["args"][2]).is_file()
    assert done.backup is not None
    assert done.backup.read_bytes() == raw
    assert config.stat().st_mode & 0o777 == 0o600
    assert registration.uninstall(home, config, project).changed
    assert config.read_bytes() == raw


@pytest.mark.parametrize("project", [None, PROJECT])
def test_a_file_that_was_not_there_goes_again(
    project: str | None, home: Path, config: Path
) -> None:
    assert registration.install(home, config, PYTHON, project).backup is None
    assert config.stat().st_mode & 0o777 == 0o600
    registration.uninstall(home, config, project)
    assert not config.exists()


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers":{"other":{"command":"x","args":["\u00e9"]}},"big":12345678901234567890,"f":1.10}',
        '{\n "f": 1.10,\n     "odd": {"a":1},\n\t"mcpServers": null}',
        '{"projects": null, "f": 1e2}\r\n',
    ],
)
@pytest.mark.parametrize("project", [None, PROJECT])
def test_a_persons_own_style_comes_back_and_no_copy_lies_about(
    text: str, project: str | None, home: Path, config: Path
) -> None:
    config.write_bytes(text.encode())
    config.chmod(0o644)
    done = registration.install(home, config, PYTHON, project)
    assert done.backup is not None
    assert done.backup.stat().st_mode & 0o777 == 0o600
    assert "claude-mem" in place(config, project)
    registration.uninstall(home, config, project)
    assert config.read_bytes() == text.encode()
    assert [it.name for it in config.parent.iterdir()] == [".claude.json"]


def test_a_copy_that_says_something_else_is_kept(home: Path, config: Path) -> None:
    raw = keep(config, CONFIG)
    done = registration.install(home, config, PYTHON, None)
    found = json.loads(config.read_text())
    config.write_text(json.dumps(found | {"theme": "dark"}))
    registration.uninstall(home, config, None)
    assert json.loads(config.read_text()) == CONFIG | {"theme": "dark"}
    assert done.backup is not None
    assert done.backup.read_bytes() == raw


def test_what_others_added_meanwhile_stays(home: Path, config: Path) -> None:
    registration.install(home, config, PYTHON, PROJECT)
    found = json.loads(config.read_text())
    found["projects"][PROJECT]["mcpServers"]["theirs"] = {"command": "x"}
    found["theme"] = "dark"
    config.write_text(json.dumps(found))
    registration.uninstall(home, config, PROJECT)
    left = json.loads(config.read_text())
    assert left == {
        "projects": {PROJECT: {"mcpServers": {"theirs": {"command": "x"}}}},
        "theme": "dark",
    }


def test_the_second_time_changes_nothing(home: Path, config: Path) -> None:
    keep(config, CONFIG)
    registration.install(home, config, PYTHON, None)
    raw = config.read_bytes()
    again = registration.install(home, config, PYTHON, None)
    assert (again.changed, again.backup) == (False, None)
    assert config.read_bytes() == raw


def test_another_python_replaces_the_entry_and_the_way_back_stays(home: Path, config: Path) -> None:
    raw = keep(config, {"theme": "dark"})
    registration.install(home, config, PYTHON, None)
    assert registration.install(home, config, "/opt/python3", None).changed
    assert place(config, None)["claude-mem"]["command"] == "/opt/python3"
    registration.uninstall(home, config, None)
    assert config.read_bytes() == raw


def test_for_a_person_and_for_a_project_are_two_places(home: Path, config: Path) -> None:
    raw = keep(config, CONFIG)
    registration.install(home, config, PYTHON, None)
    registration.install(home, config, PYTHON, PROJECT)
    registration.uninstall(home, config, None)
    assert "claude-mem" in place(config, PROJECT)
    assert "claude-mem" not in place(config, None)
    registration.uninstall(home, config, PROJECT)
    assert config.read_bytes() == raw


@pytest.mark.parametrize(
    "theirs",
    [
        {"type": "http", "url": "http://127.0.0.1:1/mcp"},
        {"command": "node", "args": ["mcp-server.cjs"]},
        {"command": PYTHON, "args": ["-I", "-S", "/other/server.py"]},
        "odd",
    ],
)
def test_another_server_of_our_name_is_left_alone(theirs: Any, home: Path, config: Path) -> None:
    raw = keep(config, {"mcpServers": {"claude-mem": theirs}})
    done = registration.install(home, config, PYTHON, None)
    assert (done.changed, done.foreign) == (False, True)
    assert not registration.uninstall(home, config, None).changed
    assert config.read_bytes() == raw


@pytest.mark.parametrize(
    ("raw", "project"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"mcpServers": []}', None),
        (b'{"projects": 7}', PROJECT),
        (b'{"projects": {"/srv/ledger": []}}', PROJECT),
        (b'{"projects": {"/srv/ledger": {"mcpServers": 1}}}', PROJECT),
        (b'{"a": 1, "a": 2}', None),
        (b"\xff", None),
    ],
)
def test_a_file_of_another_shape_is_refused_untouched(
    raw: bytes, project: str | None, home: Path, config: Path
) -> None:
    config.write_bytes(raw)
    for change in (
        lambda: registration.install(home, config, PYTHON, project),
        lambda: registration.uninstall(home, config, project),
    ):
        with pytest.raises(SettingsError, match=r"\.claude\.json"):
            change()
    assert config.read_bytes() == raw
    assert list(home.iterdir()) == []


def test_looking_first_changes_nothing(home: Path, config: Path) -> None:
    assert registration.install(home, config, PYTHON, None, dry_run=True).changed
    assert not config.exists()
    assert list(home.iterdir()) == []


def test_without_its_record_uninstall_takes_the_entry_out(home: Path, config: Path) -> None:
    registration.install(home, config, PYTHON, None)
    (home / "mcp" / "registered.json").write_text("no json")
    registration.uninstall(home, config, None)
    assert json.loads(config.read_text()) == {"mcpServers": {}}


def test_no_token_is_in_it(home: Path, config: Path) -> None:
    (home / "token").write_text("cm_sk_local_secret")
    registration.install(home, config, PYTHON, None)
    for path in [config, *home.rglob("*.py"), *home.rglob("*.json")]:
        assert "cm_sk_local_secret" not in path.read_text()


def test_where_the_client_keeps_it() -> None:
    assert registration.config_path({"HOME": "/h"}) == Path("/h/.claude.json")
    assert registration.config_path({"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c"}) == Path(
        "/c/.claude.json"
    )
