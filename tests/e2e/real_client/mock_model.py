"""A model that answers from a script: just enough of the Messages API for the real client.

`python mock_model.py PORT SCRIPTS LOG`: SCRIPTS is a JSON object, name -> list of turns; a turn is a list of blocks
(`{"text": ...}` or `{"tool": name, "input": {...}}`). A conversation plays the script whose `(script:NAME)` its
last prompt names (or `(play:NAME)`, where a prompt should have no word in common with others); how many tool results
came since says which turn is next. Every request is one line in LOG.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

MODEL = "claude-sonnet-4-5"
USAGE = {"input_tokens": 120, "output_tokens": 30}
USAGE_NOT_USED = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
SIDE_ANSWER = "A title."
_MARK = re.compile(r"\((?:script|play):([a-z-]+)\)")

Json = dict[str, Any]


def blocks_of(message: Json) -> list[Json]:
    """A message's content as blocks, however it was given."""
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])


def turn_of(messages: list[Json]) -> tuple[str, int]:
    """(script, how many tool turns were answered since its prompt); ("", 0) without a script."""
    name, answered = "", 0
    for message in messages:
        if message.get("role") != "user":
            continue
        blocks = blocks_of(message)
        answered += any(block.get("type") == "tool_result" for block in blocks)
        for block in blocks:
            text = block.get("text", "")
            named = _MARK.findall(text)
            if "<task-notification>" in text:
                name, answered = "notified", 0
            elif named and not text.startswith("<system-reminder>"):
                name, answered = named[-1], 0
    return name, answered


def answer(scripts: dict[str, list[list[Json]]], asked: Json) -> tuple[str, list[Json]]:
    """(what was played, the blocks to answer with)."""
    tools = {tool.get("name") for tool in asked.get("tools") or []}
    messages = asked.get("messages") or []
    last = " ".join(block.get("text", "") for block in blocks_of(messages[-1])) if messages else ""
    if "summary of the conversation" in last:
        return "compaction", [{"text": scripts["compaction"][0][0]["text"]}]
    name, answered = turn_of(messages)
    if "Bash" not in tools or name not in scripts:
        return "side", [{"text": SIDE_ANSWER}]
    turns = scripts[name]
    return f"{name}:{answered}", turns[min(answered, len(turns) - 1)]


def wire_block(block: Json) -> Json:
    """A script's block as the API spells it."""
    if "text" in block:
        return {"type": "text", "text": block["text"]}
    made = f"toolu_{uuid.uuid4().hex[:24]}"
    return {"type": "tool_use", "id": made, "name": block["tool"], "input": block["input"]}


def sse(message: Json) -> bytes:
    """A whole message as the events of a stream."""
    events: list[Json] = [
        {
            "type": "message_start",
            "message": message
            | {
                "content": [],
                "stop_reason": None,
                "usage": message["usage"] | {"output_tokens": 1},
            },
        }
    ]
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            opened: Json = {"type": "text", "text": ""}
            delta: Json = {"type": "text_delta", "text": block["text"]}
        else:
            opened = block | {"input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        events += [
            {"type": "content_block_start", "index": index, "content_block": opened},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": stop, "usage": message["usage"]})
    events.append({"type": "message_stop"})
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


class Handler(BaseHTTPRequestHandler):
    """One request of the client."""

    protocol_version = "HTTP/1.1"
    scripts: ClassVar[dict[str, list[list[Json]]]] = {}
    log: ClassVar[Path]
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_POST(self) -> None:
        """A model call, or a count of tokens."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = json.loads(body) if body else {}
        if "/count_tokens" in self.path:
            self._send(b'{"input_tokens": 10}', "application/json")
        elif self.path.partition("?")[0].endswith("/v1/messages"):
            self._model_call(asked)
        else:
            self._send(b"{}", "application/json")

    def do_GET(self) -> None:
        """Anything else the client may look at."""
        self._send(b"{}", "application/json")

    def do_HEAD(self) -> None:
        """Is anybody there?"""
        self.do_GET()

    def _model_call(self, asked: Json) -> None:
        played, blocks = answer(self.scripts, asked)
        content = [wire_block(block) for block in blocks]
        stop = "tool_use" if any(block["type"] == "tool_use" for block in content) else "end_turn"
        message: Json = {
            "id": f"msg_{uuid.uuid4().hex[:24]}",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": USAGE | USAGE_NOT_USED,
        }
        with self.lock, self.log.open("a", encoding="utf-8") as log:
            line = {
                "played": played,
                "messages": asked.get("messages"),
                "tools": [tool.get("name") for tool in asked.get("tools") or []],
                "stream": asked.get("stream"),
            }
            log.write(json.dumps(line) + "\n")
        if asked.get("stream"):
            self._send(sse(message), "text/event-stream")
        else:
            self._send(json.dumps(message).encode(), "application/json")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: what matters is in LOG."""


def main(port: str, scripts: str, log: str) -> None:
    """Serve until killed."""
    Handler.scripts = json.loads(Path(scripts).read_text(encoding="utf-8"))
    Handler.log = Path(log)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
