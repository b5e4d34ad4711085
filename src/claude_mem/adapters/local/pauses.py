"""When capture was paused: the pause that holds, and the ones that are over.

Owns the files `paused` (the hook reads it too: empty, or Unix ms until which it holds; its own time of change is the
start) and `pauses.jsonl` (a line `[start, end]` in Unix ms for each pause that is over). What is told later (by the
spool, by a transcript) is judged by when it happened, so the past must be known. Must never lose a pause that was
begun: its span is on disk before `paused` goes.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from claude_mem.hook.home import make_private_folder, write_private

Span = tuple[int, int]

_MARK, _HISTORY = "paused", "pauses.jsonl"
_FOREVER = 1 << 62


def begin(home: Path, until: int | None) -> None:
    """Pause from now on, until a moment (Unix ms) or for good. Raises OSError."""
    make_private_folder(home)
    _note_running(home)
    write_private(home / _MARK, "" if until is None else f"{until}\n")


def end(home: Path) -> bool:
    """Record again; returns whether there was a pause to end. Raises OSError."""
    there = _note_running(home)
    (home / _MARK).unlink(missing_ok=True)
    return there


class Pauses:
    """The pauses of a data folder, looked at again whenever their files have changed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._seen: tuple[object, object] = (None, None)
        self._spans: list[Span] = []

    def cover(self, moment: int) -> bool:
        """Whether capture was, or is, paused at a moment (Unix ms)."""
        seen = (_signature(self._home / _MARK), _signature(self._home / _HISTORY))
        if seen != self._seen:
            running = _running(self._home)
            self._spans = [*_history(self._home), *([running] if running else [])]
            self._seen = seen
        return any(start <= moment <= last for start, last in self._spans)


def _note_running(home: Path) -> bool:
    span = _running(home)
    if span is None:
        return False
    line = json.dumps([span[0], min(span[1], int(time.time() * 1000))])
    handle = os.open(home / _HISTORY, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"\n{line}\n".encode())  # a line that a crash tore must not spoil this one
        os.fsync(handle)
    finally:
        os.close(handle)
    return True


def _running(home: Path) -> Span | None:
    """The span of the pause that was begun last, also when its time has run out."""
    try:
        with (home / _MARK).open("rb") as file:
            text, start = file.read(32).strip(), os.fstat(file.fileno()).st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return None
    return start, int(text) if text.isdigit() else _FOREVER


def _history(home: Path) -> list[Span]:
    try:
        lines = (home / _HISTORY).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    spans = []
    for line in lines:
        try:
            start, last = json.loads(line)
            spans.append((int(start), int(last)))
        except (
            ValueError,
            TypeError,
        ):  # empty, or torn by a crash: then `paused` is still there and says the same
            continue
    return spans


def _signature(path: Path) -> object:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
