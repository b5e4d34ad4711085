"""Handing events to the worker in batches: durably, patiently, and telling what was refused.

Owns retries. An event counts as sent when the worker has it on disk; only then is progress kept.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from claude_mem.sdk.client import ApiError, Client, NotReachable, Receipt
from claude_mem.sdk.local import connect

Event = dict[str, Any]

MOST_EVENTS = 500
MOST_BYTES = 4 << 20
_PATIENCE = 300.0  # seconds without an answer other than "later" before an import gives up
_LONGEST_PAUSE = 5.0
_NOT_WANTED = "the project opted out, or recording was paused"
_INDEX = re.compile(r"^events\[(\d+)\]")


class Paused(Exception):  # noqa: N818 - named for what happened
    """Recording is paused: the worker takes nothing, and nothing may count as imported."""


class Sender:
    """Collects events and sends them. `on_sent` is called after each batch that is durable."""

    def __init__(
        self,
        home: Path,
        on_sent: Callable[[], None],
        *,
        client: Client | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._home = home
        self._dry_run = client is None
        self._client = client
        self._on_sent = on_sent
        self._sleep = sleep
        self._batch: list[Event] = []
        self._bytes = 0
        self.sent = 0
        self.new = 0
        self.known = 0
        self.refused: Counter[str] = Counter()

    @property
    def client(self) -> Client | None:
        """The connection at hand; None in a dry run, or when it was lost."""
        return self._client

    def close(self) -> None:
        """Let go of the connection; what was not flushed is not sent."""
        if self._client is not None:
            self._client.close()

    def add(self, event: Event) -> None:
        """Take one more event; sends a full batch first."""
        size = len(orjson.dumps(event))
        if self._batch and (len(self._batch) >= MOST_EVENTS or self._bytes + size > MOST_BYTES):
            self.flush()
        self._batch.append(event)
        self._bytes += size

    @property
    def full(self) -> bool:
        """Whether the next event will start a new batch in any case."""
        return len(self._batch) >= MOST_EVENTS

    def flush(self) -> None:
        """Send what was collected. Raises ApiError or NotReachable when patience is at its end, or
        Paused.
        """
        batch, self._batch, self._bytes = self._batch, [], 0
        if batch:
            self._send(batch)
            self.sent += len(batch)
        self._on_sent()

    def _send(self, batch: list[Event]) -> None:
        if self._dry_run:
            return
        try:
            receipt = self._post(batch)
        except ApiError as error:
            if error.status not in (400, 413):
                raise
            self._send_without_faults(batch, error)
            return
        ignored = len(batch) - receipt.accepted - receipt.duplicates
        if ignored:
            if self._is_paused():
                raise Paused
            self.refused[_NOT_WANTED] += ignored
        self.new += receipt.accepted
        self.known += receipt.duplicates

    def _send_without_faults(self, batch: list[Event], error: ApiError) -> None:
        """None of the batch was taken: leave out what was named, or halve it until the fault is
        alone.
        """
        if len(batch) == 1:
            self.refused[_reason(error)] += 1
            return
        named = {
            int(found[1]): detail.get("message", "refused")
            for detail in error.details
            if (found := _INDEX.match(detail.get("field", ""))) and int(found[1]) < len(batch)
        }
        if not named:
            middle = len(batch) // 2
            self._send(batch[:middle])
            self._send(batch[middle:])
            return
        self.refused.update(named.values())
        rest = [event for index, event in enumerate(batch) if index not in named]
        if rest:
            self._send(rest)

    def _post(self, batch: list[Event]) -> Receipt:
        started, pause = time.monotonic(), 0.2
        while True:
            try:
                if self._client is None:
                    self._client = connect(self._home)
                return self._client.post_events(batch)
            except ApiError as error:
                if error.status not in (429, 503) or error.code == "STORE_FULL":
                    raise
                if time.monotonic() - started > _PATIENCE:
                    raise
                wait = min(error.retry_after or pause, 30.0)
            except NotReachable:
                # A worker that died is started again by its supervisor, perhaps at another port.
                if time.monotonic() - started > _PATIENCE:
                    raise
                self._reconnect()
                wait = pause
            self._sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _reconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def _is_paused(self) -> bool:
        return self._client is not None and bool(self._client.health().get("paused"))


def _reason(error: ApiError) -> str:
    return error.details[0].get("message", error.message) if error.details else error.message
