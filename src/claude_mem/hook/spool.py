"""The worker's side of the spool: take what hooks left, read it, say how full it is.

`append` writes; this reads. Must never lose a line because the one before it is torn, and never
take a file from under a writer: renaming happens under the writers' own lock, and they look again
whether the file is still the one they opened.
"""

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_mem.hook import rejected
from claude_mem.hook.append import ACTIVE, LOCK_SECONDS, READY, REFUSED, is_still, lock, sync_folder

FORMAT = 1
RECENT_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class SpoolLine:
    """One event as the hook left it, masked. Exactly one of `payload` and `payload_text` is set."""

    id: str
    ms: int
    agent: str
    event: str
    project_dir: str
    payload: dict[str, Any] | None = None
    payload_text: str | None = None  # stdin was not a JSON object, or over the size limit
    payload_bytes: int | None = None  # its real size, when it was over the limit and cut
    size: int = 0  # bytes of the line


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is not a whole record: its writer was killed, or the file was damaged."""

    number: int
    reason: str
    text: bytes


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """How full the spool is: bytes and lines waiting, and what was refused, by hook event.

    Both counts of what was lost are for good; `losing` says whether something was within the last day.
    """

    bytes: int
    events: int
    refused: dict[str, int]
    rejected: int  # taken over, but no event: set aside
    losing: bool


def take(spool_dir: Path) -> list[Path]:
    """Take the active file away from the writers; return all files to read, oldest first.

    A taken file is the caller's: it reads it, makes its events durable, and deletes it. After a
    crash the next call returns it again. Waits at most a second for a writer; then the active file
    stays for the next call.
    """
    active = spool_dir / ACTIVE
    try:
        handle = os.open(active, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return _ready(spool_dir)
    try:
        if lock(handle, LOCK_SECONDS) and is_still(str(active), handle):
            active.rename(spool_dir / f"{READY}{time.time_ns()}-{os.getpid()}.jsonl")
            os.fsync(handle)
            sync_folder(str(spool_dir))
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)
    return _ready(spool_dir)


def read(path: Path) -> Iterator[SpoolLine | BadLine]:
    """The records of one taken file, in the order written; torn or foreign lines as BadLine."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            text = raw.strip(b"\n")
            if text:
                yield _parse(number, text)


def status(spool_dir: Path) -> SpoolStatus:
    """Bytes and events waiting in the spool, and how many were refused or set aside."""
    size = events = 0
    for path in [spool_dir / ACTIVE, *_ready(spool_dir)]:
        try:
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    size += len(chunk)
                    events += chunk.count(b"\n")
        except FileNotFoundError:  # none yet, or the worker finished it meanwhile
            continue
    return SpoolStatus(
        bytes=size,
        events=events,
        refused=_refused(spool_dir),
        rejected=rejected.count(spool_dir),
        losing=any(_is_recent(spool_dir / name) for name in (REFUSED, rejected.REJECTED)),
    )


def _is_recent(path: Path) -> bool:
    try:
        return abs(time.time() - path.stat().st_mtime) < RECENT_SECONDS
    except FileNotFoundError:
        return False


def _ready(spool_dir: Path) -> list[Path]:
    return sorted(spool_dir.glob(f"{READY}*.jsonl"))


def _refused(spool_dir: Path) -> dict[str, int]:
    try:
        text = (spool_dir / REFUSED).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    return dict(Counter(line for line in text.splitlines() if line))


def _parse(number: int, text: bytes) -> SpoolLine | BadLine:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadLine(number, f"not JSON: {error}", text)
    if not isinstance(record, dict) or record.get("v") != FORMAT:
        return BadLine(number, "not a spool record of this version", text)
    line = SpoolLine(
        id=record.get("id", ""),
        ms=record.get("ms", 0),
        agent=record.get("agent", ""),
        event=record.get("event", ""),
        project_dir=record.get("project_dir", ""),
        payload=record.get("payload"),
        payload_text=record.get("payload_text"),
        payload_bytes=record.get("payload_bytes"),
        size=len(text),
    )
    return line if _is_sound(line) else BadLine(number, "a field has the wrong type", text)


def _is_sound(line: SpoolLine) -> bool:
    texts = (line.id, line.agent, line.event, line.project_dir)
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(line.ms, int)
        and (line.payload is None) != (line.payload_text is None)
        and isinstance(line.payload, dict | None)
        and isinstance(line.payload_text, str | None)
    )
