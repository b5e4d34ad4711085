"""The way to Redis: a few connections, a time limit for each command, and a breaker. Needs the extra `server`.

Owns connecting, time limits, the form of keys and what `health` says. A command that gets no answer is none: who asks
goes on as if Redis were empty, and nobody ever sees an exception. After the first such command nothing more is sent,
so that a Redis that is away costs nothing; a task asks after it, and opens the way when it answers. Each time with new
connections: whatever state the client's pool is in, it does not outlive a failure. Must never log what is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass
from hashlib import blake2b, sha1
from re import fullmatch
from typing import Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import NoScriptError, ResponseError

from claude_mem.kernel.errors import MemError

_SCHEMES = ("redis://", "rediss://", "unix://")
_FIRST_PAUSE_S = 0.05  # most failures are over at once: a restart, a lost connection
_REASON_CHARS = 200
_log = structlog.get_logger("redis")


@dataclass(slots=True)
class Tally:
    """What became of commands since the start: answered; sent without an answer, or refused; not sent at all."""

    answered: int = 0
    failed: int = 0
    skipped: int = 0


class Script:
    """A Lua script, known to the server by its digest."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = sha1(source.encode(), usedforsecurity=False).hexdigest()


class Connection:
    """One a process, shared by everything that is kept in Redis. Connects when it is first asked.

    `url`: `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS (against `ca_file`, or the system's
    authorities), `unix://path`. `prefix` keeps deployments apart that share a server. `patience_s` is what a command
    may take in all, connecting included; `pause_s` is the longest time between two looks at a server that is away.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "claude-mem",
        ca_file: str | None = None,
        patience_s: float = 0.25,
        pause_s: float = 1.0,
        connections: int = 32,
    ) -> None:
        if not url.startswith(_SCHEMES):
            raise MemError(f"the address of Redis begins with none of {', '.join(_SCHEMES)}")
        if not fullmatch(r"[A-Za-z0-9._-]{1,64}", prefix):
            raise MemError("the prefix of Redis keys is made of A-Z a-z 0-9 . _ - (at most 64)")
        self.tally = Tally()
        self._url = url
        self._ca_file = ca_file
        self._prefix = prefix.encode()
        self._patience_s = patience_s
        self._pause_s = pause_s
        self._connections = connections
        self._away: str | None = None  # why
        self._refused: dict[str, str] = {}  # why, by command
        self._mending: asyncio.Task[None] | None = None
        self._client: Redis | None = self._open()

    def key(self, kind: str, owner: str, name: str) -> bytes:
        """The key of something of an owner's.

        Of a name there is but its digest, all of one length: an owner cannot be chosen so that it reads as another
        owner and a name, and what people searched for is in no list of keys, nor in the server's slow log.
        """
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
        who = owner.encode("utf-8", "surrogatepass")
        return b":".join((self._prefix, kind.encode(), who, digest.encode()))

    async def ask(self, *command: bytes | str | int) -> Any:
        """The answer to a command; None when there is none."""
        return await self._ask(command)

    async def run(self, script: Script, key: bytes, *arguments: int) -> Any:
        """The answer of a script that works on one key; None when there is none."""
        try:
            return await self._ask(("EVALSHA", script.digest, 1, key, *arguments))
        except NoScriptError:  # the server was started anew
            return await self._ask(("EVAL", script.source, 1, key, *arguments))

    @property
    def degraded(self) -> str | None:
        """What is wrong, for people; None when nothing is."""
        if self._away is not None:
            return f"Redis is away: {self._away}"
        for command, reason in self._refused.items():
            return f"Redis refuses {command}: {reason}"
        return None

    def health(self) -> dict[str, Any]:
        """For the health report: status, what became of commands, what is wrong."""
        return {
            "status": "healthy" if self.degraded is None else "degraded",
            "answered": self.tally.answered,
            "failed": self.tally.failed,
            "skipped": self.tally.skipped,
            "reason": self.degraded,
        }

    async def close(self) -> None:
        """For good; may be called again. What is asked afterwards has no answer."""
        client, self._client = self._client, None
        if self._mending is not None:
            self._mending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._mending
        if client is not None:
            await self._discard(client)

    async def _ask(self, command: tuple[bytes | str | int, ...]) -> Any:
        client = self._client
        if client is None:
            self.tally.skipped += 1
            return None
        name = str(command[0])
        try:
            async with asyncio.timeout(self._patience_s):
                answer = await _send(client, *command)
        except NoScriptError:
            raise
        except ResponseError as error:  # it is there, and says no: full, read only, not permitted
            self.tally.failed += 1
            if name not in self._refused:
                _log.warning("redis.refused", command=name, reason=_reason(error))
            self._refused[name] = _reason(error)
            return None
        except Exception as error:  # noqa: BLE001 - also the client's own faults while its connections are closed
            self.tally.failed += 1
            self._lose(client, error)
            return None
        self.tally.answered += 1
        if self._refused:
            self._refused.pop(name, None)
        return answer

    def _lose(self, client: Redis, error: Exception) -> None:
        """Send nothing more over these connections; those who wait over them are told by their own time limit."""
        if client is self._client:
            self._client = None
            self._away = _reason(error)
            _log.warning("redis.away", reason=self._away)
            self._mending = asyncio.create_task(self._mend(client))

    async def _mend(self, client: Redis) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            await self._discard(client)
            await asyncio.sleep(min(pause, self._pause_s))
            pause *= 2
            client = self._open()
            try:
                async with asyncio.timeout(self._patience_s):
                    await _send(client, "PING")
            except Exception as error:  # noqa: BLE001 - whatever it is, the looking goes on
                self._away = _reason(error)
            except BaseException:
                await self._discard(client)
                raise
            else:
                break
        self._client, self._away = client, None
        self._refused.clear()
        _log.info("redis.back")

    async def _discard(self, client: Redis) -> None:
        """Close every connection, also those in use; one that does not close in time is left to the system."""
        try:
            async with asyncio.timeout(self._patience_s):
                await client.aclose()
                await client.connection_pool.disconnect(inuse_connections=True)
        except Exception as error:  # noqa: BLE001 - it is given up in any case
            _log.debug("redis.not_closed", reason=_reason(error))

    def _open(self) -> Redis:
        options: dict[str, Any] = {
            "protocol": 2,
            "driver_info": None,  # two round trips less for each new connection
            "socket_timeout": None,  # `patience_s` counts for the whole of a command
            "socket_connect_timeout": self._patience_s,
            "socket_keepalive": True,
            "max_connections": self._connections,
            "timeout": self._patience_s,
            # Once, at once: a connection that was closed while it lay idle is no sign of anything.
            "retry": Retry(NoBackoff(), 1, (NotConnected,)),
        }
        if self._ca_file is not None:
            options["ssl_ca_certs"] = self._ca_file
        try:
            return Redis(connection_pool=BlockingConnectionPool.from_url(self._url, **options))
        except ValueError:
            raise MemError("the address of Redis cannot be read") from None


def _send(client: Redis, *command: bytes | str | int) -> Awaitable[Any]:
    answer: Awaitable[Any] = client.execute_command(*command)  # type: ignore[no-untyped-call]
    return answer


def _reason(error: Exception) -> str:
    """Of an error of the network there is seldom more than its kind."""
    if isinstance(error, TimeoutError) and not str(error):
        return "it does not answer in time"
    return (str(error) or type(error).__name__)[:_REASON_CHARS]
