"""What the title field of the index holds of a remembered thing. Pure."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Final

from claude_mem.domains.retrieval import analysis, when
from claude_mem.domains.retrieval.model import IndexEntry

READ_CHARS: Final = 4_000  # of a text, in which times and rules are looked for


def heading(entry: IndexEntry, place: tzinfo = UTC) -> analysis.Analysed:
    """What the title field of an entry holds: what it is called; and who spoke, when it was, what times it tells of.

    Days are those of the zone `place`. As long as its own title is: that the others stand in every title makes none of
    them longer.
    """
    day = when.day_of(entry.occurred_at, place)
    told = when.resolved(entry.body[:READ_CHARS], day) if entry.kind == "prompt" else ""
    others = " ".join(part for part in (entry.speaker, told) if part)
    own, more = analysis.document(entry.title), _analysed(others)
    stored, indexed = f"{own.stored} {more.stored}", f"{own.indexed} {more.indexed}"
    return analysis.Analysed(stored.strip(), indexed.strip(), max(own.length, 1))


@lru_cache(maxsize=1_024)
def _analysed(words: str) -> analysis.Analysed:
    """Of the few words that every document of a day, or of somebody, has."""
    return analysis.document(words)
