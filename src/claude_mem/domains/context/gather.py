"""What a context can be made of: reads rows, digests and learnings, and cuts them into passage-sized units.

Bounded: a handful of reads whatever the store holds; after `Ask.until` nothing more is begun. Must never read another
project's memory (learnings of no project are everybody's).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from claude_mem.domains.context.found import Wholes, asks_again, units_of
from claude_mem.domains.context.interest import (
    Interest,
    evidence,
    of_focus,
    of_query,
    plain_query,
    words_of,
)
from claude_mem.domains.context.model import Ask, SessionLine, Unit
from claude_mem.domains.context.passages import shorten
from claude_mem.domains.context.render import FRAME_TOKENS
from claude_mem.domains.context.selection import ALIKE, CONTAINED
from claude_mem.domains.intelligence import cues
from claude_mem.domains.intelligence.cues import hard_words
from claude_mem.domains.intelligence.digest import covers_of
from claude_mem.domains.intelligence.model import SECTIONS, Digest, Point
from claude_mem.domains.intelligence.notes import SAVED
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.hybrid import Meaning
from claude_mem.domains.retrieval.model import Filters, Hit, Query
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Row = Mapping[str, Any]
SESSIONS: Final = 8  # the latest of a project that are looked at
FEWEST_HITS, MOST_HITS = 10, 50  # hits looked at: what a budget can hold
TOKENS_A_HIT, IN_A_HURRY = 40, 60
HIT_SESSIONS: Final = 3  # sessions of the best hits, whose digests are looked at too
LEARNINGS, RULES = 80, 60  # the latest, and of what a person wants always
_ALWAYS_READ = 4  # of the hits, however late it is
_OUTPUT_HITS: Final = 0.5  # of its relevance, to what its session is about
_BEST_HITS: Final = 5  # of a session, that make it relevant
_MADE_NOW: Final = 3  # digests at once: each takes some 20 ms
_HEADLINE: Final = 120  # characters
_COMMAND: Final = re.compile(r"`(?:cd \S+ && )?([^`\n]+)`")
_COMMAND_CHARS: Final = 44
_ABOUT: Final = {
    "request": "request",
    "investigated": "fact",
    "completed": "done",
    "failures": "fix",
    "decisions": "decision",
    "preferences": "preference",
    "open": "open",
    "files": "file",
}
_LEARNED: Final = {
    "solution": "fix",
    "error": "fix",
    "best_practice": "preference",
    "pattern": "practice",
    "config": "fact",
    "general": "decision",
}
_FOCUS: Final = {"title": 1.0, "open": 0.8, "request": 0.7, "files": 0.5}
_FADE: Final = 0.6  # of the focus, from a session to the one before it


Digests = Callable[[Scope, Tx, str], Digest | None]  # of a session, made now


@dataclass(frozen=True, slots=True)
class Sources:
    """Where memory is looked for; `digest` makes a session's digest anew."""

    search: SearchService
    digest: Digests


@dataclass(frozen=True, slots=True)
class _Told:
    """A session's digest, stored or made now."""

    id: str  # of the summary; of the session while it has none
    kind: str
    session_id: str
    title: str
    occurred_at: int
    sections: Mapping[str, Sequence[Point]]


