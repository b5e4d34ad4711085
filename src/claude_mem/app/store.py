"""What can be said of, and done for, the store of a data folder as a whole: its database and its inbox file.

Owns putting the figures together. What only reads may be done beside a running worker; what changes a file is for who
is alone in the folder (`app.offline`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from claude_mem.adapters.sqlite import check, maintenance
from claude_mem.app.migrate import revision_of
from claude_mem.app.migrations import HEAD
from claude_mem.app.rebuild import indexed_tables
from claude_mem.app.settings import Settings
from claude_mem.kernel.clock import now_ms

_WORTH_SHARE = 0.2  # of the file: fewer gaps fill by themselves
_WORTH_BYTES = 16 << 20


def files(settings: Settings) -> dict[str, Path]:
    """The store's files that are there, by what they are."""
    named = {"database": settings.database, "inbox": settings.inbox}
    return {name: path for name, path in named.items() if path.exists() and path.stat().st_size}


def checked(
    settings: Settings, *, thorough: bool = False, tick: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Structure of both files; references and search index of the database. `ok`: all is as it should be."""
    found: dict[str, Any] = {"files": [], "references": {}, "index": [], "index_faults": []}
    for name, path in files(settings).items():
        faults = check.file_faults(path, thorough=thorough, tick=tick)
        size = path.stat().st_size
        found["files"].append({"file": name, "path": str(path), "bytes": size, "faults": faults})
    sound = all(not it["faults"] for it in found["files"])
    if sound and settings.database.exists():
        _compare(settings, found, tick)
    agrees = all(it["ok"] for it in found["index"]) and not found["index_faults"]
    found["damaged"] = not sound
    found["ok"] = sound and not found["references"] and agrees
    return found


def _compare(settings: Settings, found: dict[str, Any], tick: Callable[[], None] | None) -> None:
    with check.read_only(settings.database, tick) as raw:
        if revision_of(raw) != HEAD:
            return  # the next start migrates it: what this program compares is not there yet
        raw.execute(
            "BEGIN"
        )  # one moment for everything that is compared, whatever a worker writes meanwhile
        found["references"] = check.foreign_keys(raw)
        found["index"] = [
            {**asdict(it), "ok": it.ok} for it in check.agreements(raw, indexed_tables())
        ]
        if different := check.engine_difference(raw):
            found["index_faults"].append(
                f"{different} documents are not in both parts of the index"
            )
        if different := check.counted_difference(raw):
            found["index_faults"].append(f"the counted documents differ by {different}")


def figures(settings: Settings, days: int) -> dict[str, Any]:
    """Rows, sizes, projects and growth."""
    with check.read_only(settings.database) as raw:
        return {
            "revision": revision_of(raw),
            "pages": maintenance.pages(raw),
            "rows": maintenance.rows(raw),
            "vectors": maintenance.vectors(raw),
            "sizes": maintenance.sizes(raw),
            "projects": maintenance.projects(raw),
            "growth": maintenance.growth(raw, now_ms(), days),
            "last_event_at": maintenance.last_event(raw),
            "files": folder_sizes(settings),
            "cap_bytes": settings.max_store_mb << 20,
        }


def room(settings: Settings) -> dict[str, Any]:
    """Where the bytes are, what could be given back, and what holds the most."""
    with check.read_only(settings.database) as raw:
        pages = maintenance.pages(raw)
        sizes = maintenance.sizes(raw)
        return {
            "files": folder_sizes(settings),
            "free_disk_bytes": shutil.disk_usage(settings.home).free,
            "cap_bytes": settings.max_store_mb << 20,
            "free_pages_bytes": pages["freelist_count"] * pages["page_size"],
            "gaps_bytes": sum(it["unused"] for it in sizes),
            "vacuum_is_worth_it": is_worth_vacuum(pages),
            "objects": sizes,
            "projects": maintenance.projects(raw),
            "sessions": maintenance.largest_sessions(raw),
        }


def is_worth_vacuum(pages: dict[str, int]) -> bool:
    """Whether writing the file anew gives back what matters; a worker gives free pages back bit by bit."""
    free = pages["freelist_count"] * pages["page_size"]
    return free >= _WORTH_BYTES and pages["freelist_count"] >= _WORTH_SHARE * pages["page_count"]


def needs_vacuum(settings: Settings) -> bool:
    """The same of the database as it is."""
    with check.read_only(settings.database) as raw:
        return is_worth_vacuum(maintenance.pages(raw))


def folder_sizes(settings: Settings) -> dict[str, int]:
    """Bytes by what lies in the data folder."""
    home = settings.home
    sizes = {
        "database": _size(settings.database),
        "database_log": _size(home / "claude-mem.db-wal"),
        "inbox": _size(settings.inbox) + _size(home / "inbox.db-wal"),
    }
    for name in ("spool", "logs", "backups", "damaged", "context", "vectors"):
        sizes[name] = sum(_size(path) for path in (home / name).rglob("*"))
    return sizes


def tidy(settings: Settings) -> None:
    """Empty the write-ahead logs and refresh the planner's figures; for who is alone in the folder."""
    for path in files(settings).values():
        maintenance.optimize(path)
        maintenance.checkpoint(path)


def vacuum(settings: Settings, say: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Write the files anew without gaps; for who is alone in the folder. Raises StoreFull when there is no room."""
    there = files(settings)
    for path in there.values():
        maintenance.room_for_vacuum(path, shutil.disk_usage(settings.home).free)
    before = after = 0
    for name, path in there.items():
        was, now = maintenance.vacuum(path, lambda done, of, n=name: say(f"Vacuum {n}", done, of))  # type: ignore[misc]
        before, after = before + was, after + now
    return {"bytes_before": before, "bytes_after": after, "freed_bytes": max(before - after, 0)}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # went meanwhile
        return 0
