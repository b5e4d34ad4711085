"""The lexical engine: which documents may match, and how frequent words are.

An engine stores tokens as they are given, finds a bounded number of candidates and counts; it never
ranks for good (that is one pure function, the same for every engine) and never sees a person's
text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx


@dataclass(frozen=True, slots=True)
class LexicalDocument:
    """A document to index. Fields are tokens, `labels` filter tokens, each joined by single spaces.

    Tokens hold no white space, no `"`, no upper-case ASCII; their ASCII punctuation is `_ . / -`. A
    label is a letter, a dot, and its value.
    `number` is positive and unique; a greater one was indexed later.
    """

    number: int
    title: str
    body: str
    labels: str


@dataclass(frozen=True, slots=True)
class LexicalPlan:
    """What to look for.

    `words` are optional: tokens, or beginnings of tokens where they end in `*`. Every phrase
    (consecutive tokens of one field) is required, every one of `excluded` forbidden (phrases; a
    single token may be a beginning). Of every group of `labels` one is required; a label that ends in
    `*` is the beginning of one, for `newest` alone. `documents` is how
    many the enterprise has, `first` and `last` the span of their numbers, `shared` whether other
    enterprises have documents too. `loose`: whoever asks looks at the labels of candidates himself,
    so that labels which most documents have need not be asked for.
    """

    words: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    excluded: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[str, ...], ...]
    documents: int
    first: int
    last: int
    shared: bool
    limit: int
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Candidates:
    """Documents that match, the most promising first, at most the plan's limit (a few more of a loose plan, of which
    some may lack the labels).

    `frequencies` are document frequencies in the enterprise, filters aside; those of words that are
    too frequent to be counted are estimates. `total` is how many documents match, or, when
    `total_is_estimate`, a number that they reach at least (of a loose plan: about).
    """

    numbers: tuple[int, ...]
    frequencies: Mapping[str, int]
    total: int
    total_is_estimate: bool


class LexicalIndex(Protocol):
    """Everything happens in the caller's transaction; enterprises never meet."""

    def add(self, scope: Scope, tx: Tx, documents: Sequence[LexicalDocument]) -> None:
        """Index documents under numbers that are not in use."""
        ...

    def remove(self, scope: Scope, tx: Tx, numbers: Sequence[int]) -> None:
        """Take documents out; unknown numbers are passed over."""
        ...

    def purge(self, scope: Scope, tx: Tx) -> None:
        """Leave nothing of removed documents in the engine's files; takes as long as the index is large."""
        ...

    def candidates(self, scope: Scope, tx: Tx, plan: LexicalPlan) -> Candidates:
        """Find candidates at a cost that does not grow with the frequency of the words."""
        ...

    def newest(self, scope: Scope, tx: Tx, plan: LexicalPlan) -> tuple[int, ...]:
        """The newest documents, at most the plan's limit, that have one of the words (where there are any) and what
        else the plan requires; newest first. One question, nothing is counted.
        """
        ...
