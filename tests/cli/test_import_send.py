"""Batches on their way: what the worker may answer, from a server that answers by script."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from claude_mem.cli.import_send import MOST_BYTES, MOST_EVENTS, Sender
from claude_mem.sdk.client import ApiError, Client

Answer = tuple[int, dict[str, Any], dict[str, str]]
TAKEN: Answer = (202, {}, {})


class Script:
    """Answers of a worker, in order; afterwards everything is taken."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.taken: list[dict[str, Any]] = []

    def answer(self, events: list[dict[str, Any]]) -> Answer:
        self.batches.append(events)
        status, body, headers = self.answers.pop(0) if self.answers else TAKEN
        faults = [
            {"field": f"events[{index}].data", "message": "too odd"}
            for index, event in enumerate(events)
            if event.get("odd")
        ]
        if status == 202 and faults:
            return 400, {"code": "VALIDATION_ERROR", "error": "odd", "details": faults}, {}
        if status == 202:
            self.taken += events
            body = {"accepted": len(events), "duplicates": 0}
        return status, body, headers


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def address(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            status, body, headers = script.answer(json.loads(raw)["events"])
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class Bench:
    """A sender that notes how long it would have slept and when it told of progress."""

    def __init__(self, address: str, tmp_path: Path) -> None:
        self.slept: list[float] = []
        self.acknowledged: list[int] = []
        self.sender = Sender(
            tmp_path,
            lambda: self.acknowledged.append(self.sender.sent),
            client=Client(address, "token"),
            sleep=self.slept.append,
        )


@pytest.fixture
def bench(address: str, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(address, tmp_path)
    yield bench
    bench.sender.close()


def test_batches_are_bounded_by_count_and_by_size(bench: Bench, script: Script) -> None:
    for number in range(MOST_EVENTS + 1):
        bench.sender.add({"n": number})
    assert [len(batch) for batch in script.batches] == [MOST_EVENTS]
    for _ in range(3):
        bench.sender.add({"text": "x" * (MOST_BYTES // 2)})
    bench.sender.flush()
    assert [len(batch) for batch in script.batches] == [MOST_EVENTS, 2, 1, 1]
    assert bench.sender.new == MOST_EVENTS + 4
    assert bench.acknowledged == [MOST_EVENTS, MOST_EVENTS + 2, MOST_EVENTS + 3, MOST_EVENTS + 4]


def test_a_busy_worker_is_given_the_time_it_asks_for(bench: Bench, script: Script) -> None:
    script.answers = [
        (429, {"code": "RATE_LIMITED"}, {"Retry-After": "3"}),
        (503, {"code": "UNAVAILABLE"}, {"Retry-After": "1"}),
        (503, {"code": "UNAVAILABLE"}, {}),
    ]
    bench.sender.add({"n": 1})
    bench.sender.flush()
    assert bench.slept[:2] == [3.0, 1.0]
    assert len(bench.slept) == 3
    assert script.taken == [{"n": 1}]


def test_a_full_store_is_an_end_and_nothing_counts_as_sent(bench: Bench, script: Script) -> None:
    script.answers = [(503, {"code": "STORE_FULL", "error": "full"}, {"Retry-After": "60"})]
    bench.sender.add({"n": 1})
    with pytest.raises(ApiError, match="full"):
        bench.sender.flush()
    assert bench.slept == []
    assert bench.acknowledged == []


def test_events_that_are_refused_are_left_out_and_counted(bench: Bench, script: Script) -> None:
    for number in range(10):
        bench.sender.add({"n": number, "odd": number in (2, 7)})
    bench.sender.flush()
    assert [event["n"] for event in script.taken] == [0, 1, 3, 4, 5, 6, 8, 9]
    assert bench.sender.refused == {"too odd": 2}
    assert bench.acknowledged == [10]


def test_a_refusal_without_a_name_is_found_by_halving(bench: Bench, script: Script) -> None:
    too_large: Answer = (413, {"code": "VALIDATION_ERROR", "error": "too large"}, {})
    script.answers = [too_large, TAKEN, too_large, TAKEN, too_large]
    for number in range(4):
        bench.sender.add({"n": number})
    bench.sender.flush()
    assert [event["n"] for event in script.taken] == [0, 1, 2]
    assert bench.sender.refused == {"too large": 1}


def test_a_worker_that_comes_back_elsewhere_is_found(
    script: Script, address: str, tmp_path: Path
) -> None:
    host, _, port = address.removeprefix("http://").partition(":")
    record = {"host": host, "port": int(port)}
    gone = Client("http://127.0.0.1:9", "token")
    slept: list[float] = []

    def come_back(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            (tmp_path / "token").write_text("token")
            (tmp_path / "worker.json").write_text(json.dumps(record))

    sender = Sender(tmp_path, lambda: None, client=gone, sleep=come_back)
    sender.add({"n": 1})
    sender.flush()
    sender.close()
    assert script.taken == [{"n": 1}]
    assert len(slept) == 3
    assert slept == sorted(slept), "each pause is longer"


def test_a_refused_token_is_an_end(bench: Bench, script: Script) -> None:
    script.answers = [(401, {"code": "AUTH_INVALID", "error": "no"}, {})]
    bench.sender.add({"n": 1})
    with pytest.raises(ApiError):
        bench.sender.flush()
