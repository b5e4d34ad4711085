"""The client's side of the live stream: reading it, and coming back without telling anything twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from claude_mem.sdk.errors import ApiError, NotReachable
from claude_mem.sdk.stream import EventStream, messages


def block(number: int, title: str = "") -> bytes:
    body = f'{{"id":"e{number}","type":"x","at":"t","data":{{"title":"{title}"}}}}'
    return f"event: x\ndata: {body}\nid: e{number}\n\n".encode()


class Server:
    """What each attempt to open the stream gets: bytes, then a lost connection or an end; or a refusal."""

    def __init__(self, *attempts: Any) -> None:
        self.attempts = list(attempts)
        self.asked: list[str | None] = []

    @contextmanager
    def open(self, last: str | None) -> Iterator[Iterable[bytes]]:
        self.asked.append(last)
        attempt = self.attempts.pop(0)
        if isinstance(attempt, Exception):
            raise attempt
        yield self._chunks(attempt)

    @staticmethod
    def _chunks(attempt: list[Any]) -> Iterator[bytes]:
        for each in attempt:
            if isinstance(each, Exception):
                raise each
            yield each


def stream(server: Server, **options: Any) -> EventStream:
    return EventStream(server.open, pause=0.0, **options)


def take(events: EventStream, count: int) -> list[str]:
    found = iter(events)
    return [next(found).id for _ in range(count)]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_it_reads_blocks_however_they_are_cut(size: int) -> None:
    said = (
        b": open\nid: start\nretry: 1500\n\n"
        + block(1, "发票 \u2028 and \x85".encode().decode())
        + b": still here\n\n"
        + b"event: x\r\ndata: one\r\ndata: two\r\nid: e2\r\n\r\n"
        + b"data: cut off"
    )
    found = list(messages(said[at : at + size] for at in range(0, len(said), size)))
    assert [(it.id, it.retry) for it in found] == [("start", 1500), ("e1", None), ("e2", None)]
    assert "发票 \u2028 and \x85" in found[1].data
    assert found[2].data == "one\ntwo"
    assert found[0].data == ""


def test_it_comes_back_after_the_last_one_and_tells_none_twice() -> None:
    lost, found = [], []
    server = Server(
        [b": open\nid: start\n\n", NotReachable("gone")],
        [block(1), block(2), NotReachable("gone")],
        [block(2), block(1), block(3)],
        ApiError(503, {"error": "stopping"}, 0.0),
        ApiError(429, {"error": "too many"}, 0.0),
        [block(3), block(4)],
    )
    events = stream(server, lost=lost.append, found=lambda: found.append(1))
    assert take(events, 4) == ["e1", "e2", "e3", "e4"]
    assert server.asked == [None, "start", "e2", "e3", "e3", "e3"]
    assert len(lost) == 3, "a loss is told once, however many attempts it takes"
    assert len(found) == 3
    assert events.last_event_id == "e4"


def test_it_goes_on_after_an_event_that_is_named() -> None:
    server = Server([block(8)])
    assert take(stream(server, last_event_id="e7"), 1) == ["e8"]
    assert server.asked == ["e7"]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_will_not_pass_is_raised(status: int) -> None:
    server = Server(ApiError(status, {"error": "no"}, None))
    with pytest.raises(ApiError):
        take(stream(server), 1)
    assert len(server.asked) == 1


def test_patience_has_an_end_where_it_is_wanted() -> None:
    server = Server(NotReachable("away"), NotReachable("away"))
    with pytest.raises(NotReachable):
        take(stream(server, patience=0.0), 1)
    assert len(server.asked) == 1
