"""`claude-mem mcp`: the memory tools for any MCP client, on stdio; and their place in the client's configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.output import emit

if TYPE_CHECKING:
    from rich.console import Console

    from claude_mem.hook.mcp_registration import Registered


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mcp")(mcp)


def mcp(
    config: Annotated[
        bool, typer.Option("--config", help="Show what other MCP clients need, and end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Serve the memory tools on stdin and stdout, for MCP clients to start; ends with its stdin."""
    from claude_mem.hook.home import default_home

    if not (config or as_json):
        from claude_mem.mcp import stdio

        stdio.main(["--home", str(default_home())])
    _show_config(default_home(), as_json=as_json)


def _show_config(home: Path, *, as_json: bool) -> None:
    from claude_mem.app.settings import load
    from claude_mem.hook import interpreter, mcp_registration

    server = mcp_registration.server_path(home)
    if server.is_file():
        entry = mcp_registration.entry(interpreter.choose().path, home)
    else:  # not installed: this program itself serves as well
        entry = {"type": "stdio", "command": sys.executable, "args": ["-m", "claude_mem", "mcp"]}
    settings = load(home)
    url = f"http://{settings.host}:{settings.port}/mcp"
    data: dict[str, Any] = {
        "ok": True,
        "mcpServers": {mcp_registration.NAME: entry},
        "url": url,
        "token_file": str(home / "token"),
    }

    def show(out: Console) -> None:
        words = " ".join([entry["command"], *entry["args"]])
        out.print(f"Command: {words}", markup=False, soft_wrap=True)
        out.print(f"URL:     {url}   (streamable HTTP, while the worker runs)", markup=False)
        out.print(f"Token:   in {home / 'token'}, sent as Authorization: Bearer", markup=False)

    emit(data, show, as_json)


def place_server(
    home: Path, python: str, project: Path | None, *, wanted: bool, dry_run: bool = False
) -> Registered:
    """Put the server into the client's configuration, or take it out where it is not wanted."""
    from claude_mem.hook import mcp_registration as registration

    config, key = registration.config_path(), str(project) if project else None
    if wanted:
        return registration.install(home, config, python, key, dry_run=dry_run)
    if dry_run:
        return registration.Registered(config, changed=False)
    return registration.uninstall(home, config, key)


def describe(placed: Registered, *, wanted: bool) -> dict[str, Any]:
    """What was done, for `--json`."""
    return {
        "config": str(placed.config),
        "registered": wanted and not placed.foreign,
        "changed": placed.changed,
        "backup": str(placed.backup) if placed.backup else None,
    }


def foreign_note(placed: Registered) -> str:
    """What a person should know when our name is taken."""
    return (
        f"{placed.config} has another MCP server called claude-mem, so ours was left out: "
        "`claude mcp remove claude-mem`, then run `claude-mem install` again"
    )
