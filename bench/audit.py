"""The books compared with the disk: every promise kept, exactly once, and everything derived from it in its place.

Reads the files of a stopped site by itself, with SQL of its own: what the program says of itself is not asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlean

from bench.durability import PATIENCE, Ledger, Site

_MARKER = re.compile(r"\bmk[a-z]{14}\b")


@dataclass(slots=True)
class Audit:
    """What was found wrong, by kind; `problems` is empty when every promise was kept."""

    promised: int = 0
    rows: int = 0
    summaries: int = 0
    learnings: int = 0
    unsummarised: int = (
        0  # sessions in which a turn ended; the background may not have come to them yet
    )
    problems: list[str] = field(default_factory=list)

    def expect(self, what: str, wrong: object) -> None:
        """Note a problem when `wrong` is anything but empty, zero or None."""
        if wrong:
            shown = sorted(wrong)[:5] if isinstance(wrong, set | dict) else wrong
            count = f" ({len(wrong)})" if isinstance(wrong, set | dict | list) else ""
            self.problems.append(f"{what}{count}: {shown}")


def audit(site: Site, ledger: Ledger) -> Audit:
    """Compare the books with the files of a stopped site."""
    found = Audit(promised=len(ledger.promised))
    with contextlib.closing(_open(site.files.database)) as raw:
        _audit_rows(raw, ledger, found)
        _audit_whole(raw, found)
    with contextlib.closing(_open(site.files.inbox)) as raw:
        check = raw.execute("PRAGMA integrity_check").fetchone()[0]
        found.expect("the inbox file is damaged", check if check != "ok" else None)
        found.expect("left in the inbox", raw.execute("SELECT count(*) FROM inbox").fetchone()[0])
        buried = raw.execute("SELECT reason FROM dead_letters").fetchall()
        found.expect("buried events", [row[0] for row in buried])
    found.expect("rendered contexts that are not whole", rendered_contexts(site)[1])
    left = [path for path in site.files.spool.glob("*.jsonl") if path.stat().st_size]
    rejected = [path for path in left if path.name == "rejected.jsonl"]
    found.expect("left in the spool", [path.name for path in left if path not in rejected])
    # A torn line of a killed hook may be set aside; a whole event may not.
    for path in rejected:
        promised = ledger.promised.intersection(_MARKER.findall(path.read_text(encoding="utf-8")))
        found.expect("promised events among the rejected", promised)
    return found


def close_books(site: Site, ledger: Ledger, spots: int, patience: float = PATIENCE) -> Audit:
    """Wait until all is written, look for `spots` of the promises by search, stop the site, and compare."""
    site.settle(patience)
    promised = sorted(ledger.promised)
    unfound = find_by_search(site, promised[:: max(len(promised) // spots, 1)])
    site.stop()
    found = audit(site, ledger)
    found.expect("not found by search", unfound)
    return found


def _open(path: Path) -> Any:
    return sqlean.connect(str(path))


def _audit_rows(raw: Any, ledger: Ledger, found: Audit) -> None:
    known = {row[0] for row in raw.execute("SELECT event_id FROM ingested_events")}
    found.expect("acknowledged events that are not there", set(ledger.acknowledged) - known)
    rows: Counter[str] = Counter()
    for table in ("prompts", "observations"):
        for (content,) in raw.execute(f"SELECT content FROM {table}"):
            found.rows += 1
            rows.update(set(_MARKER.findall(content)))
    promised = ledger.promised
    found.expect("promised events without a row", {word for word in promised if not rows[word]})
    expected = promised | ledger.open
    found.expect("events with more than one row", {w for w in rows if rows[w] > 1})
    found.expect("rows that nobody sent", {word for word in rows if word not in expected})


_WHOLE = {
    "rows that the text index does not hold": (
        "SELECT count(*) FROM (SELECT id FROM prompts UNION ALL SELECT id FROM observations)"
        " WHERE id NOT IN (SELECT entity_id FROM search_documents)"
    ),
    "index entries without a row": (
        "SELECT count(*) FROM search_documents WHERE kind IN ('prompt', 'observation') AND entity_id NOT IN"
        " (SELECT id FROM prompts UNION ALL SELECT id FROM observations)"
    ),
    "rows that the journal does not know": (
        "SELECT count(*) FROM (SELECT id FROM prompts UNION ALL SELECT id FROM observations)"
        " WHERE id NOT IN (SELECT entity_id FROM change_journal)"
    ),
    "sessions that miscount their prompts": (
        "SELECT count(*) FROM sessions s WHERE prompt_count !="
        " (SELECT count(*) FROM prompts p WHERE p.session_id = s.id)"
    ),
    "sessions that miscount their observations": (
        "SELECT count(*) FROM sessions s WHERE observation_count !="
        " (SELECT count(*) FROM observations o WHERE o.session_id = s.id)"
    ),
    "sessions with more than one summary of ours": (
        "SELECT count(*) FROM (SELECT session_id FROM summaries WHERE source != 'agent'"
        " GROUP BY session_id HAVING count(*) > 1)"
    ),
    "learnings said twice of one project": (
        "SELECT count(*) FROM (SELECT project_id FROM learnings"
        " GROUP BY project_id, fingerprint HAVING count(*) > 1)"
    ),
    "learnings that no session says": (
        "SELECT count(*) FROM learnings WHERE fingerprint IS NOT NULL AND id NOT IN"
        " (SELECT learning_id FROM learning_sources)"
    ),
    "summaries and learnings that the text index does not hold": (
        "SELECT count(*) FROM (SELECT id FROM summaries UNION ALL SELECT id FROM learnings)"
        " WHERE id NOT IN (SELECT entity_id FROM search_documents)"
    ),
    "index entries of summaries and learnings that are not there": (
        "SELECT count(*) FROM search_documents WHERE kind IN ('summary', 'learning') AND entity_id NOT IN"
        " (SELECT id FROM summaries UNION ALL SELECT id FROM learnings)"
    ),
    "things that the text index holds twice": (
        "SELECT count(*) FROM (SELECT entity_id FROM search_documents GROUP BY kind, entity_id HAVING count(*) > 1)"
    ),
}
_UNSUMMARISED = """
    SELECT count(*) FROM sessions WHERE id IN (SELECT session_id FROM prompts WHERE prompt_type = 'assistant')
    AND id NOT IN (SELECT session_id FROM summaries WHERE source != 'agent')
