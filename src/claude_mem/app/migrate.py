"""Bringing a database to this program's schema.

`min_reader_version` says which programs may still read it: changes expand first and contract later, so an older program
goes on working on a newer database until that number passes its own. The local profile migrates at start, after a copy
of the old file is safe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlean
from sqlalchemy.engine import Connection

from claude_mem.adapters.sqlite.connection import check_ours, make_engine, translate
from claude_mem.app import copies
from claude_mem.app.migrations import HEAD
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import MemError, NewerDatabase

READER_VERSION = 2
_SUMMARISES = "0003"  # from this revision on a session is summed up, by a job that recording queues
_SUMMARISE_ALL = """
INSERT INTO task_queue (enterprise_id, id, task_type, task_key, payload_json, priority, status, run_at,
                        retry_count, max_retries, created_at)
SELECT enterprise_id, id, 'session.summarise', id, '{}', -1, 'pending', :now, 0, 5, :now FROM sessions WHERE TRUE
ON CONFLICT DO NOTHING
"""
_SCRIPTS = Path(__file__).parent / "migrations"


def is_current(path: Path) -> bool:
    """Whether there is nothing to migrate; False where the file cannot be read: `ensure_current` says why."""
    try:
        revision, _ = _state(path)
    except (sqlean.Error, MemError):
        return False
    return revision is not None and revision >= HEAD


def ensure_current(path: Path) -> bool:
    """Migrate the SQLite database at `path` to HEAD, making it if absent; True when anything was done.

    Raises ForeignDatabase, NewerDatabase, or StoreFull. Cheap when nothing is to be done: no migration code is loaded.
    """
    check_ours(path)
    try:
        revision, min_reader = _state(path)
    except sqlean.Error as error:
        raise translate(error) from error
    if min_reader > READER_VERSION:
        raise NewerDatabase(
            f"{path} was written by a newer Claude-Mem (it asks for reader version {min_reader}, this is"
            f" {READER_VERSION}): upgrade this program; nothing was changed"
        )
    if revision == HEAD or (revision is not None and revision > HEAD):
        return False  # a newer schema that this program may still read and write
    if revision is not None:
        _keep_copy(path, revision)
    engine = make_engine(path, writer=True)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                run(connection, "upgrade", "head")
                if revision is not None and revision < _SUMMARISES:
                    # What was recorded before is summed up too; here, so that a stop right after loses it not.
                    connection.exec_driver_sql(_SUMMARISE_ALL, {"now": now_ms()})
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
    except Exception as error:
        translated = translate(error)
        if translated is error:
            raise
        raise translated from error
    finally:
        engine.dispose()
    path.chmod(0o600)
    return True


def run(connection: Connection, direction: str, revision: str) -> None:
    """Run the migrations on an open connection, in its caller's transaction."""
    from alembic import (
        command,
    )  # loaded only when there is something to migrate: it costs start-up time
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    step: Any = command.upgrade if direction == "upgrade" else command.downgrade
    step(config, revision)


def revision_of(raw: Any) -> str | None:
    """The schema revision of an open database; None when it has none."""
    if not raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def _state(path: Path) -> tuple[str | None, int]:
    """(revision, min_reader_version) of the file; (None, 0) for none."""
    if not path.exists() or path.stat().st_size == 0:
        return None, 0
    raw = sqlean.connect(str(path), isolation_level=None)
    try:
        tables = {
            row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
        if "alembic_version" not in tables:
            return None, 0
        revision = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        minimum = 0
        if "schema_info" in tables:
            found = raw.execute(
                "SELECT value FROM schema_info WHERE key = 'min_reader_version'"
            ).fetchone()
            minimum = int(found[0]) if found else 0
        return (revision[0] if revision else None), minimum
    finally:
        raw.close()


def _keep_copy(path: Path, revision: str) -> None:
    """A consistent copy of the database as it was, beside it under backups/."""
    folder = path.parent / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{path.stem}-{revision}-{now_ms()}.db"
    source, copy = sqlean.connect(str(path)), sqlean.connect(str(target))
    try:
        source.backup(copy)
    except sqlean.Error as error:
        raise MemError(
            f"no copy of the database could be made before migrating it: {error}"
        ) from error
    finally:
        copy.close()
        source.close()
    target.chmod(0o600)
    copies.drop_stale(path.parent, now_ms())  # the one before it is of no use any more
