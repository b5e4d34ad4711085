"""File changes out of tool calls: which file, what kind of change, how many lines, and the diff. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

EDIT_TOOLS = frozenset({"Write", "Edit", "MultiEdit", "NotebookEdit", "apply_patch"})
MAX_DIFF = 16_000  # characters kept of one diff
_PATCH_OPERATIONS = {
    "*** Add File: ": "create",
    "*** Update File: ": "edit",
    "*** Delete File: ": "delete",
}


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed file."""

    file_path: str
    operation: str  # create | edit | delete
    lines_added: int
    lines_removed: int
    diff: str


def file_changes(tool: str, given: dict[str, Any], response: Any) -> list[FileChange]:
    """What a successful call of an editing tool changed; [] for every other tool."""
    if tool not in EDIT_TOOLS:
        return []
    if tool == "apply_patch":
        return _from_patch_text(_text(given.get("patch") or given.get("input")))
    path = _text(given.get("file_path") or given.get("notebook_path"))
    if not path:
        return []
    result = response if isinstance(response, dict) else {}
    hunks = result.get("structuredPatch")
    if isinstance(hunks, list) and hunks:
        diff = _from_hunks(hunks)
        return [_change(path, "edit", diff)]
    if tool == "Write":
        content = _text(given.get("content"))
        operation = "edit" if result.get("type") == "update" else "create"
        return [_change(path, operation, [f"+{line}" for line in content.splitlines()])]
    return [_change(path, "edit", _from_strings(tool, given))]


def _from_strings(tool: str, given: dict[str, Any]) -> list[str]:
    if tool == "NotebookEdit":
        pairs = [("", _text(given.get("new_source")))]
    elif tool == "MultiEdit" and isinstance(given.get("edits"), list):
        pairs = [
            (_text(edit.get("old_string")), _text(edit.get("new_string")))
            for edit in given["edits"]
            if isinstance(edit, dict)
        ]
    else:
        pairs = [(_text(given.get("old_string")), _text(given.get("new_string")))]
    lines: list[str] = []
    for old, new in pairs:
        compared = unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2)
        lines.extend(line for line in compared if not line.startswith(("---", "+++")))
    return lines


def _from_hunks(hunks: Iterable[Any]) -> list[str]:
    lines: list[str] = []
    for hunk in hunks:
        if not isinstance(hunk, dict):
            continue
        lines.append(
            f"@@ -{hunk.get('oldStart', 0)},{hunk.get('oldLines', 0)}"
            f" +{hunk.get('newStart', 0)},{hunk.get('newLines', 0)} @@"
        )
        lines.extend(line for line in hunk.get("lines", []) if isinstance(line, str))
    return lines


def _from_patch_text(patch: str) -> list[FileChange]:
    changes: list[FileChange] = []
    path, operation, lines = "", "", list[str]()
    for line in [*patch.splitlines(), "*** End Patch"]:
        if line.startswith("*** "):
            if path:
                changes.append(_change(path, operation, lines))
            path, operation, lines = "", "", []
            for marker, kind in _PATCH_OPERATIONS.items():
                if line.startswith(marker):
                    path, operation = line.removeprefix(marker).strip(), kind
        elif path:
            lines.append(line)
    return changes


def _change(path: str, operation: str, lines: list[str]) -> FileChange:
    added = sum(1 for line in lines if line.startswith("+"))
    removed = sum(1 for line in lines if line.startswith("-"))
    diff = "\n".join(lines)
    if len(diff) > MAX_DIFF:
        diff = f"{diff[:MAX_DIFF]}\n[... {len(diff) - MAX_DIFF} more characters ...]"
    return FileChange(path[:4096], operation, added, removed, diff)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
