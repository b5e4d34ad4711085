"""The other program's database becomes events, whatever its age, and stays as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlean

from claude_mem.domains.capture.keys import natural_keys
from claude_mem.domains.capture.schemas import check_events
from claude_mem.domains.capture.upstream import HELD, NO_TEXT, NO_TIME, UpstreamDatabase
from claude_mem.kernel.errors import Invalid

AT = 1_766_000_000_000
NEWEST = """
CREATE TABLE sdk_sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, content_session_id TEXT UNIQUE NOT NULL,
  memory_session_id TEXT UNIQUE, project TEXT NOT NULL, platform_source TEXT NOT NULL DEFAULT 'claude',
  user_prompt TEXT, started_at TEXT NOT NULL, started_at_epoch INTEGER NOT NULL, completed_at TEXT,
  completed_at_epoch INTEGER, status TEXT NOT NULL DEFAULT 'active', worker_port INTEGER,
  prompt_counter INTEGER DEFAULT 0, custom_title TEXT);
CREATE TABLE observations (id INTEGER PRIMARY KEY AUTOINCREMENT, memory_session_id TEXT NOT NULL,
  project TEXT NOT NULL, text TEXT, type TEXT NOT NULL, title TEXT, subtitle TEXT, facts TEXT, narrative TEXT,
  concepts TEXT, files_read TEXT, files_modified TEXT, prompt_number INTEGER, discovery_tokens INTEGER DEFAULT 0,
  content_hash TEXT, agent_type TEXT, agent_id TEXT, merged_into_project TEXT, created_at TEXT NOT NULL,
  created_at_epoch INTEGER NOT NULL);
CREATE TABLE session_summaries (id INTEGER PRIMARY KEY AUTOINCREMENT, memory_session_id TEXT NOT NULL,
  project TEXT NOT NULL, request TEXT, investigated TEXT, learned TEXT, completed TEXT, next_steps TEXT,
  files_read TEXT, files_edited TEXT, notes TEXT, prompt_number INTEGER, created_at TEXT NOT NULL,
  created_at_epoch INTEGER NOT NULL);
CREATE TABLE user_prompts (id INTEGER PRIMARY KEY AUTOINCREMENT, content_session_id TEXT NOT NULL,
  prompt_number INTEGER NOT NULL, prompt_text TEXT NOT NULL, created_at TEXT NOT NULL,
  created_at_epoch INTEGER NOT NULL);
"""
OLDEST = """
CREATE TABLE sdk_sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, claude_session_id TEXT UNIQUE NOT NULL,
  sdk_session_id TEXT UNIQUE, project TEXT NOT NULL, user_prompt TEXT, started_at TEXT NOT NULL,
  started_at_epoch INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'active');
CREATE TABLE observations (id INTEGER PRIMARY KEY AUTOINCREMENT, sdk_session_id TEXT NOT NULL,
  project TEXT NOT NULL, text TEXT NOT NULL, type TEXT NOT NULL, created_at TEXT NOT NULL,
  created_at_epoch INTEGER NOT NULL);
