"""PostgreSQL's errors in the product's words, and which of them are worth another try.

Read off SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html). Messages here carry no SQL, no
values and no address.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from claude_mem.kernel.errors import Invalid, MemError, StoreFull, Unavailable

_COLLISIONS = {"40001", "40P01"}  # serialization failure, deadlock: nothing of it stayed
_TWICE = "23505"  # a unique key; where another transaction was faster its row is seen the next time
_STALE_PLAN = "0A000"  # a prepared statement from before an upgrade changed its table
_FULL = {"53100", "58030"}  # disk full, I/O error
_TOO_MUCH = "54"  # the class of limits that a statement goes beyond
_TOO_LONG = {"55P03", "57014"}  # lock not available, cancelled by a time limit
_GONE_CLASSES = (
    "08",
    "57P",
    "53",
    "F0",
)  # connection, operator's doing, resources, configuration file


def state_of(error: BaseException) -> str | None:
    """The five characters of SQLSTATE; None where the error is none of the engine's, or the server never answered."""
    original = getattr(error, "orig", None) or error
    return getattr(original, "sqlstate", None)


def is_collision(error: BaseException, attempt: int = 1) -> bool:
    """Whether the same work may well succeed at once: it lost against another transaction, or met an old plan.

    A key that is there already at the second attempt was not inserted in between.
    """
    state = state_of(error)
    if state == _TWICE:
        return attempt == 1
    return state in _COLLISIONS or (state == _STALE_PLAN and "cached plan" in str(error))


def is_gone(error: BaseException) -> bool:
    """Whether the server, or the way to it, is away."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = state_of(error)
    if state is None:
        return error.connection_invalidated or type(error.orig).__name__ == "OperationalError"
    return state.startswith(_GONE_CLASSES)


def translate(error: BaseException) -> BaseException:
    """The product's error for an engine's error, where there is one."""
    if isinstance(error, MemError):
        return error
    state = state_of(error)
    if state in _FULL:
        return StoreFull(
            "PostgreSQL's disk is full or refuses writes: free some space there, nothing that was acknowledged is lost",
            retry_after=30,
        )
    if state != _TWICE and is_collision(error):
        return Unavailable("the database is busy: the same rows are being changed", retry_after=1)
    if state is not None and state.startswith(_TOO_MUCH):
        return Invalid("this asks for more at once than the database can do: ask for less")
    if state in _TOO_LONG:
        return Unavailable("the database took too long", retry_after=5)
    if is_gone(error):
        return Unavailable(
            "PostgreSQL cannot be reached, or takes no connection: it is tried again", retry_after=5
        )
    return error
