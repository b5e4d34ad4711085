"""`claude-mem db`: look at the store's files, keep them in shape, and bring them back when they are damaged.

What only looks works beside a running worker. What changes a file goes through the worker while it runs, or needs it
stopped; then the command stops it, after a yes, and starts it again. Hooks spool meanwhile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from claude_mem.cli import db_server
from claude_mem.cli.output import FAILED, emit, fail

if TYPE_CHECKING:
    from claude_mem.app.settings import Settings
    from claude_mem.kernel.errors import MemError
    from claude_mem.sdk.client import Client

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Stop a running worker for the time without asking.")
]
_POLL_S = 0.5
_NEXT = {
    "DAMAGED_DATABASE": "claude-mem db recover",
    "FOREIGN_DATABASE": "use the data folder that `claude-mem install` names, or CLAUDE_MEM_HOME",
    "WORKER_RUNS": "run it again with --yes, which stops the worker for the time; or: claude-mem stop",
    "STORE_FULL": "free some disk space and try again",
    "NOTHING_TO_RECOVER": "claude-mem db check",
    "VERSION_REQUIRED": "upgrade the program",
    "UNAVAILABLE": "claude-mem db check",
}
db = typer.Typer(
    name="db",
    help="Look at the store's files, keep them in shape, recover them.",
    no_args_is_help=True,
)
db_server.register(db)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(db, name="db")


@db.command("check")
def check(
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Compare every index entry with its row: slower.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check both files, references between rows, and that the search index says what the rows say."""
    from claude_mem.app import store
    from claude_mem.cli import db_show

    settings = _settings(as_json=as_json)
    with _explained(as_json), _told(as_json) as say:
        found = store.checked(settings, thorough=thorough, tick=lambda: say("Checking", 0, 0))
    found["next_step"] = db_show.after_check(found)
    emit(found, lambda out: db_show.checked(out, found, thorough=thorough), as_json)
    if not found["ok"]:
        raise typer.Exit(FAILED)


@db.command("stats")
def stats(
    days: Annotated[int, typer.Option(min=1, max=366, help="Days of growth to show.")] = 14,
    as_json: Json = False,
) -> None:
    """Rows by table and project, bytes by table and index, growth by day."""
    from claude_mem.app import store
    from claude_mem.cli import db_show

    settings = _settings(as_json=as_json)
    with _explained(as_json), _told(as_json) as say:
        say("Counting", 0, 0)
        found = {"ok": True, **store.figures(settings, days)}
    emit(found, lambda out: db_show.figures(out, found), as_json)


@db.command("space")
def space(as_json: Json = False) -> None:
    """Where the bytes are, what could be given back, and which sessions and projects are the largest."""
    from claude_mem.app import store
    from claude_mem.cli import db_show

    settings = _settings(as_json=as_json)
    with _explained(as_json), _told(as_json) as say:
        say("Measuring", 0, 0)
        found = {"ok": True, **store.room(settings)}
    emit(found, lambda out: db_show.room(out, found), as_json)


@db.command("checkpoint")
def checkpoint(as_json: Json = False) -> None:
    """Empty the write-ahead logs, refresh the planner's figures, give free pages back."""
    settings = _settings(as_json=as_json)
    with _explained(as_json):
        through = _tidy(settings, as_json=as_json)
    data = {"ok": True, "through": through}
    emit(data, lambda out: out.print("[green]Done[/]: the logs are empty."), as_json)


@db.command("vacuum")
def vacuum(yes: Yes = False, as_json: Json = False) -> None:
    """Write the files anew without their gaps. Needs free disk of twice their size for the time."""
    from claude_mem.app import store
    from claude_mem.cli.db_show import size

    settings = _settings(as_json=as_json)
    with _explained(as_json), _alone(settings, yes=yes, as_json=as_json), _told(as_json) as say:
        found = {"ok": True, **store.vacuum(settings, say)}

    def show(out: Any) -> None:
        out.print(
            f"[green]Done[/]: {size(found['bytes_before'])} before, {size(found['bytes_after'])} now."
        )

    emit(found, show, as_json)


