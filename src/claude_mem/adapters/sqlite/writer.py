"""The one writer of a SQLite file: a thread that groups what is waiting into one commit.

Work handed in while a commit is on its way to disk shares the next one, so that the price of an fsync is divided.
Each piece runs in its own savepoint: what fails takes nothing else with it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from claude_mem.adapters.sqlite.connection import translate

T = TypeVar("T")
_STOP = None


class _Piece(NamedTuple):
    """Work that was handed in. `alone`: outside any transaction of this writer."""

    work: Callable[[Any], Any]
    future: Future[Any]
    alone: bool = False


class GroupWriter:
    """Runs functions of a connection on its own thread, many to a transaction.

    `connect` is called on that thread; `execute(connection, sql)` runs a statement without parameters.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Any],
        execute: Callable[[Any, str], None],
        group: int = 256,
    ) -> None:
        self._queue: SimpleQueue[_Piece | None] = SimpleQueue()
        self._connect = connect
        self._execute = execute
        self._group = group
        self._closed = False
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._ready.result()

    def submit(self, work: Callable[[Any], T]) -> Future[T]:
        """Queue `work`; the future resolves after the commit that holds it."""
        if self._closed:
            raise RuntimeError("the writer is closed")
        future: Future[T] = Future()
        self._queue.put(_Piece(work, future))
        return future

    def submit_alone(self, work: Callable[[], T]) -> Future[T]:
        """Queue what needs the file without an open transaction; whatever else is to be written waits for it."""
        if self._closed:
            raise RuntimeError("the writer is closed")
        future: Future[T] = Future()
        self._queue.put(_Piece(lambda _connection: work(), future, alone=True))
        return future

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(_STOP)
            self._thread.join()

    def _run(self) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - handed to the opener, which raises it
            self._ready.set_exception(translate(error))
            return
        self._ready.set_result(None)
        running = True
        while running:
            batch, last = self._gather()
            running = last is not _STOP
            if batch:
                self._commit(connection, batch)
            if last is not _STOP and last.alone:
                self._alone(last)
        connection.close()

    def _gather(self) -> tuple[list[_Piece], _Piece | None]:
        """What shares the next commit, and the last that was taken: of the batch, alone, or the sign to stop."""
        batch: list[_Piece] = []
        item = self._queue.get()
        while item is not _STOP and not item.alone:
            batch.append(item)
            if len(batch) >= self._group or self._queue.empty():
                break
            item = self._queue.get()
        return batch, item

    def _alone(self, piece: _Piece) -> None:
        if not piece.future.set_running_or_notify_cancel():
            return
        try:
            value = piece.work(None)
        except BaseException as error:  # noqa: BLE001 - belongs to whoever handed the work in
            piece.future.set_exception(translate(error))
        else:
            piece.future.set_result(value)

    def _commit(self, connection: Any, batch: list[_Piece]) -> None:
        # Whoever gave up before the work began gets none of it; later it is too late to give up, so that setting a
        # result can never fail and end this thread.
        batch = [piece for piece in batch if piece.future.set_running_or_notify_cancel()]
        if not batch:
            return
        done: list[tuple[Future[Any], Any]] = []
        try:
            self._execute(connection, "BEGIN IMMEDIATE")
            for piece in batch:
                self._one(connection, piece.work, piece.future, done)
            self._execute(connection, "COMMIT")
        except BaseException as error:  # noqa: BLE001 - every waiter is told; the thread must live on
            self._rollback(connection)
            failure = translate(error)
            for piece in batch:
                if not piece.future.done():
                    piece.future.set_exception(failure)
            return
        for future, value in done:
            future.set_result(value)

    def _one(
        self,
        connection: Any,
        work: Callable[[Any], Any],
        future: Future[Any],
        done: list[tuple[Future[Any], Any]],
    ) -> None:
        self._execute(connection, "SAVEPOINT piece")
        try:
            value = work(connection)
        except BaseException as error:  # noqa: BLE001 - belongs to whoever handed the work in
            # A full disk may have ended the whole transaction already: then this raises and all are told.
            self._execute(connection, "ROLLBACK TO piece")
            self._execute(connection, "RELEASE piece")
            future.set_exception(translate(error))
            return
        self._execute(connection, "RELEASE piece")
        done.append((future, value))

    def _rollback(self, connection: Any) -> None:
        # The engine may have rolled back by itself (full disk): then there is nothing left to undo.
        with contextlib.suppress(BaseException):
            self._execute(connection, "ROLLBACK")
