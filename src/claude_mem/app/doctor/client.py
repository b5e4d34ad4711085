"""Checks of the agent's side: hooks and MCP server in its settings, what switches them off, who else records."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from claude_mem import __version__
from claude_mem.app.doctor.model import Case, Check, bad, ok, warn
from claude_mem.hook import mcp_registration
from claude_mem.hook.agents.claude import EVENTS
from claude_mem.hook.bundle import installed_version, render_hook
from claude_mem.hook.home import TOKEN_PREFIX
from claude_mem.hook.installation import remembered_events
from claude_mem.hook.settings_file import (
    Settings,
    SettingsError,
    ours_in,
    read_settings,
    upstream_signs,
)

PLUGIN = "memory@claude-mem"
_MANAGED = {
    "darwin": "/Library/Application Support/ClaudeCode/managed-settings.json",
    "linux": "/etc/claude-code/managed-settings.json",
}
_TRIAL_S = 10.0


def hooks(case: Case) -> list[Check]:
    """Where our hooks are installed, and whether each can run."""
    read = list(_settings_files(case))
    found = [_unreadable(path, error) for path, _, error in read if error is not None]
    places = [(path, ours_in(settings)) for path, settings, _ in read if ours_in(settings)]
    with_plugin = has_plugin(case)
    if found and not places and not with_plugin:
        said = "whether they are installed cannot be told: see the settings file above"
        return [*found, bad("hooks", "Hooks", said, str(found[0].fix))]
    if not places and not with_plugin:
        said = "not installed: nothing is recorded"
        return [*found, bad("hooks", "Hooks", said, "claude-mem install")]
    for path, ours in places:
        found += _installed(case, path, ours)
    if len(places) > 1:
        names = " and ".join(str(path) for path, _ in places)
        fix = "claude-mem uninstall --scope project, in that project (or --scope user)"
        found.append(warn("hooks.twice", "Hooks", f"installed in {names}: one is enough", fix))
    if with_plugin:
        said = "the plugin has hooks too; it stays silent where install wrote ours"
        found.append(ok("hooks.plugin", "Plugin", said if places else "installed, with its hooks"))
    return found


def hook_file(case: Case) -> list[Check]:
    """Whether the installed hook is this program's."""
    has = installed_version(case.home)
    if has is None:
        return []
    path = case.home / "hook" / "hook.py"
    if not path.exists():
        said = f"{path} is gone: hooks stay silent"
        return [bad("hook.file", "Hook file", said, "claude-mem install", "hook")]
    if has != __version__ or path.read_text(encoding="utf-8") != render_hook():
        said = f"it is of version {has}, and not what this program ({__version__}) writes"
        return [warn("hook.file", "Hook file", said, "claude-mem install", "hook")]
    return [ok("hook.file", "Hook file", f"version {has}")]


def switches(case: Case) -> list[Check]:
    """What switches hooks off: a setting, or the organisation's."""
    found = []
    for path, settings, _ in _settings_files(case):
        if settings.get("disableAllHooks") is True:
            said = f"{path} switches all hooks off (disableAllHooks): nothing is recorded"
            found.append(bad("hooks.off", "Hooks", said, f"remove disableAllHooks from {path}"))
    managed = _managed()
    if managed.get("disableAllHooks") is True or managed.get("allowManagedHooksOnly") is True:
        said = "this machine's managed settings allow no hooks of a person's own"
        fix = f"ask whoever manages {_managed_path()} to allow them"
        found.append(bad("hooks.managed", "Managed settings", said, fix))
    return found


def others(case: Case) -> list[Check]:
    """Another program of our name that records too."""
    found = []
    for path, settings, _ in _settings_files(case):
        for sign in upstream_signs(settings):
            what, _, name = sign.partition(" ")
            way = f"claude plugin disable {name}" if what == "plugin" else f"remove it from {path}"
            said = f"{path} also runs another claude-mem ({sign}): both record"
            found.append(warn("hooks.other", "Other programs", said, way))
    return found


def mcp(case: Case) -> list[Check]:
    """Whether the MCP server is registered with the client, and its file there."""
    path = mcp_registration.config_path(case.environment)
    try:
        settings = read_settings(path).settings
    except SettingsError as error:
        return [_unreadable(path, str(error))]
    root = str(_root(case.project))
    for project in (None, root):
        try:
            entry = mcp_registration.current(settings, project)
        except SettingsError as error:
            return [_unreadable(path, f"{path}: {error}")]
        if isinstance(entry, dict) and mcp_registration.is_ours(entry):
            return [_server(case, entry)]
        if entry is not None:
            said = f"{path} has another server named {mcp_registration.NAME}"
            return [
                warn(
                    "mcp", "MCP server", said, "rename or remove that one, then: claude-mem install"
                )
            ]
    if has_plugin(case):
        return [ok("mcp", "MCP server", "of the plugin")]
    return [
        warn("mcp", "MCP server", "not registered: the agent cannot search", "claude-mem install")
    ]