@db.command("recover")
def recover(
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Recover from this damaged file instead."),
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Read what can be read of a damaged file into a new one. The damaged file is kept, under damaged/."""
    from claude_mem.app import recover as recovering
    from claude_mem.cli import db_show
    from claude_mem.cli.start import load_settings

    settings = load_settings(as_json=as_json)
    if not settings.home.is_dir():
        _settings(as_json=as_json)  # which ends with the way there
    with _explained(as_json), _told(as_json) as say:
        say("Checking", 0, 0)
        damaged = [settings.database] if source else recovering.damaged_files(settings)
        if not damaged:
            _say_why_not(settings)
    if not (yes or as_json):
        names = ", ".join(path.name for path in damaged)
        typer.confirm(f"Make {names} anew from what can be read of it?", abort=True)
    with (
        _explained(as_json),
        _alone(settings, yes=yes or not as_json, as_json=as_json),
        _told(as_json) as say,
    ):
        made = [recovering.recover(settings, path, say, source=source) for path in damaged]
    data = {
        "ok": all(not it.faults for it in made),
        "files": [db_show.as_dict(it) for it in made],
        "next_step": _after_recovery(settings),
    }
    emit(data, lambda out: db_show.recovered(out, data), as_json)


def _say_why_not(settings: Settings) -> NoReturn:
    """Why there is nothing to recover. Raises NothingToRecover."""
    from claude_mem.app import recover as recovering

    gone = recovering.lost(settings)
    if gone is not None:
        raise recovering.Lost(gone)
    if not settings.database.exists():
        raise recovering.NothingToRecover(f"there is no database in {settings.home} yet")
    raise recovering.NothingToRecover("the files are sound: there is nothing to recover")


def _after_recovery(settings: Settings) -> str:
    """Why the worker stayed down is over; what to do next."""
    from claude_mem.app import offline
    from claude_mem.worker.layout import Layout

    Layout(settings.home).worker_failed.unlink(missing_ok=True)
    return "claude-mem db check" if offline.is_running(settings.home) else "claude-mem start"


@db.command("drop-copies")
def drop_copies(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; needed with --json.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete the copies the program made: those before a migration, and the damaged files that recover kept."""
    from claude_mem.app import copies

    settings = _settings(as_json=as_json)
    found = [*copies.of_migrations(settings.home), *copies.of_damaged(settings.home)]
    names = [str(path.relative_to(settings.home)) for path in found]
    if names and as_json and not yes:
        again = "claude-mem db drop-copies --json --yes"
        fail("--json cannot ask whether to delete: say --yes", again, code="USAGE", as_json=True)
    if names and not yes:
        typer.confirm(f"Delete {', '.join(names)} for good?", abort=True)
    copies.drop_all(settings.home)
    shown = ", ".join(names) or "there are no copies"
    emit({"ok": True, "deleted": names}, lambda out: out.print(f"Deleted: {shown}."), as_json)


@db.command("rebuild")
def rebuild(as_json: Json = False) -> None:
    """Make what is derived anew: the search index; a running worker also summarises the sessions again."""
    from claude_mem.app import migrate, offline
    from claude_mem.app.rebuild import rebuild_index

    settings = _settings(as_json=as_json)
    started = time.monotonic()
    with _explained(as_json):
        if offline.is_running(settings.home):
            data = _rebuild_in_worker(settings, as_json=as_json)
        else:
            with _alone(settings, yes=False, as_json=as_json), _told(as_json) as say:
                migrate.ensure_current(settings.database)
                count = rebuild_index(
                    settings.database,
                    lambda done, of: say("Indexing", done, of),
                    settings.place,
                )
            data = {"ok": True, "through": "file", "documents": count, "sessions": 0}
    data["seconds"] = round(time.monotonic() - started, 1)

    def show(out: Any) -> None:
        out.print(
            f"[green]Done[/] in {data['seconds']} s: {data['documents']} documents in the index"
        )
        if data["sessions"]:
            out.print(f"{data['sessions']} sessions are summarised again in the background.")

    emit(data, show, as_json)


@db.command("full")
def full(yes: Yes = False, as_json: Json = False) -> None:
    """Everything of a night: check, checkpoint, planner figures, vacuum where it is worth it, check again."""
    from claude_mem.app import store
    from claude_mem.cli import db_show

    settings = _settings(as_json=as_json)
    steps: list[dict[str, Any]] = []
    with _explained(as_json):
        first = _checked(settings, steps, as_json=as_json)
        if first["ok"]:
            through = _tidy(settings, as_json=as_json)
            steps.append({"step": "checkpoint", "ok": True, "said": f"logs emptied ({through})"})
            _vacuum_if_worth_it(settings, steps, yes=yes, as_json=as_json)
            first = _checked(settings, steps, as_json=as_json)
    data = {
        "ok": all(it["ok"] for it in steps),
        "steps": steps,
        "next_step": first["next_step"],
        "check": first,
        "files": store.folder_sizes(settings),
    }
    emit(data, lambda out: db_show.steps(out, data), as_json)
    if not data["ok"]:
        raise typer.Exit(FAILED)


def _checked(settings: Settings, steps: list[dict[str, Any]], *, as_json: bool) -> dict[str, Any]:
    from claude_mem.app import store
    from claude_mem.cli import db_show

    with _told(as_json) as say:
        found = store.checked(settings, tick=lambda: say("Checking", 0, 0))
    found["next_step"] = db_show.after_check(found)
    said = "all is well" if found["ok"] else "faults were found"
    steps.append({"step": "check", "ok": found["ok"], "said": said})
    return found


def _vacuum_if_worth_it(
    settings: Settings, steps: list[dict[str, Any]], *, yes: bool, as_json: bool
) -> None:
    from claude_mem.app import offline, store
    from claude_mem.cli.db_show import size

    if not settings.database.exists() or not store.needs_vacuum(settings):
        said = "not worth it: few pages are free"
    elif offline.is_running(settings.home) and not yes:
        said = "worth it, left out: the worker runs (claude-mem db vacuum --yes)"
    else:
        with _alone(settings, yes=yes, as_json=as_json), _told(as_json) as say:
            said = f"{size(store.vacuum(settings, say)['freed_bytes'])} given back"
    steps.append({"step": "vacuum", "ok": True, "said": said})


def _tidy(settings: Settings, *, as_json: bool) -> str:
    """Through the worker while it runs, else on the files; returns which."""
    from claude_mem.app import offline, store

    if offline.is_running(settings.home):
        with _client(settings, as_json=as_json) as client:
            client.request("POST", "/admin/db/checkpoint")
        return "worker"
    with _alone(settings, yes=False, as_json=as_json):
        store.tidy(settings)
    return "file"


def _rebuild_in_worker(settings: Settings, *, as_json: bool) -> dict[str, Any]:
    with _client(settings, as_json=as_json) as client, _told(as_json) as say:
        started = client.request("POST", "/admin/db/rebuild")
        while True:
            say("Indexing", 0, 0)
            jobs = client.request("GET", "/admin/jobs")
            dead = [it for it in jobs["dead"] if it["kind"] == "index.rebuild"]
            if dead:
                fail(
                    f"the index could not be rebuilt: {dead[0]['error']}",
                    "claude-mem logs; then claude-mem db check",
                    as_json=as_json,
                )
            if not jobs["waiting"].get("index.rebuild"):
                break
            time.sleep(_POLL_S)
    from claude_mem.app import store

    after = store.checked(settings)
    if after["index_faults"]:
        fail(
            f"the worker made the index anew, and yet {after['index_faults'][0]}",
            "claude-mem stop, then claude-mem db rebuild: alone it begins with an empty index",
            as_json=as_json,
        )
    return {
        "ok": True,
        "through": "worker",
        "documents": sum(it["indexed"] for it in after["index"]),
        "sessions": started["sessions"],
    }


def _client(settings: Settings, *, as_json: bool) -> Any:
    from claude_mem.cli.connection import worker_client

    made: Iterator[Client] = worker_client(settings.home, as_json=as_json, timeout=600.0)  # type: ignore[assignment]
    return made


def _settings(*, as_json: bool) -> Settings:
    """The settings of a data folder that has a database."""
    from claude_mem.app import recover as recovering
    from claude_mem.cli.start import load_settings

    settings = load_settings(as_json=as_json)
    gone = recovering.lost(settings)
    if gone is not None:
        step = recovering.way_back(settings.home)
        fail(gone, step, code="NOT_FOUND", as_json=as_json)
    if not settings.database.exists():
        fail(
            f"there is no database in {settings.home} yet",
            "claude-mem start, or set CLAUDE_MEM_HOME to the right folder",
            code="NOT_FOUND",
            as_json=as_json,
        )
    return settings


@contextmanager
def _explained(as_json: bool) -> Iterator[None]:
    """Our errors as every command tells them."""
    from sqlalchemy.exc import DBAPIError
    from sqlean import Error

    from claude_mem.kernel.errors import MemError

    try:
        yield
    except MemError as error:
        fail(error.message, _next_step(error), code=error.code, as_json=as_json)
    except (DBAPIError, Error) as error:
        said = f"the database refused: {getattr(error, 'orig', None) or error}"
        fail(said, "claude-mem db check", code="UNAVAILABLE", as_json=as_json)


def _next_step(error: MemError) -> str:
    from claude_mem.app import recover as recovering
    from claude_mem.hook.home import default_home

    if isinstance(error, (recovering.Lost, recovering.NotRecoverable)):
        return recovering.way_back(default_home())
    return _NEXT.get(error.code, "claude-mem doctor")


def _told(as_json: bool) -> Any:
    from claude_mem.cli.progress import told

    return told(as_json=as_json)


@contextmanager
def _alone(settings: Settings, *, yes: bool, as_json: bool) -> Iterator[None]:
    """The files to oneself; a running worker is stopped for the time, after a yes."""
    from claude_mem.app import offline

    stop = yes
    if offline.is_running(settings.home) and not yes and not as_json and sys.stdin.isatty():
        stop = typer.confirm("The worker runs. Stop it for the time (hooks spool meanwhile)?")
    with offline.alone(settings.home, stop=stop, port=settings.port):
        yield
