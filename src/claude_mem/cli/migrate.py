"""`claude-mem migrate postgres`: a developer's own store into an enterprise of a server's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.output import FAILED, USAGE, emit, fail

if TYPE_CHECKING:
    from claude_mem.kernel.errors import MemError

_MOST_SHOWN = 20
_NEXT = {
    "VALIDATION_ERROR": "correct it and try again (docs/migration.md)",
    "UNAVAILABLE": "run it again when PostgreSQL answers: it goes on where it was",
    "STORE_FULL": "free some disk space there and run it again: it goes on where it was",
    "RESOURCE_NOT_FOUND": "make it on the server first, or correct --enterprise or --user",
    "FOREIGN_DATABASE": "use the data folder that `claude-mem install` names, or CLAUDE_MEM_HOME",
    "DAMAGED_DATABASE": "claude-mem db recover",
}
_EXPECTED_RETRY = "run it again: it goes on where it was"
app_of_group = typer.Typer(
    name="migrate", help="Bring this store to another engine.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(app_of_group, name="migrate")


@app_of_group.callback()
def group() -> None:
    """Bring this store to another engine."""


@app_of_group.command("postgres")
def postgres(
    enterprise: Annotated[
        str, typer.Option(metavar="ID", help="The enterprise it is brought into.")
    ],
    user: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="Whose it becomes: id, name or address of a user of that enterprise; needed where it has several.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say what would be done: counts, sizes, problems."),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only compare what is there with the store.")
    ] = False,
    index: Annotated[
        bool,
        typer.Option(
            "--index/--no-index",
            help="Make the search index here; otherwise a job of the server makes it.",
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Bring everything of this store that an enterprise of a PostgreSQL database does not have yet, and compare.

    The address comes from the environment, CLAUDE_MEM_DATABASE_URL. The store is only read, and may be in use. Run it
    again after a break, and whenever there is something new.
    """
    import asyncio

    from claude_mem.app.transfer.postgres import Task, url_of
    from claude_mem.app.transfer.postgres import migrate as bring
    from claude_mem.cli.progress import told

    if dry_run and verify:
        fail(
            "--dry-run and --verify are two things",
            "choose one",
            code="USAGE",
            as_json=as_json,
            status=USAGE,
        )
    path = _store(as_json=as_json)
    with _explained(as_json), told(as_json=as_json) as say:
        task = Task(path, url_of(), _id(enterprise), user, dry_run, verify, index)
        found = asyncio.run(bring(task, say))
    found["next_step"] = _after(found, dry_run=dry_run)
    emit(found, lambda out: _show(out, found, dry_run=dry_run), as_json)
    if not found["ok"]:
        raise typer.Exit(FAILED)


def _show(out: Any, found: dict[str, Any], *, dry_run: bool) -> None:
    from rich.table import Table

    from claude_mem.cli.db_show import size

    if "tables" in found:
        table = Table(
            "table", "rows", "would be sent" if dry_run else "sent", "size", "NUL", box=None
        )
        for name, it in found["tables"].items():
            nuls = f"{it['nuls']:,}" if it["nuls"] else ""
            table.add_row(name, f"{it['rows']:,}", f"{it['sent']:,}", size(it["bytes"]), nuls)
        out.print(table)
        _show_meeting(out, found, dry_run=dry_run)
    if "verified" in found:
        _show_verified(out, found["verified"])
    if found["advice"] and dry_run:
        out.print(f"First: {found['advice']}", markup=False)
    out.print("[green]All is well.[/]" if found["ok"] else "[bold red]Not everything is there.[/]")
    if found["next_step"]:
        out.print("[bold]Next:[/]  ", end="")
        out.print(found["next_step"], markup=False)


def _show_meeting(out: Any, found: dict[str, Any], *, dry_run: bool) -> None:
    projects = found["projects"]
    made = "to be made" if dry_run else "made"
    out.print(f"Projects: {projects['met']} met by key, {projects['new']} {made}.")
    if found["learnings_met"]:
        out.print(f"Learnings that the enterprise has already: {found['learnings_met']}.")
    if any(it["nuls"] for it in found["tables"].values()):
        out.print("The character NUL, which PostgreSQL cannot hold, becomes U+FFFD.")
    if found["removed"]:
        out.print(f"Removed there, because forgotten here: {found['removed']:,}.")
    if "indexed" in found:
        out.print(f"Documents in the search index: {found['indexed']:,} made.")
    for it in found["faults"][:_MOST_SHOWN]:
        out.print(f"{it['table']} {it['key']}: {it['what']}", markup=False)
    if found["fault_count"] > _MOST_SHOWN:
        out.print(f"... and {found['fault_count'] - _MOST_SHOWN:,} more (--json tells them).")


def _show_verified(out: Any, verified: dict[str, Any]) -> None:
    rows = sum(it["rows"] for it in verified.values())
    ranges = sum(it["ranges"] for it in verified.values())
    equal = sum(it["equal_ranges"] for it in verified.values())
    out.print(f"Compared: {rows:,} rows in {ranges:,} ranges, {equal:,} equal by count and hash.")
    for name, it in verified.items():
        if it["newer"]:
            out.print(f"{name}: {it['newer']:,} were changed there since.")
        for what in ("missing", "different", "still_there"):
            for key in it[what][:_MOST_SHOWN]:
                out.print(f"{name} {key}: {what.replace('_', ' ')}", markup=False)


def _after(found: dict[str, Any], *, dry_run: bool) -> str:
    if dry_run:
        return "the same without --dry-run"
    if found.get("fault_count"):
        return "what is named above stays in this store only: mend it or leave it, and run it again"
    return (
        ""
        if found["ok"]
        else "run it without --verify: it brings what is missing, and leaves what is newer there"
    )


def _store(*, as_json: bool) -> Path:
    from claude_mem.cli.start import load_settings

    settings = load_settings(as_json=as_json)
    if not settings.database.exists():
        step = "set CLAUDE_MEM_HOME to the data folder that is to be brought"
        fail(f"there is no database in {settings.home}", step, code="NOT_FOUND", as_json=as_json)
    return settings.database


def _id(text: str) -> str:
    import uuid

    from claude_mem.kernel.errors import Invalid

    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Invalid(f"--enterprise: {text} is no id (a UUID)") from None


@contextmanager
def _explained(as_json: bool) -> Iterator[None]:
    """Our errors as every command tells them; PostgreSQL's without a value or a statement."""
    from sqlalchemy.exc import DBAPIError

    from claude_mem.kernel.errors import MemError

    try:
        yield
    except MemError as error:
        fail(error.message, _next_step(error), code=error.code, as_json=as_json)
    except DBAPIError as error:
        said = str(getattr(error, "orig", None) or error).partition("\n")[0]
        fail(f"PostgreSQL refused: {said}", _EXPECTED_RETRY, as_json=as_json)


def _next_step(error: MemError) -> str:
    return _NEXT.get(error.code, _EXPECTED_RETRY)
