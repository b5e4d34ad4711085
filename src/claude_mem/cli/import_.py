"""`claude-mem import`: take in transcripts that hooks never saw, and the memory of the other
claude-mem.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from claude_mem.cli.output import USAGE, console, emit, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from claude_mem.cli.import_run import Choice, Progress

_DERIVED = ("summaries", "learnings")  # made in the background, a little later
_LONG_LINE = 1 << 20
_BYTES = ("B", "KB", "MB", "GB", "TB")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)


def import_(
    path: Annotated[
        Path | None,
        typer.Argument(help="A folder of transcripts, or one; default: your own (asks first)."),
    ] = None,
    upstream: Annotated[
        Path | None,
        typer.Option(help="A database of the other claude-mem; it is only read.", metavar="FILE"),
    ] = None,
    project: Annotated[str | None, typer.Option(help="Only this project (path or name).")] = None,
    since: Annotated[str | None, typer.Option(help="From then on: ISO 8601, or 7d, 12h.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and count, send nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the index.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Take in transcripts (or the other claude-mem's database). Twice does no harm; an interrupted
    one goes on.
    """
    from claude_mem.cli.connection import worker_client
    from claude_mem.hook.home import default_home

    home = default_home()
    choice = _choice(project, since, as_json=as_json)
    if path is None and upstream is None:
        path = _own_folder(yes=yes, as_json=as_json)
    _check_sources(path, upstream, as_json=as_json)
    options: dict[str, Any] = {"upstream": upstream, "choice": choice, "wait": not no_wait}
    if dry_run:
        report = _run(home, path, options | {"dry_run": True}, as_json=as_json)
    else:
        with worker_client(home, as_json=as_json):
            report = _run(home, path, options, as_json=as_json)
    emit(report, lambda out: render(out, report), as_json)


def run_import(home: Path, folder: Path) -> dict[str, Any]:
    """Import a folder into the running worker of `home`, with a progress bar on a terminal."""
    from claude_mem.cli import import_run

    with watching() as progress:
        return import_run.run_import(home, folder, progress=progress)


def _run(
    home: Path, path: Path | None, options: dict[str, Any], *, as_json: bool
) -> dict[str, Any]:
    from claude_mem.cli import import_run
    from claude_mem.cli.import_send import Paused
    from claude_mem.kernel.errors import Invalid

    try:
        with watching() as progress:
            return import_run.run_import(home, path, progress=progress, **options)
    except Paused:
        step = "`claude-mem resume`, then the same import again: it goes on where it stopped"
        fail(
            "recording is paused, so nothing can be taken in", step, code="PAUSED", as_json=as_json
        )
    except Invalid as error:
        step = "name a database of the other claude-mem"
        fail(error.message, step, code=error.code, as_json=as_json)
    except OSError as error:
        step = "the same import again goes on where it stopped"
        fail(f"the import stopped: {error}", step, code="IO_ERROR", as_json=as_json)


def _choice(project: str | None, since: str | None, *, as_json: bool) -> Choice:
    from claude_mem.cli.import_run import Choice
    from claude_mem.kernel.clock import parse_moment

    try:
        return Choice(project, parse_moment(since) if since else 0)
    except ValueError as error:
        step = "give a moment such as 2026-10-01, or a span such as 7d"
        fail(f"--since: {error}", step, code="USAGE", as_json=as_json, status=USAGE)


def _own_folder(*, yes: bool, as_json: bool) -> Path:
    """The person's own transcripts, after a yes."""
    from claude_mem.domains.capture.transcripts.discover import projects_folder

    folder = projects_folder()
    if not folder.is_dir():
        step = "name a folder: claude-mem import PATH"
        fail(f"there are no transcripts at {folder}", step, code="NO_TRANSCRIPTS", as_json=as_json)
    if yes:
        return folder
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        step = f"claude-mem import --yes, or name the folder: claude-mem import {folder}"
        said = f"your own transcripts in {folder} are read only after a yes"
        fail(said, step, code="CONSENT_NEEDED", as_json=as_json, status=USAGE)
    if not typer.confirm(f"Read your own transcripts in {folder}?", default=False, err=True):
        fail("nothing was imported", "", code="DECLINED", as_json=as_json)
    return folder


def _check_sources(path: Path | None, upstream: Path | None, *, as_json: bool) -> None:
    """A wrong name is told before a worker is started for it."""
    step = "name a folder of transcripts, a transcript, or a database"
    for source in (path, upstream):
        if source is None:
            continue
        if not source.exists():
            fail(f"{source} does not exist", step, code="NOT_FOUND", as_json=as_json, status=USAGE)
        if not source.is_file() and (source is upstream or not source.is_dir()):
            said = f"{source} is not a regular file"
            fail(said, step, code="NOT_A_FILE", as_json=as_json, status=USAGE)
    if path is not None and path.is_file() and _is_database(path):
        step = f"claude-mem import --upstream {path}"
        said = f"{path} is a database, not a transcript"
        fail(said, step, code="IS_A_DATABASE", as_json=as_json, status=USAGE)
    if path is not None and path.is_file() and _is_export(path):
        step = (
            "copy the data folder while no worker runs (claude-mem stop), or import the transcripts"
        )
        said = f"{path} is an export, which is to be read, and cannot be taken in again"
        fail(said, step, code="IS_AN_EXPORT", as_json=as_json, status=USAGE)


