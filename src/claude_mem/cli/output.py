"""What every command shares: JSON or a person's view, errors with a next step, exit codes.

0 done, 1 failed, 2 wrong usage. `--json` prints one object on stdout and nothing else there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

FAILED, USAGE = 1, 2


def console(*, stderr: bool = False) -> Console:
    """A console that colours terminals only."""
    from rich.console import (
        Console,
    )  # loaded when something is shown: --json and hooks never need it

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def emit(data: dict[str, Any], render: Callable[[Console], None], as_json: bool) -> None:
    """Print `data` as JSON, or let `render` show it."""
    if as_json:
        sys.stdout.write(json.dumps(data, ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()
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
        sys.stdout.write(json.dumps(body, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        out = console(stderr=True)
        out.print("[bold red]Error:[/] ", end="")
        out.print(message, markup=False)
        if next_step:
            out.print("[bold]Next:[/]  ", end="")
            out.print(next_step, markup=False)
