"""`claude-mem similar`: find cases like a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.connection import worker_client
from claude_mem.cli.output import emit
from claude_mem.cli.search import check_wanted, render_degraded

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("similar")(similar)


def similar(
    words: Annotated[list[str], typer.Argument(help="The problem, in words.")],
    project: Annotated[
        str | None, typer.Option(help="Only this project (name, path or id).")
    ] = None,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, max=50, help="How many cases at most.")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Find what was learned, decided and done when there was a problem like this."""
    from claude_mem.hook.home import default_home

    check_wanted(words, as_json=as_json)
    with worker_client(default_home(), as_json=as_json) as client:
        found = client.similar(text=" ".join(words), project=project, limit=limit)
    result = {"ok": True, **found}
    emit(result, lambda out: render(out, result), as_json)


def render(out: Console, result: dict[str, Any]) -> None:
    """Cases as a person reads them."""
    from rich.text import Text

    for rank, case in enumerate(result["results"], 1):
        found = case["found"]
        head = Text(f"{rank:>2}  ", style="dim")
        head.append(found["title"] or found["type"], style="bold")
        out.print(head)
        used = case["feedback"]["used"]
        facts = (
            f"{case['case']}: {case['outcome']}",
            (found["occurred_at"] or "")[:10],
            found["project"] or "",
            f"score {case['score']:.2f}",
            f"used {used}×" if used else "",
            found["id"],
        )
        out.print(Text("    " + " · ".join(filter(None, facts)), style="dim"))
        for text in _told(case):
            out.print(Text(f"    {text}"))
    if not result["results"]:
        out.print(Text("No case like it.", style="dim"))
    render_degraded(out, result)


def _told(case: dict[str, Any]) -> list[str]:
    if case["resolution"]:
        return [f"{' '.join(str(case['problem']).split())} → {case['resolution']}"]
    lessons = [text for texts in case["lessons"].values() for text in texts]
    return lessons[:3] or [case["found"]["content_preview"]]
