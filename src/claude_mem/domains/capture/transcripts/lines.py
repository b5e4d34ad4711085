"""The lines of a JSONL file as objects, with their byte offsets. Knows nothing of what the lines
mean.

Memory is bounded by `MAX_LINE`; whatever the bytes are, nothing is raised but OSError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_LINE = 16 << 20  # bytes; a longer line is a pasted file or an image, and is skipped
_CHUNK = 1 << 20

EMPTY = "empty line"
TOO_LONG = "line over 16 MiB"
NOT_UTF8 = "not UTF-8"
NOT_JSON = "not JSON"
NOT_OBJECT = "not a JSON object"
TORN = "unfinished last line"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: bytes `start` to `end` of the file; either its `value`, or why it has none."""

    start: int
    end: int
    value: dict[str, Any] | None
    fault: str = ""


def read_lines(file: BinaryIO, start: int) -> Iterator[Line]:
    """Every line of `file` from byte `start` on. A last line that is no whole object yet has the
    fault `TORN`.
    """
    file.seek(start)
    while True:
        raw = file.readline(MAX_LINE + 1)
        if not raw:
            return
        end = start + len(raw)
        if len(raw) > MAX_LINE and not raw.endswith(b"\n"):
            rest, closed = _skip_rest(file)
            yield Line(start, end + rest, None, TOO_LONG if closed else TORN)
            start = end + rest
            continue
        value, fault = parse(raw)
        if fault and not raw.endswith(b"\n"):
            fault = TORN
        yield Line(start, end, value, fault)
        start = end


def _skip_rest(file: BinaryIO) -> tuple[int, bool]:
    """Read to the end of the line: how many bytes that was, and whether a newline was there."""
    skipped = 0
    while True:
        chunk = file.readline(_CHUNK)
        skipped += len(chunk)
        if not chunk:
            return skipped, False
        if chunk.endswith(b"\n"):
            return skipped, True


def parse(raw: bytes) -> tuple[dict[str, Any] | None, str]:
    """The object in a line, or None and the fault."""
    if not raw.strip():
        return None, EMPTY
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None, NOT_UTF8
    try:
        value = _DECODER.decode(text)
        if b"\\ud" in raw or b"\\uD" in raw:
            value = _without_lone_surrogates(value)
    except (ValueError, RecursionError):
        return None, NOT_JSON
    if not isinstance(value, dict):
        return None, NOT_OBJECT
    return value, ""


def _without_lone_surrogates(value: Any) -> Any:
    """Half a surrogate pair is in no encoding; it becomes a question mark."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _no_constant(_name: str) -> None:
    """NaN and Infinity are not JSON, and no one further on could write them."""


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
