"""`claude-mem plugin`: write Claude Code's plugin out, as a marketplace that the client can add.

Owns the generated half of the plugin: manifests, the hooks' and the server's configuration, and the
copy of the MCP forwarder; the written half lies in `assets/plugin`. Must never write into a folder
that holds something else, unless told to, and never delete there what it did not write.
"""

from __future__ import annotations

import json
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.output import emit, fail

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from rich.console import Console

MARKETPLACE = SERVER = "claude-mem"
NAME = "memory"  # of the plugin and its folder; the client keeps names like the program's for its maker
DESCRIPTION = (
    "Memory for coding agents: records what happens in your sessions, keeps it on your machine with "
    "secrets masked, and gives later sessions the right part back."
)
_LIST = ".claude-plugin/marketplace.json"
_ROOT = "${CLAUDE_PLUGIN_ROOT}"
_PYTHON = "python3"  # of the person's PATH: the plugin is written once for many machines


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plugin")(plugin)


def plugin(
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to. Default: `plugin` in the data folder."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also into a folder that holds something else.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write Claude Code's plugin (hooks, MCP server, skill, commands) out, ready to be added."""
    from claude_mem import __version__
    from claude_mem.hook.home import default_home, make_private_folder

    folder = (output or default_home() / "plugin").expanduser().absolute()
    if not force and not _is_free(folder):
        step = "choose another one with --output, or --force to write into it all the same"
        said = f"{folder} holds something else"
        fail(said, step, code="NOT_EMPTY", as_json=as_json)
    try:
        if output is None:
            make_private_folder(default_home())
        files = write(folder, private=output is None)
    except OSError as error:
        step = "make that place writable, or choose another one with --output"
        fail(f"could not write the plugin: {error}", step, code="NOT_WRITABLE", as_json=as_json)
    steps = [
        f"claude plugin marketplace add {shlex.quote(str(folder))}",
        f"claude plugin install {NAME}@{MARKETPLACE}",
        "claude-mem start",
    ]
    data = {
        "ok": True,
        "output": str(folder),
        "version": __version__,
        "files": files,
        "next_steps": steps,
        "warnings": _warnings(),
    }
    emit(data, lambda out: _show(out, data), as_json)


def write(folder: Path, *, private: bool = False) -> list[str]:
    """Write the marketplace into a folder; what an earlier plugin of ours left there goes.

    `private`: for its owner alone, as everything in the data folder is.
    The client may be running it from this very place, so each file is replaced in one step.
    """
    made = render()
    before = [path for path in (folder / NAME).rglob("*") if path.is_file()]
    old = before if _is_ours(folder) else []
    for name, content in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(content)
        if private:
            new.chmod(0o600)
        new.replace(path)
    for path in old:
        if str(path.relative_to(folder)) not in made:
            path.unlink()
    if private:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o700)
    return sorted(made)


def render() -> dict[str, bytes]:
    """Every file of the marketplace, by its path in it."""
    from claude_mem import __version__

    package = resources.files("claude_mem")
    made = {
        ".claude-plugin/plugin.json": _json(manifest(__version__)),
        "hooks/hooks.json": _json(hooks()),
        ".mcp.json": _json(servers()),
        "mcp/stdio.py": (package / "mcp" / "stdio.py").read_bytes(),
        **_assets(package / "assets" / "plugin"),
    }
    files = {f"{NAME}/{path}": text for path, text in made.items()}
    return {_LIST: _json(marketplace(__version__)), **files}


def manifest(version: str) -> dict[str, Any]:
    """`plugin.json`."""
    return {
        "name": NAME,
        "version": version,
        "description": DESCRIPTION,
        "author": {"name": "Claude-Mem"},
        "license": "Apache-2.0",
        "keywords": ["memory", "context", "search", "mcp", "hooks"],
    }


def marketplace(version: str) -> dict[str, Any]:
    """`marketplace.json`: this one plugin, in the folder beside it."""
    entry = {"name": NAME, "source": f"./{NAME}", "description": DESCRIPTION, "version": version}
    return {
        "name": MARKETPLACE,
        "owner": {"name": "Claude-Mem"},
        "description": "Memory for coding agents.",
        "plugins": [entry],
    }


def hooks() -> dict[str, Any]:
    """`hooks.json`: the handlers that `install` writes, but for the place of Python and the hook."""
    from claude_mem.hook.agents.claude import EVENTS
    from claude_mem.hook.settings_file import handler

    script = f"{_ROOT}/hooks/hook.py"
    groups = {event: [{"hooks": [handler(_PYTHON, script, event)]}] for event in EVENTS}
    return {"description": "Records each event; gives a new session its context.", "hooks": groups}


def servers() -> dict[str, Any]:
    """`.mcp.json`."""
    args = ["-I", "-S", f"{_ROOT}/mcp/server.py"]
    return {"mcpServers": {SERVER: {"type": "stdio", "command": _PYTHON, "args": args}}}


def _assets(folder: Traversable, prefix: str = "") -> dict[str, bytes]:
    """The plugin's written files; what Python keeps compiled beside them is none of them."""
    found: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_file():
            found[prefix + entry.name] = entry.read_bytes()
        elif entry.name != "__pycache__":
            found |= _assets(entry, f"{prefix}{entry.name}/")
    return found


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _is_free(folder: Path) -> bool:
    """Whether nothing of somebody else's lies there: no folder, an empty one, or ours."""
    if not folder.exists():
        return True
    return folder.is_dir() and (not any(folder.iterdir()) or _is_ours(folder))


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds a marketplace that this command wrote."""
    try:
        found = json.loads((folder / _LIST).read_bytes())
    except (OSError, ValueError):  # none, or nobody's: not ours in any case
        return False
    return isinstance(found, dict) and found.get("name") == MARKETPLACE


def _warnings() -> list[str]:
    """What makes the plugin do less than a person expects."""
    from claude_mem.cli.status import installed_hooks
    from claude_mem.hook.home import default_home

    return [
        f"{found['settings']} has our hooks already: the plugin's stay silent there; "
        "`claude-mem uninstall` takes those out"
        for found in installed_hooks(default_home())
        if found["events"]
    ]


def _show(out: Console, data: dict[str, Any]) -> None:
    out.print(f"Plugin {data['version']} written to {data['output']}", markup=False)
    for index, step in enumerate(data["next_steps"]):
        out.print(f"{'' if index else 'Next:':<7}{step}", markup=False)
    for warning in data["warnings"]:
        out.print("[bold yellow]Note:[/]  ", end="")
        out.print(warning, markup=False)
