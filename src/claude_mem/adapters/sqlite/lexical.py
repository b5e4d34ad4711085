"""The lexical engine on SQLite: one contentless FTS5 table.

Owns the table `search_fts` (rowid = document number) and the language it is asked in. FTS5's own ranking costs as much
as a word is frequent (three common words at a million documents: 850 ms), so `ports.candidates` asks bounded questions,
and ranking happens elsewhere.

The tokenizer takes tokens as they are: `ascii` leaves everything beyond ASCII alone and splits at
what tokens do not hold. `prefix='3'` keeps short beginnings cheap (an eighth more disk).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson

from claude_mem.kernel.scope import Scope
from claude_mem.ports.candidates import BoundedSearch, CommonWords
from claude_mem.ports.database import Tx
from claude_mem.ports.lexical import Candidates, LexicalDocument, LexicalPlan

CREATE: Final = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS search_fts USING fts5("
    "title, body, labels, content='', contentless_delete=1, prefix='3', "
    "tokenize=\"ascii tokenchars '_./-'\")"
)
DROP: Final = "DROP TABLE IF EXISTS search_fts"

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_./-"
# As one text: a row a number costs half as much again as finding it.
_MATCH = (
    "SELECT json_group_array(rowid) FROM (SELECT rowid FROM search_fts "
    "WHERE search_fts MATCH ? AND rowid > ? ORDER BY rowid DESC LIMIT ?)"
)
_RANKED = (
    "SELECT rowid FROM search_fts WHERE search_fts MATCH ? "
    "ORDER BY bm25(search_fts, 2.0, 1.0, 0.0) LIMIT ?"
)


class SqliteLexicalIndex:
    """Implements `ports.lexical.LexicalIndex`. The table is made by a migration.

    Remembers which words are common (they are few and come back in every other query): nothing that
    an answer depends on but the estimate of their frequency.
    """

    def __init__(self) -> None:
        self._common = CommonWords()

    def add(self, scope: Scope, tx: Tx, documents: Sequence[LexicalDocument]) -> None:
        """See the port."""
        tenant = _tenant(scope)
        rows = [(d.number, d.title, d.body, f"{tenant} {d.labels}") for d in documents]
        if rows:
            tx.exec_driver_sql(
                "INSERT INTO search_fts(rowid, title, body, labels) VALUES (?, ?, ?, ?)", rows
            )

    def remove(self, scope: Scope, tx: Tx, numbers: Sequence[int]) -> None:
        """See the port. The caller knows the numbers as the scope's own."""
        del scope
        if numbers:
            tx.exec_driver_sql(
                "DELETE FROM search_fts WHERE rowid = ?", [(number,) for number in numbers]
            )

    def purge(self, scope: Scope, tx: Tx) -> None:
        """See the port. FTS5's `secure-delete` does nothing for contentless tables: only merging drops the tokens."""
        del scope
        tx.exec_driver_sql("INSERT INTO search_fts(search_fts) VALUES ('optimize')")

    def candidates(self, scope: Scope, tx: Tx, plan: LexicalPlan) -> Candidates:
        """See the port, and the module for how."""
        return _Search(scope, tx, plan, self._common).run()

    def newest(self, scope: Scope, tx: Tx, plan: LexicalPlan) -> tuple[int, ...]:
        """See the port."""
        words = tuple(word for each in plan.words for word in _longer(each))
        return _Search(scope, tx, replace(plan, words=words), self._common).newest()


def _tenant(scope: Scope) -> str:
    return f"e.{scope.enterprise_id}"


def _quoted(word: str) -> str:
    """A word as FTS5 syntax. Tokens hold no quote, so nothing can end the string early."""
    return _in_text(word, f'"{word[:-1]}" *' if word.endswith("*") else f'"{word}"')


def _longer(word: str) -> tuple[str, ...]:
    """A beginning of two letters as all of three that begin with it: those have lists of their own, while FTS5 would
    put together those of every word that begins so.
    """
    if len(word) != 3 or word[-1] != "*" or not word.isascii():
        return (word,)
    return (word[:2], *(f"{word[:2]}{letter}*" for letter in _LETTERS))


