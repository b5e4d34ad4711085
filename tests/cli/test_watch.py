"""`claude-mem watch`: what a line says, and that recorded text steers no terminal."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from claude_mem.cli.terminal import PlainConsole
from claude_mem.cli.watch import _show, render
from claude_mem.domains.ops.model import STREAM_TYPES, TYPES
from claude_mem.sdk.stream import Event

SESSION = {"session_id": "s", "session_title": "Mend the rounding", "project_id": "p"}


def event(kind: str, /, **data: Any) -> Event:
    return Event("019", kind, "2026-11-28T10:20:30.400Z", data)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (event("session.created", kind="session", id="s", title="Untitled session"), "Untitled"),
        (
            event("session.updated", kind="session", id="s", title="T", ended_at="2026"),
            "ended: T",
        ),
        (event("session.updated", kind="prompt", id="x", prompt_type="user", **SESSION), "prompt"),
        (
            event("session.updated", kind="prompt", id="x", prompt_type="assistant", **SESSION),
            "reply  Mend the rounding",
        ),
        (
            event(
                "session.updated",
                kind="code_change",
                id="x",
                file_path="/src/a.py",
                operation="edit",
                lines_added=3,
                lines_removed=1,
                **SESSION,
            ),
            "edit /src/a.py +3 -1  Mend the rounding",
        ),
        (
            event("observation.added", kind="observation", id="x", title="make test", **SESSION),
            "make test  Mend the rounding",
        ),
        (event("learning.extracted", kind="learning", id="x", title="Use cents"), "Use cents"),
        (event("memory.removed", kind="prompt", id="x", why="forgotten"), "prompt forgotten"),
        (event("search.index_updated"), "made anew"),
        (
            event("batch", types={"observation.added": 480, "session.updated": 3}, sessions=[]),
            "480 observation.added, 3 session.updated",
        ),
        (event("stream.reset"), "much happened"),
    ],
)
def test_a_line_says_what_happened(said: Event, shown: str) -> None:
    line = render(said).plain
    assert re.match(r"\d\d:\d\d:30 " + re.escape(said.type), line)
    assert shown in line
    assert "\n" not in line


def test_no_type_is_left_without_a_look() -> None:
    from claude_mem.cli.watch import _STYLES

    assert set(_STYLES) == {*TYPES, *STREAM_TYPES}


def test_what_was_recorded_does_not_steer_the_terminal_and_there_are_no_colours_in_a_pipe() -> None:
    out = io.StringIO()
    hostile = "\x1b]0;owned\x07 \x1b[2J\u202eabc\nsecond line [bold]x[/bold] " + "y" * 500
    title = event("observation.added", kind="observation", id="x", title=hostile, **SESSION)
    _show(PlainConsole(file=out, soft_wrap=True, highlight=False), title)
    written = out.getvalue()
    assert "\x1b" not in written
    assert "\u202e" not in written
    assert written.count("\n") == 1
    assert "[bold]x[/bold]" in written
    assert len(written) < 200