def _is_export(path: Path) -> bool:
    """Whether a file is what `claude-mem export` wrote: its first line is a row, and no event of a session."""
    from claude_mem.domains.capture.transcripts.files import open_regular

    try:
        with open_regular(path) as file:
            row = json.loads(file.readline(_LONG_LINE))
    except (OSError, ValueError):  # the import names what it cannot read
        return False
    return isinstance(row, dict) and {"kind", "id", "version"} <= set(row) and "type" not in row


def _is_database(path: Path) -> bool:
    from claude_mem.domains.capture.transcripts.files import open_regular

    try:
        with open_regular(path) as file:
            return file.read(16) == b"SQLite format 3\x00"
    except OSError:  # the import names what it cannot read
        return False


# -- what a person sees ---------------------------------------------------------------------------


@contextmanager
def watching() -> Iterator[Progress | None]:
    """A progress bar on stderr while this lasts, where stderr is a terminal; else nobody to tell."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.close()


class _Bar:
    """Bytes (or rows), the file at hand, and events a second."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[size]}"),
            TextColumn("{task.fields[events]} events, {task.fields[speed]}/s"),
            TextColumn("[dim]{task.fields[label]}"),
            console=console(stderr=True),
            transient=True,
        )
        self._bars.start()
        self._began = time.monotonic()
        self._task: Any = None
        self._total = 0
        self._what = ""

    def begin(self, what: str, total: int) -> None:
        """A source of `total` steps."""
        self._what, self._total = what, total
        self._task = self._bars.add_task(
            what.capitalize(), total=max(total, 1), size="", events=0, speed=0, label=""
        )

    def at(self, done: int, events: int, label: str) -> None:
        """Where it is."""
        in_bytes = self._what == "transcripts"
        size = f"{_size(done)} of {_size(self._total)}" if in_bytes else f"{done} of {self._total}"
        speed = int(events / max(time.monotonic() - self._began, 0.001))
        self._bars.update(
            self._task, completed=done, size=size, events=events, speed=speed, label=label[:40]
        )

    def close(self) -> None:
        """Take the bar off the screen."""
        self._bars.stop()


def render(out: Console, report: dict[str, Any]) -> None:
    """The summary of an import."""
    read = report["files"]
    for name in ("unchanged", "opted_out", "files_left_out"):
        read -= report[name]
    speed = report["events"] / max(report["seconds"], 0.001)
    verb = "Would take in" if report["dry_run"] else "Took in"
    out.print(
        f"{verb} [bold]{report['events']}[/] events of {report['sessions']} sessions from {read} of "
        f"{report['files']} files ({_size(report['bytes'])}) in {report['seconds']:.1f} s"
        f" ({speed:.0f} events/s)."
    )
    if not report["dry_run"]:
        out.print(f"{report['new']} were new, {report['known']} were there already.")
    if report["added"]:
        counts = {
            name: count for name, count in report["added"].items() if count or name not in _DERIVED
        }
        added = ", ".join(f"{count} {_words(name, count)}" for name, count in counts.items())
        out.print(f"Added: {added}.", markup=False)
    if report["to_summarise"]:
        out.print(follows(report), markup=False)
    if report["indexed"] is False:
        out.print("[yellow]Not everything is indexed yet; that goes on in the background.[/]")
    _table(out, "Events", report["by_type"])
    reasons = dict(report["skipped"])
    for name, said in (
        ("unchanged", "file read before"),
        ("opted_out", "file of a project that opted out"),
        ("files_left_out", "file left out by --project or --since"),
        ("left_out", "event left out by --project, --since or an opt-out"),
    ):
        if report[name]:
            reasons[said] = report[name]
    _table(out, "Skipped", reasons)
    _table(out, "Refused", report["refused"])
    for path, reason in report["unreadable"].items():
        out.print(f"Could not read {path}: {reason}", markup=False, style="yellow")
    if report["new"]:
        out.print("Next:  claude-mem search your words", markup=False)


def follows(report: dict[str, Any]) -> str:
    """What is still to come of an import that took in something new."""
    count = report["to_summarise"]
    return (
        f"Summaries and learnings follow in the background ({count} session{'s' * (count != 1)})."
    )


def _table(out: Console, title: str, counts: dict[str, int]) -> None:
    from rich.table import Table

    if not counts:
        return
    table = Table("count", "what", title=title, title_justify="left", box=None, pad_edge=False)
    table.columns[0].justify = "right"
    for name, count in counts.items():
        table.add_row(str(count), name)
    out.print(table)


def _words(table: str, count: int) -> str:
    name = table.replace("_", " ")
    if count != 1:
        return name
    return f"{name[:-3]}y" if name.endswith("ies") else name[:-1]


def _size(count: float) -> str:
    for unit in _BYTES:
        if count < 1000 or unit == _BYTES[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit returns")