"""


def _audit_whole(raw: Any, found: Audit) -> None:
    check = raw.execute("PRAGMA integrity_check").fetchone()[0]
    found.expect("the database is damaged", check if check != "ok" else None)
    found.expect("broken references", raw.execute("PRAGMA foreign_key_check").fetchall())
    for what, query in _WHOLE.items():
        found.expect(what, raw.execute(query).fetchone()[0])
    found.summaries = raw.execute("SELECT count(*) FROM summaries").fetchone()[0]
    found.unsummarised = raw.execute(_UNSUMMARISED).fetchone()[0]
    found.learnings = raw.execute("SELECT count(*) FROM learnings").fetchone()[0]


def rendered_contexts(site: Site) -> tuple[int, list[str]]:
    """How many contexts are kept in files (for when no worker is there), and which are not whole. The site may run."""
    torn = []
    paths = list((site.home / "context").glob("*.json"))
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # what was forgotten meanwhile is gone
            if not _is_whole(path):
                torn.append(path.name)
    return len(paths), torn


def _is_whole(path: Path) -> bool:
    try:
        record = json.loads(path.read_bytes())
        named = hashlib.sha256(record["place"].encode()).hexdigest()[:32]
    except (ValueError, KeyError, TypeError):
        return False
    return record["v"] == 1 and path.stem == named and isinstance(record["text"], str)


def find_by_search(site: Site, words: Iterable[str]) -> list[str]:
    """The markers that a search does not find. (A session's first prompt is its title too: found more than once.)"""
    with site.client() as client:
        return [word for word in words if client.search(word)["total_results"] < 1]