class Gathering:
    """Collects units for one ask, in the caller's read transaction."""

    def __init__(
        self, scope: Scope, tx: Tx, sources: Sources, ask: Ask, given: Set[str] = frozenset()
    ) -> None:
        self._scope, self._tx, self._sources, self._ask = scope, tx, sources, ask
        self._given = given  # keys of units
        self._digests: dict[str, _Told] = {}  # by session
        self._of_hits: dict[str, float] = {}  # session -> closeness of its best hit
        self.units: list[Unit] = []
        self.interest = Interest({}, 0.0)
        self.sessions: dict[str, SessionLine] = {}
        self.is_silent = False  # nothing speaks surely enough of the prompt
        self.own_session = self._own()

    def gather(self) -> None:
        """Read everything, the most telling first."""
        ask = self._ask
        if ask.query is not None:
            self._hits(ask.query)
        elif ask.project_id is not None:
            self._latest(ask.project_id)
            self.interest = of_focus(self._focus())
        if self.is_silent or (ask.threshold > 0 and not self.units):
            return
        for told in self._digests.values():
            line = SessionLine(told.id, told.title, told.occurred_at)
            self.sessions[told.session_id] = line
            self.units += self._of_digest(told)
        if not self._late():
            self.units += self._learned()
        self.units = _without_echoes(self.units)

    def _late(self) -> bool:
        return time.monotonic() > self._ask.until

    def _own(self) -> str | None:
        """Our id of the session that asks; what it said itself it still knows."""
        if self._ask.session is None:
            return None
        found = memory.find_session(self._scope, self._tx, "claude-code", self._ask.session)
        return found.id if found else None

    def is_known(self, unit: Unit) -> bool:
        """Whether the asking session said it itself, since its conversation was last cut short."""
        return self._is_own(unit.session_id, unit.occurred_at)

    def _is_own(self, session_id: str | None, at: int) -> bool:
        mine = session_id is not None and session_id == self.own_session
        return mine and at >= self._ask.own_since

    def _hits(self, prompt: str) -> None:
        text = plain_query(prompt)
        wanted = words_of(text)
        if not wanted or self._ask.project_id is None:
            return
        filters = Filters(project_ids=(self._ask.project_id,))
        a_hit = IN_A_HURRY if self._ask.threshold > 0 else TOKENS_A_HIT
        limit = FEWEST_HITS + self._ask.budget // a_hit
        meant = self._ask.meaning
        by_words = isinstance(meant, Meaning) and meant.vector is None
        query = Query(
            *(text, filters),
            limit=min(limit, MOST_HITS),
            marked=False,
            in_haste=self._ask.threshold > 0,
            fusion="lexical" if by_words else "score",
        )
        found = self._sources.search.find(self._scope, self._tx, query, self._ask.now, meant)
        hits = [hit for hit in found.hits if hit.ref.kind not in ("session", "summary", "learning")]
        if evidence(found.rarity, map(_said_shares, found.hits)) < self._ask.threshold:
            self.is_silent = True
            return
        self.interest = of_query(found.used, (hit.shares for hit in found.hits))
        best = max((hit.relevance for hit in found.hits), default=0.0) or 1.0
        self._of_hits = _by_session(found.hits)
        for hit in found.hits:
            session, title = hit.row.get("session_id"), hit.row.get("session_title")
            if session is not None and session not in self.sessions:
                self.sessions[session] = SessionLine(session, str(title), hit.row["occurred_at"])
        wholes = Wholes.within(self._ask.budget - FRAME_TOKENS, wanted, self._given)
        for rank, hit in enumerate(hits):
            if self._is_own(hit.row.get("session_id"), hit.row["occurred_at"]):
                continue
            if rank >= _ALWAYS_READ and self._late():
                break  # the best come first: an answer of these in time, not of all too late
            nearby = self._of_hits.get(hit.row.get("session_id") or "", 0.0)
            found_in = units_of(hit, rank, hit.relevance / best, nearby, self.interest, wholes)
            self.units += (unit for unit in found_in if not asks_again(unit, wanted))
        best_first = sorted(self._of_hits, key=lambda it: -self._of_hits[it])[:HIT_SESSIONS]
        summaries = memory.summaries_of(self._scope, self._tx, best_first)
        for session_id in best_first:
            if session_id in summaries:
                self._digests[session_id] = _stored(summaries[session_id])

    def _latest(self, project_id: str) -> None:
        """The latest sessions' digests, some made anew where the stored summary is behind."""
        scope, tx = self._scope, self._tx
        rows = memory.list_sessions(scope, tx, project_id=project_id, after=None, limit=SESSIONS)
        summaries = memory.latest_summaries(scope, tx, project_id, SESSIONS * 2)
        stored = {row["session_id"]: row for row in summaries}
        made = 0
        for session in rows:
            own, summary = session["id"], stored.get(session["id"])
            behind = summary is None or summary["covers_json"] != covers_of(session)
            if behind and made < _MADE_NOW and own != self.own_session and not self._late():
                made += 1
                digest = self._sources.digest(scope, tx, own)
                if digest is not None:
                    self._digests[own] = _fresh(digest, summary)
                    continue
            if summary is not None:
                self._digests.setdefault(own, _stored(summary))

    def _focus(self) -> Iterator[tuple[str, float]]:
        if self._ask.branch:
            yield self._ask.branch, 1.0
        weight = 1.0
        for told in sorted(self._digests.values(), key=lambda one: -one.occurred_at)[:4]:
            yield told.title, weight * _FOCUS["title"]
            for name in ("open", "request", "files"):
                for point in told.sections.get(name, ())[:6]:
                    yield point.text, weight * _FOCUS[name]
            weight *= _FADE

    def _of_digest(self, told: _Told) -> Iterator[Unit]:
        points = [("session", Point(_headline(told), at=told.occurred_at), "a recent session")]
        for name in SECTIONS:
            reason = f"{name} of a session"
            points += [
                (_about_point(name, point), point, reason) for point in told.sections.get(name, ())
            ]
        for about, point, reason in points:
            yield Unit(
                kind=told.kind,
                id=told.id,
                about=about,
                text=shorten(_brief(point.text) if about == "fix" else point.text),
                session_id=told.session_id,
                occurred_at=point.at or told.occurred_at,
                importance=point.weight,
                nearby=self._of_hits.get(told.session_id, 0.0),
                refs=point.refs,
                reason=reason,
            )

    def _learned(self) -> Iterator[Unit]:
        scope, tx, project_id = self._scope, self._tx, self._ask.project_id
        if project_id is None:
            return  # a place that nothing was said in yet: to ask for no project would be to ask for all
        latest = memory.learnings(scope, tx, project_id, limit=LEARNINGS)
        rules = memory.learnings(scope, tx, project_id, category="best_practice", limit=RULES)
        for row in {row["id"]: row for row in (*rules, *latest)}.values():
            yield Unit(
                kind="learning",
                id=row["id"],
                about=_about(row),
                text=shorten(_brief(_said(row)) if _about(row) == "fix" else _said(row)),
                session_id=row.get("session_id"),
                occurred_at=row.get("occurred_at") or row["updated_at"],
                importance=float(row.get("importance_score") or 0.0) * row["confidence_score"],
                nearby=self._of_hits.get(row.get("session_id") or "", 0.0),
                refs=_refs(row.get("refs_json")),
                reason=f"learned: {row['category']}",
            )


