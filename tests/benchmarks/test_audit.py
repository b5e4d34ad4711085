"""The audit of the proofs sees what it is there to see."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlean
from bench.audit import audit, rendered_contexts
from bench.durability import Ledger, Site
from bench.traffic import is_context

pytestmark = pytest.mark.slow


@pytest.fixture
def stopped() -> Iterator[Site]:
    """A site that was set up and has nothing in it."""
    with Site() as site:
        site.start()
        site.stop()
        yield site


def insert(site: Site, table: str, **values: Any) -> None:
    """A row with these values, and something for every other column that must have one."""
    with contextlib.closing(sqlean.connect(str(site.files.database))) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("PRAGMA ignore_check_constraints = ON")
        columns = raw.execute(f"PRAGMA table_info({table})").fetchall()
        filled = {
            name: values.get(name, 0 if kind.startswith(("INT", "BIG", "FLOAT")) else "{}")
            for _, name, kind, needed, default, key in columns
            if name in values or key or (needed and default is None)
        }
        marks = ", ".join("?" for _ in filled)
        raw.execute(
            f"INSERT INTO {table} ({', '.join(filled)}) VALUES ({marks})", [*filled.values()]
        )
        raw.commit()


def kinds(site: Site) -> set[str]:
    return {problem.partition(":")[0] for problem in audit(site, Ledger()).problems}


def test_an_untouched_store_is_in_order(stopped: Site) -> None:
    assert audit(stopped, Ledger()).problems == []


def test_two_summaries_of_one_session_are_seen(stopped: Site) -> None:
    for number in "12":
        insert(stopped, "summaries", id=number, session_id="s", source="extractive")
    assert "sessions with more than one summary of ours" in kinds(stopped)
    assert "summaries and learnings that the text index does not hold" in kinds(stopped)
    assert audit(stopped, Ledger()).summaries == 2


def test_a_learning_twice_or_without_a_session_is_seen(stopped: Site) -> None:
    for number in "12":
        # The index that forbids this is of one enterprise; the audit does not rely on it.
        insert(
            stopped, "learnings", id=number, enterprise_id=number, project_id="p", fingerprint="f"
        )
    assert {"learnings said twice of one project", "learnings that no session says"} <= kinds(
        stopped
    )


def test_an_index_entry_of_nothing_is_seen(stopped: Site) -> None:
    insert(stopped, "search_documents", kind="learning", entity_id="gone")
    assert "index entries of summaries and learnings that are not there" in kinds(stopped)


def test_a_rendered_context_is_whole_or_reported(stopped: Site) -> None:
    folder = stopped.home / "context"
    folder.mkdir()
    name = hashlib.sha256(b"/srv/project-0").hexdigest()[:32]
    whole = json.dumps({"v": 1, "place": "/srv/project-0", "text": "known", "units": []})
    path = folder / f"{name}.json"
    path.write_text(whole)
    assert rendered_contexts(stopped) == (1, [])
    for torn in (whole[:-5], "", "[]", whole.replace("project-0", "project-1"), '{"v": 1}'):
        path.write_text(torn)
        assert rendered_contexts(stopped) == (1, [path.name])
    assert "rendered contexts that are not whole" in {
        problem.partition(" (")[0] for problem in audit(stopped, Ledger()).problems
    }


@pytest.mark.parametrize(
    ("answer", "fair"),
    [
        ({"hookSpecificOutput": {"hookEventName": "X", "additionalContext": "y"}}, True),
        ({"hookSpecificOutput": {"hookEventName": "X"}}, False),
        (
            {
                "hookSpecificOutput": {"hookEventName": "X", "additionalContext": "y"},
                "decision": "block",
            },
            False,
        ),
    ],
)
def test_only_context_may_be_printed(answer: dict[str, Any], fair: bool) -> None:
    assert is_context(json.dumps(answer).encode()) is fair
