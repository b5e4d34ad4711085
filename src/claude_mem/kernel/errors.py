"""Every error the product raises on purpose.

    MemError
      AuthMissing, AuthInvalid          401
      Forbidden                         403
      NotFound                          404
      Conflict                          409   (what is there already stands against it)
      Invalid                           400   (which field, what is wrong)
      TooLarge                          413
      RateLimited                       429   (retry_after)
      Unavailable                       503   (retry_after)
        StoreFull                       503   (the disk, or the size cap)
      ForeignDatabase, DatabaseDamaged, NewerDatabase    start-up refusals

Owns codes and statuses; one renderer in `api` turns them into bodies. Never carries secrets or SQL.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detail:
    """One fault: the field's path (`events[3].data.content`) and what is wrong with it."""

    field: str
    message: str


class MemError(Exception):
    """Base of all. `code` is for machines, `status` is HTTP's, the message is for people."""

    code = "INTERNAL_ERROR"
    status = 500

    def __init__(
        self,
        message: str,
        *,
        details: tuple[Detail, ...] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry_after = retry_after


class AuthMissing(MemError):  # noqa: N818 - named for what happened; all end in MemError
    code = "AUTH_MISSING"
    status = 401


class AuthInvalid(MemError):  # noqa: N818
    code = "AUTH_INVALID"
    status = 401


class Forbidden(MemError):  # noqa: N818
    code = "FORBIDDEN"
    status = 403


class NotFound(MemError):  # noqa: N818
    code = "RESOURCE_NOT_FOUND"
    status = 404


class Conflict(MemError):  # noqa: N818
    """What is there already stands against it: a name that is taken, a last administrator."""

    code = "CONFLICT"
    status = 409


class Invalid(MemError):  # noqa: N818
    code = "VALIDATION_ERROR"
    status = 400


class TooLarge(MemError):  # noqa: N818
    code = "VALIDATION_ERROR"
    status = 413


class RateLimited(MemError):  # noqa: N818
    code = "RATE_LIMITED"
    status = 429


class Unavailable(MemError):  # noqa: N818
    code = "UNAVAILABLE"
    status = 503


class StoreFull(Unavailable):
    """Nothing more can be written: the disk or the size cap is reached."""

    code = "STORE_FULL"


class ForeignDatabase(MemError):  # noqa: N818
    """The file at our place was made by another program; it is never touched."""

    code = "FOREIGN_DATABASE"


class DatabaseDamaged(MemError):  # noqa: N818
    """The file at our place has no sound header: it is damaged, and can be recovered."""

    code = "DAMAGED_DATABASE"


class NewerDatabase(MemError):  # noqa: N818
    """The database needs a newer program than this one."""

    code = "VERSION_REQUIRED"
