"""The `Database` port on SQLite: one writer with group commit, a few readers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from claude_mem.adapters.sqlite import maintenance
from claude_mem.adapters.sqlite.connection import OPTIMIZE, check_ours, make_engine, translate
from claude_mem.adapters.sqlite.writer import GroupWriter
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

T = TypeVar("T")
_GIVEN_BACK = 10_000  # pages at most at once: writers wait meanwhile


def _execute(connection: Connection, sql: str) -> None:
    connection.exec_driver_sql(sql)


class SqliteDatabase:
    """Implements `ports.database.Database`. The file must be migrated already."""

    def __init__(self, path: Path, readers: int = 3) -> None:
        check_ours(path)
        self._path = path
        self._write_engine = make_engine(path, writer=True)
        self._read_engine = make_engine(path, writer=False)
        self._local = threading.local()
        self._open: list[Connection] = []
        self._writer = GroupWriter("db-writer", self._write_engine.connect, _execute)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="db-reader")

    @property
    def path(self) -> Path:
        """The main file; `-wal` and `-shm` lie beside it."""
        return self._path

    async def read(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        """See the port. The scope is enforced by the queries here; PostgreSQL adds row-level security."""
        del scope
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read_now, work)

    async def write(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        """See the port."""
        del scope
        return await asyncio.wrap_future(self._writer.submit(work))

    async def maintain(self) -> None:
        """Fresh statistics for the planner, free pages back to the disk, the write-ahead log into the file."""
        await asyncio.get_running_loop().run_in_executor(None, self._maintain_now)

    async def write_anew(self) -> None:
        """Clear the file of what deletes leave in its pages; writers wait, readers do not. Raises StoreFull."""
        await asyncio.wrap_future(
            self._writer.submit_alone(lambda: maintenance.write_anew(self._path))
        )

    async def close(self) -> None:
        """See the port."""
        await asyncio.get_running_loop().run_in_executor(None, self._close_now)

    def _read_now(self, work: Callable[[Tx], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._read_engine.connect()
            self._local.connection = connection
            self._open.append(connection)
        try:
            _execute(connection, "BEGIN")
            try:
                return work(connection)
            finally:
                _execute(connection, "ROLLBACK")
        except Exception as error:
            translated = translate(error)
            if translated is error:
                raise
            raise translated from error

    def _maintain_now(self) -> None:
        try:
            with self._write_engine.connect() as connection:
                connection.exec_driver_sql(OPTIMIZE)
                # A script, because a plain statement without columns is stepped once: one page.
                script = f"PRAGMA incremental_vacuum({_GIVEN_BACK});"
                connection.connection.cursor().executescript(script)
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except DBAPIError as error:
            raise translate(error) from error

    def _close_now(self) -> None:
        self._writer.close()
        self._readers.shutdown(wait=True)
        for connection in self._open:
            connection.close()
        self._write_engine.dispose()
        self._read_engine.dispose()
