"""Owns the lines of one transcript file: envelope, uuid chain, usage, and the non-message lines.

Shapes follow transcripts of Claude Code 2.1.329. Knows nothing of the source format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tools.sample.stable import Clock, Stable

VERSION = "2.1.329"


@dataclass(frozen=True)
class Place:
    """What every line of a session repeats."""

    session_id: str
    cwd: str
    branch: str
    model: str


class Lines:
    """Collects the lines of one file; `agent_id` makes it a subagent's file."""

    def __init__(self, place: Place, stable: Stable, clock: Clock, agent_id: str = "") -> None:
        self.place, self.stable, self.clock, self.agent_id = place, stable, clock, agent_id
        self.rows: list[dict[str, Any]] = []
        self.parent: str | None = None
        self.prompt_id = ""
        self.slug = ""
        self._cached = stable.between(14_000, 17_500)
        self.tokens = {"input": 0, "output": 0, "read": 0, "write": 0}

    def _chained(self, head: dict[str, Any], parent: str | None = None) -> str:
        uuid = self.stable.uuid()
        row: dict[str, Any] = {"parentUuid": parent or self.parent}
        row["isSidechain"] = bool(self.agent_id)
        if self.agent_id:
            row["agentId"] = self.agent_id
        row |= head
        row |= {"uuid": uuid, "timestamp": self.clock.stamp}
        row |= {"userType": "external", "entrypoint": "sdk-cli", "cwd": self.place.cwd}
        row |= {"sessionId": self.place.session_id, "version": VERSION}
        row["gitBranch"] = self.place.branch
        if self.slug:
            row["slug"] = self.slug
        self.rows.append(row)
        self.parent = uuid
        return uuid

    def user(self, content: str | list[Any], extra: dict[str, Any] | None = None) -> str:
        """A user line of the current prompt; `extra` adds or marks (isMeta and the like)."""
        head: dict[str, Any] = {"promptId": self.prompt_id, "type": "user"}
        head["message"] = {"role": "user", "content": content}
        return self._chained(head | (extra or {}))

    def assistant(self, blocks: list[dict[str, Any]], stop_reason: str) -> tuple[str, list[str]]:
        """One line per content block; returns the message id and the uuid of each line."""
        message_id = self.stable.base58("msg_01", 22)
        request = self.stable.uuid()
        usage = self._usage(sum(len(str(block)) for block in blocks))
        uuids = []
        for index, block in enumerate(blocks):
            self.clock.forward(1200 + 14 * len(str(block.get("text", block.get("input", "")))))
            body: dict[str, Any] = {"id": message_id, "type": "message", "role": "assistant"}
            body |= {"model": self.place.model, "content": [block]}
            body |= {"stop_reason": stop_reason, "stop_sequence": None, "usage": usage}
            body["stop_details"] = None
            head: dict[str, Any] = {"message": body}
            if block["type"] == "tool_use":
                head["toolInputStreamMs"] = self.stable.between(90, 2400)
            head |= {"apiBlockIndex": index, "requestRef": request}
            head |= {"requestedModel": self.place.model, "promptCacheRequested": "5m"}
            head |= {"type": "assistant", "perTurnEffort": None, "madeBy": "model"}
            uuids.append(self._chained(head))
        return message_id, uuids

    def _usage(self, characters: int) -> dict[str, Any]:
        fresh = self.stable.between(350, 1900)
        used = {"input": self.stable.between(3, 9), "write": fresh, "read": self._cached}
        used["output"] = max(12, characters // 4)
        for kind, count in used.items():
            self.tokens[kind] += count
        self._cached += fresh
        return {
            "input_tokens": used["input"],
            "cache_creation_input_tokens": fresh,
            "cache_read_input_tokens": used["read"],
            "output_tokens": used["output"],
            "output_tokens_details": {"thinking_tokens": 0},
            "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
            "service_tier": "standard",
            "cache_creation": {
                "ephemeral_1h_input_tokens": 0,
                "ephemeral_5m_input_tokens": fresh,
            },
            "inference_geo": "",
            "iterations": [],
            "speed": "standard",
            "fallback_credit": None,
        }

    def result(self, block: dict[str, Any], outcome: Any, source: str, *, shell: bool) -> str:
        """A tool_result line; `source` is the uuid of the line that asked for the tool."""
        head: dict[str, Any] = {"promptId": self.prompt_id, "type": "user"}
        head["message"] = {"role": "user", "content": [block]}
        head["toolUseResult"] = outcome
        if shell:
            head["sandboxed"] = False
        head["sourceToolAssistantUUID"] = source
        if shell or not block.get("is_error"):
            head["permissionDecision"] = {"decision": "accept", "source": "config"}
        return self._chained(head, parent=source)

    def system(self, head: dict[str, Any], *, root: bool = False) -> str:
        """A system line; `root` starts the chain anew, as a compaction does."""
        uuid = self._chained({"type": "system"} | head)
        if root:
            self.rows[-1]["parentUuid"] = None
        return uuid

    def attachment(self, kind: str, text: str = "", extra: dict[str, Any] | None = None) -> None:
        """A context piece the client added by itself; `text` is what the model was shown."""
        head: dict[str, Any] = {"attachment": {"type": kind} | (extra or {}), "type": "attachment"}
        if text:
            shown = f"<system-reminder>\n{text}\n</system-reminder>"
            head |= {"rendered": [{"content": shown}], "renderedRole": "system"}
        self._chained(head)

    def plain(self, kind: str, body: dict[str, Any], *, timed: bool = False) -> None:
        """A line outside the chain, such as `last-prompt`."""
        row: dict[str, Any] = {"type": kind} | body | {"sessionId": self.place.session_id}
        if timed:
            row["timestamp"] = self.clock.stamp
        self.rows.append(row)
