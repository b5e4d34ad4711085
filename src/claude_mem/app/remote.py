"""Which server a command is for, and with which key: from an option or the environment.

The key comes from the environment, a file, or standard input, never from the command line, which everybody on the
machine can read. It is sent where it cannot be overheard: over TLS, or to this very machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO
from urllib.parse import urlsplit

from claude_mem.kernel.errors import Detail, Invalid

SERVER: Final = "CLAUDE_MEM_SERVER"
KEY: Final = "CLAUDE_MEM_API_KEY"
ALLOW_HTTP: Final = "CLAUDE_MEM_ALLOW_HTTP"
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Remote:
    """A server's address, and the key to come in with."""

    url: str
    key: str = field(repr=False)


def find(
    server: str | None,
    key_file: str | None,
    environ: Mapping[str, str] | None = None,
    stdin: TextIO | None = None,
) -> Remote | None:
    """The server that is meant; None where none is named: the data folder's own worker then.

    `key_file`: a file that holds the key, `-` for standard input. Raises Invalid that names what is wrong, and never
    the key.
    """
    env = os.environ if environ is None else environ
    url = (server or env.get(SERVER) or "").strip().rstrip("/")
    if not url:
        if key_file:
            raise _fault("--key-file", f"a key is for a server: name it by --server or {SERVER}")
        return None
    _check(url, is_http_fine=env.get(ALLOW_HTTP) == "1")
    key = _key(key_file or env.get(f"{KEY}_FILE"), env, sys.stdin if stdin is None else stdin)
    if not key:
        places = f"in {KEY}, in a file that {KEY}_FILE or --key-file names, or by --key-file -"
        raise _fault(KEY, f"a key is needed: {places}")
    if not key.isascii() or not key.isprintable():
        raise _fault(KEY, "this is no key: it holds what no key can")
    return Remote(url, key)


def _check(url: str, *, is_http_fine: bool) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at only now
    except ValueError:
        raise _fault(SERVER, "expected an address such as https://memory.example.com") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise _fault(SERVER, "expected an address such as https://memory.example.com")
    if parts.username or parts.password:
        raise _fault(SERVER, f"no key belongs into the address: put it into {KEY}")
    if parts.scheme == "http" and parts.hostname not in _HERE and not is_http_fine:
        raise _fault(
            SERVER,
            "over http:// everybody on the way could read the key: use https://, or say"
            f" {ALLOW_HTTP}=1 where the way is safe",
        )


def _key(path: str | None, env: Mapping[str, str], stdin: TextIO) -> str:
    if path == "-":
        return stdin.readline().strip()
    if not path:
        return env.get(KEY, "").strip()
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise _fault(f"{KEY}_FILE", f"{path} cannot be read: {reason}") from error


def _fault(name: str, message: str) -> Invalid:
    return Invalid(f"{name}: {message}", details=(Detail(name, message),))
