"""Digests of sessions, and what is kept of them: one summary a session and what it taught.

Owns the step from rows to what is derived from them. Must never write what nothing changed of: every function may run
again at any time, after any crash, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from claude_mem.domains.intelligence.digest import ENGINE, covers_of, digest_of
from claude_mem.domains.intelligence.findings import essence, is_same
from claude_mem.domains.intelligence.index import entry
from claude_mem.domains.intelligence.model import Digest, Finding, Point
from claude_mem.domains.intelligence.notes import SAVED
from claude_mem.domains.intelligence.withheld import key, without
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import (
    Derived,
    EntityRef,
    Material,
    NaturalKey,
    NewLearning,
    Recording,
    SessionSummary,
)
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.errors import NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = dict[str, Any]
_COMPARED = 400  # learnings of a category that a new one is compared with


def digest(scope: Scope, tx: Tx, session_id: str) -> Digest | None:
    """The digest of a session as its rows are now, made anew; None when there is nothing to tell."""
    material = memory.session_material(scope, tx, session_id)
    return None if material is None else _digest(scope, tx, material)


def _digest(scope: Scope, tx: Tx, material: Material) -> Digest | None:
    """Without what a person had forgotten of what was learned in the session."""
    found = digest_of(material)
    while found is not None and (doomed := _forgotten(scope, tx, found)):
        material = without(material, doomed)
        found = digest_of(material)
    return found


def _forgotten(scope: Scope, tx: Tx, found: Digest) -> list[Finding]:
    keys = {key(it.fingerprint): it for it in found.findings}
    known = memory.find_keys(scope, tx, {found.session_id: list(keys)}) if keys else {}
    return [keys[name] for _, name in known]


def is_stale(scope: Scope, tx: Tx, session_id: str) -> bool:
    """Whether the session's summary is missing or was made before its newest rows."""
    try:
        session = memory.get_session(scope, tx, session_id)
    except NotFound:
        return False
    summary = memory.summary_of(scope, tx, session["id"])
    return summary is None or summary["covers_json"] != covers_of(session)


def current_digest(scope: Scope, tx: Tx, session_id: str) -> Digest | None:
    """What the session's summary says, or would say were it made now; None when a person had it forgotten."""
    material = memory.session_material(scope, tx, session_id)
    if material is None or memory.summary_is_forgotten(scope, tx, material.session["id"]):
        return None
    return _digest(scope, tx, material)


def distil(
    scope: Scope,
    tx: Tx,
    indexing: IndexingService,
    session_id: str,
    made: Digest | None = None,
) -> Derived:
    """Bring a session's summary and learnings up to its rows, with the index; says what changed.

    `made` is a digest from just before, of whose rows nothing was forgotten since.
    """
    found = made or digest(scope, tx, session_id)
    if found is None:
        return withdraw(scope, tx, indexing, session_id)
    learnings = _learnings(scope, tx, found)
    told = memory.replace_learnings(scope, tx, session_id, learnings)
    if gone := _forgotten_elsewhere(scope, tx, learnings):
        _index(scope, tx, indexing, told)
        _note_forgotten(scope, tx, session_id, gone)
        again = distil(scope, tx, indexing, session_id)
        return Derived((*told.changed, *again.changed), (*told.removed, *again.removed))
    before = memory.summary_of(scope, tx, session_id)
    summary_id = memory.save_summary(scope, tx, _summary(found))
    after = memory.summary_of(scope, tx, session_id)
    changed = list(told.changed)
    if after is not None and (before is None or before["version"] != after["version"]):
        changed.append(EntityRef("summary", summary_id))
    derived = Derived(tuple(changed), told.removed)
    _index(scope, tx, indexing, derived)
    return derived


def withdraw(scope: Scope, tx: Tx, indexing: IndexingService, session_id: str) -> Derived:
    """Take out what was derived from a session, the index's part too; `distil` makes it anew."""
    derived = memory.withdraw(scope, tx, session_id)
    _index(scope, tx, indexing, derived)
    return derived


def withhold(scope: Scope, tx: Tx, learning: Row) -> list[str]:
    """Let the sessions that taught a learning not say it again, in whatever words; returns which these are.

    What was made of them so far still does: it is to be withdrawn and made anew.
    """
    sessions: list[str] = learning["source_session_ids"]
    for session_id in sessions:
        while found := digest(scope, tx, session_id):
            same = [it for it in found.findings if _says(it, learning)]
            if not same:
                break
            _note_forgotten(scope, tx, session_id, {it.fingerprint: learning["id"] for it in same})
    return sessions


