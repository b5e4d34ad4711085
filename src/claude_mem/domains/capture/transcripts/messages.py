"""One assistant message put together from its lines: the client writes a line for each content
block.

Pure. Owns the merging by message id; usage counts once, as the last line tells it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
# A message that stopped for one of these is not continued; `tool_use` and `pause_turn` are.
_ENDS = frozenset({"end_turn", "stop_sequence", "max_tokens", "refusal"})
_MOST_TOOLS = 256


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool_use block: what was asked for, and the assistant's words that led to it."""

    id: str
    tool: str
    given: Json
    reason: str


@dataclass(slots=True)
class Message:
    """A message that is still growing: `at` and `last_at` are its first and last block's moments,
    Unix milliseconds.

    `line` is its first line, for what every event tells of its surroundings, `prompt_id` the turn
    it belongs to.
    """

    id: str
    at: int
    line: Json
    prompt_id: str = ""
    last_at: int = 0
    model: str = ""
    stop_reason: str = ""
    texts: list[str] = field(default_factory=list)
    tool_ids: list[str] = field(default_factory=list)
    usage: dict[str, int] = field(default_factory=dict)

    def add(self, message: Json, at: int, reason_before: str) -> list[ToolCall]:
        """Take in the blocks of one more line; returns its tool calls."""
        self.last_at = max(at, self.last_at)
        self.model = _text(message.get("model")) or self.model
        self.stop_reason = _text(message.get("stop_reason")) or self.stop_reason
        self._count(message.get("usage"))
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        calls = []
        for block in blocks if isinstance(blocks, list) else ():
            if not isinstance(block, dict):
                continue
            if block.get("type") == "text" and _text(block.get("text")).strip():
                self.texts.append(block["text"].strip())
            elif block.get("type") == "tool_use":
                calls.extend(self._call(block, reason_before))
        return calls

    def _call(self, block: Json, reason_before: str) -> list[ToolCall]:
        call_id, tool = _text(block.get("id")), _text(block.get("name"))
        if not call_id or not tool:
            return []
        self.tool_ids.append(call_id)
        given = block.get("input")
        if not isinstance(given, dict):
            given = {} if given is None else {"value": given}
        return [ToolCall(call_id, tool[:200], given, self.text or reason_before)]

    def _count(self, usage: object) -> None:
        if not isinstance(usage, dict):
            return
        for name in _USAGE:
            count = usage.get(name)
            if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
                self.usage[name] = count

    @property
    def text(self) -> str:
        """The text blocks, a blank line between them."""
        return "\n\n".join(self.texts)

    @property
    def worth_telling(self) -> bool:
        """Whether it says or does something; a lone thinking block may still get its text."""
        return bool(self.texts or self.tool_ids)

    def is_final(self, turn_over: bool) -> bool:
        """Whether it ends its turn; without a stop reason (older files) that shows only when the
        turn is over.
        """
        if self.tool_ids or not self.texts:
            return False
        return self.stop_reason in _ENDS or (turn_over and not self.stop_reason)

    def data(self, turn_over: bool) -> Json:
        """The data of its `assistant.replied`, without what every event carries."""
        found: Json = {"content": self.text, "message_id": self.id[:512]}
        if self.model:
            found["model"] = self.model[:512]
        if self.usage:
            found["usage"] = dict(self.usage)
        if self.tool_ids:
            found["tool_use_ids"] = [call_id[:512] for call_id in self.tool_ids[:_MOST_TOOLS]]
        if self.stop_reason:
            found["stop_reason"] = self.stop_reason[:512]
        found["final"] = self.is_final(turn_over)
        return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
