"""Reading the log files of a data folder: the newest lines, and the lines as they come.

Owns the merging of the worker's and the supervisor's log and the following of rotated files. Never
writes and never waits; what it reads was masked before it was written.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

LEVELS = ("debug", "info", "warning", "error", "critical")
_BLOCK = 64 * 1024
_ROTATIONS = 9


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: as it stands in the file, and its fields (empty when it is no JSON object)."""

    raw: str
    fields: dict[str, Any]

    @property
    def level(self) -> str:
        """One of LEVELS; what does not say counts as info."""
        level = str(self.fields.get("level", "info")).lower()
        return level if level in LEVELS else "info"

    @property
    def when(self) -> str:
        """A text that sorts by time, whatever the number of decimals."""
        return str(self.fields.get("timestamp", "")).rstrip("Z")

    def is_at_least(self, level: str) -> bool:
        """Whether it is as serious as `level` or more."""
        return LEVELS.index(self.level) >= LEVELS.index(level)


def parse(raw: str) -> LogLine:
    """A line of a log file; a torn or foreign one is kept as text."""
    try:
        fields = json.loads(raw)
    except ValueError:
        fields = None
    return LogLine(raw, fields if isinstance(fields, dict) else {})


def recent(paths: Sequence[Path], count: int, level: str = "debug") -> list[LogLine]:
    """The newest `count` lines of all files (and their rotated predecessors) together, oldest
    first.
    """
    newest = heapq.merge(
        *(_newest_first(path, level) for path in paths), key=lambda line: line.when, reverse=True
    )
    return [line for line, _ in zip(newest, range(count), strict=False)][::-1]


def _newest_first(path: Path, level: str) -> Iterator[LogLine]:
    for part in (path, *(_rotated(path, number) for number in range(1, _ROTATIONS + 1))):
        for raw in _backwards(part):
            line = parse(raw)
            if line.is_at_least(level):
                yield line


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _backwards(path: Path) -> Iterator[str]:
    """The lines of a file from its end, reading only as much as is asked for."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        left, rest = file.seek(0, os.SEEK_END), b""
        while left:
            size = min(_BLOCK, left)
            left -= size
            file.seek(left)
            first, *lines = (file.read(size) + rest).split(b"\n")
            for line in reversed(lines):
                if line:
                    yield line.decode("utf-8", "replace")
            rest = first
        if rest:
            yield rest.decode("utf-8", "replace")


class Follower:
    """New whole lines of one log file, across its rotations. Starts at the present end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path)
        self._torn = b""
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def poll(self) -> list[LogLine]:
        """What was written since the last call; does not wait."""
        found = self._read()
        if self._was_replaced():
            for path in self._successors():
                self.close()
                self._file = _open(path)
                found += self._read()
        return [parse(raw) for raw in found]

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> list[str]:
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():  # cut short from outside
            self._file.seek(0)
            self._torn = b""
        *lines, self._torn = (self._torn + self._file.read()).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines if line]

    def _was_replaced(self) -> bool:
        if self._file is None:
            return self._path.exists()
        return not _is_same(self._path, self._file)

    def _successors(self) -> list[Path]:
        """The files that came after the one we read, in order of time: several when it rotated
        twice.
        """
        after = [self._path]
        if self._file is None:
            return after
        for number in range(1, _ROTATIONS + 1):
            part = _rotated(self._path, number)
            if not part.exists():
                return [self._path]  # ours is gone altogether
            if _is_same(part, self._file):
                break
            after.append(part)
        return after[::-1]


def _open(path: Path) -> IO[bytes] | None:
    with contextlib.suppress(FileNotFoundError):  # not written yet, or between two rotations
        return path.open("rb")
    return None


def _is_same(path: Path, file: IO[bytes]) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(file.fileno())
    return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)
