"""Asking a running worker how it is, over its door, with the standard library alone.

Owns reading `door` and `worker.json` and the one health request. Never starts, stops or changes
anything.
"""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

from claude_mem.worker.layout import Layout

_HEALTH = "/api/v1/health"


@dataclass(frozen=True, slots=True)
class Door:
    """Where the worker listens: a Unix socket's path, or host and port; and the token it wants."""

    socket: str | None
    host: str
    port: int
    token: str


def read_door(files: Layout) -> Door | None:
    """What the worker wrote when it became ready; None when there is none (or half of one)."""
    try:
        where, token = files.door.read_text(encoding="utf-8").split("\n")[:2]
        kind, _, address = where.partition(":")
        if kind == "unix":
            return Door(address, "127.0.0.1", 0, token.strip())
        host, _, port = address.rpartition(":")
        return Door(None, host, int(port), token.strip())
    except (OSError, ValueError):  # no door, or not one of ours: nobody answers there
        return None


def read_worker_json(files: Layout) -> dict[str, Any]:
    """`worker.json` of a ready worker: pid, port, socket, version, started_at; {} without one."""
    try:
        found = json.loads(files.worker_json.read_bytes())
    except (OSError, ValueError):  # not ready, stopped, or cut short by a full disk
        return {}
    return found if isinstance(found, dict) else {}


def health(files: Layout, timeout: float = 2.0) -> dict[str, Any] | None:
    """The worker's full health report, or None when nobody answers it in `timeout` seconds.

    A report that says "degraded" or "unavailable" is a report: it comes with status 200 or 503.
    """
    door = read_door(files)
    if door is None:
        return None
    connection = _DoorConnection(door, timeout)
    try:
        connection.request("GET", _HEALTH, headers={"Authorization": f"Bearer {door.token}"})
        answer = connection.getresponse()
        report = json.loads(answer.read(1_000_000))
    except (OSError, http.client.HTTPException, ValueError):  # gone, restarting, or not ours
        return None
    finally:
        connection.close()
    return report if isinstance(report, dict) and answer.status in (200, 503) else None


class _DoorConnection(http.client.HTTPConnection):
    """HTTP/1.1 over the Unix socket, or over loopback where there is none."""

    def __init__(self, door: Door, timeout: float) -> None:
        super().__init__(door.host, door.port or 80, timeout=timeout)
        self._path = door.socket

    def connect(self) -> None:
        """Connect to the door's socket. Raises OSError."""
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
