"""What the spool held that is no event: set aside in `rejected.jsonl`, bounded, and counted for good.

Must never hold anything unmasked (the caller masks), grow without bound, or forget a count: what is
dropped to make room stays counted in `rejected.dropped`. The worker's side; not part of the hook.
"""

import os
from collections.abc import Sequence
from pathlib import Path

REJECTED, DROPPED = "rejected.jsonl", "rejected.dropped"
MOST_BYTES = 16 << 20


def set_aside(spool_dir: Path, records: Sequence[bytes], most: int = MOST_BYTES) -> None:
    """Append records (one line each, without newline), on disk on return; the oldest make room."""
    data = b"".join(record + b"\n" for record in records)
    if not data:
        return
    path = spool_dir / REJECTED
    if _size(path) + len(data) > most:
        data = _make_room(spool_dir, path, data, most // 2)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def count(spool_dir: Path) -> int:
    """How many records were ever set aside, those dropped meanwhile included."""
    total = _dropped(spool_dir)
    try:
        with (spool_dir / REJECTED).open("rb") as file:
            while chunk := file.read(1 << 20):
                total += chunk.count(b"\n")
    except FileNotFoundError:
        pass  # nothing was ever set aside
    return total


def _make_room(spool_dir: Path, path: Path, data: bytes, keep: int) -> bytes:
    """Drop and count the oldest lines until at most `keep` bytes are left; what is still to write."""
    whole = (path.read_bytes() if path.exists() else b"") + data
    start = whole.find(b"\n", len(whole) - keep - 1) + 1
    dropped = _dropped(spool_dir) + whole.count(b"\n", 0, start)
    _replace(spool_dir / DROPPED, str(dropped).encode())
    _replace(path, whole[start:])
    return b""


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _dropped(spool_dir: Path) -> int:
    try:
        return int((spool_dir / DROPPED).read_text(encoding="ascii"))
    except (OSError, ValueError):  # nothing was dropped yet, or the count is damaged
        return 0
