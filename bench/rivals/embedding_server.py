"""Our embedding model behind an OpenAI-compatible `/v1/embeddings`, so that every system embeds with the same vectors.

`python -m bench.rivals.embedding_server --models DIR --precision int8`: prints its port and serves until it is ended.
`GET /took` gives the seconds that each request of one text took to embed, and forgets them.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import threading
import time
from array import array
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from claude_mem.adapters.onnx.embedder import batches
from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.onnx.pinned import Precision
from claude_mem.adapters.onnx.session import Session


class Embedding:
    """The model and the times of questions; safe from several threads."""

    def __init__(self, folder: ModelFolder, precision: Precision) -> None:
        self._session = Session(folder.graph(precision), folder.tokenizer, 1)
        self._lock = threading.Lock()
        self._took: list[float] = []

    def vectors(self, texts: list[str]) -> list[bytes]:
        """Little-endian 32-bit floats of each text, in order; batches of like lengths, as the product makes them."""
        found = [b""] * len(texts)
        with self._lock:
            began = time.perf_counter()
            tokens = [self._session.tokens(text) for text in texts]
            for batch in batches([len(each) for each in tokens]):
                made = self._session.vectors([tokens[place] for place in batch])
                for place, vector in zip(batch, made, strict=True):
                    found[place] = vector
            if len(texts) == 1:
                self._took.append(time.perf_counter() - began)
        return found

    def took(self) -> list[float]:
        """Seconds of the requests of one text since this was asked last."""
        with self._lock:
            found, self._took = self._took, []
        return found


def answer(vectors: list[bytes], asked: dict[str, Any]) -> dict[str, Any]:
    """The body of an answer, in the encoding that was asked for."""
    as_base64 = asked.get("encoding_format") == "base64"
    return {
        "object": "list",
        "model": asked.get("model", ""),
        "data": [
            {
                "object": "embedding",
                "index": number,
                "embedding": base64.b64encode(each).decode() if as_base64 else numbers(each),
            }
            for number, each in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }


def numbers(vector: bytes) -> list[float]:
    """Of little-endian 32-bit floats."""
    found = array("f", vector)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()


def serve(embedding: Embedding) -> ThreadingHTTPServer:
    """A server on a free port of the loopback address, not yet serving."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
            self._say(answer(embedding.vectors(texts), asked))

        def do_GET(self) -> None:
            self._say({"took": embedding.took()})

        def log_message(self, *_arguments: Any) -> None:
            """Nothing: a line a request would be most of the output."""

        def _say(self, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.rivals.embedding_server")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    options = parser.parse_args()
    precision = cast(Precision, options.precision)
    server = serve(Embedding(ModelFolder(options.models), precision))
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
