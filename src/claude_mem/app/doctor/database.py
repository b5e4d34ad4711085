"""Checks of the store's files: sound, of the right schema, the index in step with the rows, the log short."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlean

from claude_mem.adapters.sqlite import check, maintenance
from claude_mem.app import copies, recover, store
from claude_mem.app.doctor.model import Case, Check, bad, ok, size, warn
from claude_mem.app.migrate import revision_of
from claude_mem.app.migrations import HEAD
from claude_mem.domains.retrieval.analysis import ANALYSIS_VERSION
from claude_mem.hook.home import is_damaged_database, is_foreign_database
from claude_mem.kernel.errors import MemError

_LONG_LOG = 128 << 20


def files(case: Case) -> list[Check]:
    """Structure, references, and the index's agreement with the rows: what `db check` does."""
    if is_foreign_database(case.files.database) or is_damaged_database(case.files.database):
        return []  # said by the check of its owner
    gone = recover.lost(case.settings)
    if gone is not None:
        return [bad("database", "Database", gone, recover.way_back(case.home))]
    if not case.files.database.exists() or not case.files.database.stat().st_size:
        return [ok("database", "Database", "none yet: the first start makes it")]
    try:
        found = store.checked(case.settings)
        return [*_structure(found), *_agreement(found), *_revision(case, found), *_copies(case)]
    except (sqlean.Error, MemError) as error:
        return [bad("database", "Database", str(error), "claude-mem db check")]


def log(case: Case) -> list[Check]:
    """How long the write-ahead logs are."""
    sizes = [
        path.stat().st_size
        for name in ("claude-mem.db-wal", "inbox.db-wal")
        if (path := case.home / name).exists()
    ]
    if not sizes:
        return []
    if max(sizes) > _LONG_LOG:
        said = f"{size(max(sizes))}: it should have been written back"
        return [
            warn("database.log", "Write-ahead log", said, "claude-mem db checkpoint", "checkpoint")
        ]
    return [ok("database.log", "Write-ahead log", size(max(sizes)))]


def _structure(found: dict[str, Any]) -> Iterator[Check]:
    for file in found["files"]:
        name, title = file["file"], file["file"].capitalize()
        if file["faults"]:
            said = f"damaged: {file['faults'][0][:120]}"
            yield bad(name, title, said, "claude-mem db recover")
        elif name == "database":
            yield ok(name, title, f"sound ({size(file['bytes'])})")
    if found["references"]:
        said = ", ".join(f"{name}: {count} rows" for name, count in found["references"].items())
        fix = f"claude-mem db recover --from {found['files'][0]['path']}"
        yield warn("database.references", "References", said, fix)


def _copies(case: Case) -> Iterator[Check]:
    """What the program keeps besides the database, and `forget` does not reach."""
    damaged, before = copies.of_damaged(case.home), copies.of_migrations(case.home)
    if damaged:
        said = f"{len(damaged)} damaged, kept under damaged/: what is forgotten now stays in them"
        yield warn("copies", "Copies", said, "claude-mem db drop-copies, once nothing is missing")
    elif before:
        said = f"{before[0].name}, from before a migration: goes after two weeks, or at a forget"
        yield ok("copies", "Copies", said)


def _agreement(found: dict[str, Any]) -> Iterator[Check]:
    wrong = [it for it in found["index"] if not it["ok"]]
    said = [f"{it['kind']}: {it['missing']} missing, {it['stray']} without a row" for it in wrong]
    said += found["index_faults"]
    if said:
        yield bad("index", "Search index", "; ".join(said), "claude-mem db rebuild", "rebuild")
    elif found["index"]:
        total = sum(it["indexed"] for it in found["index"])
        yield ok("index", "Search index", f"says what the rows say ({total:,} documents)")


def _revision(case: Case, found: dict[str, Any]) -> Iterator[Check]:
    if found["damaged"]:
        return
    with check.read_only(case.files.database) as raw:
        revision = revision_of(raw)
        known = maintenance.has_statistics(raw)
        rows = raw.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if revision is not None and revision > HEAD:
        said = f"schema {revision} is of a newer program (this one knows {HEAD})"
        yield warn("schema", "Schema", said, "upgrade Claude-Mem")
    elif revision != HEAD:
        said = f"schema {revision}, this program's is {HEAD}"
        yield warn(
            "schema", "Schema", said, "claude-mem restart migrates it, after a copy", "start"
        )
    else:
        yield ok("schema", "Schema", f"{revision}, this program's")
        yield from _analysis(case)
    if rows and not known and revision == HEAD and found["index"] and found["index"][0]["rows"]:
        said = "the planner has no figures yet"
        yield warn("statistics", "Planner", said, "claude-mem db checkpoint", "checkpoint")


def _analysis(case: Case) -> Iterator[Check]:
    """Whether the index was made by this program's text analysis; a worker makes an older one anew by itself."""
    with check.read_only(case.files.database) as raw:
        row = raw.execute("SELECT analysis_version FROM search_statistics LIMIT 1").fetchone()
    if row is not None and row[0] != ANALYSIS_VERSION:
        said = "made by another version of the text analysis; a running worker makes it anew"
        yield warn("index.version", "Search index", said, "claude-mem start", "start")
