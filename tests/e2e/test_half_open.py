"""The real worker and a connection that never says what it wants."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
from bench.durability import Site

pytestmark = pytest.mark.slow


def test_the_worker_closes_a_connection_that_says_half_a_word(
    make_site: Callable[[], Site],
) -> None:
    """Through both of its listeners; who asks properly meanwhile is answered."""
    site = make_site()
    told = json.loads((site.home / "worker.json").read_bytes())
    with socket.socket(socket.AF_UNIX) as unix, socket.socket() as tcp:
        unix.connect(told["socket"])
        tcp.connect((told["host"], told["port"]))
        for line in (unix, tcp):
            line.settimeout(60)
            line.sendall(b"GET /health/li")
        with site.client() as client:
            assert client.health()["status"] == "healthy"
        for line in (unix, tcp):
            assert line.recv(100) == b""
