"""Finding the worker of a data folder."""

from __future__ import annotations

import json
from pathlib import Path

from claude_mem.sdk.client import Client, NotReachable


def connect(home: Path, *, timeout: float = 30.0) -> Client:
    """A client of the worker that serves `home`. Raises NotReachable when none has announced itself."""
    try:
        record = json.loads((home / "worker.json").read_text(encoding="utf-8"))
        token = (home / "token").read_text(encoding="ascii").strip()
        address = f"http://{record['host']}:{record['port']}"
    except (OSError, ValueError, KeyError) as error:
        raise NotReachable(f"no worker serves {home}") from error
    return Client(address, token, timeout=timeout)
