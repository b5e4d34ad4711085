"""Why the worker did not come up, in words a person can act on.

Owns the mapping from exit codes, log tails and the state of the machine to a message and a next
step. Reads only.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_mem.hook.home import SECOND_HOME, is_damaged_database, is_foreign_database
from claude_mem.worker.failure import read_failure, tail
from claude_mem.worker.layout import Layout
from claude_mem.worker.listeners import port_holder
from claude_mem.worker.locks import holder
from claude_mem.worker.supervision import EXIT_PORT, EXIT_REFUSED

_LEAST_FREE_BYTES = 16 * 1024 * 1024
_SERIOUS = ("error", "critical")
_FULL_SIGNS = ("No space left on device", "database or disk is full", "STORE_FULL")
_RECOVER = "claude-mem db recover"
_REFUSALS = {
    "VERSION_REQUIRED": (
        "newer_database",
        "upgrade Claude-Mem, or restore a backup of the old one",
    ),
    "DAMAGED_DATABASE": ("damaged_database", _RECOVER),
    "FOREIGN_DATABASE": ("foreign_database", "choose another data folder with CLAUDE_MEM_HOME"),
    "VALIDATION_ERROR": ("bad_configuration", "correct config.toml or the environment variable"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong (`code` for machines), what to do, and the last log lines."""

    code: str
    message: str
    advice: str
    log_tail: tuple[str, ...] = ()


def diagnose(files: Layout, port: int | None, *, said: str | None = None) -> Problem:
    """Explain a worker that does not answer. `said`: what the supervisor's launch printed, if it
    failed.
    """
    failure = read_failure(files) or {}
    last = last_error(files)
    lines = _tail(files)
    if said is not None:
        return Problem("not_launched", f"the supervisor cannot start: {said}", _REINSTALL, lines)
    if _disk_is_full(files):
        step = "free some space; captured events wait in the spool, nothing is lost"
        return Problem("disk_full", f"the disk of {files.home} is full", step, lines)
    if failure.get("exit_code") == EXIT_PORT:
        return _port_conflict(port, lines)
    if failure.get("exit_code") == EXIT_REFUSED:
        return _refusal(_newest_error(files.worker_stderr) or last, lines)
    if failure.get("reason") == "crash_loop":
        code = failure.get("exit_code")
        what = f"the worker crashed {failure.get('exits')} times (exit code {code})"
        return Problem("crash_loop", what, _LOOK_AND_REPORT, lines)
    if holder(files.worker_lock) is not None:
        what = "the worker runs but does not answer yet"
        return Problem("not_ready", what, "try `claude-mem status` in a moment", lines)
    if holder(files.supervisor_lock) is not None:
        return _crashing_or_starting(files, last, lines)
    return Problem("not_started", "the worker did not start", _LOOK_AND_REPORT, lines)


def _crashing_or_starting(
    files: Layout, last: dict[str, Any] | None, lines: tuple[str, ...]
) -> Problem:
    """A supervisor without a worker: one that has just begun, or one between two crashes."""
    if not _crashed(files):
        step = "try `claude-mem status` in a moment"
        return Problem("not_ready", "the worker is still starting", step, lines)
    message = f": {last['message']}" if last else ""
    return Problem("crashing", f"the worker keeps crashing{message}", _LOOK_AND_REPORT, lines)


_LOOK_AND_REPORT = "see `claude-mem logs`, then try `claude-mem start` again"
_REINSTALL = "reinstall Claude-Mem, then run `claude-mem install` so that hooks find it"


def obstacle(files: Layout) -> Problem | None:
    """Why nothing may be made in the data folder at all; to be asked before the first write to it."""
    try:
        foreign = is_foreign_database(files.database)
        damaged = is_damaged_database(files.database)
        denied = files.home.is_dir() and not os.access(files.home, os.R_OK | os.W_OK | os.X_OK)
    except PermissionError:
        denied = True
    if denied:
        what = f"the data folder {files.home} may not be read and written: is it another user's?"
        return Problem("no_data_folder", what, _OTHER_FOLDER)
    if damaged:
        what = f"the first page of {files.database} is damaged, or it never was a database"
        return Problem("damaged_database", what, _RECOVER)
    if not foreign:
        return None
    what = f"{files.database} was made by another program and is left untouched"
    step = f"claude-mem install, which proposes {files.home / SECOND_HOME} instead"
    return Problem("foreign_database", what, f"{step}; or {_OTHER_FOLDER}")


_OTHER_FOLDER = "choose another one with CLAUDE_MEM_HOME"


def no_folder(home: Path, error: OSError) -> Problem:
    """Explain a data folder that cannot be made."""
    what = f"the data folder {home} cannot be made: {error.strerror}"
    return Problem("no_data_folder", what, _OTHER_FOLDER)


def _crashed(files: Layout) -> bool:
    """Whether the supervisor has noted an unexpected end of its worker since it began."""
    for line in reversed(tail(files.supervisor_log)):
        try:
            record = json.loads(line)
        except ValueError:  # cut short
            continue
        if not isinstance(record, dict) or record.get("event") == "supervisor.started":
            return False
        if record.get("level") in _SERIOUS:
            return True
    return False


def last_error(files: Layout) -> dict[str, Any] | None:
    """The newest line of level error or worse in the worker's log, or else in the supervisor's."""
    return _newest_error(files.worker_log) or _newest_error(files.supervisor_log)


def _newest_error(path: Path) -> dict[str, Any] | None:
    for line in reversed(tail(path)):
        try:
            record = json.loads(line)
        except ValueError:  # a line cut short by a crash, or not ours
            continue
        if isinstance(record, dict) and record.get("level") in _SERIOUS:
            return {"message": "", **record}
    return None


def _tail(files: Layout) -> tuple[str, ...]:
    return tuple((tail(files.worker_stderr) or tail(files.worker_log))[-8:])


def _disk_is_full(files: Layout) -> bool:
    """By the space that is left, or by the worker's last words since its supervisor started."""
    if shutil.disk_usage(files.home).free < _LEAST_FREE_BYTES:
        return True
    return any(sign in line for line in tail(files.worker_stderr) for sign in _FULL_SIGNS)


def _port_conflict(port: int | None, lines: tuple[str, ...]) -> Problem:
    if port is None:
        return Problem("port_conflict", "the worker's port is taken", _OTHER_PORT, lines)
    found = port_holder(port)
    by = f" by {found}" if found else ""
    return Problem("port_conflict", f"port {port} is taken{by}", _OTHER_PORT, lines)


_OTHER_PORT = "end that program, or set CLAUDE_MEM_PORT (or strict_port = false) and start again"


def _refusal(last: dict[str, Any] | None, lines: tuple[str, ...]) -> Problem:
    message = str(last["message"]) if last else (lines[-1] if lines else "configuration refused")
    code, step = _REFUSALS.get(str(last.get("code")) if last else "", ("refused", _LOOK_AND_REPORT))
    return Problem(code, message, step, lines)
