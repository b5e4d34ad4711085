"""The lexical engine on PostgreSQL: one table of tsvectors with a GIN index.

Owns the rows of `search_index` and the language it is asked in; `schema/30_lexical.sql` owns how one question is
answered, and why it may pass row-level security. GIN gives no order and its cost grows with a word's frequency, so
every word has a list of its own in each `SEGMENT` of documents, and `ports.candidates` asks bounded questions: a word
is looked up to `DEPTH` documents at most, and where texts are read, looking for what must meet takes at most about
`PHRASE_SCAN` steps.

Limits: of a token the first `TOKEN_CHARS` characters count, but in phrases; of a document the first
`LEXEME_BYTES` of lexemes are found. The analysis makes neither as long, save of rare scripts.
"""

from __future__ import annotations

import hashlib
import uuid
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import unpack
from typing import Final

from claude_mem.kernel.scope import Scope
from claude_mem.ports.candidates import POSTINGS_PER_PROBE, SCAN, BoundedSearch, CommonWords
from claude_mem.ports.database import Tx
from claude_mem.ports.lexical import Candidates, LexicalDocument, LexicalPlan

SEGMENT: Final = 4_096  # documents; the functions' constant
TOKEN_CHARS: Final = 128  # the same
LEXEME_BYTES: Final = 900_000  # a tsvector ends at 1 MiB
PHRASE_SCAN: Final = 5_000
DEPTH: Final = 1_000  # documents of a word: each is a page to look at, which a list of numbers alone would not be

_ADD = (
    "INSERT INTO search_index (enterprise_id, number, terms, tokens) "
    "SELECT %s::uuid, d.number, array_to_tsvector(string_to_array(d.lexemes, E'\\n')), d.tokens "
    "FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS d (number, lexemes, tokens)"
)
_REMOVE = "DELETE FROM search_index WHERE enterprise_id = %s::uuid AND number = ANY (%s::bigint[])"
_FIND = (
    "SELECT search_find(%s::text[], %s::text[], %s::text[], %s::text[], %s::bigint, %s::integer)"
)
_PROBE = (
    "SELECT search_find(CASE WHEN p.is_label THEN '{}' ELSE ARRAY[p.expression] END, "
    "CASE WHEN p.is_label THEN ARRAY[p.expression] ELSE '{}' END, '{}', '{}', 0, %s::integer) "
    "FROM unnest(%s::text[], %s::boolean[]) WITH ORDINALITY AS p (expression, is_label, place) "
    "ORDER BY p.place"
)
_RANK = "SELECT search_rank(%s::text[], %s::float8[], %s::bigint[], %s::integer)"


class PostgresLexicalIndex:
    """Implements `ports.lexical.LexicalIndex`. The transaction carries the tenant.

    Remembers which words are common (they are few and come back in every other query): nothing that
    an answer depends on but the estimate of their frequency.
    """

    def __init__(self) -> None:
        self._common = CommonWords()

    def add(self, scope: Scope, tx: Tx, documents: Sequence[LexicalDocument]) -> None:
        """See the port."""
        if not documents:
            return
        code = _code(scope.enterprise_id)
        numbers = [document.number for document in documents]
        lexemes = [_lexemes(code, document) for document in documents]
        texts = [f" {document.title} \n {document.body} " for document in documents]
        tx.exec_driver_sql(_ADD, (scope.enterprise_id, numbers, lexemes, texts))

    def remove(self, scope: Scope, tx: Tx, numbers: Sequence[int]) -> None:
        """See the port."""
        if numbers:
            tx.exec_driver_sql(_REMOVE, (scope.enterprise_id, list(numbers)))

    def purge(self, scope: Scope, tx: Tx) -> None:
        """See the port. Nothing can be done in a transaction: what it deleted goes with the next VACUUM."""

    def candidates(self, scope: Scope, tx: Tx, plan: LexicalPlan) -> Candidates:
        """See the port, and the module for how."""
        return _Search(scope, tx, plan, self._common).run()

    def newest(self, scope: Scope, tx: Tx, plan: LexicalPlan) -> tuple[int, ...]:
        """See the port."""
        return _Search(scope, tx, plan, self._common).newest()


@lru_cache(maxsize=1_024)
def _code(enterprise_id: str) -> str:
    """What a tenant's lexemes begin with. Short, for each bears it; the functions make the same."""
    return b64encode(hashlib.sha256(uuid.UUID(enterprise_id).bytes).digest())[:4].decode()


