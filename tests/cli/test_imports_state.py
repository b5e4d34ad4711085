"""What an import remembers: whole or not at all, and nobody else's to read."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from claude_mem.cli.imports_state import ImportState, write_private_durably
from claude_mem.domains.capture.transcripts import Position
from claude_mem.domains.capture.transcripts.position import Known

PLACE = Position(10, 20, "abc", True, Known(session="s", project="/p", at=5))


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    state = ImportState(tmp_path)
    state.keep(Path("/t/a.jsonl"), PLACE)
    state.keep_held(Path("/u.db"), frozenset({"s2", "s1"}))
    state.keep_rows(Path("/u.db"), {"observations": 7})
    state.save(now=True)
    again = ImportState(tmp_path)
    assert again.position(Path("/t/a.jsonl")) == PLACE
    assert again.position(Path("/t/b.jsonl")) is None
    assert again.rows(Path("/u.db")) == {"observations": 7}
    assert again.held(Path("/u.db")) == {"s1", "s2"}
    assert again.held(Path("/v.db")) is None
    mode = (tmp_path / "imports.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_frequent_saves_are_put_together_and_the_last_is_not_lost(tmp_path: Path) -> None:
    state = ImportState(tmp_path)
    state.keep(Path("/a"), PLACE)
    state.save()
    first = (tmp_path / "imports.json").read_bytes()
    state.keep(Path("/b"), PLACE)
    state.save()
    assert (tmp_path / "imports.json").read_bytes() == first
    state.save(now=True)
    assert ImportState(tmp_path).position(Path("/b")) == PLACE


def test_what_is_no_position_of_this_version_is_not_written_again(tmp_path: Path) -> None:
    known = {"session": "s", "title": "words of a transcript"}
    old = {"/old.jsonl": PLACE.to_dict() | {"known": known}, "/a.jsonl": PLACE.to_dict()}
    path = tmp_path / "imports.json"
    path.write_text(json.dumps({"version": 1, "files": old, "upstream": {}}))
    state = ImportState(tmp_path)
    state.keep(Path("/b.jsonl"), PLACE)
    state.save(now=True)
    assert b"words of a transcript" not in path.read_bytes()
    assert ImportState(tmp_path).position(Path("/a.jsonl")) == PLACE


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 99, "files": {"/a": {}}}',
        b'{"version": 1, "files": []}',
        b'{"version": 1, "files": {"/a": 7}, "upstream": {"/a": {"rows": 3, "held": 4}}}',
    ],
)
def test_an_unreadable_memory_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "imports.json").write_bytes(content)
    state = ImportState(tmp_path)
    assert state.position(Path("/a")) is None
    assert state.rows(Path("/a")) == {}
    assert state.held(Path("/a")) is None


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / "x.json"
    write_private_durably(path, b"old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in path.parent.iterdir()] == ["x.json"]
