"""The MCP server in the client's own configuration: put it in, take exactly it out, leave all else as it was.

The client keeps a person's servers in `.claude.json`, under `mcpServers`, and those of one project that are nobody
else's business under `projects[<git root>].mcpServers`; nothing of ours goes into a repository. Owns the copy of the
server in the data folder (`<data>/mcp/stdio.py`) and the record of what was made (`<data>/mcp/registered.json`). Must
never put a token anywhere: the server reads it from the data folder.
"""

import copy
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from claude_mem.hook.home import make_private_folder, write_private
from claude_mem.hook.settings_file import (
    BACKUP_MARK,
    SettingsError,
    read_settings,
    write_bytes,
    write_settings,
)

NAME = "claude-mem"
Settings = dict[str, Any]
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Registered:
    """What was done to a configuration; `foreign`: another server has our name there, and was left alone."""

    config: Path
    changed: bool
    backup: Path | None = None
    foreign: bool = False


@dataclass(slots=True)
class _Made:
    """What of a configuration was not there before us."""

    file: bool = False
    servers: bool = False
    project: bool = False
    projects: bool = False
    backup: str = ""  # what it said before us, to the letter


# --- rules ------------------------------------------------------------------------------------


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Where the client keeps its own configuration."""
    env = os.environ if environ is None else environ
    folder = env.get("CLAUDE_CONFIG_DIR") or env.get("HOME") or "~"
    return Path(folder).expanduser().absolute() / ".claude.json"


def server_path(home: Path) -> Path:
    """The server's copy in a data folder."""
    return home / "mcp" / "stdio.py"


def entry(python: str, home: Path) -> Entry:
    """How the client starts the server: no shell, no environment, no token."""
    args = ["-I", "-S", str(server_path(home))]
    return {"type": "stdio", "command": python, "args": args, "env": {}}


def is_ours(candidate: object) -> bool:
    """Whether an entry is one that we wrote."""
    args = candidate.get("args") if isinstance(candidate, dict) else None
    if not isinstance(args, list) or len(args) != 3 or args[:2] != ["-I", "-S"]:
        return False
    return str(args[2]).endswith("/mcp/stdio.py")


def current(settings: Settings, project: str | None) -> object:
    """The entry of our name, for the person or for one project. Raises SettingsError for a shape not the client's."""
    servers = _object(_place(settings, project), "mcpServers")
    return servers.get(NAME)


def with_entry(settings: Settings, project: str | None, wanted: Entry) -> Settings:
    """A copy of `settings` with our server in it."""
    made = copy.deepcopy(settings)
    place = made
    if project is not None:
        place = _made_in(_made_in(made, "projects"), project)
    _made_in(place, "mcpServers")[NAME] = wanted
    return made


def _without(settings: Settings, project: str | None, made: _Made) -> Settings:
    """A copy of `settings` without our server, nor what we made to put it in and nobody used since."""
    bare = copy.deepcopy(settings)
    place = _place(bare, project)
    del place["mcpServers"][NAME]
    if made.servers and not place["mcpServers"]:
        del place["mcpServers"]
    if project is not None and made.project and not place:
        del bare["projects"][project]
        if made.projects and not bare["projects"]:
            del bare["projects"]
    return bare


def _place(settings: Settings, project: str | None) -> Settings:
    """What holds `mcpServers`: the whole, or one project's part."""
    if project is None:
        return settings
    return _object(_object(settings, "projects"), project)


def _made_in(settings: Settings, name: str) -> Settings:
    """An object of a name, made where there is none (or null, which says the same)."""
    if settings.get(name) is None:
        settings[name] = {}
    found: Settings = settings[name]
    return found


def _object(settings: Settings, name: str) -> Settings:
    found = settings.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f'"{name}" is not an object')
    return found


# --- the files --------------------------------------------------------------------------------


def write_server(home: Path) -> Path:
    """Write the server into a data folder, atomically; returns its path."""
    make_private_folder(home / "mcp")
    path = server_path(home)
    write_private(path, _server_source())
    return path


