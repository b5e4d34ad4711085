"""`claude-mem mcp`, and the MCP server among what install and uninstall do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}


def run(*arguments: str, cwd: Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "claude_mem", *arguments],
        input=given,
        capture_output=True,
        cwd=cwd,
        env=dict(os.environ),
        timeout=60,
        check=False,
    )


def said(*arguments: str, cwd: Path) -> Any:
    done = run(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def servers(home: Path) -> Any:
    return json.loads((home / ".claude" / ".claude.json").read_text())


def test_the_command_is_the_forwarder(private_home: Path) -> None:
    done = run("mcp", cwd=private_home, given=json.dumps(INITIALIZE).encode() + b"\n")
    assert done.returncode == 0
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["result"]["serverInfo"]["name"] == "claude-mem"


def test_what_other_clients_need(private_home: Path) -> None:
    before = said("mcp", cwd=private_home)
    assert before["mcpServers"]["claude-mem"]["args"] == ["-m", "claude_mem", "mcp"]
    said("install", "--no-start", cwd=private_home)
    after = said("mcp", cwd=private_home)
    entry = after["mcpServers"]["claude-mem"]
    assert entry["args"][-1] == str(private_home / ".claude-mem" / "mcp" / "stdio.py")
    assert after["url"].endswith("/mcp")
    token = (private_home / ".claude-mem" / "token").read_text()
    assert token not in json.dumps(after)
    shown = run("mcp", "--config", cwd=private_home).stdout.decode()
    assert after["url"] in shown
    assert token not in shown


def test_install_offers_the_tools_and_uninstall_takes_them_back(private_home: Path) -> None:
    installed = said("install", "--no-start", cwd=private_home)
    assert installed["mcp"]["registered"] is True
    assert set(servers(private_home)["mcpServers"]) == {"claude-mem"}
    again = said("install", "--no-start", cwd=private_home)
    assert again["changed"] is False
    removed = said("uninstall", "--purge-hook", cwd=private_home)
    assert removed["mcp"]["removed"] is True
    assert not (private_home / ".claude" / ".claude.json").exists()
    assert not (private_home / ".claude-mem" / "mcp").exists()


def test_install_without_the_tools(private_home: Path) -> None:
    installed = said("install", "--no-start", "--no-mcp", cwd=private_home)
    assert installed["mcp"]["registered"] is False
    assert not (private_home / ".claude" / ".claude.json").exists()
    said("install", "--no-start", cwd=private_home)
    without = said("install", "--no-start", "--no-mcp", cwd=private_home)
    assert without["changed"] is True
    assert not (private_home / ".claude" / ".claude.json").exists()


def test_looking_first_changes_nothing(private_home: Path) -> None:
    shown = said("install", "--dry-run", cwd=private_home)
    assert shown["mcp"]["changed"] is True
    assert not (private_home / ".claude" / ".claude.json").exists()


def test_in_project_scope_nothing_goes_into_the_repository(
    private_home: Path, tmp_path: Path
) -> None:
    root = tmp_path / "ledger"
    (root / "src").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    said("install", "--scope", "project", "--no-start", cwd=root / "src")
    assert set(servers(private_home)["projects"]) == {str(root)}
    assert "mcpServers" not in servers(private_home)
    names = {path.name for path in root.iterdir()}
    assert names == {".git", ".claude", "src"}
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=root, capture_output=True, check=True
    )
    assert status.stdout == b"", "nothing that somebody could commit"
    said("uninstall", "--scope", "project", cwd=root)
    assert not (private_home / ".claude" / ".claude.json").exists()


def test_another_server_of_our_name_is_told(private_home: Path) -> None:
    config = private_home / ".claude" / ".claude.json"
    config.parent.mkdir(exist_ok=True)
    raw = json.dumps({"mcpServers": {"claude-mem": {"command": "node", "args": ["x.cjs"]}}})
    config.write_text(raw)
    installed = said("install", "--no-start", cwd=private_home)
    assert installed["mcp"]["registered"] is False
    assert any("another MCP server" in warning for warning in installed["warnings"])
    assert config.read_text() == raw


@pytest.mark.parametrize("raw", ["{", '{"mcpServers": []}'])
def test_a_configuration_that_cannot_be_read_stops_everything(raw: str, private_home: Path) -> None:
    config = private_home / ".claude" / ".claude.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(raw)
    done = run("install", "--no-start", "--json", cwd=private_home)
    assert done.returncode != 0
    assert json.loads(done.stdout)["code"] == "SETTINGS_REFUSED"
    assert config.read_text() == raw
    assert not (private_home / ".claude" / "settings.json").exists()
