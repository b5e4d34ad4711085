"""The `Inbox` port on SQLite, in a file of its own.

Its own file, so that an acknowledgement never waits for indexing: SQLite has one write lock a file. The file is short
lived by nature (entries leave when their rows are committed) and is vacuumed back to small by reuse of its pages.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import sqlean

from claude_mem.adapters.sqlite import maintenance
from claude_mem.adapters.sqlite.connection import check_ours, configure, translate
from claude_mem.adapters.sqlite.writer import GroupWriter
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.scope import Scope
from claude_mem.ports.inbox import PAGE_BYTES, DeadLetter, Entry, LetterPage, Pending, Place

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS inbox (
         position INTEGER PRIMARY KEY AUTOINCREMENT,
         enterprise_id TEXT NOT NULL,
         event_id TEXT NOT NULL,
         body BLOB NOT NULL,
         UNIQUE (enterprise_id, event_id))""",
    """CREATE TABLE IF NOT EXISTS dead_letters (
         enterprise_id TEXT NOT NULL,
         event_id TEXT NOT NULL,
         reason TEXT NOT NULL,
         at INTEGER NOT NULL,
         body BLOB NOT NULL,
         PRIMARY KEY (enterprise_id, event_id)) WITHOUT ROWID""",
    """CREATE INDEX IF NOT EXISTS dead_letters_by_age
         ON dead_letters (enterprise_id, at, event_id)""",
)
_LETTER = (
    "SELECT event_id, enterprise_id, reason, at, body FROM dead_letters WHERE enterprise_id = ?"
)
_NEVER = 2**63 - 1  # later than any moment
_AT_ONCE = 200
_INSERT = "INSERT OR IGNORE INTO inbox (enterprise_id, event_id, body) VALUES (?, ?, ?)"


def _execute(raw: Any, sql: str) -> None:
    raw.execute(sql)


