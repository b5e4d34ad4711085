"""What recording processes say of themselves: read by others, and silence is noticed."""

from __future__ import annotations

import os

import pytest

from claude_mem.worker import board
from claude_mem.worker.board import Board


@pytest.fixture
def two() -> Board:
    return Board.make(2)


def test_each_page_is_its_own(two: Board) -> None:
    two.write(1, {"pid": 7, "degraded": {}})
    first, second = Board(two.descriptor, 2).read()
    assert first is None
    assert second is not None
    assert (second["pid"], second["degraded"]) == (7, {})


def test_what_is_old_is_silence(two: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    two.write(0, {"pid": 7})
    later = board._now() + board.STALE_S + 1
    monkeypatch.setattr(board, "_now", lambda: later)
    assert two.read() == [None, None]


def test_half_a_page_is_silence(two: Board) -> None:
    two.write(0, {"pid": 7})
    os.pwrite(two.descriptor, b"\0" * 20, 0)
    assert two.read()[0] is None


def test_a_shorter_word_leaves_nothing_of_a_longer_one(two: Board) -> None:
    two.write(0, {"pid": 7, "degraded": {"inbox": "x" * 4_000}})
    two.write(0, {"pid": 7, "degraded": {}})
    said = two.read()[0]
    assert said is not None
    assert said["degraded"] == {}


def test_what_is_too_long_is_cut_and_still_read(two: Board) -> None:
    two.write(0, {"pid": 7, "degraded": {"inbox": "x" * 50_000}})
    said = two.read()[0]
    assert said is not None
    assert said["degraded"]["inbox"].startswith("xxx")
