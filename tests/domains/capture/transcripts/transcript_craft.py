"""Hand-made transcript lines, in the real format, for the tests of the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]
SESSION = "5f0c1c1e-0000-4000-8000-000000000001"
SAMPLE = Path(__file__).parents[4] / "src/claude_mem/assets/sample/transcripts"


class Script:
    """Writes a transcript line by line; time goes on by a second a line."""

    def __init__(
        self, session: str = SESSION, cwd: str = "/home/dev/ledger", start: int = 0
    ) -> None:
        self.session, self.cwd, self.seconds = session, cwd, start
        self.rows: list[Json] = []
        self.prompt_id = ""
        self.agent_id = ""

    def _row(self, kind: str, message: Json, **extra: Any) -> Json:
        self.seconds += 1
        minutes, seconds = divmod(self.seconds, 60)
        row: Json = {
            "type": kind,
            "uuid": f"{self.session[:8]}-{len(self.rows):04d}-4000-8000-{self.seconds:012d}",
            "timestamp": f"2026-10-01T10:{minutes:02d}:{seconds:02d}.000Z",
            "sessionId": self.session,
            "cwd": self.cwd,
            "gitBranch": "main",
            "version": "2.1.329",
            "isSidechain": bool(self.agent_id),
            "message": message,
        }
        if self.agent_id:
            row["agentId"] = self.agent_id
        row |= extra
        self.rows.append(row)
        return row

    def plain(self, **row: Any) -> Json:
        """A line as it is given."""
        self.rows.append(row)
        return row

    def ask(self, content: Any, **extra: Any) -> Json:
        """A prompt, with an id of its own unless `promptId` is given."""
        self.prompt_id = extra.pop("promptId", f"prompt-{self.session[:4]}-{self.seconds}")
        row = self._row("user", {"role": "user", "content": content}, **extra)
        if self.prompt_id:
            row["promptId"] = self.prompt_id
        return row

    def block(
        self, message_id: str, block: Json, stop: str | None = "tool_use", out: int = 5
    ) -> Json:
        """One block of an assistant's message."""
        message = {
            "id": message_id,
            "model": "claude-sonnet-4-5",
            "role": "assistant",
            "content": [block],
            "stop_reason": stop,
            "usage": {"input_tokens": 10, "output_tokens": out, "cache_read_input_tokens": 3},
        }
        return self._row("assistant", message)

    def say(self, message_id: str, text: str, stop: str | None = "end_turn", out: int = 5) -> Json:
        """A text block."""
        return self.block(message_id, {"type": "text", "text": text}, stop, out)

    def call(self, message_id: str, tool_id: str, tool: str = "Bash", **given: Any) -> Json:
        """A tool_use block."""
        given = given or {"command": "ls"}
        return self.block(
            message_id, {"type": "tool_use", "id": tool_id, "name": tool, "input": given}
        )

    def result(
        self, tool_id: str, content: Any = "done", outcome: Any = None, **block: Any
    ) -> Json:
        """A tool_result line; `outcome` is its toolUseResult."""
        body = {"type": "tool_result", "tool_use_id": tool_id, "content": content, **block}
        extra = {} if outcome is None else {"toolUseResult": outcome}
        row = self._row("user", {"role": "user", "content": [body]}, **extra)
        row["promptId"] = self.prompt_id
        return row

    def bytes(self) -> bytes:
        """The file's content."""
        return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in self.rows)

    def write(self, path: Path) -> Path:
        """The file, at `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.bytes())
        return path


def long_session() -> Script:
    """Two turns with everything that waits for something else: blocks, parallel calls, a title, a
    compaction.
    """
    script = Script()
    script.plain(type="queue-operation", operation="enqueue", sessionId=SESSION)
    script.ask("Why does the overlap check fail?")
    script.block("msg_1", {"type": "thinking", "thinking": "hm"})
    script.say("msg_1", "Let me look.", "tool_use")
    script.call("msg_1", "toolu_1")
    script.result("toolu_1", "a.py", {"stdout": "a.py", "stderr": "", "interrupted": False})
    script.call("msg_1", "toolu_2", "Read", file_path="/home/dev/ledger/a.py")
    script.plain(type="last-prompt", sessionId=SESSION)
    script.call("msg_2", "toolu_3", "Grep", pattern="overlap")
    script.result("toolu_3", "none")
    script.result("toolu_2", "1\tx = 1")
    script.say("msg_3", "It compares dates as text.")
    script.say("msg_3", "The fix is one line.")
    script.plain(type="ai-title", aiTitle="Overlap check", sessionId=SESSION)
    script.plain(type="system", subtype="stop_hook_summary", sessionId=SESSION)
    script.ask("修好它")
    script.call("msg_4", "toolu_4", command="false")
    script.result("toolu_4", "Exit code 1", "Error: Exit code 1", is_error=True)
    script.plain(type="system", subtype="compact_boundary", compactMetadata={"trigger": "auto"})
    script._row(
        "user",
        {
            "role": "user",
            "content": "The summary below covers the earlier portion of the conversation.\n\n"
            "We mend dates.\n\nIf you need specific details from before compaction",
        },
        isCompactSummary=True,
    )
    script.say("msg_5", "Mended.")
    script.ask("and the other file", promptId=script.prompt_id)
    script.say("msg_5b", "That too.")
    script.plain(type="custom-title", customTitle="My overlap", sessionId=SESSION)
    script.ask("Thanks").pop("timestamp")
    script.plain(type="ai-title", aiTitle="Overlap again", sessionId=SESSION)
    script.say("msg_6", "Gladly.")
    script.plain(type="custom-title", customTitle="My overlap", sessionId=SESSION)
    return script
