"""What is of a time that a question speaks of: candidates that the words alone might not bring.

Owns two bounded questions to the text index, asked only where a day or a month is named. Among all that has the words
of "what did we decide on 3 March" the answer may be no candidate, though the day is half of what is asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from claude_mem.domains.retrieval import labels, when
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.lexical import LexicalIndex, LexicalPlan

MOST: Final = 60  # of each kind


def candidates(
    scope: Scope,
    tx: Tx,
    lexical: LexicalIndex,
    plan: LexicalPlan,
    times: tuple[when.Time, ...],
    now: int,
    place: str,
) -> tuple[int, ...]:
    """Numbers of what of those times has words of the plan, and of the newest of them whatever it says."""
    if not times:
        return ()
    days = labels.of_times(times, when.day_of(now, when.zone(place)))
    if not days:
        return ()
    of_then = replace(plan, labels=(*plan.labels, days), limit=MOST)
    found = lexical.candidates(scope, tx, of_then).numbers if plan.words else ()
    return (*found, *lexical.newest(scope, tx, replace(of_then, words=())))
