"""How the commands about the organisation reach a server, or this machine's own worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from claude_mem.cli.connection import worker_client
from claude_mem.cli.output import USAGE, emit, fail

if TYPE_CHECKING:
    from claude_mem.sdk.client import ApiError, Client
    from claude_mem.sdk.organisation import Organisation

Row = dict[str, Any]
Commands = Mapping[str, Callable[..., None]]
_LISTED = {
    "user": "users list",
    "key": "keys list",
    "project": "projects list",
    "solution": "org solutions",
    "role": "projects roles PROJECT",
}
Server = Annotated[
    str | None,
    typer.Option(help="The server's address; else CLAUDE_MEM_SERVER; else this machine's worker."),
]
KeyFile = Annotated[
    str | None,
    typer.Option(
        help="A file that holds the API key, - for standard input; else CLAUDE_MEM_API_KEY,"
        " or the file that CLAUDE_MEM_API_KEY_FILE names."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
_STEPS = {
    "AUTH_MISSING": "put the key into CLAUDE_MEM_API_KEY, or name its file by --key-file",
    "AUTH_INVALID": "use another key: this one is wrong, revoked or past its end",
    "FORBIDDEN": "ask an administrator: this key's role does not allow it",
    "RESOURCE_NOT_FOUND": "list what there is, and take an id from there",
    "VALIDATION_ERROR": "correct it; --help says what is expected",
    "CONFLICT": "choose another name, or change what stands against it",
}


@contextmanager
def organisation(server: str | None, key_file: str | None, as_json: bool) -> Iterator[Organisation]:
    """The organisation of a server, or of this machine; the command ends with a clear error where it cannot be had."""
    with connected(server, key_file, as_json) as client:
        yield client.organisation


@contextmanager
def connected(server: str | None, key_file: str | None, as_json: bool) -> Iterator[Client]:
    """A client of a server, or of this machine's worker; the command ends with a clear error where there is none."""
    from claude_mem.app import remote
    from claude_mem.hook.home import default_home
    from claude_mem.kernel.errors import MemError
    from claude_mem.sdk.client import ApiError, Client, NotReachable

    try:
        found = remote.find(server, key_file)
    except MemError as error:
        fail(
            error.message,
            "correct it and try again",
            code=error.code,
            as_json=as_json,
            status=USAGE,
        )
    if found is None:
        with worker_client(default_home(), as_json=as_json) as client:
            try:
                yield client
            except ApiError as error:
                _refused(error, as_json)
        return
    try:
        with Client(found.url, found.key, trust_env=True) as client:
            yield client
    except ApiError as error:
        _refused(error, as_json)
    except NotReachable as error:
        step = "see that the address is right and the server runs"
        fail(str(error), step, code="NOT_REACHABLE", as_json=as_json)


def _refused(error: ApiError, as_json: bool) -> NoReturn:
    step = _STEPS.get(error.code, f"the server's log tells more about request {error.request_id}")
    if error.retry_after is not None:
        step = f"try again in {error.retry_after:g} s"
    fail(error.message, step, code=error.code, as_json=as_json)


def pick(rows: Iterable[Row], wanted: str, what: str, name: str, as_json: bool) -> Row:
    """The one row whose id or `name` is `wanted`; the command ends where there is none, or more than one."""
    found = [row for row in rows if wanted in {row["id"], row[name]}]
    if not found:
        step, code = f"claude-mem {_LISTED[what]}", "RESOURCE_NOT_FOUND"
        fail(f"no {what} {wanted}", step, code=code, as_json=as_json)
    if len(found) > 1:
        fail(f"{len(found)} {what}s are called {wanted}", "give the id", as_json=as_json)
    return found[0]


def show_rows(rows: list[Row], columns: Sequence[str], as_json: bool, **more: Any) -> None:
    """A table for people, or one object with `data`."""

    def show(out: Any) -> None:
        from rich.table import Table

        if not rows:
            out.print("Nothing yet.")
            return
        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        out.print(table)

    emit({"ok": True, "data": rows, **more}, show, as_json)


def show_row(row: Row, said: str, as_json: bool) -> None:
    """A sentence for people, or the row as one object."""
    emit({"ok": True, **row}, lambda out: out.print(said, markup=False), as_json)


def show_secret(data: Row, key: str, said: str, as_json: bool) -> None:
    """A key, on standard output alone and this once, so that it can be piped; what is said of it, on the other."""
    from claude_mem.cli.output import console

    if not as_json:
        console(stderr=True).print(f"{said} It is shown this once:", markup=False)
    emit({"ok": True, **data}, lambda out: out.print(key, markup=False), as_json)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def group(app: typer.Typer, name: str, about: str, commands: Commands) -> None:
    """Add a group of commands."""
    made = typer.Typer(help=about, no_args_is_help=True)
    for command, function in commands.items():
        made.command(command)(function)
    app.add_typer(made, name=name)
