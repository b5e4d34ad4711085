"""Opening SQLite files: driver, pragmas, and the marker that says a file is ours.

One SQLite library per process (two on one file can corrupt it): `sqlean`, which carries SQLite 3.50 with FTS5 for
Linux and macOS on x86 and Arm. Sizes are for all connections together: one writer and a few readers stay under 40 MB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import orjson
import sqlean
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from claude_mem.hook.home import APPLICATION_ID, is_damaged_database, is_foreign_database
from claude_mem.kernel.errors import (
    DatabaseDamaged,
    ForeignDatabase,
    MemError,
    StoreFull,
    Unavailable,
)

Raw: TypeAlias = Any  # sqlean ships no types; its connection is a DB-API 2.0 connection

MINIMUM_VERSION = (3, 43, 0)  # contentless FTS5 tables with deletes

_COMMON = (
    "PRAGMA busy_timeout=10000",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
)
_WRITER = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # an acknowledgement means: on disk
    "PRAGMA cache_size=-8000",
    "PRAGMA wal_autocheckpoint=2000",
    "PRAGMA journal_size_limit=67108864",
    # Zeros over deleted cells; what balancing leaves behind in pages, and freed pages, only a vacuum clears.
    "PRAGMA secure_delete=FAST",
)
# Figures for the planner, also of tables that grew tenfold (0x10000: not only those this very connection has read).
# 0x10 bounds the work, and keeps samples of what rows hold out of the figures: they would outlive what is forgotten.
OPTIMIZE = "PRAGMA optimize=0x10012"
_READER = ("PRAGMA query_only=ON", "PRAGMA cache_size=-4000")


def check_library() -> None:
    """Raise MemError when the SQLite library is too old or lacks FTS5."""
    if sqlean.sqlite_version_info < MINIMUM_VERSION:
        raise MemError(f"SQLite {sqlean.sqlite_version} is too old: reinstall sqlean.py")
    probe = sqlean.connect(":memory:")
    try:
        probe.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlean.OperationalError as error:
        raise MemError("this SQLite was built without FTS5: reinstall sqlean.py") from error
    finally:
        probe.close()


def check_ours(path: Path) -> None:
    """Raise ForeignDatabase when another program made the file at `path`, DatabaseDamaged when its header is gone.

    Reads bytes, opens nothing.
    """
    if is_damaged_database(path):
        raise DatabaseDamaged(
            f"the first page of {path} is damaged (or it never was a database): "
            "`claude-mem db recover` makes it anew from what can be read"
        )
    if is_foreign_database(path):
        raise ForeignDatabase(
            f"{path} was made by another program and is left untouched. Use another data folder "
            f"(for instance CLAUDE_MEM_HOME={path.parent / 'v2'}) and bring its content over with: "
            f"claude-mem import --upstream {path}"
        )


def configure(raw: Raw, *, writer: bool) -> None:
    """Set the pragmas of a fresh connection."""
    cursor = raw.cursor()
    if writer and cursor.execute("PRAGMA page_count").fetchone()[0] == 0:
        # Before WAL, so that the marker is in the file itself even if we are killed before the first checkpoint.
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
        cursor.execute(f"PRAGMA application_id={APPLICATION_ID}")
    for pragma in _COMMON + (_WRITER if writer else _READER):
        cursor.execute(pragma)
        cursor.fetchall()
    cursor.close()


def _dump_json(value: object) -> str:
    return orjson.dumps(value).decode()


def make_engine(path: Path, *, writer: bool) -> Engine:
    """An SQLAlchemy engine whose connections are ours to begin and commit."""
    engine = create_engine(
        f"sqlite:///{path}",
        module=sqlean,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,  # what is remembered has no place in an error's text, nor in a log
        json_serializer=_dump_json,
        json_deserializer=orjson.loads,
        connect_args={"check_same_thread": False, "cached_statements": 256},
    )

    @event.listens_for(engine, "connect")
    def _on_connect(raw: Raw, _record: object) -> None:
        configure(raw, writer=writer)

    return engine


def translate(error: BaseException) -> BaseException:
    """The product's error for an engine's error, where there is one."""
    original = getattr(error, "orig", None) or error
    if not isinstance(original, sqlean.Error):
        return error
    text = str(original).lower()
    if "disk is full" in text or "disk i/o error" in text or "database or disk" in text:
        return StoreFull(
            "the disk is full or refuses writes: free some space, nothing that was acknowledged is lost",
            retry_after=30,
        )
    if "readonly" in text or "unable to open" in text:
        return Unavailable(f"the database cannot be written: {original}", retry_after=30)
    if "locked" in text or "busy" in text:
        return Unavailable("the database is busy", retry_after=2)
    return error
