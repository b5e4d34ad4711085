"""A digest as Markdown, headed in the session's language. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from claude_mem.domains.intelligence.model import Point

_HEADINGS: Final = {
    "request": ("Asked", "要求"),
    "investigated": ("Found", "发现"),
    "decisions": ("Decided", "决定"),
    "completed": ("Done", "完成"),
    "failures": ("Failed, and what ended it", "失败与解决"),
    "preferences": ("Preferences", "约定"),
    "open": ("Open", "待办"),
    "files": ("Files", "文件"),
}


def render(sections: Mapping[str, Sequence[Point]], dense: bool) -> str:
    """Sections that hold something, as headings with lists; files on one line."""
    blocks = []
    for name, headings in _HEADINGS.items():
        points = sections.get(name) or ()
        if not points:
            continue
        lines = [f"- {point.text}" for point in points]
        if name == "files":
            lines = [", ".join(point.text for point in points)]
        blocks.append("\n".join([f"## {headings[dense]}", *lines]))
    return "\n\n".join(blocks)
