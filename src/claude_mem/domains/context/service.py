"""Putting a context together: gather, score, take out repeats, choose what the budget holds, render.

Synchronous, in the caller's read transaction. Must never write, and never show what `is_known` or was given before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Final

from claude_mem.domains.context.fence import clean
from claude_mem.domains.context.found import WHOLE_LINE_TOKENS, WHOLE_MOST, WHOLES_SHARE
from claude_mem.domains.context.gather import Gathering, Sources
from claude_mem.domains.context.interest import Interest, plain_query, words_of
from claude_mem.domains.context.model import (
    MAX_CHARS,
    W_IMPORTANCE,
    W_RELEVANCE,
    Ask,
    Context,
    Parts,
    Scored,
    Unit,
    frequency,
    importance,
    recency,
    unit_keys,
)
from claude_mem.domains.context.render import FRAME_TOKENS, Frame, excess, fitting, render
from claude_mem.domains.context.selection import (
    best_subset,
    distinct,
    unsaid,
    whole_hits,
)
from claude_mem.domains.context.tokens import estimate
from claude_mem.domains.context.working import units, working_memory
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.hybrid import Meant
from claude_mem.domains.retrieval.model import Query
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

# Relevance to a prompt: a unit's own words, and the hit (or else the session) it was found in.
OWN_WORDS, FOUND_IN = 0.5, 0.5
OWN_FLOOR: Final = 0.1  # of what is asked, that a unit's own words must hold; or else
THEME: Final = 0.5  # this share of its session's must, or the session counts for less
# What a kind of statement, or of entity, tells beside what somebody said: for a prompt, and at the beginning.
TELLING: Final = {
    "code_change": 0.2,
    "observation": 0.5,
    "file": 0.1,
    "request": 0.5,
    "done": 0.7,
}
TELLING_AT_START: Final = {"file": 0.05, "request": 0.2, "done": 0.2}
RULES_AT_START, RULES_SHARE = 0.45, 0.15  # of the room, for what a person wants always
CANDIDATES: Final = 140
LIKELY: Final = 60
LINE_TOKENS: Final = 9  # of what stands around a unit: its mark, a share of ids and headings
RULE_TOKENS, PROMPT_LINE_TOKENS = 3, 7
_WHOLE_VALUE: Final = 1e9  # more than any passage's: the search has found them better
WORKING_MESSAGES: Final = 10
STANDING: Final = {"preference": 0.7, "open": 0.5, "decision": 0.3}  # so relevant to any work
RULE_SAYS: Final = 0.6  # of the words of a hit, that make it one rule and some words around it
RULES: Final = 0.3  # relevance of what a person wants always, to the choice: whatever the prompt
_MIN_WORDS = 2
_SAME_SESSION: Final = 0.97  # of each further unit of a session, at the beginning of one


class ContextService:
    """Assembles contexts. Holds nothing."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def meaning(self, prompt: str, now: int, seconds: float) -> Meant:
        """What a prompt means, for `Ask`: within about so many seconds; see `SearchService.meaning`."""
        return await self._sources.search.meaning(Query(plain_query(prompt)), now, seconds)

    def assemble(
        self,
        scope: Scope,
        tx: Tx,
        ask: Ask,
        given: Set[str] = frozenset(),
        told: Sequence[str] = (),
    ) -> Context:
        """The best context for `ask` within its budget.

        `given` are keys of units that were shown already, `told` texts of such: nothing that says the same comes.
        """
        gathering = Gathering(scope, tx, self._sources, ask, given)
        gathering.gather()
        found = _likeliest([it for it in gathering.units if not gathering.is_known(it)], ask)
        if ask.with_working and gathering.own_session is not None:
            found += units(working_memory(scope, tx, gathering.own_session, WORKING_MESSAGES))
        fresh, before = _parted([_cleaned(unit) for unit in found], given)
        relevant = self._relevant(scope, tx, fresh, ask, gathering.interest)
        known = [words_of(text) for text in before.union(told)]
        wholes = _wholes(relevant, ask, known)
        held = {one.unit.ref for one in wholes}
        parts = [one for one in relevant if one.unit.rank is None and one.unit.ref not in held]
        best = sorted(parts, key=lambda one: -one.value / one.tokens)[:CANDIDATES]
        frame = Frame(ask.project, ask.budget, ask.query is not None, ask.now, gathering.sessions)
        items = _fitting(distinct(best, known), ask, wholes, frame)
        left_out = len(parts) + len(wholes) - len(items)
        text, shown = render(frame, items, left_out)
        omitted = left_out + len(items) - len(shown)
        return Context(text, estimate(text), ask.budget, tuple(shown), omitted)

    def _relevant(
        self, scope: Scope, tx: Tx, fresh: Sequence[Unit], ask: Ask, interest: Interest
    ) -> list[Scored]:
        """What is relevant enough, scored. Words and uses are only looked up of that: it is the smaller part."""
        shares = [
            interest.share_of(unit.text) if unit.share is None else unit.share for unit in fresh
        ]
        # Where there is no threshold the room is to be filled, and what stands near a hit is the best guess.
        sifts = ask.query is not None and ask.threshold > 0
        themes = _themes(fresh, shares) if sifts else None
        found: list[tuple[Unit, float, frozenset[str]]] = []
        for unit, share in zip(fresh, shares, strict=True):
            relevance = _relevance(unit, share, ask, themes)
            if relevance >= ask.threshold and len(words := words_of(unit.text)) >= _MIN_WORDS:
                found.append((unit, relevance, words))
        uses = memory.uses(scope, tx, list({unit.ref for unit, _, _ in found}))
        return [_scored(*one, ask, uses) for one in found]