def _without_echoes(units: Sequence[Unit]) -> list[Unit]:
    """Without what a model saved that says what a person's rule does: of two alike the newer one would be told."""
    rules = [words_of(unit.text) for unit in units if unit.about == "preference"]
    return [it for it in units if it.about != "saved" or not _says_one_of(it.text, rules)]


def _says_one_of(text: str, rules: Iterable[frozenset[str]]) -> bool:
    words = words_of(text)
    for rule in rules:
        common = len(words & rule)
        if common >= min(CONTAINED * min(len(words), len(rule)), ALIKE * len(words | rule)):
            return True
    return False


def _about_point(section: str, point: Point) -> str:
    """What a point is about; what was found out teaches something only with a cause, a result or a hard word.

    A preference rests on a person's prompt; one that rests on anything else was saved by a model.
    """
    about = _ABOUT[section]
    if about == "preference" and any(ref.kind != "prompt" for ref in point.refs):
        return "saved"
    return "done" if about == "fact" and not _teaches(point.text) else about


@lru_cache(maxsize=2048)  # the same summaries speak to many prompts
def _teaches(text: str) -> bool:
    cues_of = (cues.CAUSE, cues.RESULT, cues.FAILURE)  # slower than the hard words by far
    return bool(hard_words(text)) or any(cue.search(text) for cue in cues_of)


def _said_shares(hit: Hit) -> list[tuple[str, float]]:
    """The matched words but for the name of the tool: that something was written is no word of "write"."""
    names = words_of(str(hit.row.get("tool_name") or ""))
    return [share for share in hit.shares if share[0].removesuffix("*") not in names]


def _by_session(hits: Iterable[Hit]) -> dict[str, float]:
    """How much of the relevance is a session's, by its best few hits together: squares, as shares of their sum.

    Near 1 where one session stands out; small everywhere where none does, and its other points would be guesses.
    """
    found: dict[str, list[float]] = {}
    for hit in hits:
        session = hit.row.get("session_id")
        if session is not None:
            weight = _OUTPUT_HITS if hit.ref.kind in ("observation", "code_change") else 1.0
            found.setdefault(session, []).append(hit.relevance * weight)
    sums = {it: sum(sorted(each, reverse=True)[:_BEST_HITS]) for it, each in found.items()}
    total = sum(value**2 for value in sums.values()) or 1.0
    return {it: value**2 / total for it, value in sums.items()}


def _stored(row: Row) -> _Told:
    details = row["details_json"] or {}
    sections = {name: tuple(map(_point, details.get(name, ()))) for name in SECTIONS}
    return _Told(
        row["id"], "summary", row["session_id"], str(row["title"]), row["occurred_at"], sections
    )


def _fresh(digest: Digest, summary: Row | None) -> _Told:
    kind, entity_id = (
        ("session", digest.session_id) if summary is None else ("summary", summary["id"])
    )
    return _Told(
        entity_id, kind, digest.session_id, digest.title, digest.occurred_at, digest.sections()
    )


def _point(stored: Mapping[str, Any]) -> Point:
    return Point(
        str(stored["text"]),
        _refs(stored.get("refs")),
        int(stored.get("at") or 0),
        float(stored.get("weight") or 0.0),
    )


def _headline(told: _Told) -> str:
    """A session in one line: its title, and what was asked where that says more."""
    asked = next((point.text for point in told.sections.get("request", ())), "")
    line = (
        told.title if not asked or asked.startswith(told.title[:40]) else f"{told.title} — {asked}"
    )
    return shorten(line, _HEADLINE)


def _about(row: Row) -> str:
    """A rule is one whatever it is about; what a model saved as one is not the user's word."""
    tags = row["tags_json"] or ()
    if "preference" in tags:
        return "saved" if SAVED in tags else "preference"
    return _LEARNED.get(row["category"], "fact")


def _said(row: Row) -> str:
    title, description = str(row["title"]), str(row["description"])
    return description if description.startswith(title[:60]) else f"{title}: {description}"


def _brief(text: str) -> str:
    """A failure and its mend with the commands cut: what they print and what ended it says more."""
    return _COMMAND.sub(lambda match: f"`{shorten(match[1], _COMMAND_CHARS)}`", text)


def _refs(stored: Iterable[Any] | None) -> tuple[EntityRef, ...]:
    """References as they are kept: {"kind", "id"} or [kind, id]."""
    found = []
    for ref in stored or ():
        if isinstance(ref, Mapping):
            found.append(EntityRef(str(ref["kind"]), str(ref["id"])))
        elif isinstance(ref, Sequence) and len(ref) == 2:
            found.append(EntityRef(str(ref[0]), str(ref[1])))
    return tuple(found)
