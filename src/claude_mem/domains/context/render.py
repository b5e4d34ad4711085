"""A context as Markdown: fenced, what matters first, with the ids that expand it. Pure.

Within the first 2 KB stand the notice, how to expand, and what bears most on what comes next; the whole is never over
the budget or MAX_CHARS. For a prompt, memories stand under the sessions they are of, the most relevant session first;
at the beginning of a session, under what they are about. Several passages of one thing make one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from claude_mem.domains.context.fence import NOTICE, clean, closing, opening
from claude_mem.domains.context.model import MAX_CHARS, Scored, SessionLine, Unit
from claude_mem.domains.context.tokens import estimate
from claude_mem.domains.memory.recent import short_id
from claude_mem.kernel.fence import tagless

RULES_HEADING: Final = "Rules the user stated"
SAVED_HEADING: Final = "Saved by an assistant"
SINGLE: Final = "## Found"
GET_TOOL: Final = "mcp__claude-mem__get"
SEARCH_TOOL: Final = "mcp__claude-mem__search"
# Heading -> what stands under it. In this order, because the first 2 KB may be all that is read.
SECTIONS: Final[tuple[tuple[str, frozenset[str]], ...]] = (
    ("Where this session stands", frozenset({"task", "message"})),
    ("Open", frozenset({"open"})),
    ("Agreed", frozenset({"decision"})),
    ("Learned", frozenset({"fix", "practice", "fact", "passage"})),
    (SAVED_HEADING, frozenset({"saved"})),
    ("Recent sessions", frozenset({"session", "request", "done", "file"})),
)
FRAME_TOKENS: Final = 95  # of everything but the units and the headings of sessions
_TITLE = 48
_CUT = frozenset({"observation", "code_change"})  # what a session's id alone would be a long way to
_WORKING = frozenset({"task", "message"})


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the units."""

    project: str
    budget: int
    by_session: bool
    now: int
    sessions: Mapping[str, SessionLine]


def render(frame: Frame, items: Sequence[Scored], omitted: int) -> tuple[str, list[Scored]]:
    """The text and what is in it: the least of `items` go until budget and length hold."""
    kept = list(items)
    while kept:
        text = _text(frame, kept, omitted + len(items) - len(kept))
        over = estimate(text) - frame.budget, utf16_length(text) - MAX_CHARS
        if max(over) <= 0:
            return text, kept
        kept = _without_least(kept, *over)
    return "", []


def fitting(frame: Frame, items: Sequence[Scored]) -> list[Scored]:
    """Those of `items` that `render` would show, the least being left out.

    Ids count as one that costs rather much: what is chosen must not go by the digits that chance put into them.
    """
    kept = list(items)
    while kept:
        over = excess(frame, kept)
        if max(over) <= 0:
            break
        kept = _without_least(kept, *over)
    return kept


def excess(frame: Frame, items: Sequence[Scored]) -> tuple[int, int]:
    """By how many tokens and characters all of them are over the limits; 0 or less where they fit. See `fitting`."""
    text = _ID.sub(_DEAR_ID, _text(frame, items, _MANY))
    return estimate(text) - frame.budget, utf16_length(text) - MAX_CHARS


def _without_least(items: Sequence[Scored], tokens: int, characters: int) -> list[Scored]:
    """Without as many of the least as it surely takes to be so much shorter; without one at least.

    What goes may take its heading along, so it counts as much as it can: of too little the next look takes more.
    """
    gone: set[int] = set()
    for one in sorted(items, key=lambda it: (it.value, it.score, -it.tokens)):
        gone.add(id(one))
        tokens -= estimate(one.unit.text) + estimate(one.unit.lead) + _AROUND
        characters -= len(one.unit.text) + len(one.unit.lead) + _AROUND_CHARS
        if tokens <= 0 and characters <= 0:
            break
    return [one for one in items if id(one) not in gone]


def utf16_length(text: str) -> int:
    """Characters as the client counts them."""
    return len(text) + sum(1 for character in text if character > "\uffff")


def _text(frame: Frame, items: Sequence[Scored], omitted: int) -> str:
    rules = [one for one in items if one.unit.about == "preference"]
    others = [one for one in items if one.unit.about != "preference"]
    body = list(_by_session(frame, others) if frame.by_session else _by_section(frame, others))
    if rules:
        body = [*_rules(rules), *body]
    more = f", {omitted} more not shown" if omitted else ""
    inside = [opening(frame.project), NOTICE, "", *body, closing()]
    tokens = estimate("\n".join(inside)) + _HOW_TOKENS
    inside[2] = f"About {tokens} tokens{more}. {_HOW}"
    return "\n".join(inside)


