"""The newest lines of several rotated files, and the lines as they come."""

import json
from pathlib import Path

import pytest

from claude_mem.worker.journal import Journal
from claude_mem.worker.logview import Follower, parse, recent


def line(second: int, message: str, level: str = "info", decimals: int = 6) -> str:
    stamp = f"2026-11-20T10:{second // 60:02d}:{second % 60:02d}." + "0" * decimals + "Z"
    return json.dumps({"timestamp": stamp, "level": level, "message": message}) + "\n"


def messages(found: list[object]) -> list[str]:
    return [it.fields.get("message", it.raw) for it in found]  # type: ignore[attr-defined]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.jsonl"


def test_no_file_is_no_lines(log: Path) -> None:
    assert recent([log], 10) == []
    assert Follower(log).poll() == []


def test_the_newest_lines_oldest_first(log: Path) -> None:
    log.write_text("".join(line(n, f"m{n}") for n in range(20)))
    assert messages(recent([log], 3)) == ["m17", "m18", "m19"]
    assert messages(recent([log], 0)) == []
    assert len(recent([log], 100)) == 20


def test_lines_longer_than_a_block_and_in_every_script(log: Path) -> None:
    long = "记忆" * 60_000
    log.write_text(line(1, "short") + line(2, long) + line(3, "last"))
    assert messages(recent([log], 3)) == ["short", long, "last"]


def test_predecessors_are_read_when_the_file_has_too_few(log: Path) -> None:
    log.with_name("worker.jsonl.2").write_text(line(1, "a") + line(2, "b"))
    log.with_name("worker.jsonl.1").write_text(line(3, "c"))
    log.write_text(line(4, "d"))
    assert messages(recent([log], 3)) == ["b", "c", "d"]
    assert messages(recent([log], 9)) == ["a", "b", "c", "d"]


def test_two_logs_are_merged_by_time(log: Path) -> None:
    other = log.with_name("supervisor.jsonl")
    log.write_text(line(1, "w1") + line(3, "w3") + line(5, "w5"))
    other.write_text(line(2, "s2", decimals=9) + line(4, "s4", decimals=9))
    assert messages(recent([log, other], 4)) == ["s2", "w3", "s4", "w5"]


def test_levels(log: Path) -> None:
    levels = ("debug", "info", "warning", "error", "critical")
    log.write_text("".join(line(n, level, level) for n, level in enumerate(levels)))
    assert messages(recent([log], 9, "warning")) == ["warning", "error", "critical"]
    assert messages(recent([log], 1, "warning")) == ["critical"]


@pytest.mark.parametrize("raw", ["{", "plain words", "[1]", '"x"'])
def test_what_is_no_object_is_kept_as_text(raw: str) -> None:
    found = parse(raw)
    assert (found.raw, found.fields, found.level, found.when) == (raw, {}, "info", "")


def test_following_gives_whole_lines_only(log: Path) -> None:
    log.write_text(line(1, "old"))
    follower = Follower(log)
    assert follower.poll() == []
    with log.open("a") as file:
        file.write(line(2, "new") + line(3, "half")[:10])
        file.flush()
        assert messages(follower.poll()) == ["new"]
        file.write(line(3, "half")[10:])
    assert messages(follower.poll()) == ["half"]
    follower.close()


def test_following_a_file_that_comes_later(log: Path) -> None:
    follower = Follower(log)
    log.write_text(line(1, "first"))
    assert messages(follower.poll()) == ["first"]
    assert follower.poll() == []
    follower.close()


def rotate(log: Path) -> None:
    for number in (2, 1):
        part = log.with_name(f"{log.name}.{number}")
        if part.exists():
            part.rename(log.with_name(f"{log.name}.{number + 1}"))
    log.rename(log.with_name(f"{log.name}.1"))


def test_nothing_is_missed_over_a_rotation(log: Path) -> None:
    log.write_text(line(1, "old"))
    follower = Follower(log)
    with log.open("a") as file:
        file.write(line(2, "last of the old file"))
    rotate(log)
    assert messages(follower.poll()) == ["last of the old file"]
    log.write_text(line(3, "first of the new file"))
    assert messages(follower.poll()) == ["first of the new file"]
    assert follower.poll() == []
    follower.close()


def test_nothing_is_missed_over_two_rotations_at_once(log: Path) -> None:
    log.write_text(line(1, "old"))
    follower = Follower(log)
    with log.open("a") as file:
        file.write(line(2, "a"))
    rotate(log)
    log.write_text(line(3, "b"))
    rotate(log)
    log.write_text(line(4, "c"))
    assert messages(follower.poll()) == ["a", "b", "c"]
    follower.close()


def test_a_file_cut_short_is_read_from_its_start(log: Path) -> None:
    log.write_text(line(1, "x" * 500))
    follower = Follower(log)
    log.write_text(line(2, "anew"))
    assert messages(follower.poll()) == ["anew"]
    follower.close()


def test_a_file_that_vanished_is_followed_when_it_is_back(log: Path) -> None:
    log.write_text(line(1, "x"))
    follower = Follower(log)
    log.unlink()
    assert follower.poll() == []
    log.write_text(line(2, "back"))
    assert messages(follower.poll()) == ["back"]
    follower.close()


def test_the_supervisors_journal_rotates_and_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.jsonl"
    journal = Journal(path, max_bytes=600)
    follower = Follower(path)
    seen: list[str] = []
    for number in range(30):
        journal.write("info", "test", f"m{number}")
        seen += messages(list(follower.poll()))
    assert seen == [f"m{number}" for number in range(30)]
    assert path.with_name("supervisor.jsonl.1").stat().st_size < 1_000
    follower.close()


def test_a_journal_that_cannot_write_does_not_fall_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "missing" / "supervisor.jsonl")
    journal.write("error", "test", "nobody hears this")
    assert not (tmp_path / "missing").exists()
