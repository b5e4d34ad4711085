"""Claude Code: its hook payloads become wire events.

Pure; standard library only. Owns what we know of the client's payloads: which event becomes which
type, what in them is not a person's or a tool's doing (injected context, machine-made prompts, our
own tools) and what is too bulky to keep (the whole original file of an edit). Unknown fields and
events are ignored, missing ones tolerated, because the client's fields come and go with versions.
Must never mask or trim: that is done to every event alike, after this.
"""

import hashlib
import os.path
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

AGENT = "claude-code"
UNKNOWN_PROJECT = "unknown"
OWN_SERVER = "claude-mem"
_OWN_TOOL_PREFIXES = (
    "mcp__claude-mem__",
    "mcp__plugin_memory_claude-mem__",  # by our plugin
    "mcp__plugin_claude-mem_",  # by another program's of our name
)
_OWN_SERVER_PREFIXES = ("plugin:memory:claude-mem", "plugin:claude-mem:", "plugin_claude-mem_")

# What the wire allows (characters): longer texts are cut here, or the event would be refused whole.
_LONGEST_TEXT, _LONGEST_LABEL, _LONGEST_NAME, _LONGEST_PATH = 1_000_000, 512, 200, 4096
_TEXT_FIELDS = {"prompt", "error", "error_details", "last_assistant_message"}
_TEXT_FIELDS |= {"custom_instructions", "compact_summary"}
_PATH_FIELDS = {"cwd", "transcript_path", "agent_transcript_path"}

Payload = dict[str, Any]
Event = dict[str, Any]


