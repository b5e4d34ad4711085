"""`claude-mem doctor`: what is wrong with this installation, and how to mend it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from claude_mem.cli.output import FAILED, emit

if TYPE_CHECKING:
    from rich.console import Console

    from claude_mem.app.doctor.model import Check
    from claude_mem.app.doctor.run import Report

_MARKS = {"ok": "[green]✓[/]", "warn": "[yellow]![/]", "fail": "[red]✗[/]"}
_TITLE = 17
_LEAST_WIDTH = 60


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Make the safe fixes, say what was done, look again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look for what is wrong, from Python to the search index; each finding comes with its fix. Changes nothing."""
    from claude_mem.app.doctor.run import examine, treat

    with _saying(as_json=as_json) as say:
        report = examine(say)
        if fix:
            report = treat(report, say)
    emit(report.as_dict(), lambda out: _show(out, report, tried=fix), as_json)
    if not report.as_dict()["ok"]:
        raise typer.Exit(FAILED)


@contextmanager
def _saying(*, as_json: bool) -> Iterator[Callable[[str], None]]:
    """What is being looked at, on stderr of a terminal."""
    if as_json or not sys.stderr.isatty():
        yield lambda _text: None
        return
    from claude_mem.cli.output import console

    with console(stderr=True).status("Looking") as line:
        yield lambda text: line.update(text)


def _show(out: Console, report: Report, *, tried: bool) -> None:
    out.print(f"[bold]Claude-Mem[/] in {report.home}")
    for group, checks in report.groups.items():
        if checks:
            out.print(f"\n[bold]{group}[/]")
        for check in checks:
            _show_check(out, check)
    if tried:
        out.print("\n[bold]Fixed[/]" if report.done else "\nNothing could be fixed safely.")
    for it in report.done:
        mark = _MARKS["ok" if it["result"] == "done" else "fail"]
        out.print(f"  {mark} ", end="")
        out.print(it["said"], markup=False)
    out.print(f"\n{_sum(report, tried=tried)}")


def _show_check(out: Console, check: Check) -> None:
    width = max(out.width, _LEAST_WIDTH) - _TITLE - 7
    lines = _wrapped(check.found, width)
    out.print(f"  {_MARKS[check.status.value]} {check.title:<{_TITLE}} ", end="")
    out.print(lines[0], markup=False)
    for line in lines[1:]:
        out.print(f"{'':<{_TITLE + 5}}{line}", markup=False)
    if check.fix:
        out.print(f"{'':<{_TITLE + 5}}[bold]→[/] ", end="")
        first, *rest = _wrapped(check.fix, width)
        out.print(first, markup=False)
        for line in rest:
            out.print(f"{'':<{_TITLE + 7}}{line}", markup=False)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters; a path stays whole, so that it can be copied."""
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _sum(report: Report, *, tried: bool) -> str:
    told = report.as_dict()
    failed, warnings = told["failed"], told["warnings"]
    if not failed and not warnings:
        return "[green]All is well.[/]"
    parts = [f"[red]{failed} failed[/]"] if failed else []
    parts += [f"[yellow]{warnings} to know[/]"] if warnings else []
    text = ", ".join(parts) + "."
    if not tried and any(check.mend and check.fix for check in report.checks):
        text += " `claude-mem doctor --fix` mends what is safe to mend."
    return text
