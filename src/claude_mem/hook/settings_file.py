"""Claude Code's settings file: put our hooks in, take exactly them out, leave all else as it was.

The rules (`merge`, `without_ours`, ...) are pure functions on the parsed object; the few functions
that touch files are at the end. Must never write a file it could not read whole, never drop a key
it does not know, and never put a token into it: a handler names an interpreter and a file, no more.
"""

import contextlib
import copy
import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Settings = dict[str, Any]
Handler = dict[str, Any]

TIMEOUT_SECONDS = 5
# The client ends all SessionEnd hooks after 1.5 s unless one of them asks for more.
SESSION_END_TIMEOUT_SECONDS = 10
OWN_PLUGIN = "memory@claude-mem"  # as the client keeps it: plugin@marketplace
BACKUP_MARK = ".claude-mem-backup-"
# How the interpreter runs the hook, for two reasons. A script that is gone makes it exit with 2, which
# the client takes as "block this prompt": here a deleted data folder is no more than silence. And a
# script is compiled at every call; like this Python keeps it compiled, as it does with any module.
GUARD = """import posix,sys
p=sys.argv[1]
if posix.access(p,4):
 try:
  from _frozen_importlib_external import SourceFileLoader as L
  c=L('hook',p).get_code('hook')
 except Exception:c=open(p,'rb').read()
 exec(c)"""


class SettingsError(Exception):
    """A settings file that must not be touched; the text says where and why."""


# --- rules ------------------------------------------------------------------------------------


def handler(python: str, hook: str, event: str) -> Handler:
    """The handler of one event, in exec form: no shell, no quoting, no token."""
    timeout = SESSION_END_TIMEOUT_SECONDS if event == "SessionEnd" else TIMEOUT_SECONDS
    args = ["-I", "-S", "-c", GUARD, hook, event]
    return {"type": "command", "command": python, "args": args, "timeout": timeout}


def is_ours(candidate: object) -> bool:
    """Whether a handler is one that we wrote, in this form or with the script as the program."""
    if not isinstance(candidate, dict) or candidate.get("type") != "command":
        return False
    args = candidate.get("args")
    if not isinstance(args, list) or len(args) < 4 or args[:2] != ["-I", "-S"]:
        return False
    return str(args[-2]).endswith("/hook/hook.py") and str(args[-1]).isalpha()


def hooks_of(settings: Settings) -> dict[str, list[Any]]:
    """The hooks by event. Raises SettingsError when they do not have the shape the client wants."""
    hooks = settings.get("hooks", {})
    if not isinstance(hooks, dict):
        raise SettingsError('"hooks" is not an object')
    for event, groups in hooks.items():
        if not isinstance(groups, list):
            raise SettingsError(f'"hooks"."{event}" is not a list')
    return hooks


def ours_in(settings: Settings) -> dict[str, list[Handler]]:
    """Our handlers by event."""
    found: dict[str, list[Handler]] = {}
    for event, groups in hooks_of(settings).items():
        for group in groups:
            found.setdefault(event, []).extend(filter(is_ours, _handlers(group)))
    return {event: handlers for event, handlers in found.items() if handlers}


def merge(settings: Settings, wanted: dict[str, Handler]) -> Settings:
    """A copy of `settings` with exactly the `wanted` handlers (by event) of ours in it.

    A stale one is replaced where it stands, a doubled or unwanted one is taken out, a missing one
    gets a group of its own after the others. Other programs' hooks are left as they are.
    """
    merged = copy.deepcopy(settings)
    missing = dict(wanted)
    for event, groups in list(hooks_of(merged).items()):
        for group in list(groups):
            changed = []
            for one in _handlers(group):
                if not is_ours(one):
                    changed.append(one)
                elif event in missing:
                    changed.append(missing.pop(event))
            _put_back(groups, group, changed)
        if not groups and ours_in(settings).get(event):
            del merged["hooks"][event]
    for event, one in missing.items():
        merged.setdefault("hooks", {}).setdefault(event, []).append({"hooks": [copy.deepcopy(one)]})
    return merged


def without_ours(settings: Settings) -> Settings:
    """A copy of `settings` without our handlers, nor the groups and lists they leave empty."""
    bare = merge(settings, {})
    if not bare.get("hooks", True) and settings.get("hooks"):
        del bare["hooks"]
    return bare


def means_the_same(one: Settings, other: Settings) -> bool:
    """Whether two settings are equal but for empty lists and objects under `hooks`."""
    return _pruned(one) == _pruned(other)


def has_own_plugin(settings: Settings) -> bool:
    """Whether our plugin is switched on; its hooks stay silent where a settings file has ours."""
    plugins = settings.get("enabledPlugins")
    return isinstance(plugins, dict) and bool(plugins.get(OWN_PLUGIN))


