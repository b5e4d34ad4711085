"""The `claude-mem` command: one file per command, loaded only when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from claude_mem import __version__
from claude_mem.cli import (
    context,
    db,
    demo,
    doctor,
    export,
    forget,
    import_,
    install,
    letters,
    logs,
    mcp,
    migrate,
    model,
    organisation,
    pause,
    people,
    plugin,
    search,
    serve,
    similar,
    start,
    status,
    suggest,
    watch,
)
from claude_mem.cli.output import FAILED, USAGE, complain

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


for _command in (
    *(install, plugin, mcp, start, serve, status, logs, watch),
    *(search, suggest, similar),
    *(context, import_, export, forget, pause, doctor, db, letters, migrate, demo),
    *(people, organisation, model),
):
    _command.register(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point. A pipe that closes early or Ctrl-C is no error of ours."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in (given[: given.index("--")] if "--" in given else given)
    try:
        if as_json:
            sys.exit(_run_json(given))
        app(given, prog_name="claude-mem")
        sys.exit(0)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except PermissionError as error:
        said = f"{error.filename or 'a file'} may not be read or written by this user"
        step = "make it yours, or choose another data folder with CLAUDE_MEM_HOME"
        complain(said, step, code="NOT_PERMITTED", as_json=as_json)
        sys.exit(FAILED)
    except IsADirectoryError as error:
        said = f"{error.filename or 'what should be a file'} is a folder"
        step = "move it away, or choose another data folder with CLAUDE_MEM_HOME"
        complain(said, step, as_json=as_json)
        sys.exit(FAILED)
    except UnicodeEncodeError:
        broken = next(filter(_is_broken, given), None)
        if broken is None:
            raise
        said = f"{broken!a} is no text in UTF-8"
        complain(said, "correct it and try again", code="USAGE", as_json=as_json)
        sys.exit(USAGE)


def _is_broken(argument: str) -> bool:
    """Whether it holds bytes that Python could not decode: good in a path, not in a text."""
    return any("\udc80" <= character <= "\udcff" for character in argument)


def _run_json(arguments: list[str]) -> int:
    """Run a command; what is wrong with its arguments is told as JSON too. Returns the exit code."""
    try:
        code = app(arguments, prog_name="claude-mem", standalone_mode=False)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "claude-mem"
        # Of a choice, the library tells which of its own exceptions it comes from.
        said = error.format_message().replace(" Value error, ", " ")
        complain(said, f"{command} --help", code="USAGE", as_json=True)
        return error.exit_code
    except typer.Abort:
        complain("nothing was done", "say yes when asked, or --yes", code="DECLINED", as_json=True)
        return FAILED
    return code if isinstance(code, int) else 0
