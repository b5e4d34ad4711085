"""`claude-mem search`: find what was done."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from claude_mem.cli.connection import worker_client
from claude_mem.cli.output import USAGE, emit, fail

if TYPE_CHECKING:
    from rich.console import Console

_HIDDEN = "\0"  # which no argument of a process can hold
_EXCLUDED = re.compile(r"-[^-]")  # `--word` is taken for an option, so a mistyped one is noticed
_SHORT_LIMIT = re.compile(r"-n=?[0-9]+")
_SHOWN = 8  # values of a facet
_LEAST_SHARE = 0.005  # that is not 0.00 in two digits
_MARK = re.compile(r"<mark>(.*?)</mark>", re.DOTALL)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search", cls=SearchCommand)(search)


class SearchCommand(TyperCommand):
    """Takes `-word` as a word of the query ("not this"), which is no option of ours."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments with every `-word` hidden from the parser of options."""
        rest = super().parse_args(ctx, list(self._hide(ctx, args)))
        ctx.params["words"] = [word.removeprefix(_HIDDEN) for word in ctx.params["words"] or ()]
        return rest

    def _hide(self, ctx: Any, args: list[str]) -> Iterator[str]:
        options = [it for it in self.get_params(ctx) if isinstance(it, TyperOption)]
        spelled = {name for it in options for name in it.opts} | set(ctx.help_option_names)
        valued = {name for it in options if not it.is_flag for name in it.opts}
        takes_value = ended = False
        for arg in args:
            ended = ended or (arg == "--" and not takes_value)
            plain = ended or takes_value or arg in spelled or _SHORT_LIMIT.fullmatch(arg)
            yield arg if plain or not _EXCLUDED.match(arg) else _HIDDEN + arg
            takes_value = not ended and not takes_value and arg in valued


def search(
    words: Annotated[
        list[str], typer.Argument(help='What to look for. "a phrase", prefix*, -not this.')
    ],
    project: Annotated[
        str | None, typer.Option(help="Only this project (name, path or id).")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--type", help="prompt (replies too), observation, summary or learning."),
    ] = None,
    tool: Annotated[
        str | None, typer.Option(help="Only what this tool gave, such as Bash.")
    ] = None,
    file: Annotated[str | None, typer.Option(help="Only what touched this file.")] = None,
    since: Annotated[str | None, typer.Option(help="From then on: ISO 8601, or 7d, 12h.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to then: ISO 8601, or 7d, 12h.")] = None,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, max=100, help="How many results at most.")
    ] = 10,
    facets: Annotated[
        bool,
        typer.Option("--facets", help="Tell how what matches spreads over projects, tools, ..."),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say below each result what speaks for it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Find what was done: ranked, any word may match, every script."""
    from claude_mem.hook.home import default_home

    check_wanted(words, as_json=as_json)
    with worker_client(default_home(), as_json=as_json) as client:
        result = client.search(
            _join(words),
            project=project,
            type=kind,
            tool=tool,
            file=file,
            since=since,
            until=until,
            limit=limit,
            facets=["all"] if facets else None,
        )
        if project is not None and not result["results"]:
            # Nothing there, or no such project? The list of its sessions refuses an unknown one.
            client.request("GET", "/sessions", params={"project": project, "limit": 1})
    result = {"ok": True, **result}
    emit(result, lambda out: render(out, result, explain=explain), as_json)


def check_wanted(words: list[str], *, as_json: bool) -> None:
    """Exit with what to do where there is nothing to look for."""
    if not " ".join(words).strip():
        step = "give some words; `claude-mem COMMAND --help` says what they may be"
        fail("there is nothing to look for", step, code="USAGE", as_json=as_json, status=USAGE)


def render(out: Console, result: dict[str, Any], *, explain: bool = False) -> None:
    """Hits as a person reads them."""
    from rich.text import Text

    hits = result["results"]
    more = "+" if result.get("total_is_estimate") else ""
    if not hits:
        out.print(
            f"Nothing found for [bold]{_escape(result['query'])}[/]. Fewer or other words may help."
        )
        render_degraded(out, result)
        return
    for rank, hit in enumerate(hits, 1):
        when = (hit.get("occurred_at") or "")[:16].replace("T", " ")
        head = Text(f"{rank:>2}  ", style="dim")
        head.append(hit.get("title") or hit["type"], style="bold")
        out.print(head)
        facts = (
            "prompt (reply)" if hit.get("subtype") == "assistant" else hit["type"],
            when,
            hit.get("project") or "",
            f"score {hit['relevance_score']:.2f}",
            hit["id"],
        )
        out.print(Text("    " + " · ".join(facts), style="dim"))
        for line in hit.get("highlights", [])[:2]:
            out.print(_highlighted(line))
        if explain:
            told = [it for it in hit.get("explain", ()) if abs(it["share"]) >= _LEAST_SHARE]
            parts = [f"{it['part']} {it['share']:.2f}" for it in told]
            parts += [f"{it['asked']} → {it['found']}" for it in hit.get("translated", ())]
            out.print(Text("    " + " · ".join(parts), style="cyan"))
    out.print(
        Text(
            f"\n{len(hits)} of {result['total_results']}{more} in {result['took_ms']:.1f} ms",
            style="dim",
        )
    )
    render_degraded(out, result)
    _render_facets(out, result)


def render_degraded(out: Console, result: dict[str, Any]) -> None:
    """That only words were searched is said: other words for the same were not."""
    if result.get("degraded"):
        out.print("[yellow]Only words were searched, not meanings:[/] ", end="")
        out.print(result["degraded"], markup=False)


def _render_facets(out: Console, result: dict[str, Any]) -> None:
    from rich.text import Text

    facets: dict[str, list[dict[str, Any]]] = result.get("facets") or {}
    for name, values in facets.items():
        if values:
            line = Text(f"{name:<17}", style="bold")
            line.append("  ".join(f"{it['label']} ({it['count']})" for it in values[:_SHOWN]))
            out.print(line)
    if result.get("facets_are_of") == "candidates":
        out.print(Text("Counted over the most promising results only.", style="dim"))


def _join(words: list[str]) -> str:
    """The shell took the quotes off: an argument with a space in it was a phrase."""
    return words[0] if len(words) == 1 else " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if " " not in word or '"' in word:
        return word
    return f'-"{word[1:]}"' if word.startswith("-") else f'"{word}"'


def _highlighted(line: str) -> Any:
    from rich.text import Text

    text = Text("    ")
    position = 0
    for match in _MARK.finditer(line):
        text.append(html.unescape(line[position : match.start()]))
        text.append(html.unescape(match.group(1)), style="bold yellow")
        position = match.end()
    text.append(html.unescape(line[position:]))
    return text


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
