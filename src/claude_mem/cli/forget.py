"""`claude-mem forget`: take something out for good."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from claude_mem.cli.connection import worker_client
from claude_mem.cli.output import USAGE, emit, fail

REMOVE_COPIES = "claude-mem db drop-copies"


class What(StrEnum):
    """What can be forgotten."""

    LAST = "last"
    SESSION = "session"
    PROMPT = "prompt"
    OBSERVATION = "observation"
    SUMMARY = "summary"
    CODE_CHANGE = "code_change"
    LEARNING = "learning"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forget")(forget)


def forget(
    what: Annotated[
        What,
        typer.Argument(help="last (the newest prompt and all that followed), or one thing by id."),
    ],
    identifier: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Which one; not for last.")
    ] = None,
    project: Annotated[str | None, typer.Option(help="last: only in this project.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; needed with --json.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Take something out for good: rows, search index and history. It does not come back."""
    from claude_mem.hook.home import default_home

    if what is not What.LAST and identifier is None:
        fail(
            f"which {what}?",
            f"claude-mem forget {what} ID",
            code="USAGE",
            as_json=as_json,
            status=USAGE,
        )
    if as_json and not yes:
        # Nobody can be asked where JSON is wanted, and nothing goes for good without a yes.
        again = " ".join(filter(None, ("claude-mem forget", what, identifier, "--json --yes")))
        fail(
            "--json cannot ask whether to forget for good: say --yes",
            again,
            code="USAGE",
            as_json=True,
            status=USAGE,
        )
    if not yes:
        typer.confirm(f"Forget {what} {identifier or ''}for good?".replace("  ", " "), abort=True)
    with worker_client(default_home(), as_json=as_json) as client:
        body = {"what": what, "id": identifier, "project": project}
        answer = client.request("POST", "/forget", json=body)
    gone, cleared, copies = answer["forgotten"], answer["cleared"], answer["copies"]
    data = {"ok": True, "forgotten": gone, "cleared": cleared, "copies": copies}
    if copies:
        data["next_step"] = REMOVE_COPIES
    shown = ", ".join(_counted(kind, count) for kind, count in gone.items()) or "nothing"

    def show(out: Any) -> None:
        out.print(f"Forgotten: {shown}.")
        if not cleared:
            out.print("Its last bytes leave the files when the worker is idle: they are large.")
        if copies:
            out.print(f"Damaged files that were kept may still hold it: {', '.join(copies)}.")
            out.print(f"Away with them, once nothing is missing: {REMOVE_COPIES}")

    emit(data, show, as_json)


def _counted(kind: str, count: int) -> str:
    name = kind.replace("_", " ")
    many = f"{name.removesuffix('y')}ies" if name.endswith("y") else f"{name}s"
    return f"{count} {name if count == 1 else many}"
