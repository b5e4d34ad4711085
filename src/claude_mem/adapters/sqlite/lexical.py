"""The lexical engine on SQLite: one contentless FTS5 table.

Owns the table `search_fts` (rowid = document number) and how a plan becomes bounded queries. FTS5's
own ranking costs as much as a word is frequent (three common words at a million documents: 850 ms),
so the cost is bounded instead:

- a word is looked up to `PROBE` documents (fewer in a small store), newest first; if it has fewer,
  its documents are known and it is *rare*; if not, it is *common* and its frequency is estimated
  from the span of those;
- candidates are the documents of the rare words (the rarest first, up to `POSTINGS_PER_PROBE` times
  as many), best sum of inverse document frequencies first, ties in the order of FTS5's `bm25` while
  they are few, else newest first;
- then the newest documents with all, some, or one of the common words; looking for what must meet
  takes at most about `SCAN` steps, so in a very large store words (or the words of a phrase) that
  are common but hardly ever meet are looked for in its newer part only;
- filters and exclusions with few documents are resolved to those first, the others are intersected
  by the engine. A filter with few documents is never cut short.

Every candidate is scored afterwards over all words, so a bound costs recall, never order.

The tokenizer takes tokens as they are: `ascii` leaves everything beyond ASCII alone and splits at
what tokens do not hold. `prefix='3'` keeps short beginnings cheap (an eighth more disk).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final

from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.lexical import Candidates, LexicalDocument, LexicalPlan

CREATE: Final = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS search_fts USING fts5("
    "title, body, labels, content='', contentless_delete=1, prefix='3', "
    "tokenize=\"ascii tokenchars '_./-'\")"
)
DROP: Final = "DROP TABLE IF EXISTS search_fts"

# A hundredth of the documents, within bounds: a small store answers faster, a large one looks further.
PROBE_SHARE: Final = 100
PROBE_MIN: Final = 500
PROBE: Final = 2_000
POSTINGS_PER_PROBE: Final = 3
SCAN: Final = 50_000
_MEETING_WORDS = 5
_MEETING_PAIRS = 3  # words that are paired
_SINGLES = 3
_MANY_WORDS = 8
_KNOWN_COMMON = 4_096
_TOLERANCE = 0.05

_MATCH = "SELECT rowid FROM search_fts WHERE search_fts MATCH ? AND rowid > ? ORDER BY rowid DESC LIMIT ?"
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
        self._common = _CommonWords()

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


def _tenant(scope: Scope) -> str:
    return f"e.{scope.enterprise_id}"


def _quoted(word: str) -> str:
    """A word as FTS5 syntax. Tokens hold no quote, so nothing can end the string early."""
    return _in_text(word, f'"{word[:-1]}" *' if word.endswith("*") else f'"{word}"')


def _label(label: str) -> str:
    return f'"{label}"'


def _phrase(tokens: Sequence[str]) -> str:
    if len(tokens) == 1:
        return _quoted(tokens[0])
    return _in_text(tokens[0], f'"{" ".join(tokens)}"')


def _in_text(first: str, expression: str) -> str:
    """Held to the text where it could be a label: doing so always costs a third of the time."""
    return f"{{title body}} : {expression}" if first[1:2] == "." else expression


def _either(parts: Iterable[str]) -> str:
    return f"({' OR '.join(parts)})"


class _Search:
    """One search: probes, then candidates, then the count."""

    def __init__(self, scope: Scope, tx: Tx, plan: LexicalPlan, common: _CommonWords) -> None:
        self._plan = plan
        self._enterprise = scope.enterprise_id
        self._known = common
        self._cursor = tx.connection.cursor()
        self._lists: dict[str, list[int]] = {}  # of rare words: all of their documents
        self._recent: dict[str, list[int]] = {}  # of words just looked up: the newest
        self._frequencies: dict[str, int] = {}
        self._tenant = [f'labels : "{_tenant(scope)}"'] if plan.shared else []
        self._labels = [f"labels : {_either(map(_label, group))}" for group in plan.labels]
        self._phrases = [_phrase(phrase) for phrase in plan.phrases]
        self._excluded = _either(map(_phrase, plan.excluded)) if plan.excluded else ""
        # Many words are looked up less deep: they cost the same together, and are enough together.
        many = 1 + len(plan.words) // _MANY_WORDS
        self._depth = min(max(plan.documents // PROBE_SHARE, PROBE_MIN), PROBE) // many
        self._postings = POSTINGS_PER_PROBE * self._depth
        self._is_filtered = bool(self._labels or self._phrases or self._excluded)
        # What the filters leave, as far as it is known without the engine; if not `_is_known`, it
        # has to be asked.
        self._allowed: set[int] | None = None
        self._denied: set[int] = set()
        self._is_known = not self._phrases
        self._label_steps = plan.documents
        self._found: dict[int, None] = {}
        self._is_complete = True

    def run(self) -> Candidates:
        """Everything."""
        plan = self._plan
        for word in dict.fromkeys((*plan.words, *(t for p in plan.phrases for t in p))):
            self._probe(word)
        self._resolve_filters()
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

    # -- looking words up ---------------------------------------------------------------------

    def _match(self, expression: str, limit: int, floor: int = 0) -> list[int]:
        """The newest `limit` documents above `floor` that match, newest first."""
        rows = self._cursor.execute(_MATCH, (expression, floor, limit)).fetchall()
        return [row[0] for row in rows]

    def _probe(self, word: str) -> None:
        """A word's newest documents in the enterprise, and how many it has."""
        plan = self._plan
        known = self._known.frequency(self._enterprise, word, plan.documents)
        if known is not None:
            self._frequencies[word] = known
            return
        numbers = self._newest(_quoted(word))
        self._recent[word] = numbers
        if len(numbers) < self._depth:
            self._lists[word] = numbers
            self._frequencies[word] = len(numbers)
            return
        self._frequencies[word] = estimate = self._estimate(numbers)
        self._known.note(self._enterprise, word, plan.documents, estimate)

    def _newest(self, expression: str) -> list[int]:
        """The enterprise's newest documents that match: all of them when they are fewer than depth."""
        return self._match(" AND ".join([*self._tenant, expression]), self._depth)

    def _estimate(self, newest: list[int]) -> int:
        """How many documents match, from the span of the newest of them."""
        plan = self._plan
        share = (plan.last - newest[-1] + 1) / max(plan.last - plan.first + 1, 1)
        return min(max(int(len(newest) / max(share, 1e-9)), len(newest)), plan.documents)

    def _resolve_filters(self) -> None:
        """Filters with few documents become sets of numbers."""
        for label in self._labels:
            frequency, numbers = self._look_up(label)
            self._label_steps = min(self._label_steps, frequency)
            if numbers is None:
                self._is_known = False
            else:
                self._allowed = (
                    set(numbers) if self._allowed is None else self._allowed & set(numbers)
                )
        if self._excluded:
            _, numbers = self._look_up(self._excluded)
            self._denied = set(numbers or ())
            self._is_known = self._is_known and numbers is not None

    def _look_up(self, expression: str) -> tuple[int, list[int] | None]:
        """(how many documents match a filter, all of them if they are few)."""
        documents = self._plan.documents
        known = self._known.frequency(self._enterprise, expression, documents)
        if known is not None:
            return known, None
        numbers = self._newest(expression)
        if len(numbers) < self._depth:
            return len(numbers), numbers
        estimate = self._estimate(numbers)
        self._known.note(self._enterprise, expression, documents, estimate)
        return estimate, None

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

    def _gated(self, *expressions: str) -> str:
        """The expressions with everything that is required and nothing that is excluded."""
        inner = " AND ".join([*self._tenant, *self._labels, *self._phrases, *expressions])
        return f"({inner}) NOT {self._excluded}" if self._excluded else inner

    def _add_rare(self, rare: list[str], limit: int) -> int:
        """Documents of rare words, those with the most weight of words first; how many there are."""
        if not rare:
            return 0
        either = _either(map(_quoted, rare))
        weights: dict[int, float] = {}
        for word in rare:
            weight = self._weight(word)
            for number in self._lists[word]:
                weights[number] = weights.get(number, 0.0) + weight
        if self._allowed is not None:
            weights = {number: weights[number] for number in weights.keys() & self._allowed}
        if weights and not self._is_known:
            allowed = self._match(self._gated(either), self._postings)
            weights = {number: weights[number] for number in allowed if number in weights}
        for number in weights.keys() & self._denied:
            del weights[number]
        places = self._places(either, weights)
        ranked = sorted(weights, key=lambda n: (-weights[n], places.get(n, len(places)), -n))
        self._found.update(dict.fromkeys(ranked[:limit]))
        return len(weights)

    def _places(self, expression: str, weights: dict[int, float]) -> dict[int, int]:
        """The order of FTS5's bm25, where there are more candidates than can be scored."""
        if not self._plan.limit < len(weights) <= self._depth or self._is_filtered or self._tenant:
            return {}
        rows = self._cursor.execute(_RANKED, (expression, self._plan.limit)).fetchall()
        return {row[0]: place for place, row in enumerate(rows)}

    def _add_common(self, common: list[str]) -> None:
        """The newest documents in which common words meet, then those with one of them."""
        want = self._plan.limit
        # A beginning is put together anew, at full length, by every query that holds it.
        words = [word for word in common if not word.endswith("*")][:_MEETING_WORDS]
        for pair in combinations(words[:_MEETING_PAIRS], 2):
            if len(self._found) >= want:
                return
            self._add_meeting(words, pair)
        for word in common[:_SINGLES]:
            if len(self._found) >= want:
                return
            if word in self._recent and not self._is_filtered:
                self._found.update(dict.fromkeys(self._recent[word][:want]))
            else:
                floor = self._floor((word,)) if self._is_filtered else 0
                self._add(_quoted(word), want, floor)

    def _add_meeting(self, words: list[str], pair: tuple[str, ...]) -> None:
        """The documents of a pair; where they are too many, first those that have more of the words.

        What is asked first is what likely suffices. If all documents of fewer words fit, those that
        have more of them are among these; if those with more words suffice, so do they alone.
        """
        if pair != tuple(words[:2]):
            self._found.update(dict.fromkeys(self._meeting(pair)))
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
            self._found.update(dict.fromkeys(numbers))

    def _expected(self, words: Sequence[str]) -> float:
        """How many documents would have all of the words if they were independent."""
        count = float(max(self._plan.documents, 1))
        expected = min(float(self._label_steps), count)
        for word in words:
            expected *= self._frequencies[word] / count
        return expected

    def _meeting(self, words: Sequence[str]) -> list[int]:
        expression = " AND ".join(map(_quoted, words))
        return self._match(self._gated(expression), self._plan.limit, self._floor(words))

    def _add_required(self) -> int:
        """Documents with the phrases and none of the optional words; how many have the phrases."""
        longest = max(self._plan.phrases, key=len)
        floor = self._floor(longest)
        numbers = self._match(self._gated(), self._depth, floor)
        self._is_complete = floor == 0 and len(numbers) < self._depth
        self._found.update(dict.fromkeys(numbers))
        return len(numbers)

    def _add(self, expression: str, limit: int, floor: int) -> None:
        self._found.update(dict.fromkeys(self._match(self._gated(expression), limit, floor)))

    def _floor(self, words: Sequence[str]) -> int:
        """The number below which what must meet is not looked for: about SCAN steps from the end.

        Steps are those of the rarest of the words, the phrases' words and the filters.
        """
        together = (*words, *(token for phrase in self._plan.phrases for token in phrase))
        steps = min(self._label_steps, *(self._frequencies[word] for word in together))
        if steps <= SCAN or (len(together) == 1 and not self._labels):
            return 0
        plan = self._plan
        return plan.last - int((plan.last - plan.first + 1) * SCAN / steps)
