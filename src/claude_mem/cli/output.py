"""What every command shares: JSON or a person's view, errors with a next step, exit codes.

0 done, 1 failed, 2 wrong usage. `--json` prints one object on stdout and nothing else there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from claude_mem.cli.steering import escaped

if TYPE_CHECKING:
    from rich.console import Console

FAILED, USAGE = 1, 2


def console(*, stderr: bool = False, soft_wrap: bool = True) -> Console:
    """A console that colours terminals only, and shows recorded text without letting it steer the terminal."""
    # Loaded when something is shown: --json and hooks never need it.
    from claude_mem.cli.terminal import PlainConsole

    return PlainConsole(stderr=stderr, highlight=False, soft_wrap=soft_wrap)


def _print_json(data: dict[str, Any]) -> None:
    sys.stdout.write(escaped(json.dumps(data, ensure_ascii=False, default=str)) + "\n")
    sys.stdout.flush()


def emit(data: dict[str, Any], render: Callable[[Console], None], as_json: bool) -> None:
    """Print `data` as JSON, or let `render` show it."""
    if as_json:
        _print_json(data)
    else:
        render(console())


def fail(
    message: str,
    next_step: str,
    *,
    code: str = "FAILED",
    as_json: bool = False,
    status: int = FAILED,
) -> NoReturn:
    """Say what happened and what to do, and exit."""
    complain(message, next_step, code=code, as_json=as_json)
    raise typer.Exit(status)


def complain(message: str, next_step: str, *, code: str = "FAILED", as_json: bool = False) -> None:
    """Say what happened and what to do."""
    if as_json:
        body = {"ok": False, "error": message, "code": code, "next_step": next_step}
        _print_json(body)
    else:
        out = console(stderr=True)
        out.print("[bold red]Error:[/] ", end="")
        out.print(message, markup=False)
        if next_step:
            out.print("[bold]Next:[/]  ", end="")
            out.print(next_step, markup=False)
