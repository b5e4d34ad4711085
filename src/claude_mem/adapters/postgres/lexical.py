"""The lexical engine on PostgreSQL: one table of tsvectors with a GIN index.

Owns the rows of `search_index` and how a plan becomes bounded queries; `schema/30_lexical.sql` owns
how one query is answered, and why it may pass row-level security. GIN gives no order and its cost
grows with a word's frequency, so every word has a list of its own in each `SEGMENT` of documents:

- a word is looked up to `PROBE` documents (fewer in a small store), newest first; if it has fewer,
  its documents are known and it is *rare*; if not, it is *common* and its frequency is estimated
  from the span of those;
- candidates are the documents of the rare words (the rarest first, up to `POSTINGS_PER_PROBE` times
  as many), best sum of inverse document frequencies first, ties by BM25 while they are few, else
  newest first;
- then the newest documents with all, some, or one of the common words; looking for what must meet
  takes at most about `SCAN` steps (`PHRASE_SCAN` where texts are read), so in a very large store
  words that are common but hardly ever meet are looked for in its newer part only;
- filters and exclusions with few documents are resolved to those first, the others are intersected
  by the engine. A filter with few documents is never cut short.

Every candidate is scored afterwards over all words, so a bound costs recall, never order.

Limits: of a token the first `TOKEN_CHARS` characters count, but in phrases; of a document the first
`LEXEME_BYTES` of lexemes are found. The analysis makes neither as long, save of rare scripts.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from struct import unpack
from typing import Final

from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.lexical import Candidates, LexicalDocument, LexicalPlan

SEGMENT: Final = 4_096  # documents; the functions' constant
TOKEN_CHARS: Final = 128  # the same
LEXEME_BYTES: Final = 900_000  # a tsvector ends at 1 MiB

# A hundredth of the documents, within bounds: a small store answers faster, a large one looks further.
PROBE_SHARE: Final = 100
PROBE_MIN: Final = 500
PROBE: Final = 2_000
POSTINGS_PER_PROBE: Final = 3
SCAN: Final = 50_000
PHRASE_SCAN: Final = 10_000
_MEETING_WORDS = 5
_MEETING_PAIRS = 3  # words that are paired
_SINGLES = 3
_MANY_WORDS = 8
_KNOWN_COMMON = 4_096
_TOLERANCE = 0.05

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


@dataclass(frozen=True, slots=True)
class _Expression:
    """What documents must have: one of every group of words and of labels, every phrase, none excluded."""

    words: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


class PostgresLexicalIndex:
    """Implements `ports.lexical.LexicalIndex`. The transaction carries the tenant.

    Remembers which words are common (they are few and come back in every other query): nothing that
    an answer depends on but the estimate of their frequency.
    """

    def __init__(self) -> None:
        self._common = _CommonWords()

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


class _CommonWords:
    """Estimated shares of documents of common words, by enterprise; bounded.

    An estimate holds while the number of documents is about what it was. Shared between threads: each
    operation on the dict is atomic, and losing one costs a probe.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[int, float]] = {}

    def frequency(self, enterprise: str, word: str, documents: int) -> int | None:
        """The estimate for `documents`, if it is known."""
        at, share = self._known.get((enterprise, word), (0, 0.0))
        if not at or abs(documents - at) > at * _TOLERANCE:
            return None
        return int(documents * share)

    def note(self, enterprise: str, word: str, documents: int, frequency: int) -> None:
        """Remember an estimate."""
        if len(self._known) >= _KNOWN_COMMON:
            self._known.clear()
        self._known[(enterprise, word)] = documents, frequency / max(documents, 1)


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


