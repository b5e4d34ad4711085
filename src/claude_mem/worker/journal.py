"""The supervisor's own log: JSON lines, bounded in size, never a reason to fall over.

Owns `logs/supervisor.jsonl` and its one rotated predecessor. Never writes what an agent said or
did.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

_MAX_BYTES = 1_000_000


def rfc3339_nano(epoch_ns: int) -> str:
    """`2026-11-20T10:00:00.123456789Z` for Unix nanoseconds."""
    seconds, rest = divmod(epoch_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


class Journal:
    """Appends one object per line; at 1 MB the file becomes `<name>.1` and a new one begins."""

    def __init__(self, path: Path, max_bytes: int = _MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def write(self, level: str, event: str, message: str, **fields: object) -> None:
        """`level` is debug, info, warning or error; `event` is a name for machines, `message` for
        people.
        """
        record = {
            "timestamp": rfc3339_nano(time.time_ns()),
            "level": level,
            "logger": "supervisor",
            "event": event,
            "message": message,
            "pid": os.getpid(),
            **fields,
        }
        line = json.dumps(record, ensure_ascii=False) + "\n"
        try:
            self._append(line.encode("utf-8", "replace"))
        except OSError:
            # A full or vanished disk must not end the process that keeps capture alive.
            return

    def _append(self, line: bytes) -> None:
        descriptor = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            size = os.fstat(descriptor).st_size
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
        if size + len(line) >= self._max_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
