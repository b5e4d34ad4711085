"""An import from end to end: find, read, send, wait, report.

Owns the order of these steps and what counts as done. Progress is kept only for what the worker
acknowledged, and only when nothing of a source was left out by a filter: what was left out must be
found by a later import.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from claude_mem.cli.import_send import Paused, Sender
from claude_mem.cli.imports_state import ImportState
from claude_mem.domains.capture.transcripts import (
    Position,
    Reading,
    TranscriptFile,
    find_transcripts,
    read_transcript,
)
from claude_mem.domains.capture.transcripts.position import is_read
from claude_mem.domains.capture.upstream import UpstreamDatabase
from claude_mem.hook.optout import is_opted_out
from claude_mem.kernel.clock import from_iso
from claude_mem.sdk.client import Client
from claude_mem.sdk.local import connect

Event = dict[str, Any]
_INDEXING_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a source is wanted: events of a project (its path or name), and since when (Unix
    milliseconds).
    """

    project: str | None = None
    since: int = 0

    def wants(self, event: Event) -> bool:
        """Whether an event is in it."""
        if self.since and from_iso(event["occurred_at"]) < self.since:
            return False
        return self.project is None or _is_project(event["project"], self.project)

    def may_hold(self, file: TranscriptFile) -> bool:
        """Whether a transcript can have events that are in it; a file ends with its last change."""
        if self.since and file.modified * 1000 < self.since:
            return False
        return self.project is None or not file.project or _is_project(file.project, self.project)


class Progress(Protocol):
    """Someone who watches."""

    def begin(self, what: str, total: int) -> None:
        """A source of `total` steps (bytes, or rows)."""

    def at(self, done: int, events: int, label: str) -> None:
        """`done` of them are read, and `events` events in all."""


class Unwatched:
    """Nobody watches."""

    def begin(self, what: str, total: int) -> None:
        """Nothing to show."""

    def at(self, done: int, events: int, label: str) -> None:
        """Nothing to show."""


@dataclass(slots=True)
class Report:
    """What an import did."""

    files: int = 0
    unchanged: int = 0
    opted_out: int = 0
    files_left_out: int = 0
    left_out: int = 0
    bytes: int = 0
    events: int = 0
    sessions: set[str] = field(default_factory=set)
    by_type: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)


