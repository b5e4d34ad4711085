"""Which transcripts are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from transcript_craft import Script

from claude_mem.domains.capture.transcripts import find_transcripts
from claude_mem.domains.capture.transcripts.discover import projects_folder


def test_sessions_come_oldest_first_and_subagents_after_them(tmp_path: Path) -> None:
    young = Script().write(tmp_path / "-home-dev-a" / "young.jsonl")
    old = Script().write(tmp_path / "-home-dev-b" / "old.jsonl")
    agent = Script().write(tmp_path / "-home-dev-a" / "young" / "subagents" / "agent-1.jsonl")
    (tmp_path / "-home-dev-a" / "young" / "tool-results").mkdir()
    (tmp_path / "-home-dev-a" / "young" / "tool-results" / "x.jsonl").write_text("{}")
    (tmp_path / "-home-dev-a" / "notes.txt").write_text("x")
    os.utime(old, (1, 1))
    os.utime(agent, (0, 0))
    assert [file.path for file in find_transcripts(tmp_path)] == [old, young, agent]


def test_the_project_is_the_folder_of_the_lines_not_the_slug(tmp_path: Path) -> None:
    script = Script(cwd="/home/dev/pr.oj_x y")
    script.plain(type="queue-operation")
    script.ask("hi")
    script.write(tmp_path / "-home-dev-pr-oj-x-y" / "s.jsonl")
    (found,) = find_transcripts(tmp_path)
    assert found.project == "/home/dev/pr.oj_x y"
    assert found.size == found.path.stat().st_size


def test_projects_that_opted_out_are_marked(tmp_path: Path) -> None:
    project = tmp_path / "secret" / "deep"
    project.mkdir(parents=True)
    (tmp_path / "secret" / ".claude-mem-off").touch()
    script = Script(cwd=str(project))
    script.ask("hi")
    script.write(tmp_path / "projects" / "s.jsonl")
    (found,) = find_transcripts(tmp_path / "projects")
    assert found.opted_out


def test_excluded_folders_are_not_looked_into(tmp_path: Path) -> None:
    Script().write(tmp_path / "own" / "projects" / "a.jsonl")
    kept = Script().write(tmp_path / "theirs" / "b.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "own")
    found = find_transcripts(tmp_path, exclude=(tmp_path / "own",))
    assert [file.path for file in found] == [kept]
    assert find_transcripts(tmp_path / "own", exclude=(tmp_path / "own",)) == []


def test_a_single_file_is_found_as_itself(tmp_path: Path) -> None:
    path = Script().write(tmp_path / "s.jsonl")
    assert [file.path for file in find_transcripts(path)] == [path]
    assert [file.project for file in find_transcripts(path)] == [""]


def test_nothing_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_transcripts(tmp_path / "none")


def test_the_persons_folder_follows_the_clients_setting(tmp_path: Path) -> None:
    assert projects_folder({"CLAUDE_CONFIG_DIR": str(tmp_path)}) == tmp_path / "projects"
    assert projects_folder({}) == Path("~/.claude/projects").expanduser()