def upstream_signs(settings: Settings) -> list[str]:
    """What in `settings` runs the other program of our name: plugin keys, and hook commands."""
    plugins = settings.get("enabledPlugins")
    signs = [
        f"plugin {name}"
        for name, enabled in (plugins.items() if isinstance(plugins, dict) else ())
        if name.startswith("claude-mem@") and enabled
    ]
    for event, groups in hooks_of(settings).items():
        others = [one for group in groups for one in _handlers(group) if not is_ours(one)]
        if any("claude-mem" in json.dumps(one) for one in others):
            signs.append(f"hook on {event}")
    return signs


def _handlers(group: object) -> list[Any]:
    handlers = group.get("hooks") if isinstance(group, dict) else None
    return handlers if isinstance(handlers, list) else []


def _put_back(groups: list[Any], group: Any, handlers: list[Any]) -> None:
    """Give a group its handlers back; one that held only ours goes as a whole."""
    before = _handlers(group)
    if len(handlers) == len(before):
        before[:] = handlers
    elif handlers or set(group) - {"hooks", "matcher"}:
        group["hooks"] = handlers
    else:
        groups[:] = [other for other in groups if other is not group]


def _pruned(settings: Settings) -> Settings:
    hooks = {event: groups for event, groups in settings.get("hooks", {}).items() if groups}
    rest = {name: value for name, value in settings.items() if name != "hooks"}
    return rest | {"hooks": hooks} if hooks else rest


# --- the file ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A settings file as read. `raw` is None when there is none; `path` is where links lead to."""

    path: Path
    raw: bytes | None
    settings: Settings


def read_settings(path: Path) -> SettingsFile:
    """Read a settings file; an absent or blank one is empty.

    Raises SettingsError for what is not one JSON object, with line and column, and for a key that
    stands twice in one object (writing it back would lose one of them).
    """
    real = Path(os.path.realpath(path))
    try:
        raw = real.read_bytes()
    except FileNotFoundError:
        return SettingsFile(real, None, {})
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    try:
        text = raw.decode("utf-8-sig")
        settings = json.loads(text, object_pairs_hook=_unique) if text.strip() else {}
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SettingsError(f"{path} is not valid JSON: {error.msg} ({where})") from error
    except (UnicodeDecodeError, RecursionError, _TwiceError) as error:
        raise SettingsError(f"{path} cannot be changed safely: {error}") from error
    if not isinstance(settings, dict):
        raise SettingsError(f"{path} holds no JSON object")
    try:
        hooks_of(settings)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    return SettingsFile(real, raw, settings)


def write_settings(file: SettingsFile, settings: Settings, now: float | None = None) -> Path | None:
    """Write `settings` in the file's own style, atomically; return the backup made before, if any.

    Raises SettingsError when the file changed since it was read, OSError when it cannot be written.
    """
    return write_bytes(file, _render(settings, file.raw or b""), now)


def write_bytes(file: SettingsFile, content: bytes, now: float | None = None) -> Path | None:
    """`write_settings` for content that is rendered already."""
    file.path.parent.mkdir(parents=True, exist_ok=True)
    mode = file.path.stat().st_mode & 0o7777 if file.raw is not None else 0o600
    backup = None
    if file.raw is not None:
        backup = _free_name(file.path, time.time() if now is None else now)
        _write_new(backup, file.raw, 0o600)  # it may hold what the client knows of an account
    handle, name = tempfile.mkstemp(dir=file.path.parent, prefix=f".{file.path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        _write_new(temporary, content, mode)
        if (file.path.read_bytes() if file.path.exists() else None) != file.raw:
            raise SettingsError(f"{file.path} was changed by another program just now: try again")
        temporary.replace(file.path)
    finally:
        temporary.unlink(missing_ok=True)
    return backup


def _free_name(path: Path, now: float) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    names = [
        f"{path.name}{BACKUP_MARK}{stamp}{suffix}"
        for suffix in ("", *map("-{}".format, range(2, 99)))
    ]
    return next(candidate for name in names if not (candidate := path.parent / name).exists())


def _write_new(path: Path, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


class _TwiceError(ValueError):
    """A key stands twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _TwiceError(f'the key "{name}" stands twice in one object')
        found[name] = value
    return found


def _render(settings: Settings, like: bytes) -> bytes:
    """JSON in the style of `like`: indent, line ends, escapes, byte order mark, last newline."""
    text = like.decode("utf-8-sig")
    indent = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    escaped = text.isascii() and "\\u" in text
    made = json.dumps(settings, indent=indent[1] if indent else 2, ensure_ascii=escaped)
    if not text.strip() or text.endswith("\n"):
        made += "\n"
    if "\r\n" in text:
        made = made.replace("\n", "\r\n")
    # half an emoji can only be written as an escape, which is how it came in
    with contextlib.suppress(UnicodeEncodeError):
        return made.encode("utf-8-sig" if like.startswith(b"\xef\xbb\xbf") else "utf-8")
    return json.dumps(settings, indent=2).encode() + b"\n"
