"""Why a worker stays down, kept for whoever asks later.

Owns `worker.failed` and the reading of log tails. The log lines carry no captured content, so
neither does the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from claude_mem import __version__
from claude_mem.worker.journal import rfc3339_nano
from claude_mem.worker.layout import Layout

_TAIL_BYTES = 16_384
_TAIL_LINES = 20


def record_failure(files: Layout, reason: str, exit_code: int, exits: int) -> None:
    """Write `worker.failed` atomically: reason, exit code, the last lines of the worker's log and
    stderr.
    """
    record = {
        "reason": reason,
        "exit_code": exit_code,
        "exits": exits,
        "at": rfc3339_nano(time.time_ns()),
        "version": __version__,
        "log_tail": tail(files.worker_log),
        "stderr_tail": tail(files.worker_stderr),
    }
    draft = files.worker_failed.with_name(f"worker.failed.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(record, file, ensure_ascii=False)
        draft.replace(files.worker_failed)
    except OSError:
        # A full disk is one of the reasons to be here; the log of the worker still tells.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def read_failure(files: Layout) -> dict[str, object] | None:
    """What `record_failure` wrote, or None."""
    try:
        record = json.loads(files.worker_failed.read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def tail(path: Path, lines: int = _TAIL_LINES) -> list[str]:
    """The last lines of a text file, read from its last 16 KB; empty when there is no such file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]
