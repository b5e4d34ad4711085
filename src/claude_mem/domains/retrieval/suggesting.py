"""Suggesting what to search for, while it is being typed.

There is no list of terms to be kept: the index is asked for the newest documents that have a word beginning so, and the
words are read from what those say now. So nothing is written for it when something is recorded, what was forgotten is
not suggested, and whoever may not read a text is not told its words. Bounded whatever the size of the store: three
questions to the index at most, `SAMPLE` rows each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.retrieval import labels, repository
from claude_mem.domains.retrieval.completion import Completion, Suggestion
from claude_mem.domains.retrieval.hits import text_of, title_of
from claude_mem.domains.retrieval.model import Collection, Filters, Hydrate
from claude_mem.domains.retrieval.typed import Typed, read
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.lexical import LexicalIndex, LexicalPlan

SAMPLE: Final = 60
LABELLED: Final = 24
TITLES: Final = 500
_TYPO_BEGINNING = 3
_NAMED = ("prompt", "summary", "learning")
_SAID_ON_PURPOSE = "info"


class SuggestService:
    """Completions of the scope's enterprise. `hydrate` is `memory`'s read of rows by reference."""

    def __init__(self, database: Database, lexical: LexicalIndex, hydrate: Hydrate) -> None:
        self._database = database
        self._lexical = lexical
        self._hydrate = hydrate

    async def suggest(
        self, scope: Scope, text: str, *, project: str | None = None, limit: int = 10
    ) -> list[Suggestion]:
        """What the text may become, the best first; nothing for what cannot be completed. No text is an error."""
        typed = read(text)
        if typed is None:
            return []
        return await self._database.read(
            scope, lambda tx: self._suggest(scope, tx, typed, project, limit)
        )

    def _suggest(
        self, scope: Scope, tx: Tx, typed: Typed, project: str | None, limit: int
    ) -> list[Suggestion]:
        projects = None if project is None else tuple(access.match_projects(scope, tx, project))
        collection = repository.collection(scope, tx)
        if not collection.documents or projects == ():
            return []
        groups = labels.of_filters(Filters(project_ids=projects), 0)
        plan = _plan(collection, groups)
        found = Completion(typed)
        found.add_titles(memory.recent_titles(scope, tx, projects, TITLES))
        numbers = self._having(scope, tx, plan, typed)
        if not typed.required:
            numbers += self._labelled(scope, tx, plan, typed)
        self._read(scope, tx, numbers, found)
        if found.is_empty and typed.required:
            alone = replace(typed, required=())
            self._read(scope, tx, self._having(scope, tx, plan, alone), found)
        if found.is_empty and not typed.is_dense:
            found = Completion(typed, with_typos=True)
            beginning = replace(typed, needle=typed.needle[:_TYPO_BEGINNING], required=())
            self._read(scope, tx, self._having(scope, tx, plan, beginning), found)
        return found.best(limit)

    def _having(self, scope: Scope, tx: Tx, plan: LexicalPlan, typed: Typed) -> list[int]:
        asked = replace(plan, words=typed.words(), phrases=typed.phrases())
        return list(self._lexical.newest(scope, tx, asked))

    def _labelled(self, scope: Scope, tx: Tx, plan: LexicalPlan, typed: Typed) -> list[int]:
        """Documents with a file, tag or tool that begins so."""
        beginnings = labels.beginning(typed.needle)
        if not beginnings:
            return []
        asked = replace(plan, labels=(*plan.labels, beginnings), limit=LABELLED)
        return list(self._lexical.newest(scope, tx, asked))

    def _read(self, scope: Scope, tx: Tx, numbers: list[int], found: Completion) -> None:
        """Look through what the documents say now."""
        described = repository.describe(scope, tx, list(dict.fromkeys(numbers)))
        rows = self._hydrate(scope, tx, [it.ref for it in described])
        for ref, row in rows.items():
            found.add_row(row, title_of(row), text_of(row), is_named=_is_named(ref.kind, row))


def _is_named(kind: str, row: Any) -> bool:
    return kind in _NAMED or row.get("observation_type") == _SAID_ON_PURPOSE


def _plan(collection: Collection, groups: tuple[tuple[str, ...], ...]) -> LexicalPlan:
    return LexicalPlan(
        words=(),
        phrases=(),
        excluded=(),
        labels=groups,
        documents=collection.documents,
        first=collection.first,
        last=collection.last,
        shared=collection.shared,
        limit=SAMPLE,
    )
