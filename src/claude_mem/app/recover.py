"""Bringing a damaged store back: what can be read goes into a new file, which takes the damaged one's place.

Owns the order of it. The damaged file is never written to and never thrown away: it lies under `damaged/` afterwards,
with its write-ahead log, which must not be beside the new file. Call it alone in the data folder (`app.offline`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import sqlean

from claude_mem.adapters.sqlite import check, orphans, recovery
from claude_mem.adapters.sqlite.connection import OPTIMIZE, make_engine
from claude_mem.adapters.sqlite.inbox import SqliteInbox
from claude_mem.adapters.sqlite.pages import DEFAULT_PAGE_SIZE
from claude_mem.adapters.sqlite.recovery import DamagedFile, Rescue
from claude_mem.app import copies, migrate
from claude_mem.app.migrations import HEAD
from claude_mem.app.rebuild import rebuild_index
from claude_mem.app.settings import Settings
from claude_mem.domains.access import service as access
from claude_mem.hook.home import is_foreign_database, make_private_folder
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import ForeignDatabase, MemError, NewerDatabase, StoreFull
from claude_mem.kernel.ids import new_id

Say = Callable[[str, int, int], None]  # what is done, how far, of how much
DERIVED_PREFIX = "search_"
_NOT_COPIED = ("alembic_version", "schema_info")
_DATABASE_OF_OURS = ("ingested_events", "natural_keys", "change_journal")
_INBOX_OF_OURS = ("inbox", "dead_letters")
# What only a worker, or what works through one, leaves: `install --no-start` makes neither of these.
_SIGNS = ("inbox.db", "imports.json", "context", "logs/worker.jsonl", "backups", "damaged")
_ROOM = 1.5  # of the damaged file's size: the new one, and what indexes and logs need meanwhile


class NothingToRecover(MemError):  # noqa: N818 - named for what is the case
    """There is no damage, or no file."""

    code = "NOTHING_TO_RECOVER"


class NotRecoverable(MemError):  # noqa: N818
    """Nothing of ours can be read in the database."""

    code = "NOT_RECOVERABLE"


class Lost(NothingToRecover):
    """The database is not there, or empty, and what lies beside it says that there was one."""


@dataclass(slots=True)
class Recovered:
    """What came of one file."""

    file: str
    kept: str  # where the damaged one lies now
    rescue: Rescue
    stand_ins: dict[str, int] = field(default_factory=dict)
    indexed: int = 0
    faults: list[str] = field(default_factory=list)  # of the new file: none is expected


def lost(settings: Settings) -> str | None:
    """What is the matter where a database was and is no more, in a sentence; None where it is, or never was."""
    path = settings.database
    if path.exists() and (path.is_dir() or path.stat().st_size):
        return None
    signs = [name for name in _SIGNS if _has_content(settings.home / name)]
    if not signs:
        return None
    what = "is empty (0 bytes)" if path.exists() else "is missing"
    return f"{path.name} {what}, but there was one: so say {', '.join(signs)}"


def way_back(home: Path) -> str:
    """What is left where a database is lost, or cannot be read at all."""
    made = copies.of_migrations(home)
    if made:
        return f"claude-mem stop, copy {made[0]} over claude-mem.db, then: claude-mem start"
    # What was imported into the one that is gone counts as imported while its record lies there.
    return (
        "claude-mem stop, move claude-mem.db and imports.json away, as far as they are there; claude-mem start makes"
        " an empty one, claude-mem import brings back what transcripts hold"
    )


def damaged_files(settings: Settings) -> list[Path]:
    """Which of the store's files are damaged."""
    return [
        path
        for path in (settings.database, settings.inbox)
        if path.exists() and path.stat().st_size and check.file_faults(path)
    ]


