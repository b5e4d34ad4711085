"""Which file a path in an event may open."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from claude_mem.app.build import System
from claude_mem.domains.capture.paths import transcript_at, with_usable_path
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.redact import mask_tree
from claude_mem.kernel.scope import local_scope

HOME = "/home/jane.doe@corp.com/.claude/projects/a"
SECRET = "ghp_" + "k3y9" * 9


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")
    return path


@pytest.mark.parametrize(
    "place",
    ["projects/-home-dev/s.jsonl", "projects/-home-dev/s/subagents/agent-1.jsonl"],
)
def test_a_transcript_of_any_agents_folder_is_read(tmp_path: Path, place: str) -> None:
    path = made(tmp_path / "other agent" / place)
    assert transcript_at(str(path)) == path


def test_a_folder_that_is_a_link_is_the_agents_own(tmp_path: Path) -> None:
    real = made(tmp_path / "disk" / "-home-dev" / "s.jsonl")
    config = tmp_path / "config"
    config.mkdir()
    (config / "projects").symlink_to(tmp_path / "disk")
    named = str(config / "projects" / "-home-dev" / "s.jsonl")
    assert transcript_at(named, {"CLAUDE_CONFIG_DIR": str(config)}) == real
    assert transcript_at(named, {}) is None


@pytest.mark.parametrize(
    "place",
    [
        "s.jsonl",
        "projects/s.jsonl",
        "projects/-home-dev/s.json",
        "projects/a/b/s.jsonl",
        "elsewhere/a/s.jsonl",
    ],
)
def test_any_other_place_is_not_read(tmp_path: Path, place: str) -> None:
    assert transcript_at(str(made(tmp_path / place))) is None


def test_a_link_out_is_not_followed(tmp_path: Path) -> None:
    outside = made(tmp_path / "private.jsonl")
    link = tmp_path / "projects" / "a" / "s.jsonl"
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    assert transcript_at(str(link)) is None


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "projects" / "a"
    (folder / "folder.jsonl").mkdir(parents=True)
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")
    for name in ("folder.jsonl", "pipe.jsonl", "loop.jsonl", "gone.jsonl", "a\0b.jsonl", "x" * 999):
        assert transcript_at(f"{folder}/{name}") is None


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/home/jane/.claude/projects/a/s.jsonl", True),
        (f"{HOME}/s.jsonl", True),
        ("/home/13812345678/.claude/projects/a/s.jsonl", True),
        (f"/home/jane/{SECRET}/projects/a/s.jsonl", False),
        (f"{HOME}/{SECRET}.jsonl", False),
    ],
)
def test_a_path_stays_usable_unless_a_secret_is_in_it(path: str, kept: bool) -> None:
    event = {
        "id": "1",
        "data": {"content": f"{SECRET} of jane.doe@corp.com", "transcript_path": path},
    }
    made = with_usable_path(event, mask_tree(event))
    assert (made["data"]["transcript_path"] == path) is kept
    assert SECRET not in str(made)
    assert "jane.doe" not in made["data"]["content"]


def test_an_event_without_a_path_is_left(tmp_path: Path) -> None:
    event = {"id": "1", "data": {"content": "x"}}
    assert with_usable_path(event, event) is event


async def test_the_true_path_reaches_the_job(system: System) -> None:
    data = {"content": "Done by jane.doe@corp.com", "transcript_path": f"{HOME}/s.jsonl"}
    event = {
        "id": new_id(),
        "type": "assistant.replied",
        "occurred_at": to_iso(now_ms()),
        "agent": "claude-code",
        "session": "s",
        "project": "/nowhere/ledger",
        "data": data | {"origin": "live"},
    }
    scope, state = local_scope(), system.parts.state
    await state["capture"].accept(scope, [event])
    await state["capture"].drain_all()
    [job] = await state["database"].read(
        scope,
        lambda tx: (
            tx.exec_driver_sql(
                "SELECT payload_json FROM task_queue WHERE task_type = 'transcript.catch_up'"
            )
            .scalars()
            .all()
        ),
    )
    assert orjson.loads(job) == {"path": f"{HOME}/s.jsonl"}
    [said] = await state["database"].read(
        scope, lambda tx: tx.exec_driver_sql("SELECT content FROM prompts").scalars().all()
    )
    assert "jane.doe" not in said
