"""Repeats: hits that say what a better one says already, as the tenth run of one command does.

Owns how alike two documents are, told from their packed terms alone. Pure. Coding sessions are full of the same file
read again and the same command run again: without this a page of hits is one thing five times.

What a repeat loses grows with its likeness, after J. Carbonell and J. Goldstein, "The use of MMR, diversity-based
reranking for reordering documents and producing summaries", SIGIR 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from claude_mem.domains.retrieval.model import StoredDocument

WINDOW: Final = 30  # of the best: each is held against those before it
LIKE: Final = 0.3  # of the terms of two, that they share: below it they are not alike
LOSES: Final = 0.3  # of its relevance, who is the same as a better one
_READ: Final = 2_000  # bytes of the terms, which are sorted: of a long text a sample


def factors(documents: Sequence[StoredDocument]) -> list[float]:
    """What each keeps of its relevance, 1 - LOSES to 1; the best document comes first."""
    kept: dict[tuple[str, str | None, str | None], list[frozenset[bytes]]] = {}
    found: list[float] = []
    for document in documents:
        terms = frozenset(document.body[:_READ].split(b"\n"))
        others = kept.setdefault((document.kind, document.type, document.tool), [])
        likeness = max((_likeness(terms, other) for other in others), default=0.0)
        found.append(1.0 - LOSES * likeness)
        others.append(terms)
    return found


def _likeness(one: frozenset[bytes], other: frozenset[bytes]) -> float:
    """The Jaccard index of two sets of terms, 0..1; 0 below LIKE."""
    fewer, more = sorted((len(one), len(other)))
    if fewer < LIKE * more:
        return 0.0
    shared = len(one & other)
    likeness = shared / (fewer + more - shared)
    return likeness if likeness >= LIKE else 0.0
