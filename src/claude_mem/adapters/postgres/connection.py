"""Opening PostgreSQL: the driver, its time limits, and the pool. Needs the extra `server` (psycopg)."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import create_engine, event, make_url
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError

from claude_mem.kernel.errors import MemError

MINIMUM_VERSION = 150_000  # security_invoker views

# Whatever is set for the role: another's schema does not come before ours, moments are in UTC, nothing waits for ever.
_SESSION = {
    "search_path": "public,pg_temp",
    "timezone": "UTC",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "300s",
    "row_security": "on",
}
_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def make_engine(url: str, connections: int) -> Engine:
    """An engine whose connections are ours to begin and commit: `postgresql://role:password@host:port/database`.

    Raises MemError when the address is none, or the driver is missing. Connects to nothing yet.
    """
    try:
        address = make_url(url)
    except ArgumentError:
        raise MemError("the address of PostgreSQL is not of the form postgresql://...") from None
    if address.get_backend_name() != "postgresql":
        raise MemError("the address of PostgreSQL does not begin with postgresql://")
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    try:
        engine = create_engine(
            address.set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=30,
            hide_parameters=True,  # what is remembered has no place in an error's text, nor in a log
            json_serializer=_dump_json,
            json_deserializer=orjson.loads,
            connect_args={"application_name": "claude-mem", "options": options, **_NETWORK},
        )
        from psycopg.types.string import TextLoader
    except ModuleNotFoundError as error:
        raise MemError(
            "PostgreSQL needs its driver: install requirements/server.lock beside the program"
        ) from error

    @event.listens_for(engine, "connect")
    def _ids_as_text(connection: Any, _: object) -> None:
        # As they are used: of the hundreds that a search reads none has to be made an object, and text again.
        connection.adapters.register_loader("uuid", TextLoader)

    return engine


def _dump_json(value: object) -> str:
    return orjson.dumps(value).decode()
