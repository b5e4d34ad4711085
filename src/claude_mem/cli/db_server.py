"""`claude-mem db roles | upgrade | partitions | copy-enterprise`: what the owner of a PostgreSQL database does.

The other `db` commands are about the local store's files. Who the owner is comes from the environment alone: a command
line can be read by everybody on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.output import USAGE, emit, fail

if TYPE_CHECKING:
    from claude_mem.app.migrate_postgres import State
    from claude_mem.app.owner import Owner
    from claude_mem.kernel.errors import MemError

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
_NEXT = {
    "VALIDATION_ERROR": "set it in the environment and try again (docs/migration.md)",
    "UNAVAILABLE": "see that PostgreSQL runs and is not kept busy, then run it again: nothing was half done",
    "STORE_FULL": "free some disk space there and try again",
    "VERSION_REQUIRED": "upgrade the program",
}


def register(db: typer.Typer) -> None:
    """Add the commands to the group `db`."""
    db.command("roles")(roles)
    db.command("upgrade")(upgrade)
    db.command("partitions")(partitions)
    db.command("copy-enterprise")(copy_enterprise)


def roles(
    owner: Annotated[
        str, typer.Option(help="The role that will own the tables.")
    ] = "claude_mem_owner",
    runtime: Annotated[str, typer.Option(help="The role the program runs as.")] = "claude_mem",
    as_json: Json = False,
) -> None:
    """The SQL that a superuser of PostgreSQL runs once, before the first upgrade."""
    from claude_mem.app.migrate_postgres import roles_to_make

    statements = [f"{it.strip()};" for it in roles_to_make(owner, runtime).split(";") if it.strip()]
    data = {"ok": True, "owner": owner, "runtime": runtime, "sql": statements}

    def show(out: Any) -> None:
        for statement in statements:
            out.print(statement, markup=False)
        out.print(
            "-- then give both a password (\\password), and the owner a database:", markup=False
        )
        out.print(f'CREATE DATABASE claude_mem OWNER "{owner}";', markup=False)

    emit(data, show, as_json)


def upgrade(
    check: Annotated[
        bool, typer.Option("--check", help="Only say what would be done; nothing is changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring a PostgreSQL database to this program's schema and guard it anew, as its owner, all or nothing."""
    from claude_mem.app import migrate_postgres
    from claude_mem.app.migrations import HEAD

    with _explained(as_json):
        owner = _owner()
        before = migrate_postgres.look(owner.url, owner.runtime_role)
        migrated = not check and migrate_postgres.upgrade(owner.url, owner.runtime_role)
    data = {
        "ok": True,
        "checked_only": check,
        "before": before.revision,
        "revision": before.revision if check or before.is_newer else HEAD,
        "program": HEAD,
        "migrated": migrated,
        "migrations": list(before.migrations),
        "scripts": [] if before.is_newer else list(before.scripts),
        "faults_found": list(before.faults),
        "no_vector_search": before.no_vectors,
    }
    emit(data, lambda out: _show_upgrade(out, before, data), as_json)


def _show_upgrade(out: Any, before: State, data: dict[str, Any]) -> None:
    if before.is_newer:
        out.print(
            f"The schema ({before.revision}) is newer than this program ({data['program']}), which may use it:"
            " it is left as it is."
        )
        return
    would = "would run" if data["checked_only"] else "run"
    if before.migrations:
        out.print(f"Migrations {would}: {', '.join(before.migrations)}", markup=False)
    else:
        out.print(f"The schema is current ({before.revision}).")
    if before.faults:
        out.print(f"Unguarded before: {', '.join(before.faults)}", markup=False)
    out.print(f"Guards {would}: {', '.join(before.scripts)}", markup=False)
    if before.no_vectors:
        out.print(
            f"Without vector search, everything else works. To have it: {before.no_vectors}; then upgrade again.",
            markup=False,
        )
    if not data["checked_only"]:
        out.print("[green]Done[/].")


