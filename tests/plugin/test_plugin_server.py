"""The plugin's MCP server answers alone, and offers nothing where the client has its tools already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from plugin_support import written

import claude_mem
from claude_mem.hook import mcp_registration
from claude_mem.mcp import stdio

SHIM = Path(claude_mem.__file__).parent / "assets" / "plugin" / "mcp" / "server.py"


@pytest.fixture
def environment(private_home: Path) -> dict[str, str]:
    """What the client gives its servers, as far as it matters here."""
    return {"HOME": str(private_home), "PATH": os.environ["PATH"]}


def asked(plugin: Path, environment: dict[str, str], *methods: str) -> list[dict[str, Any]]:
    """The answers to requests without parameters, in their order."""
    server = json.loads((plugin / ".mcp.json").read_text())["mcpServers"]["claude-mem"]
    args = [part.replace("${CLAUDE_PLUGIN_ROOT}", str(plugin)) for part in server["args"]]
    lines = [{"jsonrpc": "2.0", "id": n, "method": m} for n, m in enumerate(methods)]
    done = subprocess.run(
        [sys.executable, *args],
        input="".join(json.dumps(line) + "\n" for line in lines).encode(),
        capture_output=True,
        env=environment,
        timeout=30,
        check=True,
    )
    assert done.stderr == b""
    return [json.loads(line)["result"] for line in done.stdout.splitlines()]


def test_it_offers_the_tools(tmp_path: Path, environment: dict[str, str]) -> None:
    plugin = written(tmp_path)
    hello, tools = asked(plugin, environment, "initialize", "tools/list")
    assert hello["serverInfo"]["name"] == "claude-mem"
    assert hello["instructions"] == stdio.INSTRUCTIONS
    assert {tool["name"] for tool in tools["tools"]} == stdio.NAMES


@pytest.mark.parametrize("config", ["", ".claude"])
@pytest.mark.parametrize("place", ["person", "project"])
def test_no_tool_is_offered_twice(
    tmp_path: Path, private_home: Path, environment: dict[str, str], config: str, place: str
) -> None:
    env = environment | {"CLAUDE_PROJECT_DIR": "/p"}
    env |= {"CLAUDE_CONFIG_DIR": str(private_home / config)} if config else {}
    project = None if place == "person" else "/p"
    where = mcp_registration.config_path(env)
    mcp_registration.install(private_home / "data", where, sys.executable, project)
    hello, tools = asked(written(tmp_path), env, "initialize", "tools/list")
    assert tools == {"tools": []}
    assert hello["instructions"] == ""


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"mcpServers": {"claude-mem": {"command": "npx", "args": ["other"]}}}',
        '{"mcpServers": {"other": {"command": "x", "args": ["/d/mcp/stdio.py"]}}}',
        '{"mcpServers": {"claude-mem": 5}}',
        '{"projects": {"/elsewhere": {"mcpServers": {"claude-mem": {"args": ["/d/mcp/stdio.py"]}}}}}',
    ],
)
def test_what_is_not_ours_takes_nothing_away(
    tmp_path: Path, private_home: Path, environment: dict[str, str], text: str
) -> None:
    (private_home / ".claude.json").write_text(text)
    [tools] = asked(written(tmp_path), environment, "tools/list")
    assert len(tools["tools"]) == len(stdio.NAMES)


def test_an_old_python_hands_over_to_the_programs_own(
    private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = private_home / ".claude-mem" / "hook"
    hook.mkdir(parents=True)
    (hook / "launch.json").write_text(json.dumps({"argv": ["/opt/new/python3", "-m", "x"]}))
    shim = ModuleType("plugin_server")
    exec(SourceFileLoader("plugin_server", str(SHIM)).get_code("plugin_server"), shim.__dict__)  # noqa: S102
    became: list[list[str]] = []

    class Became(Exception):  # noqa: N818 - what a real execv does: it does not return
        pass

    def execv(program: str, argv: list[str]) -> None:
        became.append([program, *argv])
        raise Became

    monkeypatch.setattr(shim.os, "execv", execv)
    monkeypatch.setattr(sys, "argv", ["/p/mcp/server.py"])
    with pytest.raises(Became):
        shim.become_newer()
    assert became == [["/opt/new/python3", "/opt/new/python3", "-I", "-S", "/p/mcp/server.py"]]