def _lexemes(code: str, document: LexicalDocument) -> str:
    """A document's lexemes, a line each, as many as fit: labels, then the title's words, then the body's."""
    prefix = f"{code}{document.number // SEGMENT:x}"
    words = dict.fromkeys((*document.title.split(), *document.body.split()))
    labels = [f"{prefix}:{label}" for label in document.labels.split()]
    lexemes = "\n".join([*labels, *[f"{prefix} {word[:TOKEN_CHARS]}" for word in words]])
    if len(lexemes) * 4 <= LEXEME_BYTES:  # in any script
        return lexemes
    encoded = lexemes.encode()
    if len(encoded) > LEXEME_BYTES:
        encoded = encoded[:LEXEME_BYTES].rpartition(b"\n")[0]
    return encoded.decode()


def _numbers(packed: bytes) -> list[int]:
    return list(unpack(f">{len(packed) // 8}q", packed))


class _Search(BoundedSearch):
    """One search, in the language of the functions."""

    def __init__(self, scope: Scope, tx: Tx, plan: LexicalPlan, common: CommonWords) -> None:
        super().__init__(plan, scope.enterprise_id, common)
        self._tx = tx
        self._depth = min(self._depth, DEPTH)
        self._postings = POSTINGS_PER_PROBE * self._depth
        self._labels = tuple(map(" ".join, plan.labels))
        self._phrases = tuple(map(" ".join, plan.phrases))
        self._excluded = tuple(map(" ".join, plan.excluded))

    def _newest(self, groups: Sequence[Sequence[str]], limit: int, floor: int) -> list[int]:
        """See the base."""
        labels = self._labels if self._holds_labels else ()
        wanted = (map(" ".join, groups), labels, self._phrases, self._excluded)
        values = (*map(list, wanted), floor, limit)
        return _numbers(self._tx.exec_driver_sql(_FIND, values).scalar_one())

    def _look_up(self) -> None:
        """See the base: in one question."""
        plan = self._plan
        words = dict.fromkeys((*plan.words, *(t for p in plan.phrases for t in p)))
        # Exclusions are one filter: what has any of them. Phrases among them only the engine can tell.
        excluded = " ".join(self._excluded) if all(len(p) == 1 for p in plan.excluded) else ""
        wanted = [(word, False) for word in words] + [(group, True) for group in self._labels]
        if excluded:
            wanted.append((excluded, False))
        found = self._probe(dict.fromkeys(wanted))
        for word in words:
            self._frequencies[word], numbers = found[word, False]
            if numbers is not None:
                self._lists[word] = numbers
        for group in self._labels:
            frequency, numbers = found[group, True]
            self._label_steps = min(self._label_steps, frequency)
            self._allow(numbers)
        if self._excluded:
            _, numbers = found[excluded, False] if excluded else (0, None)
            self._denied = set(numbers or ())
            self._is_known = self._is_known and numbers is not None

    def _probe(
        self, wanted: Iterable[tuple[str, bool]]
    ) -> Mapping[tuple[str, bool], tuple[int, list[int] | None]]:
        """By (alternatives, whether labels): how many documents, and all of them if they are few."""
        found: dict[tuple[str, bool], tuple[int, list[int] | None]] = {}
        unknown = []
        for group in wanted:
            known = self._known(_key(*group))
            if known is None:
                unknown.append(group)
            else:
                found[group] = known, None
        if not unknown:
            return found
        expressions, are_labels = map(list, zip(*unknown, strict=True))
        rows = self._tx.exec_driver_sql(_PROBE, (self._depth, expressions, are_labels))
        for group, packed in zip(unknown, rows.scalars(), strict=True):
            newest = _numbers(packed)
            if not group[1]:
                self._recent[group[0]] = newest
            if len(newest) < self._depth:
                found[group] = len(newest), newest
                continue
            estimate = self._estimate(newest)
            found[group] = estimate, None
            self._note(_key(*group), estimate)
        return found

    def _places(self, words: list[str], weights: Mapping[int, float], limit: int) -> dict[int, int]:
        """See the base."""
        if len(weights) <= limit:
            return {}
        least = sorted(weights.values(), reverse=True)[limit - 1]
        tied = [number for number, weight in weights.items() if weight == least]
        if len(tied) > self._depth:
            return {}
        values = (words, [self._weight(word) for word in words], tied, min(limit, len(tied)))
        ranked = _numbers(self._tx.exec_driver_sql(_RANK, values).scalar_one())
        return {number: place for place, number in enumerate(ranked)}

    def _scan(self) -> int:
        """Fewer where texts are read."""
        plan = self._plan
        reads = any(len(phrase) > 1 for phrase in (*plan.phrases, *plan.excluded))
        return PHRASE_SCAN if reads else SCAN


def _key(expression: str, is_label: bool) -> str:
    """What an estimate is remembered by; a colon begins no word."""
    return f":{expression}" if is_label else expression
