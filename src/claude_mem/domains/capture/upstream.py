"""The database of the other claude-mem (the TypeScript one) as wire events.

Owns what we know of its tables, across its versions: columns were renamed and added over time, so
what is there is looked up, never assumed. The original is only copied, with its write-ahead log,
and never opened: opening a database in WAL mode writes beside it. Event ids come from the rows, so
importing twice makes the same events.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Self

import sqlean

from claude_mem.domains.capture.trim import trim_text
from claude_mem.kernel.clock import from_iso, to_iso
from claude_mem.kernel.errors import Invalid
from claude_mem.kernel.ids import deterministic_id

Event = dict[str, Any]
Row = dict[str, Any]

SESSIONS, PROMPTS = "sdk_sessions", "user_prompts"
OBSERVATIONS, SUMMARIES = "observations", "session_summaries"
TABLES = (SESSIONS, PROMPTS, OBSERVATIONS, SUMMARIES)

NO_TIME = "no timestamp"
NO_TEXT = "no text"
HELD = "prompt of a session that is here already"

_OURS = 0x434D454D  # the mark in the header of this product's databases
_HEADER = b"SQLite format 3\x00"
_TEXT_CHARS = 900_000
_ATTEMPTS = 10
_EPOCH_IN_MS = 100_000_000_000  # smaller numbers are seconds: milliseconds of before 1973
_AGENTS = {"claude": "claude-code", "": "claude-code"}
_IMPORTANCE = {"decision": 0.8, "bugfix": 0.7, "feature": 0.65, "refactor": 0.6}
_SECTIONS = (
    ("Request", "request"),
    ("Investigated", "investigated"),
    ("Learned", "learned"),
    ("Completed", "completed"),
    ("Next steps", "next_steps"),
    ("Files read", "files_read"),
    ("Files edited", "files_edited"),
    ("Notes", "notes"),
)


class UpstreamDatabase:
    """A copy of the database at `path`, open while this context lasts.

    Raises Invalid when the file is none of that program's, OSError when it cannot be read or
    copied. `skipped` counts rows by reason.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped: Counter[str] = Counter()
        self._cleanup = contextlib.ExitStack()
        self._sessions: dict[str, tuple[str, str, str]] = {}

    def __enter__(self) -> Self:
        check_header(self.path)
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claude-mem-")))
            copy = _copy(self.path, folder)
            self._raw = sqlean.connect(str(copy))
            stack.callback(self._raw.close)
            self._raw.text_factory = lambda raw: raw.decode("utf-8", "replace")
            self._columns = self._look_up()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def count(self, after: Mapping[str, int]) -> int:
        """Rows beyond the ids of `after` (by table)."""
        return sum(
            self._raw.execute(
                f"SELECT count(*) FROM {table} WHERE id > ?",  # noqa: S608 - one of TABLES
                (after.get(table, 0),),
            ).fetchone()[0]
            for table in TABLES
            if table in self._columns
        )

    def events(
        self, after: Mapping[str, int], held: AbstractSet[str] = frozenset()
    ) -> Iterator[tuple[str, int, Event | None]]:
        """(table, row id, event or None) of every row beyond `after`, in an order in which
        references resolve.

        Prompts of the agent sessions in `held` give no event: they came from elsewhere, under ids
        that this database does not know.
        """
        self._learn_sessions()
        makers = {
            SESSIONS: self._session,
            PROMPTS: lambda row: self._prompt(row, held),
            OBSERVATIONS: self._observation,
            SUMMARIES: self._summary,
        }
        for table in TABLES:
            if table in self._columns:
                for row in self._rows(table, after.get(table, 0)):
                    yield table, row["id"], makers[table](row)

    # -- reading ----------------------------------------------------------------------------------

    def _look_up(self) -> dict[str, list[str]]:
        try:
            names = {row[0] for row in self._raw.execute("SELECT name FROM sqlite_master")}
            columns = {
                table: [row[1] for row in self._raw.execute(f"PRAGMA table_info({table})")]
                for table in TABLES
                if table in names
            }
        except sqlean.DatabaseError as error:
            raise Invalid(f"{self.path} cannot be read: {error}") from error
        known = {table: names for table, names in columns.items() if "id" in names}
        if SESSIONS not in known:
            raise Invalid(f"{self.path} is no database of claude-mem: it has no table {SESSIONS}")
        return known

    def _rows(self, table: str, after: int) -> Iterator[Row]:
        names = self._columns[table]
        cursor = self._raw.execute(
            f"SELECT {', '.join(names)} FROM {table} WHERE id > ? ORDER BY id",  # noqa: S608 - its own names
            (after,),
        )
        try:
            for values in cursor:
                yield dict(zip(names, values, strict=True))
        except sqlean.DatabaseError as error:
            raise Invalid(f"{self.path}: table {table} cannot be read further: {error}") from error

    def _learn_sessions(self) -> None:
        for row in self._rows(SESSIONS, 0):
            session = _session_id(row)
            if not session:
                continue
            project = _text(row, "merged_into_project", "project")
            platform = _text(row, "platform_source")
            agent = _AGENTS.get(platform, platform)[:64]
            for name in ("memory_session_id", "sdk_session_id"):
                if row.get(name):
                    self._sessions[str(row[name])] = (session, project, agent)
            self._sessions[session] = (session, project, agent)

    # -- one row of each table --------------------------------------------------------------------

    def _session(self, row: Row) -> Event | None:
        title = _text(row, "custom_title") or _first_line(_text(row, "user_prompt"))
        data = {"title": title[:500]} if title else {}
        return self._event("session.started", SESSIONS, row, _session_id(row), data)

    def _prompt(self, row: Row, held: AbstractSet[str]) -> Event | None:
        session, content = _session_id(row), _text(row, "prompt_text")
        if session in held:
            self.skipped[HELD] += 1
            return None
        if not content:
            self.skipped[NO_TEXT] += 1
            return None
        return self._event(
            "prompt.submitted", PROMPTS, row, session, {"content": trim_text(content, _TEXT_CHARS)}
        )

    def _observation(self, row: Row) -> Event | None:
        kind, title = _text(row, "type"), _text(row, "title")
        facts = [f"- {fact}" for fact in _list(row.get("facts"))]
        parts = [_text(row, "subtitle"), _text(row, "narrative") or _text(row, "text")]
        content = "\n\n".join(filter(None, [*parts, "\n".join(facts)])) or title
        if not content:
            self.skipped[NO_TEXT] += 1
            return None
        tags = dict.fromkeys(tag[:200] for tag in [kind, *_list(row.get("concepts"))] if tag)
        files = dict.fromkeys(_list(row.get("files_modified")) + _list(row.get("files_read")))
        data: dict[str, Any] = {
            "observation_type": "info",
            "content": trim_text(content, _TEXT_CHARS),
            "tags": list(tags)[:64],
            "files": [name[:4096] for name in files][:256],
            "importance": _IMPORTANCE.get(kind, 0.5),
        }
        if title:
            data["title"] = title[:500]
        for name in ("agent_id", "agent_type"):
            if _text(row, name):
                data[name] = _text(row, name)[:512]
        return self._event("observation.added", OBSERVATIONS, row, _session_id(row), data)

    def _summary(self, row: Row) -> Event | None:
        sections = [
            f"## {heading}\n{body}" for heading, name in _SECTIONS if (body := _prose(row, name))
        ]
        if not sections:
            self.skipped[NO_TEXT] += 1
            return None
        title = _first_line(_text(row, "request") or _text(row, "completed")) or "Session summary"
        data = {
            "phase": "after",
            "trigger": "import",
            "title": title[:500],
            "summary": trim_text("\n\n".join(sections), _TEXT_CHARS),
        }
        return self._event("context.compacted", SUMMARIES, row, _session_id(row), data)

    def _event(
        self, kind: str, table: str, row: Row, session: str, data: dict[str, Any]
    ) -> Event | None:
        at = _moment(row)
        if not at or not session:
            self.skipped[NO_TIME if session else "no session"] += 1
            return None
        session, project, agent = self._sessions.get(session, (session, "", "claude-code"))
        number = row.get("prompt_number")
        common = {"origin": "import"}
        if isinstance(number, int):
            common["prompt_id"] = f"upstream:{session}:{number}"[:512]
        named = _text(row, "merged_into_project", "project") or project or "unknown"
        return {
            "id": deterministic_id(at, f"upstream\0{table}\0{session}\0{row['id']}"),
            "type": kind,
            "occurred_at": to_iso(at),
            "agent": agent,
            "session": session[:200],
            "project": named[:4096],
            "data": common | data,
        }