def _server_source() -> str:
    """The server's text; it is copied, never imported: it lies above us."""
    spec = importlib.util.find_spec("claude_mem.mcp.stdio")
    if spec is None or spec.origin is None or not os.path.isfile(spec.origin):
        raise FileNotFoundError("the source of claude_mem.mcp.stdio is not installed")
    return Path(spec.origin).read_text(encoding="utf-8")


def install(
    home: Path, config: Path, python: str, project: str | None, *, dry_run: bool = False
) -> Registered:
    """Put our server into a configuration, once. Raises SettingsError or OSError, having changed nothing."""
    file = read_settings(config)
    there = _current_in(file.settings, project, config)
    wanted = entry(python, home)
    if there is not None and not is_ours(there):
        return Registered(config, changed=False, foreign=True)
    changed = there != wanted
    if dry_run:
        return Registered(config, changed)
    write_server(home)
    if not changed:
        return Registered(config, changed=False)
    backup = write_settings(file, with_entry(file.settings, project, wanted))
    if there is None:
        place = _place(file.settings, project)
        made = _Made(
            file=file.raw is None,
            servers=place.get("mcpServers") is None,
            project=project is not None and project not in _object(file.settings, "projects"),
            projects=file.settings.get("projects") is None,
            backup=str(backup or ""),
        )
        _save(home, _load(home) | {_key(config, project): made})
    return Registered(config, changed=True, backup=backup)


def uninstall(home: Path, config: Path, project: str | None) -> Registered:
    """Take our server out of a configuration. Raises SettingsError or OSError, having changed nothing."""
    file = read_settings(config)
    if not is_ours(_current_in(file.settings, project, config)):
        return Registered(config, changed=False)
    record = _load(home)
    made = record.pop(_key(config, project), _Made())
    bare = _without(file.settings, project, made)
    backup, before = None, _before(file.path, made, bare)
    if made.file and not bare:
        file.path.unlink()
    elif before is not None:
        backup = write_bytes(file, before)
    else:
        backup = write_settings(file, bare)
    if (
        before is not None
    ):  # nothing is in the copies that is not in the file: they need not lie about
        for copied in filter(None, (backup, Path(made.backup))):
            copied.unlink(missing_ok=True)
        backup = None
    _save(home, record)
    return Registered(config, changed=True, backup=backup)


def _before(path: Path, made: _Made, bare: Settings) -> bytes | None:
    """The text from before us, if what is to be left says the same: indent and numbers stay a person's own."""
    backup = Path(made.backup)
    if not made.backup or backup.parent != path.parent or BACKUP_MARK not in backup.name:
        return None
    try:
        old = read_settings(backup)
    except SettingsError:
        return None
    return old.raw if _without_null(old.settings) == _without_null(bare) else None


def _without_null(value: Any) -> Any:
    """For comparing: a name that is null is as good as none."""
    if isinstance(value, dict):
        return {name: _without_null(one) for name, one in value.items() if one is not None}
    return value


def purge_server(home: Path) -> None:
    """Remove the server's own folder from the data folder."""
    shutil.rmtree(home / "mcp", ignore_errors=True)


def _current_in(settings: Settings, project: str | None, config: Path) -> object:
    try:
        return current(settings, project)
    except SettingsError as error:
        raise SettingsError(f"{config}: {error}") from error


def _key(config: Path, project: str | None) -> str:
    return f"{config}#{project}" if project is not None else str(config)


def _load(home: Path) -> dict[str, _Made]:
    try:
        record = json.loads((home / "mcp" / "registered.json").read_text(encoding="utf-8"))
        names = ("file", "servers", "project", "projects")
        return {
            key: _Made(
                **{name: bool(made.get(name)) for name in names},
                backup=str(made.get("backup") or ""),
            )
            for key, made in record.items()
        }
    except (OSError, ValueError, AttributeError):
        return {}  # without a record, uninstall still takes out our entry; only less exactly


def _save(home: Path, record: dict[str, _Made]) -> None:
    if not (home / "mcp").is_dir():
        return  # another data folder's server was taken out: nothing to remember here
    text = json.dumps({key: asdict(made) for key, made in record.items()}, indent=2) + "\n"
    write_private(home / "mcp" / "registered.json", text)
