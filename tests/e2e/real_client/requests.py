"""What a model was given: the hooks' context in the recorded request bodies."""

from __future__ import annotations

import re
from typing import Any

from real_client.mock_model import blocks_of

Json = dict[str, Any]

_INJECTED = re.compile(
    r"<system-reminder>\n(\w+)(?::\w+)? hook additional context: (.*?)\n?</system-reminder>", re.S
)
_ITEM = re.compile(r"^ *- .+$", re.M)
_TAIL = re.compile(r"( \(\d[^()]*\))?( \[[0-9a-f]{12}\])?$")  # when it was, and its id


def texts_of(call: Json) -> list[str]:
    """Every text of a request's messages, tool results left out."""
    return [
        block["text"]
        for message in call["messages"]
        for block in blocks_of(message)
        if block.get("type") == "text"
    ]


def results_of(call: Json) -> list[Json]:
    """The tool results in a request's messages, in order."""
    return [
        block
        for message in call["messages"]
        for block in blocks_of(message)
        if block.get("type") == "tool_result"
    ]


def injected(call: Json, event: str | None = None) -> list[str]:
    """The additional contexts that hooks gave, in order; of one hook event, or of all."""
    return [
        text
        for block in texts_of(call)
        for name, text in _INJECTED.findall(block)
        if event in (None, name)
    ]


def items(context: str) -> list[str]:
    """The remembered items in a context."""
    return [str(line) for line in _ITEM.findall(context)]


def given_again(call: Json) -> list[tuple[str, str]]:
    """Pairs of items of different contexts of which one says what the other said."""
    contexts = [[_said(line) for line in items(context)] for context in injected(call)]
    return [
        (one, other)
        for number, context in enumerate(contexts)
        for later in contexts[number + 1 :]
        for one in context
        for other in later
        if one in other or other in one
    ]


def _said(item: str) -> str:
    """An item without its id, its date and its punctuation."""
    return " ".join(re.findall(r"\w+", _TAIL.sub("", item).casefold()))


def main_calls(calls: list[Json]) -> list[Json]:
    """The requests of the conversation itself: no titles, no subagents, no compaction."""
    away = ("side", "compaction", "helper", "fetching")
    return [call for call in calls if call["played"].partition(":")[0] not in away]