def check_header(path: Path) -> None:
    """Raise Invalid when the file at `path` is no SQLite database, or one of ours. Reads 100 bytes."""
    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(_HEADER):
        raise Invalid(f"{path} is no SQLite database")
    if int.from_bytes(header[68:72], "big") == _OURS:
        raise Invalid(f"{path} is this program's own database: there is nothing to import")


def _copy(path: Path, folder: Path) -> Path:
    """The database and its write-ahead log as they were at one moment.

    The log's index (`-shm`) stays behind: without it SQLite reads the log itself, which no torn
    copy can mislead.
    """
    log = path.with_name(path.name + "-wal")
    copy, log_copy = folder / "upstream.db", folder / "upstream.db-wal"
    for _ in range(_ATTEMPTS):
        before = _stamps(path, log)
        shutil.copyfile(path, copy)
        log_copy.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # no log: nothing is waiting in it
            shutil.copyfile(log, log_copy)
        if _stamps(path, log) == before:
            return copy
    raise Invalid(f"{path} keeps changing while it is copied: stop the program that writes to it")


def _stamps(*paths: Path) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            stat = path.stat()
            found.append((stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return found


def _session_id(row: Row) -> str:
    names = ("content_session_id", "claude_session_id", "memory_session_id", "sdk_session_id")
    return _text(row, *names)


def _text(row: Row, *names: str) -> str:
    """The first of the columns that holds a text."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _list(value: object) -> list[str]:
    """A column that should hold a JSON list of texts."""
    if not isinstance(value, str) or not value.strip():
        return []
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):  # older rows hold plain text
        return [value.strip()]
    items = found if isinstance(found, list) else [found]
    return [item.strip() for item in items if isinstance(item, str) and item.strip()]


def _prose(row: Row, name: str) -> str:
    value = _text(row, name)
    if not value.startswith("["):
        return value
    return "\n".join(f"- {item}" for item in _list(value))


def _first_line(text: str) -> str:
    return " ".join(text.split("\n", 1)[0].split())[:200]


def _moment(row: Row) -> int:
    """Unix milliseconds of a row, 0 when it has none; older rows count in seconds."""
    for name in ("created_at_epoch", "started_at_epoch"):
        value = row.get(name)
        if isinstance(value, int | float) and 0 < value < 1e14:
            return int(value if value >= _EPOCH_IN_MS else value * 1000)
    try:
        return from_iso(_text(row, "created_at", "started_at"))
    except (ValueError, OverflowError):
        return 0
