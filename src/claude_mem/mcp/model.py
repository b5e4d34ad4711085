"""What tools share: the API they come through, where the client works, and what they answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from claude_mem.mcp.render import NOTICE


class Misuse(Exception):  # noqa: N818 - named for what happened
    """A tool was asked for what it cannot give; the text says what to ask instead."""


class Api(Protocol):
    """The API, wherever it is."""

    async def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> dict[str, Any]:
        """One call below the API root. Raises ApiError."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where the client works: its folder, its session's own id, and the id under which this call is done once."""

    project: str | None = None
    session: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool says: text for a model, and the same as data. `failed`: it did not do what was asked."""

    text: str
    data: dict[str, Any] | None = None
    failed: bool = False

    def wire(self) -> dict[str, Any]:
        """As MCP wants it. Some clients show a model the data instead of the text: the notice stands in both."""
        result: dict[str, Any] = {"content": [{"type": "text", "text": self.text}]}
        if self.data is not None:
            result["structuredContent"] = {"note": NOTICE, **self.data}
        if self.failed:
            result["isError"] = True
        return result
