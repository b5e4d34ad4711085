"""A row of the corpus: an event, and what it says as plain text. Pure."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
Json = dict[str, Any]


def row(id_: str, session: str, project: str, time: str, kind: str, data: Json) -> Row:
    """`time` as in 2026-01-13T09:12:00; `data` as in docs/schemas."""
    return {
        "id": id_,
        "text": text_of(data),
        "session": session,
        "conv": project,
        "time": time,
        "kind": kind,
        "data": data,
    }


def text_of(data: Json) -> str:
    """All that a person would have seen of it."""
    if "tool" not in data:
        return str(data["content"])
    given, reason = data["input"], data.get("reason")
    parts = [reason] if reason else []
    parts.append(f"$ {given['command']}" if "command" in given else str(data["tool"]))
    parts += [str(value) for name, value in given.items() if name != "command"]
    parts.append(data["error"] if "error" in data else _said(data.get("response")))
    return "\n".join(part for part in parts if part)


def _said(response: Any) -> str:
    """The texts in a tool's answer, in their order."""
    if isinstance(response, str):
        return response
    inner = response.values() if isinstance(response, dict) else response
    if not isinstance(response, dict | list):
        return ""
    return "\n".join(text for text in map(_said, inner) if text)


def used(tool: str, given: Json, response: Any) -> Json:
    """The data of a call that succeeded."""
    return {"tool": tool, "input": given, "response": response}


def ran(command: str, output: str) -> Json:
    """The data of a command that succeeded."""
    answer = {"stdout": output, "stderr": "", "interrupted": False}
    return used("Bash", {"command": command}, answer)


def failed(command: str, error: str) -> Json:
    """The data of a command that failed; says how it exited, as the agent does."""
    said = error if error.startswith("Exit code") else f"Exit code 1\n{error}"
    return {"tool": "Bash", "input": {"command": command}, "error": said}


def read(path: str, content: str) -> Json:
    """The data of a file that was read."""
    file = {"filePath": path, "content": content}
    return used("Read", {"file_path": path}, {"type": "text", "file": file})


def edited(path: str, old: str, new: str) -> Json:
    """The data of a change of a file."""
    return used("Edit", {"file_path": path, "old_string": old, "new_string": new}, {})


def wrote(path: str, content: str) -> Json:
    """The data of a new file."""
    return used("Write", {"file_path": path, "content": content}, {"type": "create"})
