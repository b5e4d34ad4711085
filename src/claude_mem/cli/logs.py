"""`claude-mem logs`: what the worker and its supervisor have to say."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from claude_mem.cli.output import console, fail
from claude_mem.cli.steering import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from claude_mem.worker.logview import Follower, LogLine

_POLL_SECONDS = 0.2
_STYLES = {
    "debug": "dim",
    "info": "green",
    "warning": "yellow",
    "error": "red",
    "critical": "bold red",
}
_SHOWN_OTHERWISE = {"timestamp", "level", "message", "exception", "pid", "logger"}


class Level(StrEnum):
    """How serious a line must be to be shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Source(StrEnum):
    """Whose log."""

    ALL = "all"
    WORKER = "worker"
    SUPERVISOR = "supervisor"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs")(logs)


def logs(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until Ctrl-C.")] = False,
    count: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many lines.")] = 50,
    level: Annotated[Level, typer.Option(help="From this level on.")] = Level.DEBUG,
    source: Annotated[Source, typer.Option(help="Whose log.")] = Source.ALL,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON lines, also on a terminal.")
    ] = False,
) -> None:
    """Show the newest log lines: readable on a terminal, JSON lines in a pipe."""
    from claude_mem.hook.home import default_home
    from claude_mem.worker import logview

    paths = _paths(default_home(), source)
    raw = as_json or not sys.stdout.isatty()
    show = _show_raw if raw else _show_pretty
    followers = [logview.Follower(path) for path in paths] if follow else []
    lines = logview.recent(paths, count, level)
    if not lines and not follow:
        if not any(path.exists() for path in paths):
            fail("there are no logs yet", "claude-mem start", code="NO_LOGS", as_json=as_json)
        return
    show(lines)
    if follow:
        _follow(followers, level, show)


def _paths(home: Path, source: Source) -> list[Path]:
    from claude_mem.worker.layout import Layout

    files = Layout(home)
    paths = {Source.WORKER: files.worker_log, Source.SUPERVISOR: files.supervisor_log}
    return list(paths.values()) if source is Source.ALL else [paths[source]]


def _follow(
    followers: list[Follower], level: str, show: Callable[[Iterable[LogLine]], None]
) -> None:
    try:
        while True:
            lines = [line for it in followers for line in it.poll() if line.is_at_least(level)]
            show(sorted(lines, key=lambda line: line.when))
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:  # how a person ends it
        return


def _show_raw(lines: Iterable[LogLine]) -> None:
    for line in lines:
        sys.stdout.write(escaped(line.raw) + "\n")
    sys.stdout.flush()


def _show_pretty(lines: Iterable[LogLine]) -> None:
    from rich.text import Text

    out = console()
    for line in lines:
        if not line.fields:
            out.print(Text(line.raw))
            continue
        text = Text(line.when[:23].replace("T", " "), style="dim")
        text.append(f" {line.level:<8}", style=_STYLES[line.level])
        text.append(f" {line.fields.get('logger', '')}: ", style="dim")
        text.append(str(line.fields.get("message", "")), style="default")
        others = {k: v for k, v in line.fields.items() if k not in _SHOWN_OTHERWISE}
        text.append("".join(f"  {name}={value}" for name, value in others.items()), style="dim")
        out.print(text)
        if "exception" in line.fields:
            out.print(Text(str(line.fields["exception"]), style="dim"))