def secrets(case: Case) -> list[Check]:
    """Whether our token stands in a file that could be committed."""
    root = _root(case.project)
    names = (
        ".claude/settings.json",
        ".claude/settings.local.json",
        ".mcp.json",
        "CLAUDE.md",
        ".env",
    )
    for name in names:
        try:
            text = (root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:  # there is none
            continue
        if TOKEN_PREFIX in text:
            said = f"{root / name} holds a token of ours: it could be committed"
            fix = f"remove it there, delete {case.home / 'token'}, then: claude-mem restart"
            return [bad("token.leak", "Token", said, fix)]
    return []


def has_plugin(case: Case) -> bool:
    """Whether our own plugin is switched on."""
    for _, settings, _ in _settings_files(case):
        plugins = settings.get("enabledPlugins")
        if isinstance(plugins, dict) and plugins.get(PLUGIN):
            return True
    return False


def _installed(case: Case, path: Path, ours: dict[str, list[dict[str, Any]]]) -> Iterator[Check]:
    handlers = [handler for group in ours.values() for handler in group]
    scripts = {Path(str(handler["args"][-2])) for handler in handlers}
    wanted = remembered_events(case.home, path)
    missing = [event for event in wanted if event not in ours]
    homes = {script.parent.parent for script in scripts}
    again = (
        "claude-mem install"
        if path.name == "settings.json"
        else "claude-mem install --scope project"
    )
    if homes != {case.home}:
        said = f"{path}: they serve another data folder ({', '.join(map(str, sorted(homes)))})"
        yield warn("hooks", "Hooks", said, f"{again}, or set CLAUDE_MEM_HOME to that folder")
        return
    if missing:
        yield warn("hooks", "Hooks", f"{path}: {', '.join(missing)} are missing", again)
    elif len(ours) < len(EVENTS):
        left = ", ".join(event for event in EVENTS if event not in ours)
        yield ok("hooks", "Hooks", f"{path}, as chosen without {left}")
    else:
        yield ok("hooks", "Hooks", f"{path}, all {len(ours)} events")
    gone = [script for script in scripts if not script.exists()]
    if gone:
        yield bad("hooks.script", "Hooks", f"{gone[0]} is gone: nothing is recorded", again, "hook")
    for python in sorted({str(handler["command"]) for handler in handlers}):
        if (said_of := _cannot_run(python)) is not None:
            yield bad("hooks.python", "Hooks", f"{python} {said_of}: nothing is recorded", again)


def _cannot_run(python: str) -> str | None:
    """Why an interpreter that the client is told to run cannot be; None when it can."""
    if not os.access(python, os.X_OK):
        return "is gone or may not be run"
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-c", "import json,socket"],
            capture_output=True,
            timeout=_TRIAL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run ({error})"
    return None if done.returncode == 0 else f"does not work (exit code {done.returncode})"


def _server(case: Case, entry: dict[str, Any]) -> Check:
    script, python = Path(str(entry["args"][-1])), str(entry.get("command"))
    if script != mcp_registration.server_path(case.home):
        said = f"it serves another data folder ({script.parent.parent})"
        fix = "claude-mem install, or set CLAUDE_MEM_HOME to that folder"
        return warn("mcp", "MCP server", said, fix)
    if not script.exists():
        return bad("mcp", "MCP server", f"{script} is gone", "claude-mem install", "hook")
    if (reason := _cannot_run(python)) is not None:
        return bad("mcp", "MCP server", f"{python} {reason}", "claude-mem install")
    return ok("mcp", "MCP server", f"registered ({script})")


def _settings_files(case: Case) -> Iterator[tuple[Path, Settings, str | None]]:
    """(path, settings, what keeps us from reading it) of every file that may say something about hooks here."""
    own = Path(case.environment.get("CLAUDE_CONFIG_DIR") or "~/.claude").expanduser()
    root = _root(case.project)
    paths = [own / "settings.json"]
    paths += [root / ".claude" / name for name in ("settings.json", "settings.local.json")]
    for path in dict.fromkeys([*paths, *_remembered(case.home)]):
        if not path.exists():
            continue
        try:
            yield path, read_settings(path).settings, None
        except SettingsError as error:
            yield path, {}, str(error)


def _remembered(home: Path) -> list[Path]:
    try:
        found = json.loads((home / "hook" / "installed.json").read_bytes())
    except (OSError, ValueError):  # nothing was installed from this data folder
        return []
    return [Path(path) for path in found] if isinstance(found, dict) else []


def _root(folder: Path) -> Path:
    return next((it for it in (folder, *folder.parents) if (it / ".git").exists()), folder)


def _managed_path() -> Path:
    return Path(_MANAGED.get(sys.platform, _MANAGED["linux"]))


def _managed() -> Settings:
    try:
        return read_settings(_managed_path()).settings
    except SettingsError:  # not ours to judge
        return {}


def _unreadable(path: Path, error: str) -> Check:
    fix = f"mend {path}: the client cannot read it either"
    return warn("settings.client", "Client settings", error, fix)