class SqliteInbox:
    """Implements `ports.inbox.Inbox`; `bound` is how many entries may wait."""

    def __init__(self, path: Path, bound: int = 500_000) -> None:
        check_ours(path)
        self._path = path
        self._bound = bound
        self._waiting = 0
        self._counting = threading.Lock()
        self._arrived = asyncio.Event()
        self._writer = GroupWriter("inbox-writer", self._connect, _execute)
        self._waiting = self._writer.submit(self._count).result()

    async def append(self, scope: Scope, entries: Sequence[Entry]) -> int:
        """See the port."""
        if self._waiting + len(entries) > self._bound:
            raise Unavailable(
                f"{self._waiting} events wait to be indexed: try again shortly", retry_after=2
            )
        rows = [(scope.enterprise_id, entry.event_id, entry.body) for entry in entries]

        def insert(raw: Any) -> int:
            before = raw.total_changes
            raw.executemany(_INSERT, rows)
            return int(raw.total_changes - before)

        added = await self._counted(insert, 1)
        if added:
            self._arrived.set()
        return added

    async def take(self, limit: int) -> list[Pending]:
        """See the port."""

        def select(raw: Any) -> list[Pending]:
            rows = raw.execute(
                "SELECT position, enterprise_id, event_id, body FROM inbox ORDER BY position LIMIT ?",
                (limit,),
            )
            return [Pending(*row) for row in rows]

        return await asyncio.wrap_future(self._writer.submit(select))

    async def ack(self, positions: Sequence[int]) -> None:
        """See the port."""
        rows = [(position,) for position in positions]

        def delete(raw: Any) -> int:
            before = raw.total_changes
            raw.executemany("DELETE FROM inbox WHERE position = ?", rows)
            return int(raw.total_changes - before)

        await self._counted(delete, -1)

    async def bury(self, pending: Pending, reason: str, at: int) -> None:
        """See the port."""

        def move(raw: Any) -> int:
            raw.execute(
                "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?)",
                (pending.enterprise_id, pending.event_id, reason, at, pending.body),
            )
            cursor = raw.execute("DELETE FROM inbox WHERE position = ?", (pending.position,))
            return int(cursor.rowcount)

        await self._counted(move, -1)

    async def dead_letters(
        self, scope: Scope, limit: int, before: Place | None = None
    ) -> LetterPage:
        """See the port. A place is a letter's moment and event."""
        at, event_id = before or (_NEVER, "")
        sql = f"{_LETTER} AND (at, event_id) < (?, ?) ORDER BY at DESC, event_id DESC LIMIT ?"

        def select(raw: Any) -> LetterPage:
            letters: list[DeadLetter] = []
            size = 0
            for row in raw.execute(sql, (scope.enterprise_id, at, event_id, limit + 1)):
                letter = DeadLetter(*row)
                size += len(letter.body)
                if letters and (len(letters) == limit or size > PAGE_BYTES):
                    return LetterPage(letters, (letters[-1].at, letters[-1].event_id))
                letters.append(letter)
            return LetterPage(letters, None)

        return await asyncio.wrap_future(self._writer.submit(select))

    async def dead_letter(self, scope: Scope, event_id: str) -> DeadLetter | None:
        """See the port."""

        def select(raw: Any) -> DeadLetter | None:
            key = (scope.enterprise_id, event_id)
            row = raw.execute(f"{_LETTER} AND event_id = ?", key).fetchone()
            return DeadLetter(*row) if row else None

        return await asyncio.wrap_future(self._writer.submit(select))

    async def every_dead_letter(self, scope: Scope) -> AsyncIterator[DeadLetter]:
        """See the port."""
        page = await self.dead_letters(scope, _AT_ONCE)
        while True:
            for letter in page.letters:
                yield letter
            if page.before is None:
                return
            page = await self.dead_letters(scope, _AT_ONCE, page.before)

    async def return_dead_letter(self, letter: DeadLetter, body: bytes) -> None:
        """See the port. One transaction."""

        def move(raw: Any) -> int:
            before = raw.total_changes
            raw.execute(
                "INSERT OR IGNORE INTO inbox (enterprise_id, event_id, body) VALUES (?, ?, ?)",
                (letter.enterprise_id, letter.event_id, body),
            )
            added = int(raw.total_changes - before)
            raw.execute(
                "DELETE FROM dead_letters WHERE enterprise_id = ? AND event_id = ?",
                (letter.enterprise_id, letter.event_id),
            )
            return added

        await self._counted(move, 1)
        self._arrived.set()

    async def count_dead_letters(self, scope: Scope) -> int:
        """See the port."""
        return await self._count_of("dead_letters", scope)

    async def waiting(self, scope: Scope) -> int:
        """See the port."""
        return await self._count_of("inbox", scope)

    async def _count_of(self, table: str, scope: Scope) -> int:
        sql = f"SELECT count(*) FROM {table} WHERE enterprise_id = ?"  # noqa: S608 - our own names

        def count(raw: Any) -> int:
            return int(raw.execute(sql, (scope.enterprise_id,)).fetchone()[0])

        return await asyncio.wrap_future(self._writer.submit(count))

    async def drop_dead_letters(self, scope: Scope, event_ids: Sequence[str]) -> int:
        """See the port."""
        rows = [(scope.enterprise_id, event_id) for event_id in event_ids]

        def delete(raw: Any) -> int:
            before = raw.total_changes
            raw.executemany(
                "DELETE FROM dead_letters WHERE enterprise_id = ? AND event_id = ?", rows
            )
            return int(raw.total_changes - before)

        return await asyncio.wrap_future(self._writer.submit(delete))

    async def pending(self) -> int:
        """See the port. Exact: this process is the only writer of the file."""
        return self._waiting

    async def wait(self, seconds: float) -> None:
        """See the port."""
        try:
            await asyncio.wait_for(self._arrived.wait(), seconds)
        except TimeoutError:
            return
        self._arrived.clear()

    async def maintain(self) -> None:
        """Give the pages of a burst that is over back to the disk, and empty the write-ahead log."""

        def shrink(raw: Any) -> None:
            raw.execute("PRAGMA incremental_vacuum(2000)").fetchall()

        await asyncio.wrap_future(self._writer.submit(shrink))
        await asyncio.get_running_loop().run_in_executor(None, self._checkpoint)

    async def write_anew(self) -> None:
        """Clear the file of what deletes leave in its pages. Raises StoreFull."""
        await asyncio.wrap_future(
            self._writer.submit_alone(lambda: maintenance.write_anew(self._path))
        )

    def _checkpoint(self) -> None:
        """Empty the write-ahead log, which holds what was deleted until it is overwritten.

        On a connection of its own: the writer's is in a transaction whenever it works.
        """
        raw = sqlean.connect(str(self._path), isolation_level=None)
        try:
            configure(raw, writer=True)
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlean.Error as error:
            raise translate(error) from error
        finally:
            raw.close()

    async def close(self) -> None:
        """See the port."""
        await asyncio.get_running_loop().run_in_executor(None, self._writer.close)

    async def _counted(self, work: Callable[[Any], int], sign: int) -> int:
        """Run `work`, and count the rows it says it changed even if the caller is cancelled while it is committed."""
        future = self._writer.submit(work)

        def count(done: Future[int]) -> None:
            if not done.cancelled() and done.exception() is None:
                with self._counting:
                    self._waiting += sign * done.result()

        future.add_done_callback(count)  # before the one that wakes the caller
        return await asyncio.wrap_future(future)

    def _connect(self) -> Any:
        raw = sqlean.connect(
            str(self._path), isolation_level=None, check_same_thread=False, cached_statements=32
        )
        try:
            configure(raw, writer=True)
            for statement in _SCHEMA:
                raw.execute(statement)
        except sqlean.Error as error:
            raw.close()
            raise translate(error) from error
        self._path.chmod(0o600)
        return raw

    @staticmethod
    def _count(raw: Any) -> int:
        return int(raw.execute("SELECT count(*) FROM inbox").fetchone()[0])
