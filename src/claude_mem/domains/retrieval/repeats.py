"""Repeats: hits that say what a better one says already, as the tenth run of one command does.

Owns how alike two documents are, told from their packed terms alone. Pure. Coding sessions are full of the same file
read again and the same command run again: without this a page of hits is one thing five times.

What a repeat loses grows with its likeness, after J. Carbonell and J. Goldstein, "The use of MMR, diversity-based
reranking for reordering documents and producing summaries", SIGIR 1998.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from claude_mem.domains.retrieval.model import StoredDocument

WINDOW: Final = 30  # of the best: each is held against those before it
LIKE: Final = 0.3  # of the terms of two, that they share: below it they are not alike
LOSES: Final = 0.3  # of its relevance, who is the same as a better one
# Bytes of the terms, which are sorted: of a long text a sample. From the first letter on, for numbers stand before it,
# and those of its lines a listing shares with every other.
_READ: Final = 800
_LETTER: Final = re.compile(rb"\n[^\x00-\x60]")


def factors(documents: Sequence[StoredDocument]) -> list[float]:
    """What each keeps of its relevance, 1 - LOSES to 1; the best document comes first."""
    kept: dict[tuple[str, str | None, str | None], list[frozenset[bytes]]] = {}
    found: list[float] = []
    for document in documents:
        begin = _LETTER.search(document.body)
        at = begin.start() if begin else 0
        terms = frozenset(document.body[at : at + _READ].split(b"\n"))
        others = kept.setdefault((document.kind, document.type, document.tool), [])
        found.append(1.0 - LOSES * _likeness(terms, others))
        others.append(terms)
    return found


def _likeness(terms: frozenset[bytes], others: Sequence[frozenset[bytes]]) -> float:
    """The greatest Jaccard index of a set of terms and one of others, 0..1; 0 below LIKE."""
    best, size = 0.0, len(terms)
    for other in others:
        fewer, more = (size, len(other)) if size < len(other) else (len(other), size)
        if fewer < LIKE * more or fewer <= best * more:
            continue  # it cannot be more alike than the sizes are
        shared = len(terms & other)
        likeness = shared / (fewer + more - shared)
        if likeness >= LIKE and likeness > best:
            best = likeness
    return best
