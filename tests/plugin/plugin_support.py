"""The plugin written out, and its parts run as the client runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from claude_mem.cli.plugin import write


def written(folder: Path) -> Path:
    """The plugin's own folder in a marketplace that was just written."""
    write(folder)
    return folder / "memory"


def configured(plugin: Path, event: str) -> list[str]:
    """The command of an event's handler, with the placeholder filled in and this Python."""
    hooks = json.loads((plugin / "hooks" / "hooks.json").read_text())["hooks"]
    [[handler]] = [group["hooks"] for group in hooks[event]]
    args = [part.replace("${CLAUDE_PLUGIN_ROOT}", str(plugin)) for part in handler["args"]]
    assert handler["command"] == "python3"
    return [sys.executable, *args]


def run_hook(
    plugin: Path, event: str, environment: dict[str, str], payload: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the handler of an event on a payload; it must end well."""
    body = {"session_id": "s-1", "hook_event_name": event, "cwd": "/nowhere", **(payload or {})}
    return subprocess.run(
        configured(plugin, event),
        input=json.dumps(body).encode(),
        capture_output=True,
        env=environment,
        timeout=30,
        check=True,
    )
