"""What `claude-mem db` shows a person: tables that fit a terminal, faults with the next step."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from claude_mem.app.recover import Recovered

_FAULTS_SHOWN = 5
_TABLES_SHOWN = 12
_BAR = 24
_WIDE = 44


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


def after_check(found: dict[str, Any]) -> str | None:
    """What to do about what a check found."""
    if found["damaged"]:
        return "claude-mem db recover"
    if found["index_faults"] or any(not it["ok"] for it in found["index"]):
        return "claude-mem db rebuild"
    if found["references"]:
        return f"claude-mem db recover --from {found['files'][0]['path']}"
    return None


def as_dict(made: Recovered) -> dict[str, Any]:
    """One recovered file for `--json`."""
    return {
        "file": made.file,
        "kept": made.kept,
        "log": made.rescue.log,
        "rows": made.rescue.rows,
        "lost": made.rescue.lost,
        "unclaimed_pages": made.rescue.unclaimed,
        "stand_ins": made.stand_ins,
        "indexed": made.indexed,
        "faults": made.faults,
        "tables": [asdict(table) for table in made.rescue.tables],
    }


def checked(out: Console, found: dict[str, Any], *, thorough: bool) -> None:
    """`db check`."""
    if not found["files"]:
        out.print("There is nothing to check yet.")
    for file in found["files"]:
        word = _well(not file["faults"])
        out.print(f"[bold]{file['file']:<12}[/]{word}  {size(file['bytes'])}")
        _lines(out, file["faults"])
    if found["index"]:
        out.print(f"[bold]{'references':<12}[/]{_well(not found['references'])}")
        _lines(out, [f"{name}: {count} rows" for name, count in found["references"].items()])
        good = all(it["ok"] for it in found["index"]) and not found["index_faults"]
        total = sum(it["indexed"] for it in found["index"])
        out.print(f"[bold]{'index':<12}[/]{_well(good)}  {total:,} documents")
        _lines(out, [_disagreement(it) for it in found["index"] if not it["ok"]])
        _lines(out, found["index_faults"])
    if found["next_step"]:
        out.print(f"[bold]{'next':<12}[/]{found['next_step']}", markup=True)
    elif not thorough:
        out.print(f"[dim]{'':<12}--thorough also compares every index entry with its row[/]")


def figures(out: Console, found: dict[str, Any]) -> None:
    """`db stats`."""
    pages = found["pages"]
    whole = pages["page_count"] * pages["page_size"]
    out.print(
        f"[bold]Database[/]  {size(whole)}, schema {found['revision']}, last event {_day(found['last_event_at'])}"
    )
    sizes = {it["name"]: it["bytes"] for it in found["sizes"]}
    by_table: dict[str, int] = {}
    for it in found["sizes"]:
        by_table[it["table"]] = by_table.get(it["table"], 0) + it["bytes"]
    rows = sorted(filter(found["rows"].get, found["rows"]), key=lambda name: -by_table.get(name, 0))
    out.print(f"\n[bold]{'Table':<28}{'rows':>12}{'data':>10}{'indexes':>10}[/]")
    for name in rows[:_TABLES_SHOWN]:
        data = sizes.get(name, 0)
        out.print(
            f"{_fit(name, 27):<28}{found['rows'][name]:>12,}{size(data):>10}"
            f"{size(by_table.get(name, 0) - data):>10}",
            markup=False,
        )
    for it in found["vectors"]:
        out.print(
            f"Vectors of {it['model']}: {it['embedded']:,} of {it['documents']:,} documents",
            markup=False,
        )
    if len(rows) > _TABLES_SHOWN:
        rest = sum(by_table.get(name, 0) for name in rows[_TABLES_SHOWN:])
        out.print(f"[dim]{len(rows) - _TABLES_SHOWN} smaller ones: {size(rest)}[/]")
    _projects(out, found["projects"])
    _growth(out, found["growth"])


def room(out: Console, found: dict[str, Any]) -> None:
    """`db space`."""
    used = sum(found["files"].values())
    cap, free = size(found["cap_bytes"]), size(found["free_disk_bytes"])
    out.print(f"[bold]Data folder[/]  {size(used)}, cap {cap}, free disk {free}")
    for name, count in sorted(found["files"].items(), key=lambda it: -it[1]):
        if count:
            out.print(f"  {name.replace('_', ' '):<16}{size(count):>10}")
    pages, gaps = size(found["free_pages_bytes"]), size(found["gaps_bytes"])
    out.print(f"\n[bold]To be given back[/]  {pages} in free pages, {gaps} in gaps between rows")
    if found["vacuum_is_worth_it"]:
        out.print("  [yellow]worth it:[/] claude-mem db vacuum")
    else:
        out.print("  [dim]not worth a vacuum: gaps fill up, the worker gives free pages back[/]")
    _projects(out, found["projects"])
    if found["sessions"]:
        out.print(f"\n[bold]{'Largest sessions':<{_WIDE}}{'rows':>8}{'text':>10}[/]")
        for it in found["sessions"]:
            out.print(
                f"{_cells(it['title'], _WIDE - 2)}{it['rows']:>8,}{size(it['bytes']):>10}",
                markup=False,
            )
            out.print(
                f"  {it['project'] or '-'}, {_day(it['last_activity_at'])}, {it['id']}",
                style="dim",
                markup=False,
            )
        out.print("[dim]A session goes for good with: claude-mem forget session ID[/]")


def recovered(out: Console, data: dict[str, Any]) -> None:
    """`db recover`."""
    for file in data["files"]:
        lost = _lost(file)
        out.print(
            f"[bold]{Path(file['file']).name}[/]  [green]{file['rows']:,} rows[/] came over, {lost}"
        )
        for table in file["tables"]:
            if table["lost"] or table["bad_pages"]:
                out.print(
                    f"  {table['name']:<20}{table['rows']:>10,} rows{table['lost']:>8,} lost"
                    f"{table['bad_pages']:>6} pages unreadable",
                    markup=False,
                )
        for text in _notes(file):
            out.print(f"  {text}", markup=False)
        _lines(out, file["faults"])
        if file["kept"]:
            out.print("  The damaged file is kept: ", end="")
            out.print(file["kept"], markup=False)
    out.print(f"Next:  {data['next_step']}", markup=False)
    out.print(
        "[dim]claude-mem db check looks at the new files; claude-mem import reads transcripts again.[/]"
    )


def _lost(file: dict[str, Any]) -> str:
    """What indexes and torn cells tell is a lower bound where pages of rows and of indexes are gone together."""
    if file["lost"]:
        return f"[yellow]at least {file['lost']:,} lost[/]"
    torn = file["unclaimed_pages"] or any(table["bad_pages"] for table in file["tables"])
    return "[yellow]what was on unreadable pages is not known[/]" if torn else "none lost"


def steps(out: Console, data: dict[str, Any]) -> None:
    """`db full`."""
    for step in data["steps"]:
        out.print(f"{_well(step['ok'])}  [bold]{step['step']:<12}[/]{step['said']}")
    if not data["check"]["ok"]:
        checked(out, data["check"], thorough=True)


def _notes(file: dict[str, Any]) -> list[str]:
    notes = []
    if file["log"] == "left_out":
        notes.append("Its write-ahead log belongs to another file and was left out.")
    if file["unclaimed_pages"]:
        notes.append(
            f"{file['unclaimed_pages']} pages hang on no table any more and were left out."
        )
    sessions = file["stand_ins"].get("sessions", 0)
    if sessions:
        notes.append(f"{sessions} sessions were lost themselves: stand-ins hold what is theirs.")
    if file["indexed"]:
        notes.append(f"The search index was made anew: {file['indexed']:,} documents.")
    return notes


def _projects(out: Console, projects: list[dict[str, Any]]) -> None:
    if not projects:
        return
    out.print(f"\n[bold]{'Project':<{_WIDE - 10}}{'sessions':>10}{'rows':>10}{'text':>10}[/]")
    for it in projects[:_TABLES_SHOWN]:
        name = _cells(it["name"], _WIDE - 12)
        out.print(
            f"{name}{it['sessions']:>10,}{it['rows']:>10,}{size(it['bytes']):>10}", markup=False
        )


def _growth(out: Console, days: list[dict[str, int]]) -> None:
    most = max((day["bytes"] for day in days), default=0)
    if not most:
        out.print(f"\nNothing happened in the last {len(days)} days.")
        return
    total = sum(day["bytes"] for day in days)
    out.print(
        f"\n[bold]{'Day':<12}{'rows':>8}{'text':>10}[/]  {size(total / max(len(days), 1))} a day"
    )
    for day in days:
        bar = "█" * round(day["bytes"] / most * _BAR)
        when = time.strftime("%Y-%m-%d", time.gmtime(day["day_ms"] / 1000))
        out.print(f"{when:<12}{day['rows']:>8,}{size(day['bytes']):>10}  {bar}", markup=False)


def _well(good: bool) -> str:
    return "[green]ok[/]    " if good else "[red]faulty[/]"


def _lines(out: Console, lines: list[str]) -> None:
    for line in lines[:_FAULTS_SHOWN]:
        out.print(f"  {line}", markup=False, style="red")
    if len(lines) > _FAULTS_SHOWN:
        out.print(f"  and {len(lines) - _FAULTS_SHOWN} more (--json shows them)", style="dim")


def _disagreement(it: dict[str, Any]) -> str:
    return (
        f"{it['kind']}: {it['rows']:,} rows, {it['indexed']:,} in the index;"
        f" {it['missing']:,} missing, {it['stray']:,} without a row"
    )


def _fit(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _cells(text: str, width: int) -> str:
    """Cut and filled to terminal cells (a Chinese character takes two), and two more blanks."""
    from rich.cells import cell_len, set_cell_size

    text = " ".join(text.split())
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width) + "  "


def _day(moment: int | None) -> str:
    return "-" if moment is None else time.strftime("%Y-%m-%d", time.localtime(moment / 1000))
