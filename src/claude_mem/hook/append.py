"""Append one line to the spool: durably, whole, from many processes at once.

Owns how bytes enter `spool/active.jsonl` and what is refused at its bound. Must never write a part
of a line after another's (a torn end is closed with a newline first), never wait without an end for
a lock, and never import what costs time: this is part of the installed hook. `spool` reads what was
written here and outlives it in the worker.
"""

import fcntl
import os
import time

ACTIVE = "active.jsonl"
READY = "ready-"
REFUSED = "refused"

# Bytes in the whole spool folder from which on an event is refused, by what would be lost: tool
# calls go first, a person's prompts and the assistant's texts last.
TOOL_LIMIT, OTHER_LIMIT, KEPT_LIMIT = 64 << 20, 80 << 20, 96 << 20
TOOL_EVENTS = ("PostToolUse", "PostToolUseFailure")
KEPT_EVENTS = ("UserPromptSubmit", "Stop", "SubagentStop", "PreCompact", "PostCompact")

LOCK_SECONDS = (
    1.0  # after that a line goes to a file of its own: a stopped process may hold the lock
)


class SpoolFull(Exception):  # noqa: N818 - a state, not a fault
    """The spool is over its bound for this kind of event."""


def limits(folder: str) -> tuple[int, int, int]:
    """The three bounds in bytes: built in, or the three numbers in `<data>/hook/limits`."""
    try:
        with open(folder + "/hook/limits", encoding="ascii") as file:
            tool, other, kept = map(int, file.read().split())
    except (OSError, ValueError):  # absent or unreadable: the built-in bounds hold
        return TOOL_LIMIT, OTHER_LIMIT, KEPT_LIMIT
    return tool, other, kept


def used_bytes(spool: str) -> int:
    """Bytes in the spool's event files."""
    total = 0
    with os.scandir(spool) as entries:
        for entry in entries:
            if entry.name.endswith(".jsonl") and entry.name.startswith((ACTIVE, READY)):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:  # the worker finished this one meanwhile
                    continue
    return total


def append(folder: str, event: str, line: bytes) -> None:
    """Put one line (without its newline) into the spool of data folder `folder`, on disk on return.

    Raises SpoolFull at the bound, OSError when the disk or the folder does not allow it; then
    nothing of the line stays behind.
    """
    spool = folder + "/spool"
    os.makedirs(spool, mode=0o700, exist_ok=True)
    tool, other, kept = limits(folder)
    bound = tool if event in TOOL_EVENTS else kept if event in KEPT_EVENTS else other
    if used_bytes(spool) + len(line) > bound:
        raise SpoolFull(event)
    if not _append_shared(spool, line):
        _write_alone(spool, line)


def lock(handle: int, seconds: float) -> bool:
    """Take an open file's exclusive lock, waiting at most `seconds`; False when it stayed taken."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        else:
            return True


def is_still(path: str, handle: int) -> bool:
    """Whether `path` is still the file open as `handle`: the worker renames it away to take it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _append_shared(spool: str, line: bytes) -> bool:
    path = f"{spool}/{ACTIVE}"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not lock(handle, LOCK_SECONDS):
                return False
            if not is_still(path, handle):
                continue
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            _write_or_undo(handle, size, (b"\n" if torn else b"") + line + b"\n")
            fcntl.flock(handle, fcntl.LOCK_UN)  # the next one writes while this one's fsync runs
            os.fsync(handle)
            if size == 0:
                sync_folder(spool)
            return True
        finally:
            os.close(handle)


def _write_alone(spool: str, line: bytes) -> None:
    name = f"{READY}{time.time_ns()}-{os.getpid()}.jsonl"
    handle = os.open(f"{spool}/.{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_or_undo(handle, 0, line + b"\n")
        os.fsync(handle)
    except OSError:
        os.unlink(f"{spool}/.{name}")
        raise
    finally:
        os.close(handle)
    os.rename(f"{spool}/.{name}", f"{spool}/{name}")
    sync_folder(spool)


def _write_or_undo(handle: int, size: int, data: bytes) -> None:
    """Write all of `data` at the end, or leave the file at `size` bytes and raise OSError."""
    try:
        while data:
            data = data[os.write(handle, data) :]
    except OSError:
        os.ftruncate(handle, size)
        raise


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def count_refused(folder: str, event: str) -> None:
    """Note one event that could not be kept: one line with its name in `spool/refused`."""
    spool = folder + "/spool"
    handle = os.open(f"{spool}/{REFUSED}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, event.encode() + b"\n")
    finally:
        os.close(handle)


def is_due(stamp: str, seconds: float) -> bool:
    """Whether `seconds` went by since this last said so; the file `stamp` is its memory (mtime)."""
    try:
        # a clock that was set back leaves stamps of the future, which must not hold for years
        if abs(time.time() - os.stat(stamp).st_mtime) < seconds:
            return False
    except OSError:
        pass  # never before
    try:
        handle = os.open(stamp, os.O_WRONLY | os.O_CREAT, 0o600)
        os.close(handle)
        os.utime(stamp)
    except OSError:
        pass  # nothing can be remembered on a full or read-only disk: better said twice than never
    return True
