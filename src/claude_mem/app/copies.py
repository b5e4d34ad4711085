"""The copies of the database that the program itself made: before a migration, and of a file that was damaged.

Owns how long they stay. A copy before a migration is for the case that the newer program cannot be used: only the
newest is kept, for two weeks, or until something is forgotten, which must not live on in it. A damaged file may hold
what could not be read: only a person takes it away. Must never touch a file that somebody else put there.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

_KEPT_MS = 14 * 86_400_000
_MIGRATION_COPY = re.compile(r"\.?claude-mem(?:\.db)?-\d{4}-(\d{10,})\.db")


def of_migrations(home: Path) -> list[Path]:
    """The copies made before migrations, newest first."""
    made = {
        path: int(named[1])
        for path in _inside(home / "backups")
        if (named := _MIGRATION_COPY.fullmatch(path.name)) and path.is_file()
    }
    return sorted(made, key=lambda path: made[path], reverse=True)


def of_damaged(home: Path) -> list[Path]:
    """The damaged files that a recovery put aside, each in its folder."""
    return sorted(_inside(home / "damaged"))


def drop_stale(home: Path, now: int) -> None:
    """Let go of the copies before migrations that are not the newest, or older than two weeks."""
    for place, path in enumerate(of_migrations(home)):
        named = _MIGRATION_COPY.fullmatch(path.name)
        if place or (named is not None and int(named[1]) < now - _KEPT_MS):
            path.unlink(missing_ok=True)


def drop_of_migrations(home: Path) -> None:
    """Let go of every copy before a migration."""
    for path in of_migrations(home):
        path.unlink(missing_ok=True)


def drop_all(home: Path) -> list[Path]:
    """Let go of both kinds; what went."""
    gone = [*of_migrations(home), *of_damaged(home)]
    for path in gone:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return gone


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
