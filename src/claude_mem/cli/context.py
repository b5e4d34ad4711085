"""`claude-mem context`: what a new session of a project would be told, or what is known about a prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.connection import worker_client
from claude_mem.cli.output import emit

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("context")(context)


def context(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUERY", help="What is to be done; none: the state of things."),
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Project (name, path or id); by default the folder's.")
    ] = None,
    budget: Annotated[
        int, typer.Option("--budget", min=200, max=20_000, help="How many tokens it may cost.")
    ] = 1_500,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, with every score and its parts.")
    ] = False,
) -> None:
    """Show the context a model would be given, as Markdown."""
    from claude_mem.adapters.local.projects import git_root
    from claude_mem.hook.home import default_home
    from claude_mem.sdk.errors import ApiError

    with worker_client(default_home(), as_json=as_json) as client:
        wanted: dict[str, Any] = {
            "project": project or git_root(str(Path.cwd())),
            "budget": budget,
        }
        if words:
            wanted["q"] = " ".join(words)
        try:
            result = client.request("GET", "/context", params=wanted)
        except ApiError as error:
            if project is not None or error.code != "RESOURCE_NOT_FOUND":
                raise
            # A folder that nothing is known of is no mistake: its first session is yet to come.
            result = {"text": "", "tokens": 0, "budget": budget, "items": [], "omitted": 0}
    result = {"ok": True, **result}
    emit(result, lambda out: _render(out, result), as_json)


def _render(out: Console, result: dict[str, Any]) -> None:
    """The Markdown as it is given; on a terminal with a line on what it is."""
    if not result["text"]:
        out.print("Nothing is remembered of this project yet, or nothing that fits.", style="dim")
        return
    if not sys.stdout.isatty():
        sys.stdout.write(result["text"] + "\n")
        return
    out.print(result["text"], markup=False)
    shown = f"{len(result['items'])} items, {result['tokens']} of {result['budget']} tokens"
    out.print(f"\n{shown}; {result['omitted']} more found no room", style="dim")
