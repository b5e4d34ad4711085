"""The live stream as an iterator that comes back by itself: what was missed meanwhile is told, nothing twice.

Owns reading server-sent events and resuming. Knows no HTTP: whoever makes one hands in how a stream is opened.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from claude_mem.sdk.errors import ApiError, NotReachable

_CHANCE = random.Random()  # noqa: S311 - no secret; the sequence of who uses us stays as it is
_RETRY_S = 3.0
_RECENT = 10_000  # ids: what may come twice after resuming is of the last moments
_PASSING = frozenset({429, 502, 503, 504})  # refusals that end by themselves

# Given the id to go on after, opens the stream and gives its bytes as they come. Raises ApiError or NotReachable.
Opener = Callable[[str | None], AbstractContextManager[Iterable[bytes]]]


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: `at` is ISO 8601; `type` and `data` are those of docs/stream.md."""

    id: str
    type: str
    at: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One block of the stream; `data` is empty where it only says where to go on, or when to come again (ms)."""

    id: str
    data: str
    retry: int | None


def messages(chunks: Iterable[bytes]) -> Iterator[Message]:
    """The messages in a stream of bytes, comments left out; a last one that was cut off is none."""
    fields: dict[str, list[str]] = {}
    for line in _lines(chunks):
        if not line:
            if fields:
                yield _message(fields)
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name:
            fields.setdefault(name, []).append(value.removeprefix(" "))


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines end with LF or CRLF only: what Unicode takes for a line's end may stand in a title."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")


def _message(fields: dict[str, list[str]]) -> Message:
    retry = fields.get("retry", [""])[-1]
    return Message(
        fields.get("id", [""])[-1],
        "\n".join(fields.get("data", [])),
        int(retry) if retry.isdigit() else None,
    )


class EventStream:
    """Iterates over `Event`s without end; `last_event_id` is where another one would go on.

    `patience`: seconds without a stream after which NotReachable is raised, None for never. `pause`: between two
    attempts, None for what the server asks for. `lost` and `found` are told of a lost stream, with the reason, and
    when there is one again. Raises ApiError where trying again would not help.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        last_event_id: str | None = None,
        patience: float | None = None,
        pause: float | None = None,
        lost: Callable[[str], None] = lambda _reason: None,
        found: Callable[[], None] = lambda: None,
    ) -> None:
        self.last_event_id = last_event_id
        self._open = opener
        self._patience = patience
        self._pause = pause
        self._lost = lost
        self._found = found
        self._retry = _RETRY_S
        self._recent: dict[str, None] = {}
        self._lost_at: float | None = None

    def __iter__(self) -> Iterator[Event]:
        while True:
            reason, wait = "the stream ended", None
            try:
                with self._open(self.last_event_id) as chunks:
                    for message in messages(chunks):
                        self._note(message)
                        event = self._event(message)
                        if event is not None:
                            yield event
            except ApiError as error:
                if error.status not in _PASSING:
                    raise
                reason, wait = error.message, error.retry_after
            except NotReachable as error:
                reason = str(error)
            self._wait(reason, wait)

    def _note(self, message: Message) -> None:
        if self._lost_at is not None:
            self._lost_at = None
            self._found()
        self.last_event_id = message.id or self.last_event_id
        if message.retry is not None:
            self._retry = message.retry / 1000

    def _event(self, message: Message) -> Event | None:
        """The event of a message, if it has one that was not told yet."""
        if not message.data:
            return None
        said = json.loads(message.data)
        event = Event(said["id"], said["type"], said["at"], said["data"])
        if event.id in self._recent:
            return None
        self._recent[event.id] = None
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        return event

    def _wait(self, reason: str, asked: float | None) -> None:
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self._lost(reason)
        if self._patience is not None and now - self._lost_at >= self._patience:
            raise NotReachable(reason)
        pause = self._retry if self._pause is None else self._pause
        # Not all at once: many lost theirs at the same moment.
        time.sleep(max(asked or 0.0, pause * _CHANCE.uniform(0.5, 1.5)))