def recover(settings: Settings, path: Path, say: Say, *, source: Path | None = None) -> Recovered:
    """Make the store's file `path` anew from itself, or from `source` (a damaged file that was kept).

    An inbox in which nothing can be read is made anew empty. Raises ForeignDatabase, NewerDatabase, NotRecoverable,
    StoreFull; then nothing has changed.
    """
    source = source or path
    _refuse_foreign(source)
    _need_room(source, settings.home)
    new = path.with_name(f".{path.name}.new")
    _remove(new)
    try:
        with recovery.opened(source, lambda done, of: say("Reading pages", done, of)) as damaged:
            known = _has_ours(damaged, settings, path, source)
            made = _make(settings, path, new, damaged, say)
        if not known:
            # An inbox is what passes through: better none of it than a sound store that does not start. Each of its
            # pages may have held an event.
            made.rescue.unclaimed = -(-source.stat().st_size // DEFAULT_PAGE_SIZE)
        made.faults = check.file_faults(new)
        kept = _swap(path, new, settings.home)
    except BaseException:
        _remove(new)
        raise
    made.kept = str(kept) if kept else ""
    if path == settings.database and _lacks(made.rescue):
        _let_transcripts_be_read_anew(settings.home, kept)
    return made


def _lacks(rescue: Rescue) -> bool:
    return bool(rescue.lost or rescue.unclaimed or any(it.bad_pages for it in rescue.tables))


def _let_transcripts_be_read_anew(home: Path, kept: Path | None) -> None:
    """Put the record of imports aside: it says of what is lost that it was read."""
    record = home / "imports.json"
    if kept is not None and record.exists():
        record.replace(_free_name(kept.with_name(record.name)))
    record.unlink(missing_ok=True)


def _has_content(path: Path) -> bool:
    if path.is_dir():
        return any(path.iterdir())
    return path.exists() and path.stat().st_size > 0


def _has_ours(damaged: DamagedFile, settings: Settings, path: Path, source: Path) -> bool:
    """Whether anything of ours can be read. Raises NotRecoverable where a database holds nothing of it."""
    tables = _DATABASE_OF_OURS if path == settings.database else _INBOX_OF_OURS
    found = damaged.has_tables(tables) or _has_rows(damaged, settings, path)
    if not found and path == settings.database:
        raise NotRecoverable(f"nothing of ours can be read in {source}")
    return found


def _has_rows(damaged: DamagedFile, settings: Settings, path: Path) -> bool:
    """Whether a file without a readable schema holds rows where ours would be."""
    if damaged.schema:
        return False  # it has a schema, and it is not ours
    probe = path.with_name(f".{path.name}.probe")
    _remove(probe)
    try:
        _make_empty(settings, path, probe, HEAD)
        return damaged.fill(probe, _left_out).rows > 0
    finally:
        _remove(probe)


def _make(settings: Settings, path: Path, new: Path, damaged: DamagedFile, say: Say) -> Recovered:
    revision = _revision(damaged) if path == settings.database else HEAD
    _make_empty(settings, path, new, revision)
    rescue = damaged.fill(new, _left_out, lambda done, of: say("Copying rows", done, of))
    made = Recovered(str(path), "", rescue)
    if path != settings.database:
        return made
    with closing(sqlean.connect(str(new), isolation_level=None)) as raw:
        made.stand_ins = orphans.mend(raw, damaged, now_ms(), new_id())
    _complete(new)
    made.indexed = rebuild_index(new, lambda done, of: say("Indexing", done, of), settings.place)
    return made


def _complete(new: Path) -> None:
    """To this program's schema, with the organisation that every row belongs to."""
    migrate.ensure_current(new)
    engine = make_engine(new, writer=True)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            access.make_local_organisation(connection)
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql(OPTIMIZE)
    finally:
        engine.dispose()


def _make_empty(settings: Settings, path: Path, new: Path, revision: str) -> None:
    if path == settings.inbox:
        asyncio.run(SqliteInbox(new).close())
        return
    engine = make_engine(new, writer=True)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            migrate.run(connection, "upgrade", revision)
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()
    new.chmod(0o600)


def _revision(damaged: DamagedFile) -> str:
    """The schema revision the file had; this program's when that page is gone."""
    found = damaged.first_text("alembic_version")
    if found is None:
        return HEAD
    if found > HEAD:
        raise NewerDatabase(
            f"the file has schema revision {found}, this program knows {HEAD}: upgrade the program first"
        )
    return found


def _left_out(table: str) -> bool:
    return table.startswith(DERIVED_PREFIX) or table in _NOT_COPIED


def _refuse_foreign(source: Path) -> None:
    """Another program's sound header is another program's file; a header that is gone may be ours."""
    try:
        foreign = is_foreign_database(source)
    except OSError as error:
        raise NothingToRecover(f"{source} cannot be read: {error.strerror}") from error
    if not source.is_file():
        raise NothingToRecover(f"there is no file {source}")
    if foreign:
        raise ForeignDatabase(f"{source} was made by another program and is left untouched")


def _need_room(source: Path, home: Path) -> None:
    needed = int(source.stat().st_size * _ROOM) + (16 << 20)
    free = shutil.disk_usage(home).free
    if free < needed:
        raise StoreFull(
            f"recovering needs about {needed >> 20} MB of free disk beside the damaged file, {free >> 20} MB are free"
        )


def _swap(path: Path, new: Path, home: Path) -> Path | None:
    """Keep the damaged file under `damaged/` and put the new one in its place; returns where it is kept."""
    for part in ("-wal", "-shm"):
        _part(new, part).unlink(missing_ok=True)  # the last connection emptied the log
    kept = None
    if path.exists():
        folder = make_private_folder(
            make_private_folder(home / "damaged") / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        )
        kept = _free_name(folder / path.name)
        _keep(path, kept)
        if _part(path, "-wal").exists():
            _keep(_part(path, "-wal"), _part(kept, "-wal"))
    # The old log goes before the new file comes: beside it, it would be taken for the new one's.
    for part in ("-wal", "-shm"):
        _part(path, part).unlink(missing_ok=True)
    _sync(new)
    new.replace(path)
    _sync(path.parent)
    return kept


def _keep(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(path, kept)
        _sync(kept)


def _free_name(path: Path) -> Path:
    number = 2
    found = path
    while found.exists():
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return found


def _part(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _remove(path: Path) -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        _part(path, end).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system syncs folders
            os.fsync(handle)
    finally:
        os.close(handle)
