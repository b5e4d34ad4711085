"""Checks of what everything stands on: Python, SQLite, disk, clock, the data folder and its files."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import time
from pathlib import Path

import sqlean

from claude_mem.adapters.sqlite.connection import MINIMUM_VERSION, check_library
from claude_mem.app.doctor.model import Case, Check, bad, ok, size, warn
from claude_mem.hook.home import is_damaged_database, is_foreign_database
from claude_mem.kernel.errors import MemError

_LEAST_PYTHON = (3, 11)
_LEAST_FREE = 64 << 20
_LITTLE_FREE = 1 << 30
_SKEW_S = 300.0


def programs(_case: Case) -> list[Check]:
    """Python and SQLite."""
    version = platform.python_version()
    if sys.version_info < _LEAST_PYTHON:
        fix = "install Python 3.11 or newer and reinstall Claude-Mem with it"
        return [bad("python", "Python", f"{version} is too old", fix)]
    found = [ok("python", "Python", f"{version} ({sys.executable})")]
    try:
        check_library()
    except MemError as error:
        fix = "install Claude-Mem again, from where it was installed: a part of it is missing or too old"
        return [*found, bad("sqlite", "SQLite", error.message, fix)]
    least = ".".join(map(str, MINIMUM_VERSION[:2]))
    return [*found, ok("sqlite", "SQLite", f"{sqlean.sqlite_version} with FTS5 (needs {least})")]


def settings(case: Case) -> list[Check]:
    """Whether the settings can be read and are valid."""
    error = case.settings_error
    if error is not None:
        fix = f"correct it in {case.home / 'config.toml'} or in the environment, then: claude-mem restart"
        return [bad("settings", "Settings", error.message, fix)]
    there = (case.home / "config.toml").exists()
    return [ok("settings", "Settings", "config.toml is valid" if there else "all defaults")]


def disk(case: Case) -> list[Check]:
    """Free disk, and the store's size against its cap."""
    place = next(path for path in (case.home, *case.home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < _LEAST_FREE:
        fix = "free some disk space; what was acknowledged is safe, new events wait in the spool"
        found = [bad("disk", "Free disk", f"only {size(free)} are free at {place}", fix)]
    elif free < _LITTLE_FREE:
        found = [warn("disk", "Free disk", f"{size(free)} are free", "free some disk space")]
    else:
        found = [ok("disk", "Free disk", f"{size(free)} are free")]
    return [*found, _cap(case)]


def _cap(case: Case) -> Check:
    cap = case.settings.max_store_mb << 20
    used = sum(
        path.stat().st_size
        for name in ("claude-mem.db", "inbox.db")
        for end in ("", "-wal")
        if (path := case.home / f"{name}{end}").exists()
    )
    said = f"{size(used)} of {size(cap)}"
    fix = "claude-mem db space says what is large; raise max_store_mb, or claude-mem forget session ID"
    if used >= cap:
        return bad("store.cap", "Store size", f"{said}: tool events are refused", fix)
    if used >= cap * 0.8:
        return warn("store.cap", "Store size", said, fix)
    return ok("store.cap", "Store size", said)


def clock(case: Case) -> list[Check]:
    """Whether files of ours lie in the future: then the clock was, or is, wrong."""
    now = time.time()
    names = ("token", "worker.json", "claude-mem.db", "inbox.db", "worker.lock")
    stamps = {
        path.name: path.stat().st_mtime for name in names if (path := case.home / name).exists()
    }
    late = {name: at - now for name, at in stamps.items() if at - now > _SKEW_S}
    if not late:
        return [ok("clock", "Clock", time.strftime("%Y-%m-%d %H:%M:%S %z"))]
    name, ahead = max(late.items(), key=lambda it: it[1])
    said = (
        f"{name} was written {ahead / 60:.0f} minutes from now: the clock was set back, or is wrong"
    )
    return [warn("clock", "Clock", said, "set the clock, for instance: timedatectl set-ntp true")]


def folder(case: Case) -> list[Check]:
    """The data folder, its owner and who may look into it."""
    home = case.home
    if not home.exists():
        fix = "claude-mem install"
        return [warn("folder", "Data folder", f"{home} is not there yet", fix)]
    if not home.is_dir():
        fix = "choose another data folder with CLAUDE_MEM_HOME"
        return [bad("folder", "Data folder", f"{home} is no folder", fix)]
    found = home.stat()
    if found.st_uid != os.getuid():
        fix = f"sudo chown -R {os.getuid()} {home}"
        return [bad("folder", "Data folder", f"{home} belongs to another user", fix)]
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return [
            bad("folder", "Data folder", f"{home} may not be written", f"chmod 700 {home}", "modes")
        ]
    # Nobody gets at what lies in a folder that only its owner may enter; the token has a check of its own.
    open_ones = loose(home) if found.st_mode & 0o077 else []
    if open_ones:
        names = ", ".join(path.name or str(path) for path in open_ones[:4])
        said = f"others may read {names}" + (" and more" if len(open_ones) > 4 else "")
        return [bad("folder", "Data folder", said, f"chmod -R go-rwx {home}", "modes")]
    return [ok("folder", "Data folder", f"{home}, private")]


def loose(home: Path) -> list[Path]:
    """What in the data folder others than its owner may enter or read."""
    found = [home] if home.stat().st_mode & 0o077 else []
    for path in sorted(home.iterdir()):
        about = path.lstat()
        readable = stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)
        if readable and about.st_mode & 0o077 and about.st_uid == os.getuid():
            found.append(path)
    return found


def token(case: Case) -> list[Check]:
    """The token of the API: there, private, and whole."""
    path = case.home / "token"
    if not path.exists():
        if not case.home.exists():
            return []
        said = "there is none: nothing can be asked of the worker"
        return [bad("token", "Token", said, "claude-mem restart makes one", "token")]
    about = path.stat()
    if about.st_uid != os.getuid():
        return [
            bad("token", "Token", "it belongs to another user", f"sudo chown {os.getuid()} {path}")
        ]
    if about.st_mode & 0o077:
        return [bad("token", "Token", "others may read it", f"chmod 600 {path}", "modes")]
    if not path.read_text(encoding="ascii", errors="replace").strip():
        return [bad("token", "Token", "it is empty", "claude-mem restart makes one", "token")]
    return [ok("token", "Token", "there, and private")]


def owner_of_database(case: Case) -> list[Check]:
    """Whether the database is ours, another program's, or no database any more."""
    path = case.files.database
    if is_damaged_database(path):
        said = f"the first page of {path.name} is damaged"
        return [bad("database.owner", "Database", said, "claude-mem db recover")]
    if not is_foreign_database(path):
        return []
    fix = (
        f"claude-mem install proposes {case.home / 'v2'}; its memory comes over with: "
        f"claude-mem import --upstream {path}"
    )
    return [bad("database.owner", "Database", f"{path} was made by another program", fix)]