"""


def insert(raw: Any, table: str, **values: Any) -> None:
    values = {"created_at": "2025-12-17T19:33:20.000Z", "created_at_epoch": AT} | values
    if table == "sdk_sessions":
        values = {name.replace("created", "started"): value for name, value in values.items()}
    marks = ", ".join("?" * len(values))
    raw.execute(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})",
        list(values.values()),
    )


def fill(raw: Any) -> None:
    session = {"content_session_id": "cs-1", "memory_session_id": "ms-1", "project": "ledger"}
    insert(raw, "sdk_sessions", **session, user_prompt="Mend the totals\nplease")
    insert(
        raw,
        "user_prompts",
        content_session_id="cs-1",
        prompt_number=1,
        prompt_text="Mend the totals",
    )
    insert(
        raw,
        "observations",
        memory_session_id="ms-1",
        project="ledger",
        type="bugfix",
        title="Totals round once",
        subtitle="Not per line",
        narrative="Rounding moved to the end.",
        facts=json.dumps(["uses Decimal", "one test added"]),
        concepts=json.dumps(["gotcha", "how-it-works"]),
        files_read=json.dumps(["a.py"]),
        files_modified=json.dumps(["b.py", "a.py"]),
        prompt_number=1,
    )
    insert(
        raw,
        "session_summaries",
        memory_session_id="ms-1",
        project="ledger",
        request="Mend the totals",
        learned="Cents add up",
        next_steps="Ship",
        files_edited=json.dumps(["b.py"]),
        prompt_number=1,
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "theirs" / "claude-mem.db"
    path.parent.mkdir()
    raw = sqlean.connect(str(path), isolation_level=None)
    raw.executescript(NEWEST)
    fill(raw)
    raw.close()
    return path


def read(path: Path, **options: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    with UpstreamDatabase(path) as source:
        events = [event for _, _, event in source.events({}, **options) if event is not None]
    if events:
        check_events(events)
    return events, dict(source.skipped)


def test_each_table_becomes_its_kind_of_event(database: Path) -> None:
    events, skipped = read(database)
    assert skipped == {}
    assert [event["type"] for event in events] == [
        "session.started",
        "prompt.submitted",
        "observation.added",
        "context.compacted",
    ]
    assert {event["session"] for event in events} == {"cs-1"}, "the agent's own session"
    assert {event["project"] for event in events} == {"ledger"}
    assert {event["agent"] for event in events} == {"claude-code"}
    assert {event["occurred_at"] for event in events} == {"2025-12-17T19:33:20.000Z"}
    started, prompt, observation, summary = (event["data"] for event in events)
    assert started["title"] == "Mend the totals"
    assert prompt["content"] == "Mend the totals"
    assert observation["prompt_id"] == prompt["prompt_id"] == summary["prompt_id"]
    assert observation["title"] == "Totals round once"
    assert observation["content"] == (
        "Not per line\n\nRounding moved to the end.\n\n- uses Decimal\n- one test added"
    )
    assert observation["tags"] == ["bugfix", "gotcha", "how-it-works"]
    assert observation["files"] == ["b.py", "a.py"]
    assert (summary["phase"], summary["trigger"]) == ("after", "import")
    assert summary["summary"] == (
        "## Request\nMend the totals\n\n## Learned\nCents add up\n\n## Next steps\nShip\n\n"
        "## Files edited\n- b.py"
    )


def test_reading_twice_makes_the_same_events(database: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.db"
    moved.write_bytes(database.read_bytes())
    assert read(database) == read(moved)
    events, _ = read(database)
    assert len({event["id"] for event in events}) == len(events)
    assert natural_keys(events[1]) == ["prompt:upstream:cs-1:1"]


def test_the_first_versions_of_the_tables_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    raw = sqlean.connect(str(path), isolation_level=None)
    raw.executescript(OLDEST)
    insert(raw, "sdk_sessions", claude_session_id="cs-1", sdk_session_id="ss-1", project="ledger")
    seconds = {"created_at_epoch": AT // 1000, "created_at": "2025-12-17T19:33:20.000Z"}
    common = {"sdk_session_id": "ss-1", "project": "ledger"}
    insert(raw, "observations", **common, **seconds, type="decision", text="Use cents")
    raw.close()
    (started, observation), _ = read(path)
    assert started["session"] == observation["session"] == "cs-1"
    assert observation["occurred_at"] == started["occurred_at"], "seconds and milliseconds"
    assert observation["data"]["content"] == "Use cents"
    assert observation["data"]["importance"] == 0.8


def test_rows_that_cannot_be_events_are_counted(database: Path) -> None:
    raw = sqlean.connect(str(database), isolation_level=None)
    session = {"memory_session_id": "ms-1", "project": "ledger"}
    insert(raw, "observations", **session, type="change")
    insert(
        raw, "observations", **session, type="change", title="x", created_at_epoch=0, created_at=""
    )
    insert(raw, "session_summaries", **session)
    insert(
        raw, "observations", **session, type="change", title="odd", facts="{broken", concepts="7"
    )
    raw.close()
    events, skipped = read(database)
    assert skipped == {NO_TEXT: 2, NO_TIME: 1}
    assert [
        event["data"]["content"] for event in events if event["data"].get("title") == "odd"
    ] == ["- {broken"]


def test_prompts_of_sessions_that_are_here_already_are_left_out(database: Path) -> None:
    events, skipped = read(database, held={"cs-1"})
    assert [event["type"] for event in events] == [
        "session.started",
        "observation.added",
        "context.compacted",
    ]
    assert skipped == {HELD: 1}


def test_reading_goes_on_after_known_rows(database: Path) -> None:
    with UpstreamDatabase(database) as source:
        known = {table: number for table, number, _ in source.events({})}
        assert source.count(known) == 0
        assert list(source.events(known)) == []
    raw = sqlean.connect(str(database), isolation_level=None)
    insert(
        raw,
        "observations",
        memory_session_id="ms-1",
        project="ledger",
        type="discovery",
        title="Later",
    )
    raw.close()
    with UpstreamDatabase(database) as source:
        assert source.count(known) == 1
        ((table, number, event),) = source.events(known)
    assert (table, number) == ("observations", 2)
    assert event is not None
    assert event["session"] == "cs-1", "sessions are known even when their rows are not new"


@pytest.fixture
def open_writer(database: Path) -> Iterator[Any]:
    raw = sqlean.connect(str(database), isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA wal_autocheckpoint=0")
    yield raw
    raw.close()


def test_what_waits_in_the_log_is_read_and_nothing_is_written(
    database: Path, open_writer: Any
) -> None:
    insert(
        open_writer,
        "user_prompts",
        content_session_id="cs-1",
        prompt_number=2,
        prompt_text="Still in the log",
    )
    folder = database.parent
    assert (folder / "claude-mem.db-wal").stat().st_size > 0

    def state() -> dict[str, tuple[str, int]]:
        return {
            path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in folder.iterdir()
        }

    before = state()
    events, _ = read(database)
    assert "Still in the log" in [event["data"].get("content") for event in events]
    assert state() == before


def test_a_file_of_another_kind_is_refused(tmp_path: Path, database: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("not a database")
    other = tmp_path / "other.db"
    raw = sqlean.connect(str(other), isolation_level=None)
    raw.execute("CREATE TABLE songs (id INTEGER)")
    raw.close()
    ours = tmp_path / "ours.db"
    raw = sqlean.connect(str(ours), isolation_level=None)
    raw.execute("PRAGMA application_id=0x434D454D")
    raw.execute("CREATE TABLE sessions (id INTEGER)")
    raw.close()
    cut = tmp_path / "cut.db"
    cut.write_bytes(database.read_bytes()[:1000])
    for path, said in (
        (text, "no SQLite database"),
        (other, "no database of claude-mem"),
        (ours, "own database"),
        (cut, "cannot be read"),
    ):
        with pytest.raises(Invalid, match=said), UpstreamDatabase(path):
            pass
    with pytest.raises(FileNotFoundError), UpstreamDatabase(tmp_path / "none.db"):
        pass


def test_no_copy_stays_behind(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with UpstreamDatabase(database):
        assert list(temporary.iterdir())
    assert list(temporary.iterdir()) == []
