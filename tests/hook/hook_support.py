"""An installed hook as the client runs it, and doors it can knock on: real sockets, real HTTP."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_mem.hook.settings_file import handler
from claude_mem.hook.spool import BadLine, SpoolLine, read, take

GITHUB_TOKEN = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
LOCAL_TOKEN = "cm_sk_local_" + "x" * 43

Answer = Callable[[socket.socket, bytes], None]


def reply(status: str = "200 OK", body: bytes = b"") -> bytes:
    """The bytes of an HTTP answer."""
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def answering(data: bytes) -> Answer:
    """A door that answers every request with `data`."""
    return lambda line, _request: line.sendall(data)


def resetting(data: bytes) -> Answer:
    """A door that sends `data` and then breaks the connection."""

    def answer(line: socket.socket, _request: bytes) -> None:
        line.sendall(data)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer


@dataclass
class Door:
    """A little HTTP server in place of the worker; `requests` holds what came in, whole."""

    listener: socket.socket
    answer: Answer
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)

    def serve(self) -> None:
        while True:
            try:
                line, _ = self.listener.accept()
            except OSError:  # closed at the end of the test
                return
            with line, contextlib.suppress(OSError):  # the hook may have given up on us
                head, body = self._receive(line)
                fields = dict(row.split(": ", 1) for row in head.split("\r\n")[1:])
                fields[":request"] = head.split("\r\n")[0]
                self.requests.append((fields, body))
                self.answer(line, body)

    @staticmethod
    def _receive(line: socket.socket) -> tuple[str, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += line.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < size:
            body += line.recv(65536)
        return head.decode(), body


@dataclass(frozen=True)
class Installed:
    """The hook as it lies in a data folder, run like the client runs it."""

    home: Path

    @property
    def spool(self) -> Path:
        return self.home / "spool"

    def command(self, event: str) -> list[str]:
        """The command line that the client spawns, as install writes it."""
        one = handler(sys.executable, str(self.home / "hook" / "hook.py"), event)
        return [one["command"], *one["args"]]

    def run(
        self, event: str, payload: object, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """One event; `payload` is an object or the raw bytes of stdin. It must always exit 0."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        done = subprocess.run(
            self.command(event), input=raw, capture_output=True, env=environment, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done

    def lines(self) -> list[SpoolLine]:
        """All that was spooled; a bad line fails the test."""
        found = [line for path in take(self.spool) for line in read(path)]
        bad = [line for line in found if isinstance(line, BadLine)]
        assert not bad
        return [line for line in found if isinstance(line, SpoolLine)]

    def all_bytes(self) -> bytes:
        """Every byte that lies under the data folder, the program itself aside."""
        files = [
            path for path in self.home.rglob("*") if path.is_file() and path.parent.name != "hook"
        ]
        return b"\n".join(path.read_bytes() for path in files if path.suffix != ".pyc")


def payload(event: str, **fields: Any) -> dict[str, Any]:
    """A hook payload with the fields that every event has."""
    return {
        "session_id": "0d9b5f0e-5a3e-4a77-9a55-b0b0a6c3e1f2",
        "transcript_path": "/home/dev/.claude/projects/-home-dev-ledger/0d9b5f0e.jsonl",
        "cwd": "/home/dev/ledger",
        "hook_event_name": event,
        **fields,
    }
