"""What was imported so far: `<data>/imports.json`. A killed import goes on from here, a repeated
one has little to do.

Losing this file costs time only: events that are sent again are known by their ids.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from claude_mem.domains.capture.transcripts import Position

_VERSION = 1
_SAVE_EVERY = (
    0.25  # seconds; with thousands of files a save after each batch would cost more than the batch
)


class ImportState:
    """Positions by transcript, and the last rows taken by upstream database. Nothing is written
    before `save`.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / "imports.json"
        self._saved_at = 0.0
        self._dirty = False
        kept = _read(self._path)
        # Whatever is no position of this version is not written again either.
        self._files: dict[str, Any] = {
            path: value
            for path, value in _object(kept.get("files")).items()
            if Position.from_dict(value) is not None
        }
        self._upstream: dict[str, Any] = _object(kept.get("upstream"))

    def position(self, path: Path) -> Position | None:
        """Where the transcript was left, None when it was never read."""
        return Position.from_dict(self._files.get(str(path)))

    def keep(self, path: Path, position: Position) -> None:
        """Everything before `position` is in the memory."""
        self._files[str(path)] = position.to_dict()
        self._dirty = True

    def rows(self, path: Path) -> dict[str, int]:
        """The last row taken of each table of an upstream database."""
        rows = _object(_object(self._upstream.get(str(path))).get("rows"))
        return {table: row for table, row in rows.items() if isinstance(row, int)}

    def keep_rows(self, path: Path, rows: dict[str, int]) -> None:
        """Every row up to these is in the memory."""
        self._upstream.setdefault(str(path), {})["rows"] = dict(rows)
        self._dirty = True

    def held(self, path: Path) -> frozenset[str] | None:
        """The agent sessions that were here before the first import of an upstream database; None
        before that.
        """
        found = _object(self._upstream.get(str(path))).get("held")
        return frozenset(map(str, found)) if isinstance(found, list) else None

    def keep_held(self, path: Path, sessions: frozenset[str]) -> None:
        """Remember them: what this import brings must not count as having been here before it."""
        self._upstream[str(path)] = {"held": sorted(sessions), "rows": {}}
        self._dirty = True

    def save(self, *, now: bool = False) -> None:
        """Write what changed, if the last time is not just past or `now` says so. Raises OSError."""
        if not self._dirty or (not now and time.monotonic() - self._saved_at < _SAVE_EVERY):
            return
        body = {"version": _VERSION, "files": self._files, "upstream": self._upstream}
        write_private_durably(self._path, json.dumps(body).encode())
        self._saved_at, self._dirty = time.monotonic(), False


def write_private_durably(path: Path, data: bytes) -> None:
    """Replace the file at `path` at once and for good, readable by its owner only. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_bytes())
    except (
        OSError,
        ValueError,
    ):  # none yet, or unreadable: everything is read again, nothing is lost
        return {}
    return kept if isinstance(kept, dict) and kept.get("version") == _VERSION else {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
