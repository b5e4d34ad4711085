"""What a tool call means to a reader: a title, a text, a kind, an importance. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from claude_mem.domains.capture.diffs import EDIT_TOOLS, FileChange, file_changes

_EXIT = re.compile(r"(?:Error: )?Exit code (\d{1,3})")
_READERS = frozenset({"Read", "Grep", "Glob", "LS", "WebFetch", "WebSearch", "ToolSearch"})
_FILE_KEYS = ("file_path", "notebook_path", "path")
_TITLE_CHARS = 160
# How much a call of this kind tells later readers, before anything learns from use.
_IMPORTANCE = {"edit": 0.6, "failed": 0.7, "command": 0.45, "read": 0.2, "other": 0.4}


@dataclass(frozen=True, slots=True)
class Seen:
    """An observation before it has ids."""

    observation_type: str
    title: str
    content: str
    command: str | None
    exit_status: int | None
    importance: float
    files: tuple[str, ...]
    changes: tuple[FileChange, ...]


def see_success(tool: str, given: dict[str, Any], response: Any) -> Seen:
    """A call that succeeded."""
    changes = tuple(file_changes(tool, given, response))
    command = _command(tool, given)
    return Seen(
        observation_type="tool_result",
        title=_title(tool, given, changes),
        content=_content(tool, given, response, changes),
        command=command,
        exit_status=None if command is None else 0,
        importance=_importance(tool, command),
        files=_files(given, changes),
        changes=changes,
    )


def see_failure(tool: str, given: dict[str, Any], error: str) -> Seen:
    """A call that failed; nothing it meant to change is recorded as changed."""
    command = _command(tool, given)
    found = _EXIT.match(error)
    body = f"$ {command}\n{error}" if command else f"{_compact(given)}\n{error}"
    return Seen(
        observation_type="error",
        title=_title(tool, given, ()),
        content=body,
        command=command,
        exit_status=int(found.group(1)) if found else (None if command is None else 1),
        importance=_IMPORTANCE["failed"],
        files=_files(given, ()),
        changes=(),
    )


def _importance(tool: str, command: str | None) -> float:
    if tool in EDIT_TOOLS:
        return _IMPORTANCE["edit"]
    if command is not None:
        return _IMPORTANCE["command"]
    return _IMPORTANCE["read" if tool in _READERS else "other"]


def _command(tool: str, given: dict[str, Any]) -> str | None:
    value = given.get("command")
    return value if tool in {"Bash", "PowerShell", "shell"} and isinstance(value, str) else None


def _title(tool: str, given: dict[str, Any], changes: tuple[FileChange, ...]) -> str:
    if changes:
        first = changes[0]
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        stat = f"+{first.lines_added} -{first.lines_removed}"
        return _one_line(f"{tool} {first.file_path}{more} ({stat})")
    for key in (
        "description",
        "command",
        *_FILE_KEYS,
        "pattern",
        "query",
        "url",
        "prompt",
        "skill",
    ):
        value = given.get(key)
        if isinstance(value, str) and value.strip():
            return _one_line(f"{tool}: {value}")
    return _one_line(tool)


def _one_line(text: str) -> str:
    flat = " ".join(text[: _TITLE_CHARS * 4].split())
    return flat if len(flat) <= _TITLE_CHARS else flat[: _TITLE_CHARS - 1] + "…"


def _files(given: dict[str, Any], changes: tuple[FileChange, ...]) -> tuple[str, ...]:
    paths = [change.file_path for change in changes]
    paths += [given[key] for key in _FILE_KEYS if isinstance(given.get(key), str)]
    return tuple(dict.fromkeys(path for path in paths if path))


def _content(
    tool: str, given: dict[str, Any], response: Any, changes: tuple[FileChange, ...]
) -> str:
    if changes:
        return "\n".join(
            f"{change.operation} {change.file_path}\n{change.diff}" for change in changes
        )
    command = _command(tool, given)
    output = _output(response)
    if command is not None:
        description = given.get("description")
        head = f"# {description}\n" if isinstance(description, str) and description else ""
        return f"{head}$ {command}\n{output}".rstrip()
    return f"{_compact(given)}\n{output}".strip()


def _output(response: Any) -> str:
    """The readable part of a tool's response, whatever its shape."""
    if isinstance(response, str):
        return response
    if isinstance(response, list):
        return "\n".join(filter(None, (_output(item) for item in response)))
    if not isinstance(response, dict):
        return "" if response is None else _dump(response)
    if "stdout" in response or "stderr" in response:
        parts = (response.get("stdout"), response.get("stderr"))
        return "\n".join(part for part in parts if isinstance(part, str) and part)
    file = response.get("file")
    if isinstance(file, dict) and isinstance(file.get("content"), str):
        return str(file["content"])
    for key in ("text", "content", "result", "output"):
        if isinstance(response.get(key), str | list):
            return _output(response[key])
    return _dump(response)


def _compact(given: dict[str, Any]) -> str:
    """The input as `key: value` lines, so that its words are searchable without JSON's noise."""
    lines = []
    for key, value in given.items():
        text = value if isinstance(value, str) else _dump(value)
        lines.append(f"{key}: {text}")
    return "\n".join(lines)


def _dump(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str).decode()