def partitions(
    since: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM",
            help="Make the months from this one on: before old sessions are brought in.",
        ),
    ] = None,
    detach: Annotated[
        int | None,
        typer.Option(
            "--detach-older-than",
            metavar="MONTHS",
            min=1,
            max=1200,
            help="Take out the months that are over for longer; they are kept in the schema claude_mem_detached.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take out without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Make the partitions of the next months, take old ones out, list them all."""
    from claude_mem.adapters.postgres.partitions import as_dict
    from claude_mem.app import owner as owning

    first = _month(since, as_json=as_json)
    if detach is not None and not yes:
        if as_json:
            fail(
                "--json cannot ask whether to take months out: say --yes",
                "add --yes",
                code="USAGE",
                as_json=True,
                status=USAGE,
            )
        typer.confirm(f"Take out everything that is older than {detach} months?", abort=True)
    with _explained(as_json):
        owner = _owner()
        with _told(as_json) as say:
            done = owning.make_months(owner, first, say)
        taken_out = owning.detach(owner, detach) if detach is not None else []
        found = owning.parts(owner)
    data = {
        "ok": True,
        "made": [it.name for it in done if it.outcome == "made"],
        "detached": taken_out,
        "partitions": [as_dict(it) for it in found],
    }
    emit(data, lambda out: _show_partitions(out, data), as_json)


def _show_partitions(out: Any, data: dict[str, Any]) -> None:
    from rich.table import Table

    from claude_mem.cli.db_show import size

    table = Table("partition", "month", "rows (about)", "size", box=None)
    for it in data["partitions"]:
        month = it["month"] or "outside of every month"
        rows = "?" if it["rows_estimated"] is None else f"{it['rows_estimated']:,}"
        table.add_row(
            it["name"], f"{month}, detached" if it["detached"] else month, rows, size(it["bytes"])
        )
    out.print(table)
    if data["made"]:
        out.print(f"Made: {', '.join(data['made'])}.", markup=False)
    if data["detached"]:
        out.print(f"Taken out: {', '.join(data['detached'])}.", markup=False)


def copy_enterprise(
    enterprise: Annotated[str, typer.Option(metavar="ID", help="The enterprise to copy.")],
    as_json: Json = False,
) -> None:
    """Copy an enterprise into another database, whole or not at all: into a deployment of its own, or out of one.

    From the database of CLAUDE_MEM_DATABASE_URL into the one of CLAUDE_MEM_DATABASE_OWNER_URL, which is at the same
    schema. Stop what writes to the enterprise first. It stays where it is until it is deleted there.
    """
    from uuid import UUID

    from claude_mem.app import owner as owning
    from claude_mem.app.transfer.postgres import url_of

    try:
        UUID(enterprise)
    except ValueError:
        fail(
            f"{enterprise} is no id (a UUID)",
            "correct --enterprise",
            code="USAGE",
            as_json=as_json,
            status=USAGE,
        )
    with _explained(as_json), _told(as_json) as say:
        counts = owning.copy_enterprise(url_of(), _owner(), enterprise, say)
    data = {"ok": True, "enterprise": enterprise, "rows": counts}

    def show(out: Any) -> None:
        out.print(
            f"[green]Done[/]: {sum(counts.values()):,} rows of {len(counts)} tables, compared by their hashes."
        )

    emit(data, show, as_json)


def _month(text: str | None, *, as_json: bool) -> Any:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        fail(
            f"{text} is no month", "say it as 2026-05", code="USAGE", as_json=as_json, status=USAGE
        )


def _owner() -> Owner:
    from claude_mem.app.owner import of_environment

    return of_environment()


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
        fail(
            f"PostgreSQL refused: {said}",
            "nothing was changed: correct it and run it again",
            as_json=as_json,
        )


def _next_step(error: MemError) -> str:
    return _NEXT.get(error.code, "claude-mem db roles")


def _told(as_json: bool) -> Any:
    from claude_mem.cli.progress import told

    return told(as_json=as_json)
