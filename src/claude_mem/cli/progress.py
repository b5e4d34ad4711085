"""How far long work is, on stderr of a terminal; nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from claude_mem.cli.output import console

Say = Callable[[str, int, int], None]  # what is done, how far, of how much (0: nobody knows)


@contextmanager
def told(*, as_json: bool) -> Iterator[Say]:
    """Yields what to call as the work goes on; each new text begins a new bar."""
    if as_json or not sys.stderr.isatty():
        yield lambda _what, _done, _of: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bars: dict[str, int] = {}
    with Progress(
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console(stderr=True, soft_wrap=False),
        transient=True,
    ) as progress:

        def say(what: str, done: int, of: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=of or None)
            progress.update(bars[what], completed=done, total=of or None)  # type: ignore[arg-type]

        yield say
