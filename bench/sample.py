"""A worker that has taken in the bundled sample, through the import, as anybody would. Ended and removed afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.durability import Site, eventually
from claude_mem.cli.import_run import run_import

TRANSCRIPTS = Path(__file__).parents[1] / "src/claude_mem/assets/sample/transcripts"
Row = dict[str, Any]
_PATIENCE = 900.0


@contextmanager
def loaded(models: Path | None = None, **settings: object) -> Iterator[Site]:
    """A site whose worker holds the sample and has nothing left to do; `settings` as in `Site`.

    `models`, a folder that `claude-mem model install` filled, has everything embedded too.
    """
    with Site(None, log_level="warning", **settings) as site:
        if models is not None:
            site.home.mkdir(parents=True, exist_ok=True)
            (site.home / "models").symlink_to(models.absolute())
        site.start()
        run_import(site.home, TRANSCRIPTS)
        site.rest()
        if models is not None:
            eventually(lambda: _is_embedded(site), "everything is embedded", _PATIENCE)
        yield site


def _is_embedded(site: Site) -> bool:
    told = (site.health() or {}).get("vectors") or {}
    if told.get("reason"):
        raise SystemExit(f"no model: {told['reason']}")
    return bool(told) and int(told["embedded"]) >= int(told["total"]) > 0


def rows(site: Site) -> list[Row]:
    """Everything that was recorded, as exported, each with its `project` (path) and `agent_session`."""
    with site.client() as client:
        found: list[Row] = [json.loads(line) for line in client.export_lines()]
    sessions = {row["id"]: row for row in found if row["kind"] == "session"}
    for row in found:
        session = sessions.get(row["id"] if row["kind"] == "session" else row.get("session_id"))
        if session is not None:
            row["project"] = session["metadata"]["cwd"]
            row["agent_session"] = session["agent_session"]
    return found


def text_of(row: Row) -> str:
    """What a row says, whole."""
    said = (row.get(name) for name in ("title", "content", "file_path", "diff", "command"))
    return "\n".join(str(part) for part in said if part)
