"""`claude-mem suggest`: complete what is being typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.connection import worker_client
from claude_mem.cli.output import emit

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("suggest")(suggest)


def suggest(
    words: Annotated[
        list[str], typer.Argument(help="The beginning of a query; its last word is completed.")
    ],
    project: Annotated[
        str | None, typer.Option(help="Only this project (name, path or id).")
    ] = None,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, max=50, help="How many at most.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Complete a query: words, files, tags, tools and titles of what is remembered."""
    from claude_mem.hook.home import default_home

    with worker_client(default_home(), as_json=as_json) as client:
        result = {"ok": True, **client.suggest(" ".join(words), project=project, limit=limit)}
    emit(result, lambda out: render(out, result), as_json)


def render(out: Console, result: dict[str, Any]) -> None:
    """One a line, with what it is."""
    from rich.text import Text

    for it in result["suggestions"]:
        line = Text(it["text"], style="bold")
        line.append(f"  {it['kind']}", style="dim")
        out.print(line)
    if not result["suggestions"]:
        out.print(Text("Nothing begins so.", style="dim"))
