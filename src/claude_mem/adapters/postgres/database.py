"""The `Database` port on PostgreSQL: a few connections, each used by one thread at a time.

The tenant is set for a transaction, in the same message that begins it, and is gone with it: a connection that was
given back carries none. Whatever a query forgets, row-level security lets it see that tenant's rows only.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from claude_mem.adapters.postgres.connection import make_engine
from claude_mem.adapters.postgres.errors import is_collision, is_gone, translate
from claude_mem.kernel.errors import MemError, Unavailable
from claude_mem.kernel.scope import Scope, nobody
from claude_mem.ports.database import Tx

T = TypeVar("T")
TENANT = "app.current_enterprise_id"
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
# What a unit of work set or opened for the session, and not for its transaction, is no business of the next tenant's.
_CLEAN = "RESET ALL; CLOSE ALL"
_MIN_READER = "SELECT value::integer FROM schema_info WHERE key = 'min_reader_version'"
_CHANCE = random.Random()  # noqa: S311 - no secret; the sequence of who uses us stays as it is
_ATTEMPTS = 5
_PAUSE = (
    0.01  # seconds before the second attempt; doubles, and is spread so that two do not meet again
)


class _NotBegun(Exception):  # noqa: N818 - names a state, and never leaves this module
    """The transaction could not be begun: nothing was done yet."""


class PostgresDatabase:
    """Implements `ports.database.Database`. The database must be migrated, and `url` be the runtime role's.

    `work` may run more than once: what loses against another transaction is rolled back and tried again.
    """

    def __init__(self, url: str, connections: int = 8) -> None:
        self._engine = make_engine(url, connections)
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="db")

    async def read(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        """See the port."""
        return await self._hand_in(_begin(_READ, scope), work)

    async def write(self, scope: Scope, work: Callable[[Tx], T]) -> T:
        """See the port. Durable means: as `synchronous_commit` of the server says (on its disk, by default)."""
        return await self._hand_in(_begin(_WRITE, scope), work)

    async def min_reader_version(self) -> int:
        """The oldest program that may use this schema. Raises Unavailable while the server cannot be asked."""
        return await self.read(
            nobody(), lambda tx: int(tx.exec_driver_sql(_MIN_READER).scalar_one())
        )

    async def close(self) -> None:
        """See the port."""
        await asyncio.get_running_loop().run_in_executor(None, self._close_now)

    async def _hand_in(self, begin: str, work: Callable[[Tx], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run, begin, work)

    def _run(self, begin: str, work: Callable[[Tx], T]) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._run_once(begin, work)
            except _NotBegun as error:
                # The server restarted while the connection lay idle, and the whole pool is stale: a fresh one, at once.
                if attempt > 1:
                    cause = error.__cause__ or error
                    raise translate(cause) from cause
            except SQLAlchemyError as error:
                if not is_collision(error, attempt) or attempt == _ATTEMPTS:
                    translated = translate(error)
                    if translated is error:
                        raise
                    raise translated from error
                time.sleep(_PAUSE * 2**attempt * (0.5 + _CHANCE.random()))
        raise AssertionError("the last attempt returns or raises")

    def _run_once(self, begin: str, work: Callable[[Tx], T]) -> T:
        with self._connect(begin) as connection:
            try:
                result = work(connection)
                _check_open(connection)
                _end(connection, "COMMIT")
            except BaseException:
                _give_up(connection)
                raise
            return result

    def _connect(self, begin: str) -> Connection:
        """A connection whose transaction is begun and knows its tenant; raises _NotBegun when the server is away."""
        try:
            connection = self._engine.connect()
            try:
                # Without parameters two statements go in one message: a round trip less for each transaction.
                connection.exec_driver_sql(begin, execution_options={"no_parameters": True})
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
        except SQLAlchemyError as error:
            if is_gone(error):
                raise _NotBegun from error
            raise
        return connection

    def _close_now(self) -> None:
        self._threads.shutdown(wait=True)
        self._engine.dispose()


def _begin(how: str, scope: Scope) -> str:
    """The statements that begin a transaction of a tenant; raises MemError where the scope names none."""
    try:
        tenant = UUID(scope.enterprise_id)
    except ValueError:
        raise MemError("the scope's enterprise is no UUID") from None
    return f"{how}; SELECT set_config('{TENANT}', '{tenant}', true)"


def _check_open(connection: Connection) -> None:
    """Raise MemError unless the transaction can be committed; Unavailable when the connection is gone.

    After a failed statement PostgreSQL answers COMMIT with a rollback and no error: a work that swallowed the
    statement's error would be told that it is durable.
    """
    status = connection.connection.driver_connection.info.transaction_status.name  # type: ignore[union-attr]
    if status == "INERROR":
        raise MemError("a statement of this transaction failed unnoticed: nothing of it was kept")
    if status == "UNKNOWN":
        raise Unavailable("the connection to PostgreSQL was lost: it is tried again", retry_after=1)
    if status != "INTRANS":
        raise MemError("a unit of work ended the transaction it was given")


def _give_up(connection: Connection) -> None:
    """Roll back; a connection that cannot is closed, which does the same."""
    try:
        _end(connection, "ROLLBACK")
    except SQLAlchemyError:
        connection.invalidate()


def _end(connection: Connection, how: str) -> None:
    """End the transaction and leave the connection as it was opened: in one message, which costs no round trip."""
    connection.exec_driver_sql(f"{how}; {_CLEAN}", execution_options={"no_parameters": True})
