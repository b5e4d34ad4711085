"""Which file a path in an event may open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_mem.domains.capture.paths import transcript_at


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
