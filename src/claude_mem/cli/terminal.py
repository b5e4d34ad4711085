"""What is printed for a person: colours and layout are ours, the words may be anybody's.

Titles, passages, paths and names of projects come from what was recorded. An escape sequence in one of them would write
to the clipboard, rename the window or hide a line; a mark of direction would show a command other than the one that is
there. So what steers a terminal is taken out of every text where it is laid out, in one place for all commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment

from claude_mem.cli.steering import STEERS


class PlainConsole(Console):
    """A rich console whose segments of text steer nothing; rich's own control segments pass."""

    def render(self, *args: Any, **kwargs: Any) -> Iterable[Segment]:
        for segment in super().render(*args, **kwargs):
            text, style, control = segment
            if control or not STEERS.search(text):
                yield segment
            else:
                yield Segment(STEERS.sub("", text), style)
