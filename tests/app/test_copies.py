"""Copies of the database that the program made: how many are kept, and for how long."""

from __future__ import annotations

from pathlib import Path

from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.app import copies
from claude_mem.app.migrate import ensure_current, run
from claude_mem.kernel.clock import now_ms

DAY = 86_400_000


def test_only_the_newest_copy_is_kept_and_not_for_ever(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    mine = folder / "my-own-copy.db"
    old = folder / "claude-mem-0001-1700000000000.db"
    for path in (mine, old):
        path.write_bytes(b"x")
    copies.drop_stale(tmp_path, 1_700_000_000_000 + 13 * DAY)
    assert old.exists()
    engine = make_engine(tmp_path / "claude-mem.db", writer=True)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        run(connection, "upgrade", "0001")
        connection.exec_driver_sql("COMMIT")
    engine.dispose()
    assert ensure_current(tmp_path / "claude-mem.db") is True
    assert not old.exists(), "there is a newer one"
    [kept] = copies.of_migrations(tmp_path)
    copies.drop_stale(tmp_path, now_ms() + 15 * DAY)
    assert not kept.exists()
    assert mine.exists(), "what a person put there is a person's"