class Import:
    """One run. `client` None is a dry run: everything is read, nothing sent, no progress kept."""

    def __init__(
        self, home: Path, client: Client | None, choice: Choice, progress: Progress | None = None
    ) -> None:
        self._home = home
        self._dry_run = client is None
        self._choice = choice
        self._progress = progress or Unwatched()
        self._state = ImportState(home)
        self._sender = Sender(home, self._acknowledged, client=client)
        self._counts = client.health(fresh=True).get("counts", {}) if client else {}
        self._opted: dict[str, bool] = {}
        self._marks: dict[Path, Position] = {}
        self._rows: dict[Path, dict[str, int]] = {}
        self._reading: Reading | None = None
        self._whole = True  # whether the source at hand gave every event it had
        self._done = 0
        self.report = Report()

    def transcripts(self, root: Path) -> None:
        """Take in the transcripts at or below `root`."""
        files = find_transcripts(root, exclude=(self._home,))
        self.report.files += len(files)
        self._progress.begin("transcripts", sum(file.size for file in files))
        for file in files:
            self._transcript(file)
            self._done += file.size
            self._tell(0, file.path.name)
        self._sender.flush()

    def upstream(self, path: Path) -> None:
        """Take in the other program's database."""
        path = path.absolute()
        held = self._held(path)
        with UpstreamDatabase(path) as source:
            after = self._state.rows(path)
            self._done = 0
            self._progress.begin("database", source.count(after))
            self.report.files += 1
            self._whole = True
            for table, row, event in source.events(after, held):
                if event is not None:
                    self._take(event)
                after[table] = row
                self._done += 1
                if self._whole:
                    self._rows[path] = dict(after)
                if self._done % 200 == 0:
                    self._tell(0, table)
                if self._sender.full:
                    self._sender.flush()
            self.report.skipped += source.skipped
        self._sender.flush()
        self._tell(0, path.name)

    def save(self) -> None:
        """Keep the progress that was acknowledged so far."""
        if not self._dry_run:
            self._state.save(now=True)

    def close(self) -> None:
        """Keep the progress, and let go of the worker."""
        try:
            self.save()
        finally:
            self._sender.close()

    def finish(self, *, wait: bool) -> dict[str, Any]:
        """Wait for the index if wished, and tell what happened (without `ok` and times).

        `new` and `known` are events by their ids; `added` are rows, of which an event that was
        captured live makes no second one. `to_summarise`: sessions whose summaries follow.
        `indexed` and `added` are None when nobody waited.
        """
        self.save()
        client = self._sender.client
        indexed = added = None
        if wait and client is not None:
            self._tell(0, "waiting for the index")
            indexed = client.wait_until_indexed(_INDEXING_SECONDS)
            now = client.health(fresh=True).get("counts", {})
            added = {name: max(now[name] - self._counts.get(name, 0), 0) for name in now}
        report = self.report
        return {
            "dry_run": self._dry_run,
            "files": report.files,
            "unchanged": report.unchanged,
            "opted_out": report.opted_out,
            "files_left_out": report.files_left_out,
            "sessions": len(report.sessions),
            "to_summarise": len(report.sessions) if self._sender.new and client else 0,
            "events": report.events,
            "by_type": dict(report.by_type.most_common()),
            "new": self._sender.new,
            "known": self._sender.known,
            "left_out": report.left_out,
            "refused": dict(self._sender.refused.most_common()),
            "skipped": dict(report.skipped.most_common()),
            "unreadable": report.unreadable,
            "bytes": report.bytes,
            "indexed": indexed,
            "added": added,
        }

    # -- one source -------------------------------------------------------------------------------

    def _transcript(self, file: TranscriptFile) -> None:
        if file.opted_out:
            self.report.opted_out += 1
            return
        if not self._choice.may_hold(file):
            self.report.files_left_out += 1
            return
        start = self._state.position(file.path)
        try:
            if is_read(file.path, start):
                self.report.unchanged += 1
                return
            self._read(file, start)
        except OSError as error:
            # One file that cannot be read must not keep the others out; the summary names it.
            self.report.unreadable[str(file.path)] = error.strerror or str(error)
        finally:
            self._reading = None

    def _read(self, file: TranscriptFile, start: Position | None) -> None:
        reading = read_transcript(file.path, start)
        self._reading, self._whole = reading, True
        try:
            for event in reading:
                self._take(event)
                if self._sender.full:
                    self._mark(file.path, reading)
                    self._sender.flush()
                    self._tell(reading.read_to, file.path.name)
        finally:
            self.report.skipped += reading.skipped
            self.report.bytes += max(reading.read_to - (start.offset if start else 0), 0)
        self._mark(file.path, reading)

    def _mark(self, path: Path, reading: Reading) -> None:
        if self._whole:
            self._marks[path] = reading.position

    def _take(self, event: Event) -> None:
        if not self._choice.wants(event) or self._is_opted_out(event):
            self.report.left_out += 1
            self._whole = False
            return
        self.report.events += 1
        self.report.sessions.add(f"{event['agent']}\0{event['session']}")
        self.report.by_type[event["type"]] += 1
        self._sender.add(event)

    def _is_opted_out(self, event: Event) -> bool:
        folder = event["data"].get("cwd") or event["project"]
        if not folder.startswith("/"):
            return False
        if folder not in self._opted:
            self._opted[folder] = is_opted_out(folder)
        return self._opted[folder]

    def _held(self, path: Path) -> frozenset[str]:
        """The sessions whose prompts are here already, from before the first import of this
        database.
        """
        held = self._state.held(path)
        if held is None:
            client = self._sender.client
            held = frozenset(_sessions_with_prompts(client) if client else ())
            self._state.keep_held(path, held)
            self.save()
        return held

    # -- progress ---------------------------------------------------------------------------------

    def _acknowledged(self) -> None:
        """Everything taken so far is durable at the worker: keep where we are."""
        if self._dry_run:
            return
        for path, position in self._marks.items():
            self._state.keep(path, position)
        for path, rows in self._rows.items():
            self._state.keep_rows(path, rows)
        self._marks.clear()
        self._rows.clear()
        self._state.save()

    def _tell(self, within: int, label: str) -> None:
        self._progress.at(self._done + within, self.report.events, label)


def run_import(
    home: Path,
    folder: Path | None,
    *,
    upstream: Path | None = None,
    choice: Choice | None = None,
    dry_run: bool = False,
    wait: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Import `folder` (or one transcript) and/or the database `upstream` into the running worker of
    `home`.

    Returns what the command's `--json` prints. Raises FileNotFoundError, Invalid (a database of
    another kind), Paused, OSError, and the client's ApiError and NotReachable; progress until then
    is kept.
    """
    began = time.monotonic()
    client = None if dry_run else connect(home)
    if client is not None and client.health().get("paused"):
        client.close()
        raise Paused
    run = Import(home, client, choice or Choice(), progress)
    try:
        if folder is not None:
            run.transcripts(folder)
        if upstream is not None:
            run.upstream(upstream)
        done = run.finish(wait=wait)
    finally:
        run.close()
    return {"ok": True, **done, "seconds": round(time.monotonic() - began, 3)}


def _is_project(found: str, wanted: str) -> bool:
    found, wanted = found.rstrip("/"), wanted.rstrip("/")
    return found == wanted or found.startswith(f"{wanted}/") or found.rpartition("/")[2] == wanted


def _sessions_with_prompts(client: Client) -> Iterable[str]:
    cursor: str | None = None
    while True:
        page = client.request(
            "GET", "/sessions", params={"limit": 200, **({"cursor": cursor} if cursor else {})}
        )
        yield from (row["agent_session"] for row in page["data"] if row.get("prompt_count"))
        cursor = page.get("next_cursor")
        if cursor is None:
            return
