"""A database of the first schema, with what was recorded in it: everything is found, and summed up, after a start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlean
from api_support import API, running

from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.app import copies, store
from claude_mem.app.migrate import run
from claude_mem.app.settings import load
from claude_mem.domains.access import service as access
from claude_mem.kernel.ids import new_id

pytestmark = pytest.mark.anyio
ENTERPRISE = "00000000-0000-7000-8000-000000000001"
PROJECT = new_id()
SESSIONS, PROMPTS = 3, 4
ASKED = "We decided to use the zanzibar parser because it is faster than the other one"


def first_schema(path: Path) -> bytes:
    """The file as the first revision made it, with sessions and an index of its own form."""
    engine = make_engine(path, writer=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        run(connection, "upgrade", "0001")
        access.make_local_organisation(connection)
        fill(connection.exec_driver_sql)
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA journal_mode=DELETE").all()
    engine.dispose()
    content = path.read_bytes()
    path.unlink()
    return content


def fill(execute: Any) -> None:
    solution = execute("SELECT id FROM solutions").scalar()
    project = {"id": PROJECT, "solution_id": solution, "key": "ledger", "name": "ledger"}
    put(execute, "projects", enterprise_id=ENTERPRISE, **project)
    ours = {"enterprise_id": ENTERPRISE, "occurred_at": 1_790_000_000_000}
    for session in range(SESSIONS):
        sid = new_id()
        put(execute, "sessions", enterprise_id=ENTERPRISE, id=sid, project_id=PROJECT, agent="claude-code",
            agent_session=f"s{session}", status="active", title="parsers", ended_at=1_790_000_000_000)  # fmt: skip
        for number in range(PROMPTS):
            pid, place = new_id(), session * PROMPTS + number + 1
            put(execute, "prompts", **ours, id=pid, session_id=sid, event_id=pid, prompt_type="user",
                sequence_num=number, content=f"{ASKED} {place}")  # fmt: skip
            put(execute, "search_documents", **ours, id=place, kind="prompt", entity_id=pid,
                project_id=PROJECT, session_id=sid)  # fmt: skip
    put(
        execute,
        "search_statistics",
        enterprise_id=ENTERPRISE,
        documents=SESSIONS * PROMPTS,
        analysis_version=1,
    )


def put(execute: Any, table: str, **values: Any) -> None:
    """A row; columns that are not named and may not be null get nothing of their type."""
    empty = {
        "TEXT": "",
        "INTEGER": 0,
        "BIGINT": 0,
        "FLOAT": 0.0,
        "BOOLEAN": 0,
        "JSON": "{}",
        "BLOB": b"",
    }
    for _, name, kind, needed, default, _ in execute(f"PRAGMA table_info({table})").all():
        if needed and default is None and name not in values:
            values[name] = empty[str(kind).split("(")[0]]
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


async def test_what_an_older_program_recorded_is_found_and_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = first_schema(tmp_path / "first.db")
    monkeypatch.setattr("api_support.migrated", lambda: content)
    home = tmp_path / "data"
    async with running(home) as api:
        for _ in range(300):
            waiting = (await api.get("/admin/jobs"))["waiting"]
            if not waiting.get("index.rebuild") and not waiting.get("session.summarise"):
                break
            await asyncio.sleep(0.1)
        jobs = await api.get("/admin/jobs")
        assert (jobs["waiting"], jobs["dead"]) == ({}, [])
        hits = (await api.get("/search", q="zanzibar", limit=50))["results"]
        assert len([it for it in hits if it["type"] == "prompt"]) == SESSIONS * PROMPTS
        checked = store.checked(load(home, {}))
        assert checked["ok"], checked
        assert summed_up(home) == SESSIONS
        assert len(copies.of_migrations(home)) == 1
        answer = await api.client.post(f"{API}/forget", json={"what": "session", "id": "s0"})
        assert answer.json()["copies"] == []
        assert copies.of_migrations(home) == [], "what was forgotten does not live on in it"


async def test_damaged_files_that_were_kept_are_named(tmp_path: Path) -> None:
    home = tmp_path / "data"
    async with running(home) as api:
        await api.take(api.event())
        kept = home / "damaged" / "20250101T000000Z"
        kept.mkdir(parents=True)
        (kept / "claude-mem.db").write_bytes(b"what could not be read")
        answer = await api.client.post(f"{API}/forget", json={"what": "last"})
        assert answer.json()["copies"] == ["damaged/20250101T000000Z"]
        assert (kept / "claude-mem.db").exists(), "only a person takes it away"
        assert [it.name for it in copies.drop_all(home)] == [kept.name]
        assert not kept.exists()


def summed_up(home: Path) -> int:
    raw = sqlean.connect(f"file:{home / 'claude-mem.db'}?mode=ro", uri=True)
    try:
        query = "SELECT count(*) FROM summaries WHERE source <> 'agent' AND content <> ''"
        return int(raw.execute(query).fetchone()[0])
    finally:
        raw.close()