class _Search:
    """One search: probes, then candidates, then the count."""

    def __init__(self, scope: Scope, tx: Tx, plan: LexicalPlan, common: _CommonWords) -> None:
        self._plan = plan
        self._enterprise = scope.enterprise_id
        self._known = common
        self._tx = tx
        self._lists: dict[str, list[int]] = {}  # of rare words: all of their documents
        self._recent: dict[str, list[int]] = {}  # of words just looked up: the newest
        self._frequencies: dict[str, int] = {}
        self._filters = _Expression(
            labels=tuple(map(" ".join, plan.labels)),
            phrases=tuple(map(" ".join, plan.phrases)),
            excluded=tuple(map(" ".join, plan.excluded)),
        )
        # Many words are looked up less deep: they cost the same together, and are enough together.
        many = 1 + len(plan.words) // _MANY_WORDS
        self._depth = min(max(plan.documents // PROBE_SHARE, PROBE_MIN), PROBE) // many
        self._postings = POSTINGS_PER_PROBE * self._depth
        self._is_filtered = self._filters != _Expression()
        # What the filters leave, as far as it is known without the engine; if not `_is_known`, it
        # has to be asked.
        self._allowed: set[int] | None = None
        self._denied: set[int] = set()
        self._is_known = not plan.phrases
        self._label_steps = plan.documents
        self._found: dict[int, None] = {}
        self._is_complete = True

    def run(self) -> Candidates:
        """Everything."""
        plan = self._plan
        self._look_up()
        present = sorted(
            (word for word in plan.words if self._frequencies[word]),
            key=self._frequencies.__getitem__,
        )
        rare, common = self._split(present)
        total = self._add_rare(rare, plan.limit * 2 // 3 if common else plan.limit)
        if common:
            self._is_complete = False
            self._add_common(common)
        if plan.phrases:
            total = max(total, self._add_required())
        if common and not self._is_filtered:
            total = max(total, min(self._depth, max(self._frequencies[word] for word in common)))
        return Candidates(
            numbers=tuple(self._found)[: plan.limit],
            frequencies=self._frequencies,
            total=max(total, len(self._found)),
            total_is_estimate=not self._is_complete,
        )

    # -- looking words and filters up ---------------------------------------------------------

    def _match(self, expression: _Expression, limit: int, floor: int = 0) -> list[int]:
        """The newest `limit` documents above `floor` that match, newest first."""
        wanted = (expression.words, expression.labels, expression.phrases, expression.excluded)
        values = (*map(list, wanted), floor, limit)
        return _numbers(self._tx.exec_driver_sql(_FIND, values).scalar_one())

    def _look_up(self) -> None:
        """How many documents words and filters have, and which where they are few: in one question."""
        plan, filters = self._plan, self._filters
        words = dict.fromkeys((*plan.words, *(t for p in plan.phrases for t in p)))
        # Exclusions are one filter: what has any of them. Phrases among them only the engine can tell.
        excluded = " ".join(filters.excluded) if all(len(p) == 1 for p in plan.excluded) else ""
        wanted = [(word, False) for word in words] + [(group, True) for group in filters.labels]
        if excluded:
            wanted.append((excluded, False))
        found = self._probe(dict.fromkeys(wanted))
        for word in words:
            self._frequencies[word], numbers = found[word, False]
            if numbers is not None:
                self._lists[word] = numbers
        for group in filters.labels:
            frequency, numbers = found[group, True]
            self._label_steps = min(self._label_steps, frequency)
            self._allow(numbers)
        if filters.excluded:
            _, numbers = found[excluded, False] if excluded else (0, None)
            self._denied = set(numbers or ())
            self._is_known = self._is_known and numbers is not None

    def _allow(self, numbers: list[int] | None) -> None:
        """Only those documents; None where they are too many to be known."""
        if numbers is None:
            self._is_known = False
        else:
            self._allowed = set(numbers) if self._allowed is None else self._allowed & set(numbers)

    def _probe(
        self, wanted: Iterable[tuple[str, bool]]
    ) -> Mapping[tuple[str, bool], tuple[int, list[int] | None]]:
        """By (alternatives, whether labels): how many documents, and all of them if they are few."""
        found: dict[tuple[str, bool], tuple[int, list[int] | None]] = {}
        unknown = []
        documents = self._plan.documents
        for group in wanted:
            known = self._known.frequency(self._enterprise, _key(*group), documents)
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
            self._known.note(self._enterprise, _key(*group), documents, estimate)
        return found

    def _estimate(self, newest: list[int]) -> int:
        """How many documents match, from the span of the newest of them."""
        plan = self._plan
        share = (plan.last - newest[-1] + 1) / max(plan.last - plan.first + 1, 1)
        return min(max(int(len(newest) / max(share, 1e-9)), len(newest)), plan.documents)

    def _split(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Rare and common words, the rarest first; together the rare ones have few documents."""
        rare: list[str] = []
        postings = 0
        for index, word in enumerate(words):
            postings += self._frequencies[word]
            if word not in self._lists or (rare and postings > self._postings):
                return rare, list(words[index:])
            rare.append(word)
        return rare, []

    def _weight(self, word: str) -> float:
        count, frequency = max(self._plan.documents, 1), self._frequencies[word]
        return math.log(1 + (max(count - frequency, 0) + 0.5) / (frequency + 0.5))

    # -- candidates ---------------------------------------------------------------------------

    def _gated(self, *words: str) -> _Expression:
        """Groups of words with everything that is required and nothing that is excluded."""
        return replace(self._filters, words=words)

    def _add_rare(self, rare: list[str], limit: int) -> int:
        """Documents of rare words, those with the most weight of words first; how many there are."""
        if not rare:
            return 0
        weights: dict[int, float] = {}
        for word in rare:
            weight = self._weight(word)
            for number in self._lists[word]:
                weights[number] = weights.get(number, 0.0) + weight
        if self._allowed is not None:
            weights = {number: weights[number] for number in weights.keys() & self._allowed}
        if weights and not self._is_known:
            allowed = self._match(self._gated(" ".join(rare)), self._postings)
            weights = {number: weights[number] for number in allowed if number in weights}
        for number in weights.keys() & self._denied:
            del weights[number]
        places = self._places(rare, weights, limit)
        ranked = sorted(weights, key=lambda n: (-weights[n], places.get(n, len(places)), -n))
        self._found.update(dict.fromkeys(ranked[:limit]))
        return len(weights)

    def _places(self, words: list[str], weights: dict[int, float], limit: int) -> dict[int, int]:
        """The order by BM25 of those that weigh the same where the limit cuts, if they are few."""
        if len(weights) <= limit:
            return {}
        least = sorted(weights.values(), reverse=True)[limit - 1]
        tied = [number for number, weight in weights.items() if weight == least]
        if len(tied) > self._depth:
            return {}
        values = (words, [self._weight(word) for word in words], tied, min(limit, len(tied)))
        ranked = _numbers(self._tx.exec_driver_sql(_RANK, values).scalar_one())
        return {number: place for place, number in enumerate(ranked)}

    def _add_common(self, common: list[str]) -> None:
        """The newest documents in which common words meet, then those with one of them."""
        want = self._plan.limit
        # A beginning is put together anew by every query that holds it.
        words = [word for word in common if not word.endswith("*")][:_MEETING_WORDS]
        for pair in combinations(words[:_MEETING_PAIRS], 2):
            if len(self._found) >= want:
                return
            self._add_meeting(words, pair)
        for word in common[:_SINGLES]:
            if len(self._found) >= want:
                return
            if word in self._recent and not self._is_filtered:
                self._add(self._recent[word][:want])
            else:
                floor = self._floor((word,)) if self._is_filtered else 0
                self._add(self._match(self._gated(word), want, floor))

    def _add_meeting(self, words: list[str], pair: tuple[str, ...]) -> None:
        """The documents of a pair; where they are too many, first those that have more of the words.

        What is asked first is what likely suffices. If all documents of fewer words fit, those that
        have more of them are among these; if those with more words suffice, so do they alone.
        """
        if pair != tuple(words[:2]):
            self._add(self._meeting(pair))
            return
        groups = list(dict.fromkeys((pair, tuple(words[:3]), tuple(words))))
        want, found = self._plan.limit, []
        if self._expected(words) >= 2 * want:
            groups.reverse()
            for group in groups:
                found.append(self._meeting(group))
                if len(found[-1]) >= want:
                    break
        else:
            for group in groups:
                found.insert(0, self._meeting(group))
                if len(found[0]) < want:
                    break
        for numbers in found:
            self._add(numbers)

    def _expected(self, words: Sequence[str]) -> float:
        """How many documents would have all of the words if they were independent."""
        count = float(max(self._plan.documents, 1))
        expected = min(float(self._label_steps), count)
        for word in words:
            expected *= self._frequencies[word] / count
        return expected

    def _meeting(self, words: Sequence[str]) -> list[int]:
        return self._match(self._gated(*words), self._plan.limit, self._floor(words))

    def _add_required(self) -> int:
        """Documents with the phrases and none of the optional words; how many have the phrases."""
        longest = max(self._plan.phrases, key=len)
        floor = self._floor(longest)
        numbers = self._match(self._gated(), self._depth, floor)
        self._is_complete = floor == 0 and len(numbers) < self._depth
        self._add(numbers)
        return len(numbers)

    def _add(self, numbers: Sequence[int]) -> None:
        self._found.update(dict.fromkeys(numbers))

    def _floor(self, words: Sequence[str]) -> int:
        """The number below which what must meet is not looked for: about SCAN steps from the end.

        Steps are those of the rarest of the words, the phrases' words and the filters.
        """
        plan = self._plan
        together = (*words, *(token for phrase in plan.phrases for token in phrase))
        steps = min(self._label_steps, *(self._frequencies[word] for word in together))
        reads = any(len(phrase) > 1 for phrase in (*plan.phrases, *plan.excluded))
        scan = PHRASE_SCAN if reads else SCAN
        if steps <= scan or (len(together) == 1 and not plan.labels):
            return 0
        return plan.last - int((plan.last - plan.first + 1) * scan / steps)


def _key(expression: str, is_label: bool) -> str:
    """What an estimate is remembered by; a colon begins no word."""
    return f":{expression}" if is_label else expression
