"""Keep what matters of long outputs: head, tail, and how long it was; and only what UTF-8 can hold. Pure."""

from __future__ import annotations

import re
from typing import Any

_DROPPED = frozenset({"originalFile"})  # an Edit's result repeats the whole file it changed
_NOTE = re.compile(r"\n\[\.\.\. [0-9]{1,9} of ([0-9]{1,9}) characters left out \.\.\.\]\n")
ORIGINAL_FILE = b'"originalFile"'


def trim_text(text: str, keep: int) -> str:
    """`text` when it has at most `keep` characters, else its head and tail around a note of its size."""
    if len(text) <= keep:
        return text
    head = keep * 2 // 3
    tail = keep - head
    earlier = _NOTE.search(text)  # cut before it was masked: its true length stands there
    length = max(int(earlier[1]), len(text)) if earlier else len(text)
    return (
        f"{text[:head]}\n[... {length - keep} of {length} characters left out ...]\n{text[-tail:]}"
    )


def trim_tree(value: Any, keep: int) -> Any:
    """The JSON value with every long text trimmed and what is never stored left out."""
    if isinstance(value, str):
        return trim_text(value, keep)
    if isinstance(value, dict):
        return {key: trim_tree(item, keep) for key, item in value.items() if key not in _DROPPED}
    if isinstance(value, list):
        return [trim_tree(item, keep) for item in value]
    return value


def without_surrogates(value: Any) -> Any:
    """The JSON value with every lone half of a surrogate pair as U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    return value
