"""One transcript as wire events: `Reading` walks its lines and holds what a turn needs to be told
whole.

Owns the order of things in a file: which lines belong to one message, which result to which call,
where a turn ends and reading may resume. Must never write, and never hold more than a turn's open
ends. What has no end yet (the last message, a call without its result) is held back until the file
has settled, so reading on later adds and never changes.

Event ids come from the moment and the natural key alone, not the session: a resumed session that
copies the lines of another makes the same events again, and they are known.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_mem.domains.capture.transcripts import lines
from claude_mem.domains.capture.transcripts.files import open_regular, read_note
from claude_mem.domains.capture.transcripts.position import Known, Position, checked, mark_of
from claude_mem.domains.capture.transcripts.turns import Turns

Event = dict[str, Any]

# A file without a new line for so long has settled: its last message gets no more blocks.
IDLE_SECONDS = 60.0
_MOST_REASONS = 64
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class Fresh:
    """What came to a transcript since a position: its events, where to go on, and what was skipped,
    by reason.
    """

    events: list[Event]
    position: Position
    skipped: dict[str, int]


class Reading:
    """The events of a transcript, once, lazily: `for event in Reading(path): ...`

    `position` may be taken at any moment: every event before it has been given out. `skipped`
    counts lines by reason. `settled` says whether the file gets no more blocks of its last message;
    by default its age decides. Iterating raises OSError when the file cannot be read.
    """

    def __init__(
        self, path: Path, start: Position | None = None, *, settled: bool | None = None
    ) -> None:
        self.path = path
        self.skipped: Counter[str] = Counter()
        self.lines = 0
        self.read_to = 0
        self._start = start
        self._settled = settled
        self._handle: int | None = None
        self._position = start or Position()
        self._safe: tuple[int, Known] = (self._position.offset, self._position.known)

    @property
    def position(self) -> Position:
        """Where to go on: the start of the last turn that may not have been told to its end."""
        if self._handle is not None:
            self._position = self._at(complete=False)
        return self._position

    def __iter__(self) -> Iterator[Event]:
        with open_regular(self.path) as file:
            self._handle = file.fileno()
            try:
                yield from self._walk(file)
            finally:
                self._position = self.position
                self._handle = None

    def _walk(self, file: Any) -> Iterator[Event]:
        handle = file.fileno()
        start = checked(handle, self._start)
        self._safe = (start.offset, start.known)
        self.read_to = start.size if start.complete else start.offset
        if start.complete:
            self._finish(start)
            return
        turns = Turns(start.offset, start.known, self._skip, *subagent_of(self.path))
        torn = False
        for line in lines.read_lines(file, start.offset):
            self.lines += 1
            self.read_to = line.end
            if line.value is not None:
                for event in turns.take(line.start, line.value):
                    yield event
                    self._safe = turns.safe
                self._safe = turns.safe
            elif line.fault == lines.TORN:
                torn = True
            else:
                self._skip(line.fault)
        settled = self._has_settled(handle, turns.at)
        if settled:
            yield from turns.settle()
            if torn:
                self._skip(lines.TORN)
        self._finish(self._at(complete=settled or not (torn or turns.holds_back)))

    def _finish(self, position: Position) -> None:
        self._position = position
        self._handle = None

    def _has_settled(self, handle: int, last_at: int) -> bool:
        if self._settled is not None:
            return self._settled
        # A copied file (a clone, a backup) is young, but what its last line says is not.
        last_change = min(os.fstat(handle).st_mtime, last_at / 1000)
        return time.time() - last_change >= IDLE_SECONDS

    def _at(self, *, complete: bool) -> Position:
        offset, known = self._safe
        if self._handle is None:
            return self._position
        return Position(offset, self.read_to, mark_of(self._handle, offset), complete, known)

    def _skip(self, reason: str, count: int = 1) -> None:
        if reason not in self.skipped and len(self.skipped) >= _MOST_REASONS:
            reason = _OTHER
        self.skipped[reason] += count


def read_transcript(
    path: Path, start: Position | None = None, *, settled: bool | None = None
) -> Reading:
    """The transcript at `path` from `start` on, or from its beginning when the file is not the same
    any more.
    """
    return Reading(path, start, settled=settled)


def read_new(
    path: Path, position: Position | None, *, settled: bool = False, limit: int = 5000
) -> Fresh:
    """What came since `position`, at once: for catching up while the session is live.

    `settled`: the turn is known to be over, so its last message is whole. After about `limit`
    events the rest is left for the next call, at a turn's start. Raises OSError when the file
    cannot be read.
    """
    reading = Reading(path, position, settled=settled)
    first = position.offset if position else 0
    events: list[Event] = []
    walk = iter(reading)
    for event in walk:
        events.append(event)
        if len(events) >= limit and reading.position.offset > first:
            walk.close()  # type: ignore[attr-defined]  # a generator
            break
    return Fresh(events, reading.position, dict(reading.skipped))


def subagent_of(path: Path) -> tuple[str, str]:
    """(agent id, agent type) of a subagent's file, by its name and the note beside it; ("", "") of
    a session's.
    """
    if path.parent.name != "subagents" or not path.stem.startswith("agent-"):
        return "", ""
    try:
        meta = json.loads(read_note(path.with_suffix(".meta.json")))
    except (
        OSError,
        ValueError,
        RecursionError,
    ):  # no note, or none that can be read: the lines may say it
        meta = None
    kind = meta.get("agentType") if isinstance(meta, dict) else None
    return path.stem.removeprefix("agent-")[:512], kind[:512] if isinstance(kind, str) else ""
