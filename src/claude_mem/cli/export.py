"""`claude-mem export`: everything that is remembered, as JSON lines or as Markdown."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from claude_mem.cli.connection import worker_client
from claude_mem.cli.output import USAGE, console, emit, fail
from claude_mem.cli.steering import escaped


class Format(StrEnum):
    """How an export is written."""

    JSONL = "jsonl"
    MD = "md"
    MARKDOWN = "markdown"  # the same, as people say it


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write; default: stdout.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Only this project (name, path or id).")
    ] = None,
    since: Annotated[str | None, typer.Option(help="From then on: ISO 8601, or 7d, 12h.")] = None,
    format_: Annotated[
        Format, typer.Option("--format", help="jsonl, or md (markdown).")
    ] = Format.JSONL,
    as_json: Annotated[
        bool, typer.Option("--json", help="Report as one JSON object; needs --out.")
    ] = False,
) -> None:
    """Write everything that is remembered: one JSON object a line, or Markdown to read."""
    from claude_mem.hook.home import default_home

    if format_ is Format.MARKDOWN:
        format_ = Format.MD
    if as_json and out is None:
        step = "claude-mem export --out FILE --json"
        fail("--json reports on a file: --out is missing", step, as_json=True, status=USAGE)
    with worker_client(default_home(), as_json=as_json) as client:
        rows = client.export_lines(project=project, since=since)
        if out is None:
            _write(rows, sys.stdout.buffer, format_)
            return
        try:
            total = None if project or since else sum(client.health().get("counts", {}).values())
            report = _to_file(rows, out, format_, total)
        except OSError as error:
            step = "choose another --out; nothing was left half-written"
            fail(f"could not write {out}: {error.strerror or error}", step, as_json=as_json)
    said = f"Wrote {report['rows']} rows ({report['bytes']} bytes) to {out}."
    emit(report, lambda shown: shown.print(said, markup=False), as_json)


def _to_file(
    rows: Iterator[bytes], path: Path, format_: Format, total: int | None
) -> dict[str, Any]:
    """Write beside the file, then put it in place: it is whole or it is not there. Raises OSError."""
    from claude_mem.cli.imports_state import sync_folder

    path = path.absolute()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            count = _write(rows, file, format_, total)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        draft.replace(path)
    except BaseException:  # also Ctrl-C: a half-written draft helps nobody
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return {"ok": True, "path": str(path), "format": format_.value, "rows": count, "bytes": size}


def _write(
    rows: Iterator[bytes], target: BinaryIO, format_: Format, total: int | None = None
) -> int:
    """Write every row; returns how many. On a terminal a bar tells how far it is of `total`."""
    shape = as_markdown if format_ is Format.MD else _as_line
    shown = target is sys.stdout.buffer and sys.stdout.isatty()
    if format_ is Format.MD:
        rows = by_session(rows)
    to_screen = target is sys.stdout.buffer or not sys.stderr.isatty()
    count = 0
    with nullcontext(_unwatched) if to_screen else _bar(total) as tell:
        for row in rows:
            target.write(_steering_nothing(shape(row)) if shown else shape(row))
            count += 1
            if count % 200 == 0:
                tell(count)
    target.flush()
    return count


def _steering_nothing(text: bytes) -> bytes:
    """For a terminal; a file and a pipe get every byte."""
    return escaped(text.decode("utf-8", "replace")).encode()


def _unwatched(_count: int) -> None:
    """Nobody watches."""


@contextmanager
def _bar(total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("Export"), BarColumn(), TextColumn("{task.completed} rows"))
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        task = bars.add_task("export", total=total)

        def tell(count: int) -> None:
            bars.update(task, completed=count)

        yield tell


def _as_line(row: bytes) -> bytes:
    return row + b"\n"


_TITLES = {
    "session": "title",
    "prompt": "prompt_type",
    "observation": "title",
    "code_change": "file_path",
    "summary": "title",
    "learning": "title",
}
_NO_SESSION = 1 << 62
_FENCED = frozenset({"observation", "code_change"})
_BACKTICKS = re.compile("`{3,}")


def by_session(rows: Iterator[bytes]) -> Iterator[bytes]:
    """The rows with each session followed by what it holds, as it happened; what belongs to none comes last.

    An export comes kind by kind. The rows wait in a file without a name, and only where they lie in memory.
    """
    places: list[tuple[int, str, bool, str, str, int]] = []
    order: dict[str, int] = {}
    with tempfile.TemporaryFile() as file:
        for line in rows:
            row = json.loads(line)
            own, session = row.get("kind") == "session", row.get("session_id")
            if own:
                order[row["id"]] = len(order)
            rank = order.get(row["id"] if own else session, _NO_SESSION)
            when = str(row.get("occurred_at") or row.get("created_at") or "")
            places.append((rank, str(session or ""), not own, when, str(row["id"]), file.tell()))
            file.write(line + b"\n")
        for *_, at in sorted(places):
            file.seek(at)
            yield file.readline()[:-1]


def as_markdown(line: bytes) -> bytes:
    """One row as a section: a heading, what and when it was, its text (of tools: fenced)."""
    row: dict[str, Any] = json.loads(line)
    kind = str(row.get("kind", "row"))
    title = " ".join(str(row.get(_TITLES.get(kind, "id")) or row.get("id", "")).split())
    when = row.get("occurred_at") or row.get("started_at") or row.get("created_at")
    session = f"session {row['session_id']}" if row.get("session_id") else ""
    about = [kind.replace("_", " "), str(when or ""), str(row.get("id", "")), session]
    parts = [
        f"{'#' if kind == 'session' else '##'} {title}",
        f"*{' · '.join(filter(None, about))}*",
    ]
    body = str(
        row.get("content") or row.get("description") or row.get("diff") or row.get("summary") or ""
    ).strip()
    if body and kind in _FENCED:
        longest = max((len(run) for run in _BACKTICKS.findall(body)), default=2)
        body = "\n".join(("`" * (longest + 1), body, "`" * (longest + 1)))
    if body:
        parts.append(body)
    return ("\n\n".join(parts) + "\n\n").encode("utf-8", "replace")
