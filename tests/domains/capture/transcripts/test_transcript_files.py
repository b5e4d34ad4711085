"""Only regular files are opened; nothing waits for a pipe's other end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from transcript_craft import Script

from claude_mem.domains.capture.transcripts import find_transcripts, read_transcript


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "s.jsonl"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        list(read_transcript(pipe))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        list(read_transcript(tmp_path))


def test_a_pipe_beside_a_subagents_transcript_is_no_note(tmp_path: Path) -> None:
    script = Script()
    script.agent_id = "a1"
    script.ask("Look.")
    path = script.write(tmp_path / "subagents" / "agent-a1.jsonl")
    os.mkfifo(path.with_suffix(".meta.json"))
    [event] = list(read_transcript(path, settled=True))
    assert event["data"]["agent_id"] == "a1"
    assert [file.path for file in find_transcripts(tmp_path)] == [path]
