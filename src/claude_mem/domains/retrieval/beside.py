"""What is known of candidates beside their own rows: which are about a file that is named, and how often each was used.

Owns two bounded questions to the store, asked once a search for all candidates together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import labels
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.lexical import LexicalIndex, LexicalPlan

MOST_ABOUT: Final = (
    1_000  # the newest that are about the files: of what is older the words must tell
)


@dataclass(frozen=True, slots=True)
class Beside:
    """`about` are the numbers of what is about a file that the question names; `uses` has none that was never used."""

    about: frozenset[int] = frozenset()
    uses: Mapping[EntityRef, int] = field(default_factory=dict)


def look(
    scope: Scope,
    tx: Tx,
    lexical: LexicalIndex,
    plan: LexicalPlan,
    files: Sequence[str],
    candidates: Sequence[EntityRef],
) -> Beside:
    """Of the candidates of one search, whose plan it is; `files` as the question has them."""
    if not candidates:
        return Beside()
    uses = memory.uses(scope, tx, candidates)
    named = labels.of_files(files)
    if not named:
        return Beside(uses=uses)
    wanted = replace(plan, words=(), labels=(*plan.labels, named), limit=MOST_ABOUT)
    return Beside(frozenset(lexical.newest(scope, tx, wanted)), uses)