def _parted(units: Sequence[Unit], given: Set[str]) -> tuple[Sequence[Unit], frozenset[str]]:
    """(those that were not given before, the texts of those that were)."""
    if not given:
        return units, frozenset()
    fresh: list[Unit] = []
    before: set[str] = set()
    for unit in units:
        if given.isdisjoint(unit_keys(unit)):
            fresh.append(unit)
        elif unit.rank is None:  # of a whole perhaps a piece: those are looked at one by one
            before.add(unit.text)
    return fresh, frozenset(before)


def _wholes(relevant: Sequence[Scored], ask: Ask, known: Sequence[frozenset[str]]) -> list[Scored]:
    """The hits that are told whole: worth more than any passage, for the search has found them better.

    What is hardly more than a rule that a person stated is left to the rules.
    """
    room = ask.budget - FRAME_TOKENS
    limits = WHOLES_SHARE * room, WHOLES_SHARE * MAX_CHARS
    rules = [one.words for one in relevant if one.unit.about == "preference"]
    found = [
        one
        for one in relevant
        if one.unit.rank is not None
        and one.unit.about == "passage"
        and not any(len(one.words & rule) >= RULE_SAYS * len(one.words) for rule in rules)
    ]
    best = whole_hits(found, limits, WHOLE_MOST * room, known)
    return [replace(one, value=_WHOLE_VALUE - (one.unit.rank or 0)) for one in best]


def _fitting(
    candidates: Sequence[Scored], ask: Ask, wholes: Sequence[Scored], frame: Frame
) -> list[Scored]:
    """The choice, as much of it as fits.

    What stands around units is only guessed at. Where that was too little, a choice for less room is made too, for to
    take the least of the first away can leave a hole; the fuller one of both is it.
    """
    items = _chosen(candidates, ask, wholes)
    if ask.query is None:
        return items  # all of about the same length: what is trimmed off leaves no hole
    kept = fitting(frame, items)
    if len(kept) == len(items):
        return items
    over, _ = excess(frame, items)
    other = fitting(frame, _chosen(candidates, ask, wholes, max(over, 0)))
    return max(kept, other, key=lambda it: excess(frame, it))


def _chosen(
    candidates: Sequence[Scored], ask: Ask, wholes: Sequence[Scored], less: int = 0
) -> list[Scored]:
    """Rules first, within their share, the most relevant first; then what is told whole; then of what that does not say
    too what is worth most in the room that is left, by so many tokens `less`.
    """
    room = ask.budget - FRAME_TOKENS
    share = room * (RULES_AT_START if ask.query is None else RULES_SHARE)
    items: list[Scored] = []
    held: set[int] = set()
    rules = [one for one in candidates if one.unit.about == "preference"]
    for one in sorted(rules, key=lambda it: -it.value / it.tokens):
        if one.tokens <= share:
            share -= one.tokens
            room -= one.tokens
            items.append(replace(one, value=math.inf))
            held.add(id(one))
    others = [one for one in candidates if id(one) not in held]
    if wholes:
        room -= sum(one.tokens for one in wholes)
        items += wholes
        others = unsaid(others, [one.words for one in wholes])
    numbers = best_subset([it.value for it in others], [it.tokens for it in others], room - less)
    return items + [others[number] for number in numbers]


