"""Ports for servers that tests and benchmarks start. Standard library only; nothing here outlives its caller."""

from __future__ import annotations

import random
import socket

# Below what operating systems hand to clients (from 32,768 on Linux, from 49,152 elsewhere). One of those can be a
# neighbour's connection a moment later; and while its server is away, a client that tries again may be given the very
# port it calls, reach itself, and keep the server from coming back.
_FIRST, _LAST = 16_000, 32_000
_TRIES = 100


def free_port() -> int:
    """A port of the loopback address that nobody listens on, and that no client is given."""
    chance = random.SystemRandom()
    for _ in range(_TRIES):
        port = chance.randint(_FIRST, _LAST)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise OSError(f"no free port in {_TRIES} tries between {_FIRST} and {_LAST}")