_HOW: Final = f"The whole of an [id]: {GET_TOOL}; more: {SEARCH_TOOL}."
_AROUND, _AROUND_CHARS = 50, 120  # of a line, at most: its heading, day and id
_ID: Final = re.compile(r"\[[0-9a-f]{12}\]")
_DEAR_ID: Final = "[01a01a01a0ab]"
_MANY: Final = 100  # not shown, as far as the length of the line that says so goes
_HOW_TOKENS: Final = estimate(_HOW) + 15


def _rules(items: Sequence[Scored]) -> Iterable[str]:
    """What a person wants always, in as few words as can be: neither when nor an id, for it is said whole."""
    yield f"## {RULES_HEADING}"
    for one in sorted(items, key=lambda it: -it.score):
        yield f"- {one.unit.text}"


def _by_section(frame: Frame, items: Sequence[Scored]) -> Iterable[str]:
    for heading, abouts in SECTIONS:
        mine = [one for one in items if one.unit.about in abouts]
        if mine and "session" in abouts:
            yield f"## {heading}"
            yield from _recent(frame, mine)
        elif mine:
            yield f"## {heading}"
            if not abouts & _WORKING:
                mine.sort(key=lambda one: -one.score)
            for units in _merged(mine):
                yield _line(
                    units, "" if abouts & _WORKING else day(units[0].occurred_at, frame.now)
                )


def _recent(frame: Frame, items: Sequence[Scored]) -> Iterable[str]:
    """The latest session first, each with what was done in it below, under one id."""
    groups: dict[str, list[Scored]] = {}
    for one in sorted(items, key=lambda it: -it.score):
        groups.setdefault(one.unit.id, []).append(one)
    for mine in sorted(groups.values(), key=lambda it: -it[0].unit.occurred_at):
        heads = [one.unit for one in mine if one.unit.about == "session"]
        line = frame.sessions.get(mine[0].unit.session_id or "")
        title = heads[0].text if heads else clean(line.title) if line else "Session"
        when = day(mine[0].unit.occurred_at, frame.now)
        yield f"- {when}: {title} [{short_id(mine[0].unit.id)}]"
        for one in mine:
            if one.unit.about != "session":
                yield f"  - {one.unit.text}"


def _by_session(frame: Frame, items: Sequence[Scored]) -> Iterable[str]:
    """Under the sessions they are of; but what a model saved as a preference is told as just that.

    Of a session with one line the line alone, with its day and id: a heading each would cost as much as the lines.
    """
    saved = [one for one in items if one.unit.about == "saved"]
    groups: dict[str, list[Scored]] = {}
    for one in sorted(items, key=lambda it: -it.score):
        if one.unit.about != "saved":
            groups.setdefault(one.unit.session_id or "", []).append(one)
    headed: dict[str, list[str]] = {}
    for session_id, mine in groups.items():
        heading, lines = _of_session(frame, frame.sessions.get(session_id), mine)
        headed.setdefault(heading, []).extend(lines)
    for heading, lines in headed.items():
        yield heading
        yield from lines
    if saved:
        yield from _by_section(frame, saved)


def _of_session(
    frame: Frame, session: SessionLine | None, items: Sequence[Scored]
) -> tuple[str, list[str]]:
    """What it stands under, and its lines."""
    units = list(_merged(items))
    if session is None:
        return "## Learned", [_line(each, "") for each in units]
    if len(units) == 1:
        return SINGLE, [_line(units[0], day(units[0][0].occurred_at, frame.now))]
    title = clean(session.title)
    title = title if len(title) <= _TITLE else title[: _TITLE - 1].rstrip() + "…"
    heading = f"## {day(session.at, frame.now)}: {title} [{short_id(session.id)}]"
    return heading, [_line(each, "", with_id=each[0].kind in _CUT) for each in units]


def _merged(items: Sequence[Scored]) -> Iterable[list[Unit]]:
    """Passages of one thing together, in their order; all else by itself."""
    lines: dict[object, list[Unit]] = {}
    for number, one in enumerate(items):
        key: object = one.unit.ref if one.unit.about == "passage" else number
        lines.setdefault(key, []).append(one.unit)
    for units in lines.values():
        yield sorted(units, key=lambda unit: unit.order)


def _line(units: Sequence[Unit], when: str, *, with_id: bool = True) -> str:
    text = units[0].lead
    last = units[0].order
    for number, unit in enumerate(units):
        joint = "" if number == 0 else " " if unit.order == last + 1 else " … "
        text += joint + unit.text
        last = unit.order
    marks = [f"({when})"] if when else []
    marks += [f"[{short_id(units[0].id)}]"] if with_id else []
    # Each part is clean; what they make together must be, too.
    return " ".join(["-", tagless(text), *marks])


def day(at: int, now: int) -> str:
    """`29 Oct`, with the year where it is another one."""
    moment, today = (datetime.fromtimestamp(it / 1000, UTC) for it in (at, now))
    return f"{moment.day} {moment:%b}" + ("" if moment.year == today.year else f" {moment.year}")