def _likeliest(found: list[Unit], ask: Ask) -> list[Unit]:
    """A few times what the budget holds, by what is known without reading the words: the rest would cost time."""
    most = LIKELY + ask.budget // 10
    if len(found) <= most:
        return found
    wholes = [one for one in found if one.rank is not None]
    parts = [one for one in found if one.rank is None]
    return wholes + sorted(parts, key=_likelihood, reverse=True)[:most]


def _likelihood(unit: Unit) -> float:
    close = max(unit.closeness, unit.nearby)
    return W_RELEVANCE * max(close, RULES * (unit.about == "preference")) + W_IMPORTANCE * 0.5 * (
        importance(unit)
    )


def _cleaned(unit: Unit) -> Unit:
    # A whole is made of pieces that are clean: looked at as one, an order in one of them would take others along.
    text, lead = unit.text if unit.pieces else clean(unit.text), clean(unit.lead)
    lead = f"{lead} " if lead else ""
    if text == unit.text and lead == unit.lead:
        return unit
    return replace(unit, text=text, lead=lead, share=unit.share if text == unit.text else None)


def _themes(units: Sequence[Unit], shares: Sequence[float]) -> dict[str, float]:
    """How much of each session is about it, 0..1: one that only touches upon it lends little to its other points."""
    spoken: dict[str, list[bool]] = {}
    for unit, share in zip(units, shares, strict=True):
        if unit.rank is None:  # a whole says again what its passages do
            spoken.setdefault(unit.session_id or "", []).append(share >= OWN_FLOOR)
    return {it: min(sum(each) / len(each) / THEME, 1.0) for it, each in spoken.items()}


def _relevance(unit: Unit, share: float, ask: Ask, themes: Mapping[str, float] | None) -> float:
    """How much of what is asked a unit speaks of, by its own words (`share`) and by where it was found."""
    if unit.memory_type == "working":
        return 1.0
    if ask.query is None:
        return min(share, 1.0)
    found = max(unit.closeness, unit.nearby)
    if themes is not None and share < OWN_FLOOR:
        found *= themes.get(unit.session_id or "", 0.0)
    return min(OWN_WORDS * share + FOUND_IN * found, 1.0)


def _scored(
    unit: Unit, relevance: float, words: frozenset[str], ask: Ask, uses: Mapping[EntityRef, int]
) -> Scored:
    parts = Parts(
        relevance=relevance,
        recency=recency(ask.now - unit.occurred_at),
        importance=importance(unit),
        frequency=frequency(uses.get(unit.ref, 0)),
    )
    tokens = estimate(unit.text) + _around(unit, ask)
    return Scored(unit, parts, tokens, words, _value(unit, parts, tokens, ask))


def _around(unit: Unit, ask: Ask) -> int:
    """Tokens of what stands around a unit: its mark, its id or a share of its heading's."""
    if unit.about == "preference":
        return RULE_TOKENS
    if unit.rank is not None:
        return WHOLE_LINE_TOKENS + estimate(unit.lead)
    return LINE_TOKENS if ask.query is None else PROMPT_LINE_TOKENS


def _value(unit: Unit, parts: Parts, tokens: int, ask: Ask) -> float:
    """What the choice goes by: the score; for a prompt what bears on it. A longer text says more, but less a word."""
    if ask.query is None:
        # Short statements of weight, not what happened last at length; rules and open points bear on any work.
        lacking = max(STANDING.get(unit.about, 0.0) - parts.relevance, 0.0)
        worth = TELLING_AT_START.get(unit.about, 1.0)
        return float(worth * (parts.score + W_RELEVANCE * lacking) ** 3 * tokens**0.3)
    relevance = max(parts.relevance, RULES if unit.about == "preference" else 0.0)
    worth = TELLING.get(unit.about, 1.0) * TELLING.get(unit.kind, 1.0)
    return float(worth * parts.score * relevance**3 * tokens**0.5)