def _label(label: str) -> str:
    return f'"{label[:-1]}" *' if label.endswith("*") else f'"{label}"'


def _phrase(tokens: Sequence[str]) -> str:
    if len(tokens) == 1:
        return _quoted(tokens[0])
    return _in_text(tokens[0], f'"{" ".join(tokens)}"')


def _in_text(first: str, expression: str) -> str:
    """Held to the text where it could be a label: doing so always costs a third of the time."""
    return f"{{title body}} : {expression}" if first[1:2] == "." else expression


def _either(parts: Iterable[str]) -> str:
    return f"({' OR '.join(parts)})"


class _Search(BoundedSearch):
    """One search, in the language of FTS5."""

    def __init__(self, scope: Scope, tx: Tx, plan: LexicalPlan, common: CommonWords) -> None:
        super().__init__(plan, scope.enterprise_id, common)
        self._cursor = tx.connection.cursor()
        self._tenant = [f'labels : "{_tenant(scope)}"'] if plan.shared else []
        self._labels = [f"labels : {_either(map(_label, group))}" for group in plan.labels]
        self._phrases = [_phrase(phrase) for phrase in plan.phrases]
        self._excluded = _either(map(_phrase, plan.excluded)) if plan.excluded else ""

    def _look_up(self) -> None:
        """See the base."""
        plan = self._plan
        for word in dict.fromkeys((*plan.words, *(t for p in plan.phrases for t in p))):
            self._probe(word)
        for label in self._labels:
            frequency, numbers = self._look_up_filter(label)
            self._label_steps = min(self._label_steps, frequency)
            self._allow(numbers)
        if self._excluded:
            _, numbers = self._look_up_filter(self._excluded)
            self._denied = set(numbers or ())
            self._is_known = self._is_known and numbers is not None

    def _newest(self, groups: Sequence[Sequence[str]], limit: int, floor: int) -> list[int]:
        """See the base."""
        words = [_either(map(_quoted, group)) for group in groups]
        labels = self._labels if self._holds_labels else []
        inner = " AND ".join([*self._tenant, *labels, *self._phrases, *words])
        return self._match(
            f"({inner}) NOT {self._excluded}" if self._excluded else inner, limit, floor
        )

    def _places(self, words: list[str], weights: Mapping[int, float], limit: int) -> dict[int, int]:
        """The order of FTS5's bm25, where there are more candidates than can be scored."""
        del limit
        if not self._want < len(weights) <= self._depth or self._is_filtered or self._tenant:
            return {}
        expression = _either(map(_quoted, words))
        rows = self._cursor.execute(_RANKED, (expression, self._want)).fetchall()
        return {row[0]: place for place, row in enumerate(rows)}

    def _match(self, expression: str, limit: int, floor: int = 0) -> list[int]:
        """The newest `limit` documents above `floor` that match, newest first."""
        row = self._cursor.execute(_MATCH, (expression, floor, limit)).fetchone()
        found: list[int] = orjson.loads(row[0])
        found.sort(reverse=True)  # as they come; nobody promises it
        return found

    def _probe(self, word: str) -> None:
        """A word's newest documents in the enterprise, and how many it has."""
        known = self._known(word)
        if known is not None:
            self._frequencies[word] = known
            return
        numbers = self._newest_of(_quoted(word))
        self._recent[word] = numbers
        if len(numbers) < self._depth:
            self._lists[word] = numbers
            self._frequencies[word] = len(numbers)
            return
        self._frequencies[word] = estimate = self._estimate(numbers)
        self._note(word, estimate)

    def _newest_of(self, expression: str) -> list[int]:
        """The enterprise's newest documents that match: all of them when they are fewer than depth."""
        return self._match(" AND ".join([*self._tenant, expression]), self._depth)

    def _look_up_filter(self, expression: str) -> tuple[int, list[int] | None]:
        """(how many documents match a filter, all of them if they are few)."""
        known = self._known(expression)
        if known is not None:
            return known, None
        numbers = self._newest_of(expression)
        if len(numbers) < self._depth:
            return len(numbers), numbers
        estimate = self._estimate(numbers)
        self._note(expression, estimate)
        return estimate, None