def _says(finding: Finding, learning: Row) -> bool:
    if finding.fingerprint == learning["fingerprint"]:
        return True
    category = learning["category"]
    if finding.category != category or _is_rule(finding.tags) != _is_rule(learning["tags_json"]):
        return False
    words = essence(_compared(learning["title"], learning["description"], category))
    return is_same(essence(_compared(finding.title, finding.description, category)), words)


def _note_forgotten(scope: Scope, tx: Tx, session_id: str, gone: Mapping[str, str]) -> None:
    """`gone`: fingerprint -> id of the forgotten learning."""
    keys = [NaturalKey(session_id, key(it), "learning", own) for it, own in gone.items()]
    memory.record(scope, tx, Recording(natural_keys=keys))


def _forgotten_elsewhere(scope: Scope, tx: Tx, learnings: Sequence[NewLearning]) -> dict[str, str]:
    """Those of saved learnings that a person had forgotten when another session had taught them."""
    ids = {it.fingerprint: memory.save_learning(scope, tx, it)[0] for it in learnings}
    there = memory.get_many(scope, tx, [EntityRef("learning", own) for own in ids.values()])
    return {it: own for it, own in ids.items() if EntityRef("learning", own) not in there}


def _index(scope: Scope, tx: Tx, indexing: IndexingService, derived: Derived) -> None:
    indexing.remove(scope, tx, derived.removed)
    rows = memory.get_many(scope, tx, derived.changed)
    indexing.index(scope, tx, [entry(ref.kind, row) for ref, row in rows.items()])


def _summary(found: Digest) -> SessionSummary:
    return SessionSummary(
        session_id=found.session_id,
        title=found.title,
        content=found.content,
        key_points=tuple(point.text for point in found.key_points),
        action_items=tuple(point.text for point in found.action_items),
        details={name: list(map(_stored, points)) for name, points in found.sections().items()},
        covers=found.covers,
        model_used=ENGINE,
        quality=_quality(found),
        occurred_at=found.occurred_at,
    )


def _stored(point: Point) -> Row:
    return {
        "text": point.text,
        "at": point.at,
        "weight": point.weight,
        "refs": [[ref.kind, ref.id] for ref in point.refs],
    }


def _quality(found: Digest) -> float:
    """The share of its sections that a summary could fill: asked, done, and why."""
    wanted = (found.request, found.completed, (*found.decisions, *found.investigated))
    return round(sum(1 for points in wanted if points) / len(wanted), 2)


def _learnings(scope: Scope, tx: Tx, found: Digest) -> list[NewLearning]:
    known: dict[tuple[str, bool], list[tuple[frozenset[str], str]]] = {}
    learnings: dict[str, NewLearning] = {}
    for finding in found.findings:
        # A person's rule is compared with rules only: no note, saved by whomever, takes its place.
        kind = (finding.category, _is_rule(finding.tags))
        if kind not in known:
            known[kind] = _known(scope, tx, found.project_id, *kind)
        if SAVED in finding.tags:  # in the words it was saved in; talk of the same goes with it
            words = essence(_compared(finding.title, finding.description, finding.category))
            known[kind].insert(0, (words, finding.fingerprint))
        else:
            same = _same(finding, known[kind])
            finding = replace(finding, fingerprint=same or finding.fingerprint)
        learnings.setdefault(finding.fingerprint, _learning(found, finding))
    return list(learnings.values())


def _is_rule(tags: Sequence[str]) -> bool:
    return "preference" in tags and SAVED not in tags


def _known(
    scope: Scope, tx: Tx, project_id: str, category: str, are_rules: bool
) -> list[tuple[frozenset[str], str]]:
    rows = memory.learnings(scope, tx, project_id, category=category, limit=_COMPARED)
    return [
        (essence(_compared(row["title"], row["description"], category)), row["fingerprint"])
        for row in rows
        if _is_rule(row["tags_json"]) is are_rules
    ]


def _same(finding: Finding, known: list[tuple[frozenset[str], str]]) -> str | None:
    """The fingerprint of a learning that says the same in other words."""
    mine = essence(_compared(finding.title, finding.description, finding.category))
    return next((stamp for other, stamp in known if is_same(mine, other)), None)


def _compared(title: str, description: str, category: str) -> str:
    """An error is the same by its message, whatever was done about it."""
    return title if category in {"solution", "error"} else description


def _learning(found: Digest, finding: Finding) -> NewLearning:
    return NewLearning(
        project_id=found.project_id,
        session_id=found.session_id,
        category=finding.category,
        title=finding.title,
        description=finding.description,
        fingerprint=finding.fingerprint,
        context=finding.context,
        examples=finding.examples,
        tags=finding.tags,
        refs=finding.refs,
        confidence=finding.confidence,
        importance=finding.importance,
        occurred_at=finding.occurred_at,
    )
