"""What every line tells of its surroundings, and the wire event around what it says. Pure."""

from __future__ import annotations

from typing import Any

from claude_mem.domains.capture.keys import natural_keys
from claude_mem.hook.agents.claude import AGENT
from claude_mem.kernel.clock import from_iso, to_iso
from claude_mem.kernel.ids import deterministic_id

Event = dict[str, Any]
Json = dict[str, Any]


def envelope(kind: str, at: int, session: str, project: str, data: Json) -> Event:
    """The wire event; its id is always the same for the same moment and natural key."""
    event: Event = {
        "id": "",
        "type": kind,
        "occurred_at": to_iso(at),
        "agent": AGENT,
        "session": session,
        "project": project,
        "data": data,
    }
    keys = natural_keys(event)
    key = keys[0] if keys else f"{session}\0{data.get('title', '')}"
    event["id"] = deterministic_id(at, f"{AGENT}\0{kind}\0{key}")
    return event


def surroundings(line: Json) -> Json:
    """Where a line comes from, as data of its event."""
    data: Json = {"origin": "import"}
    for ours, theirs, most in (("cwd", "cwd", 4096), ("git_branch", "gitBranch", 512)):
        value = text(line, theirs)
        if value:
            data[ours] = value[:most]
    return data


def text(line: Json, name: str) -> str:
    """The text in a field, "" when there is none."""
    value = line.get(name)
    return value if isinstance(value, str) else ""


def moment(line: Json) -> int:
    """Unix milliseconds of a line, 0 when it has no valid moment."""
    stamp = line.get("timestamp")
    if not isinstance(stamp, str):
        return 0
    try:
        return from_iso(stamp)
    except (ValueError, OverflowError):
        return 0


def server_of(tool: str) -> str:
    """`memo` of `mcp__memo__search`."""
    parts = tool.split("__")
    return parts[1][:512] if parts[0] == "mcp" and len(parts) > 2 else ""
