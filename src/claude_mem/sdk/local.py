"""Finding the worker of a data folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from claude_mem.sdk.client import Client, EventStream, NotReachable

_PAUSE_S = 0.5  # a worker on this machine is back soon


def connect(home: Path, *, timeout: float = 30.0) -> Client:
    """A client of the worker that serves `home`. Raises NotReachable when none has announced itself."""
    try:
        record = json.loads((home / "worker.json").read_text(encoding="utf-8"))
        token = (home / "token").read_text(encoding="ascii").strip()
        address = f"http://{record['host']}:{record['port']}"
    except (OSError, ValueError, KeyError) as error:
        raise NotReachable(f"no worker serves {home}") from error
    return Client(address, token, timeout=timeout)


def follow(
    home: Path,
    *,
    types: Sequence[str] = (),
    last_event_id: str | None = None,
    patience: float | None = None,
    lost: Callable[[str], None] = lambda _reason: None,
    found: Callable[[], None] = lambda: None,
) -> EventStream:
    """What happens in a data folder, through whichever worker serves it at the time: a restart moves it."""

    @contextmanager
    def opener(last: str | None) -> Iterator[Iterator[bytes]]:
        with connect(home) as client, client.open_stream(types, last) as chunks:
            yield chunks

    return EventStream(
        opener,
        last_event_id=last_event_id,
        patience=patience,
        pause=_PAUSE_S,
        lost=lost,
        found=found,
    )
