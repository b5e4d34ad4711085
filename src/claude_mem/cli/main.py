"""The `claude-mem` command: one file per command, loaded only when it is called."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from claude_mem import __version__
from claude_mem.cli import (
    demo,
    export,
    forget,
    import_,
    install,
    logs,
    pause,
    search,
    start,
    status,
)

app = typer.Typer(
    name="claude-mem",
    help="Memory for coding agents: captures what happens, keeps it safely, finds it again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"claude-mem {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Memory for coding agents."""


for _command in (install, start, status, logs, search, import_, export, forget, pause, demo):
    _command.register(app)


def main() -> None:
    """Entry point. A pipe that closes early or Ctrl-C is no error of ours."""
    try:
        app(prog_name="claude-mem")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