class MalformedPayload(ValueError):  # noqa: N818 - "malformed" says that it is an error
    """A payload that cannot become an event; `field` names what is missing or of a wrong type."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def to_events(payload: Payload, event_id: str, occurred_ms: int) -> list[Event]:
    """The wire events of one hook payload, none for what is not recorded.

    `event_id` (UUIDv7) becomes the id of the first event; ids of further ones are derived from it,
    so the same payload always makes the same events. Raises MalformedPayload when what an event
    cannot do without (the session, a tool's name) is missing.
    """
    session = payload.get("session_id")
    if not isinstance(session, str) or not session:
        raise MalformedPayload("session_id", "a hook payload names its session")
    make = _MAKERS.get(str(payload.get("hook_event_name")))
    if make is None:
        return []
    occurred_at = datetime.fromtimestamp(occurred_ms / 1000, UTC)
    return [
        {
            "id": event_id if index == 0 else derived_id(event_id, index),
            "type": kind,
            "occurred_at": occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "agent": AGENT,
            "session": session[:_LONGEST_NAME],
            "project": _text(payload, "cwd") or UNKNOWN_PROJECT,
            "data": _context(payload) | data,
        }
        for index, (kind, data) in enumerate(make(payload))
    ]


def derived_id(event_id: str, index: int) -> str:
    """A UUIDv7 of the same millisecond as `event_id`, always the same for the same `index`."""
    digest = hashlib.sha256(f"{event_id}/{index}".encode()).hexdigest()
    head = event_id.replace("-", "")[:12]
    variant = "89ab"[int(digest[3], 16) & 3]
    return f"{head[:8]}-{head[8:]}-7{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}"


# --- what is not recorded ---------------------------------------------------------------------

_INJECTED = (
    r"system-reminder|claude-mem-context|task-notification"
    r"|local-command-[a-z-]{1,40}|command-name|command-message"
)
_TAG = re.compile(rf"<(/?)({_INJECTED})(?:\s[^<>]{{0,500}})?>")


def strip_injected(text: str) -> str:
    """A prompt without the blocks that the client, or we, put into it. Linear in its length.

    A tag that is never closed is a person's own words and stays.
    """
    tags = list(_TAG.finditer(text))
    if not tags:
        return text
    last_close = {tag[2]: tag.start() for tag in tags if tag[1]}
    kept, position, inside = [], 0, ""
    for tag in tags:
        closing, name = tag[1], tag[2]
        if not inside and not closing and last_close.get(name, -1) > tag.start():
            kept.append(text[position : tag.start()])
            inside = name
        elif inside == name and closing:
            inside, position = "", tag.end()
    kept.append(text[position:])
    return "".join(kept).strip()


def is_own_tool(tool: str, mcp_server: str | None, tool_input: object) -> bool:
    """Whether a tool call is one of ours: recorded, a memory would find its own searches."""
    if tool.startswith(_OWN_TOOL_PREFIXES):
        return True
    server = mcp_server or ""
    if server == OWN_SERVER or server.startswith(_OWN_SERVER_PREFIXES):
        return True
    if tool != "Bash" or not isinstance(tool_input, dict):
        return False
    command = tool_input.get("command")
    return isinstance(command, str) and _runs_only_us(command)


# Commands that only lead to or look at the output of another: `cd x && claude-mem search y | head`.
_COMPANIONS = {"cd", "export", "set", "true", "echo", "printf", "head", "tail", "less", "more"}
_COMPANIONS |= {
    "cat",
    "grep",
    "rg",
    "jq",
    "wc",
    "sort",
    "uniq",
    "sed",
    "awk",
    "cut",
    "tee",
    "column",
}
_WRAPPERS = {"sudo", "env", "exec", "time", "command", "nohup", "timeout", "uvx", "uv"}
_LONGEST_COMMAND = 4000  # characters; ours are short, and a pasted script is not ours


def _runs_only_us(command: str) -> bool:
    if "claude-mem" not in command and "claude_mem" not in command:
        return False
    if len(command) > _LONGEST_COMMAND:
        return False
    parts = [_program(words) for words in _simple_commands(command)]
    return "claude-mem" in parts and all(
        part == "claude-mem" or part in _COMPANIONS for part in parts
    )


def _simple_commands(command: str) -> list[list[str]]:
    """The words of each command of a shell line; [] when it does not parse (quotes left open)."""
    lexer = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = ""
    found: list[list[str]] = [[]]
    redirected = False
    try:
        for word in lexer:
            if word[0] in "<>":
                redirected = True
            elif word[0] in "();|&":
                # the "&" of "2>&1" comes as part of ">&"; this one ends a command
                found.append([])
            elif redirected:
                redirected = False  # a file name, not a word of the command
            else:
                found[-1].append(word)
    except ValueError:
        return []
    return [words for words in found if words]


def _program(words: list[str]) -> str:
    """The name of the program that a simple command runs, past assignments and wrappers."""
    for index, word in enumerate(words):
        name = os.path.basename(word)
        if "=" in word or word.startswith("-") or name in _WRAPPERS or word.isdigit():
            continue
        if name.startswith("python") and words[index + 1 : index + 3] == ["-m", "claude_mem"]:
            return "claude-mem"
        return name
    return "true"  # assignments only


# --- one maker per hook event -------------------------------------------------------------------

Made = list[tuple[str, dict[str, Any]]]


def _session_started(payload: Payload) -> Made:
    fields = {"source": "source", "model": "model", "title": "session_title"}
    return [("session.started", _texts(payload, fields, transcript=True))]


def _prompt_submitted(payload: Payload) -> Made:
    content = strip_injected(_text(payload, "prompt") or "")
    if not content:
        return []
    data: dict[str, Any] = {"content": content}
    source = _text(payload, "source")
    if source:
        data["source"] = source
        if source != "user":
            data["machine"] = True
    return [("prompt.submitted", data)]


def _tool_used(payload: Payload) -> Made:
    data = _tool(payload)
    if data is None:
        return []
    data["response"] = _without_original(data["tool"], payload.get("tool_response"))
    return [("tool.used", data)]


def _tool_failed(payload: Payload) -> Made:
    data = _tool(payload)
    if data is None:
        return []
    error = payload.get("error")
    data["error"] = clipped(error if isinstance(error, str) else str(error or ""), _LONGEST_TEXT)
    if isinstance(payload.get("is_interrupt"), bool):
        data["is_interrupt"] = payload["is_interrupt"]
    return [("tool.failed", data)]


def _turn_ended(payload: Payload) -> Made:
    data = _texts(payload, {"content": "last_assistant_message"}, transcript=True)
    return [("assistant.replied", {"content": ""} | data | {"final": True})]


def _turn_failed(payload: Payload) -> Made:
    error = _text(payload, "error") or "unknown error"
    lines = [error, _text(payload, "error_details"), _text(payload, "last_assistant_message")]
    data = {
        "observation_type": "error",
        "title": f"Turn ended by {error}",
        "content": "\n".join(line for line in lines if line),
    }
    data["content"] = clipped(data["content"], _LONGEST_TEXT)
    return [("observation.added", data)]


def _subagent_stopped(payload: Payload) -> Made:
    if not _text(payload, "agent_id"):
        raise MalformedPayload("agent_id", "SubagentStop names its subagent")
    if payload.get("agent_type") == "":
        # A fork of the client's own (it writes the compaction's summary): no subagent that anybody
        # started, without a transcript, and what it said is told by another event.
        return []
    fields = {"content": "last_assistant_message", "transcript_path": "agent_transcript_path"}
    return [("subagent.stopped", _texts(payload, fields))]


def _before_compaction(payload: Payload) -> Made:
    fields = {"trigger": "trigger", "custom_instructions": "custom_instructions"}
    return [("context.compacted", {"phase": "before"} | _texts(payload, fields))]


def _after_compaction(payload: Payload) -> Made:
    fields = {"trigger": "trigger", "summary": "compact_summary"}
    return [("context.compacted", {"phase": "after"} | _texts(payload, fields))]


def _session_ended(payload: Payload) -> Made:
    return [("session.ended", _texts(payload, {"reason": "reason"}, transcript=True))]


_MAKERS: dict[str, Callable[[Payload], Made]] = {
    "SessionStart": _session_started,
    "UserPromptSubmit": _prompt_submitted,
    "PostToolUse": _tool_used,
    "PostToolUseFailure": _tool_failed,
    "Stop": _turn_ended,
    "StopFailure": _turn_failed,
    "SubagentStop": _subagent_stopped,
    "PreCompact": _before_compaction,
    "PostCompact": _after_compaction,
    "SessionEnd": _session_ended,
}
#: The hook events that are recorded, in the order of a session.
EVENTS = tuple(_MAKERS)


def _context(payload: Payload) -> dict[str, Any]:
    """What every event's data may carry: the turn, the subagent, the folder, where it came from."""
    names = ("prompt_id", "agent_id", "agent_type", "cwd")
    return _texts(payload, {name: name for name in names}) | {"origin": "live"}


def _tool(payload: Payload) -> dict[str, Any] | None:
    """The fields a used and a failed tool share; None for our own tools."""
    tool = _text(payload, "tool_name")
    if not tool:
        raise MalformedPayload("tool_name", "a tool event names its tool")
    server = payload.get("mcp_server")
    server_name = server.get("name") if isinstance(server, dict) else server
    server_name = server_name if isinstance(server_name, str) and server_name else None
    tool_input = payload.get("tool_input")
    if is_own_tool(tool, server_name, tool_input):
        return None
    data: dict[str, Any] = {
        "tool": tool[:_LONGEST_NAME],
        **_texts(payload, {"tool_use_id": "tool_use_id"}),
    }
    data["input"] = tool_input if isinstance(tool_input, dict) else _wrapped(tool_input)
    duration = payload.get("duration_ms")
    if isinstance(duration, int | float) and not isinstance(duration, bool) and duration >= 0:
        data["duration_ms"] = int(duration)
    if server_name:
        data["mcp_server"] = server_name[:_LONGEST_LABEL]
    return data


def _wrapped(value: object) -> dict[str, Any]:
    return {} if value is None else {"value": value}


def _without_original(tool: str, response: object) -> object:
    """An edit's answer carries the whole file as it was; the patch beside it says what changed."""
    if tool in {"Edit", "MultiEdit", "Write", "NotebookEdit"} and isinstance(response, dict):
        bulky = {"originalFile", "original_file"}
        return {key: value for key, value in response.items() if key not in bulky}
    return response


def _text(payload: Payload, name: str) -> str | None:
    """A text field within the wire's limits, None when it is absent or no text."""
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        return None
    if name in _PATH_FIELDS:
        return value if len(value) <= _LONGEST_PATH else None  # half a path names something else
    return clipped(value, _LONGEST_TEXT if name in _TEXT_FIELDS else _LONGEST_LABEL)


def clipped(text: str, limit: int) -> str:
    """At most `limit` characters of a text, cut at a space where there is one near.

    Masking comes later and knows a secret only whole; secrets do not contain spaces.
    """
    if len(text) <= limit:
        return text
    cut = max(text.rfind(space, limit - 4096 if limit > 8192 else 0, limit) for space in " \n\t")
    return text[: cut if cut > 0 else limit]


def _texts(payload: Payload, fields: dict[str, str], transcript: bool = False) -> dict[str, Any]:
    """The text fields that are there: our name -> theirs."""
    if transcript:
        fields = fields | {"transcript_path": "transcript_path"}
    return {ours: text for ours, theirs in fields.items() if (text := _text(payload, theirs))}
