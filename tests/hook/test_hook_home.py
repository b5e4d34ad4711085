"""The data folder: private modes, one token, and other programs' databases told apart."""

import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claude_mem.adapters.sqlite import connection as engine
from claude_mem.hook.home import (
    APPLICATION_ID,
    default_home,
    ensure_token,
    is_damaged_database,
    is_foreign_database,
    make_private_folder,
    write_private,
)
from claude_mem.hook.optout import OFF_FILE, is_opted_out


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def database(path: Path, application_id: int) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA application_id = {application_id}")
        connection.execute("CREATE TABLE sessions (id TEXT)")
    connection.close()
    return path


@pytest.mark.parametrize(
    ("application_id", "foreign"), [(APPLICATION_ID, False), (0, True), (1234, True)]
)
def test_a_database_is_known_by_its_application_id(
    tmp_path: Path, application_id: int, foreign: bool
) -> None:
    (tmp_path / "data").mkdir()
    path = database(tmp_path / "data" / "claude-mem.db", application_id)
    before = path.read_bytes()
    assert is_foreign_database(path) is foreign
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["claude-mem.db"]


def test_no_database_and_an_empty_one_are_nobodys(tmp_path: Path) -> None:
    assert not is_foreign_database(tmp_path / "claude-mem.db")
    (tmp_path / "claude-mem.db").touch()
    assert not is_foreign_database(tmp_path / "claude-mem.db")
    assert not is_damaged_database(tmp_path / "claude-mem.db")


def test_a_folder_of_its_name_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "claude-mem.db").mkdir()
    assert is_foreign_database(tmp_path / "claude-mem.db")
    assert not is_damaged_database(tmp_path / "claude-mem.db")


def test_what_has_no_header_or_our_tables_under_another_mark_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "claude-mem.db"
    path.write_text("some notes of mine")
    assert is_damaged_database(path)
    assert not is_foreign_database(path)
    path.write_bytes(b"SQLite format 3\x00")
    assert is_damaged_database(path)
    assert not is_foreign_database(path)
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE ingested_events (id TEXT)")
    connection.close()
    assert is_damaged_database(path)
    assert not is_foreign_database(path)
    path.unlink()
    assert not is_damaged_database(database(path, 1234))


def test_the_token_is_private_and_stays(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    token = ensure_token(home)
    assert token.startswith("cm_sk_local_")
    assert len(token) == len("cm_sk_local_") + 43
    assert (mode(home), mode(home / "token")) == (0o700, 0o600)
    assert ensure_token(home) == token
    assert [path.name for path in home.iterdir()] == ["token"]


def test_loose_modes_are_tightened_and_an_empty_token_replaced(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "token").touch(mode=0o644)
    token = ensure_token(tmp_path)
    assert (tmp_path / "token").read_text() == token
    (tmp_path / "token").chmod(0o644)
    assert ensure_token(tmp_path) == token
    assert (mode(tmp_path), mode(tmp_path / "token")) == (0o700, 0o600)


def test_all_who_make_the_token_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(lambda _: ensure_token(tmp_path), range(64)))
    assert tokens == {(tmp_path / "token").read_text()}


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    path = make_private_folder(tmp_path / "a" / "b") / "file"
    write_private(path, "first")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "second \ud800")
    assert path.read_text() == "first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_the_default_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLAUDE_MEM_HOME", raising=False)
    assert default_home() == tmp_path / ".claude-mem"
    monkeypatch.setenv("CLAUDE_MEM_HOME", "~/elsewhere")
    assert default_home() == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("off", "git", "asked", "expected"),
    [
        ("a/b", None, "a/b", True),
        ("a", None, "a/b", True),
        ("a", "a", "a/b/c", True),
        ("a", "a/b", "a/b/c", False),
        ("a/b", "a", "a", False),
        ("a", "a", "a/b/not/there", True),
        (None, "a", "a/b", False),
    ],
)
def test_opting_out_holds_up_to_the_git_root(
    tmp_path: Path, off: str | None, git: str | None, asked: str, expected: bool
) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    if off:
        (tmp_path / off / OFF_FILE).touch()
    if git:
        (tmp_path / git / ".git").write_text("gitdir: elsewhere")  # a worktree's is a file
    assert is_opted_out(str(tmp_path / asked)) is expected


def test_the_engine_marks_its_databases_with_the_same_number() -> None:
    with sqlite3.connect(":memory:") as connection:
        engine.configure(connection, writer=True)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_the_second_home_is_used_once_install_made_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = make_private_folder(tmp_path / "base")
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(base))
    database(base / "claude-mem.db", 0)
    assert default_home() == base
    ensure_token(base / "v2")
    assert default_home() == base / "v2"
    database(base / "ours.db", APPLICATION_ID).replace(base / "claude-mem.db")
    assert default_home() == base
