"""`claude-mem watch`: what happens, as it happens."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.connection import worker_client
from claude_mem.cli.output import console
from claude_mem.cli.steering import escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from claude_mem.sdk.stream import Event

_STYLES = {
    "session.created": "bold green",
    "session.updated": "cyan",
    "observation.added": "blue",
    "summary.generated": "magenta",
    "learning.extracted": "yellow",
    "memory.removed": "red",
    "search.index_updated": "dim",
    "batch": "dim",
    "stream.reset": "bold red",
}
_LONG = 100  # characters of a title or a path


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch")(watch)


def watch(
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only events of this type; may be given again."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--after", help="Go on after this event: the id of one that was shown."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what happens as it happens, one line an event, until Ctrl-C; through restarts of the worker."""
    from claude_mem.hook.home import default_home
    from claude_mem.sdk.local import follow

    home, out = default_home(), console()
    errors = console(stderr=True)
    show: Callable[[Event], None] = _show_json if as_json else lambda event: _show(out, event)
    try:
        with worker_client(home, as_json=as_json):  # started, or explained why it cannot be
            stream = follow(
                home,
                types=types or (),
                last_event_id=since,
                lost=lambda _reason: errors.print("[dim]the worker is away: waiting for it[/]"),
                found=lambda: errors.print("[dim]it is back[/]"),
            )
            for event in stream:
                show(event)
    except KeyboardInterrupt:  # how a person ends it
        return


def _show_json(event: Event) -> None:
    line = {"id": event.id, "type": event.type, "at": event.at, "data": event.data}
    sys.stdout.write(escaped(json.dumps(line, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def _show(out: Console, event: Event) -> None:
    out.print(render(event))
    out.file.flush()  # also into a pipe: somebody waits for it


def render(event: Event) -> Text:
    """An event as one line."""
    from rich.text import Text

    at = datetime.fromisoformat(event.at).astimezone()
    line = Text(f"{at:%H:%M:%S} ", style="dim", end="")
    line.append(f"{event.type:<20} ", style=_STYLES.get(event.type, "default"))
    line.append(_one_line(_words(event)), style="default")
    session = event.data.get("session_title")
    if session and event.data.get("kind") != "session":
        line.append(f"  {_one_line(session)}", style="dim")
    return line


def _words(event: Event) -> str:
    data = event.data
    match event.type:
        case "batch":
            return ", ".join(f"{count} {kind}" for kind, count in data["types"].items())
        case "stream.reset":
            return "much happened meanwhile and is not told one by one"
        case "search.index_updated":
            return "made anew"
        case "memory.removed":
            return f"{data['kind']} {data['why']}"
    return _changed(data)


def _changed(data: dict[str, Any]) -> str:
    match data["kind"]:
        case "prompt":
            return "reply" if data.get("prompt_type") == "assistant" else "prompt"
        case "code_change":
            lines = f"+{data.get('lines_added', 0)} -{data.get('lines_removed', 0)}"
            return f"{data.get('operation') or 'explain'} {data.get('file_path', '')} {lines}"
        case "session" if data.get("ended_at"):
            return f"ended: {data.get('title') or data.get('session_title')}"
    return str(data.get("title") or data.get("session_title") or data["id"])


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONG else flat[: _LONG - 1] + "…"
