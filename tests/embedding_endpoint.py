"""An embeddings endpoint on loopback that answers, or misbehaves, as it is told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DIMENSION = 16


def numbers(text: str) -> list[float]:
    """A bag of words: texts that share words are near."""
    found = [0.0] * DIMENSION
    for word in text.lower().split() or [""]:
        found[hashlib.sha256(word.encode()).digest()[0] % DIMENSION] += 1.0
    return found


def answered(texts: list[str]) -> dict[str, Any]:
    """What the protocol answers."""
    data = [
        {"object": "embedding", "index": place, "embedding": numbers(text)}
        for place, text in enumerate(texts)
    ]
    return {"object": "list", "data": data, "model": "test", "usage": {"total_tokens": 1}}


class FakeEndpoint:
    """`script` holds what the next requests get: (status, headers, body); afterwards it answers rightly.

    A body that is a callable is called with the texts. `hold` keeps requests waiting until it is set.
    """

    def __init__(self) -> None:
        self.script: list[tuple[int, dict[str, str], Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.at_once = 0
        self.most = 0
        self.lock = threading.Lock()
        self.url = ""


def _handler(endpoint: FakeEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with endpoint.lock:
                endpoint.requests.append(request)
                endpoint.paths.append(self.path)
                endpoint.headers.append(dict(self.headers.items()))
                endpoint.at_once += 1
                endpoint.most = max(endpoint.most, endpoint.at_once)
                planned = endpoint.script.pop(0) if endpoint.script else (200, {}, answered)
            endpoint.hold.wait(20)
            with endpoint.lock:
                endpoint.at_once -= 1
            status, headers, body = planned
            body = body(request["input"]) if callable(body) else body
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            with contextlib.suppress(ConnectionError):  # who asked has gone
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_arguments: Any) -> None:
            """Silent."""

    return Handler


@contextlib.contextmanager
def fake_endpoint() -> Iterator[FakeEndpoint]:
    """Running until the end of the block."""
    endpoint = FakeEndpoint()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(endpoint))
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
