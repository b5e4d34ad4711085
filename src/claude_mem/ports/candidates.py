"""How a lexical plan becomes bounded questions to an engine: the same on every engine. Pure.

An engine's own search derives from `BoundedSearch` and answers its questions; it holds the language that they are
asked in, and nothing of when they are asked. A word's cost grows with its frequency, so:

- a word is looked up to `PROBE` documents (fewer in a small store), newest first; if it has fewer, its documents are
  known and it is *rare*; if not, it is *common* and its frequency is estimated from the span of those;
- candidates are the documents of the rare words (the rarest first, up to `POSTINGS_PER_PROBE` times as many), best sum
  of inverse document frequencies first, ties in the engine's order by BM25 while they are few, else newest first;
- then the newest documents with all, some, or one of the common words; looking for what must meet takes at most about
  `SCAN` steps, so in a very large store words (or the words of a phrase) that are common but hardly ever meet are
  looked for in its newer part only;
- labels that most documents have are not asked for where the plan is `loose`;
- filters and exclusions with few documents are resolved to those first, the others are intersected by the engine. A
  filter with few documents is never cut short.

Every candidate is scored afterwards over all words, so a bound costs recall, never order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from claude_mem.ports.lexical import Candidates, LexicalPlan

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
_MOSTLY: Final = (
    0.7  # of all documents: looking for that label costs more than looking at who lacks it
)
_SPARE: Final = 1.15
_KNOWN_COMMON = 4_096
_TOLERANCE = 0.05


class CommonWords:
    """Estimated shares of documents of common words, by enterprise and how deep they were looked up; bounded.

    An estimate holds while the number of documents is about what it was, and for searches that look as deep: else what
    a question finds would depend on those before it. A word that is common to a long question, which looks less deep,
    is rare to a short one, and the short look says less of how often it stands anywhere. Shared between threads: each
    operation on the dict is atomic, and losing one costs a probe.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], tuple[int, float]] = {}

    def frequency(self, enterprise: str, word: str, depth: int, documents: int) -> int | None:
        """The estimate for `documents`, if it is known."""
        at, share = self._known.get((enterprise, word, depth), (0, 0.0))
        if not at or abs(documents - at) > at * _TOLERANCE:
            return None
        return round(documents * share)

    def note(self, enterprise: str, word: str, depth: int, documents: int, frequency: int) -> None:
        """Remember an estimate."""
        if len(self._known) >= _KNOWN_COMMON:
            self._known.clear()
        self._known[(enterprise, word, depth)] = documents, frequency / max(documents, 1)


class BoundedSearch(ABC):
    """One search: probes, then candidates, then the count."""

    def __init__(self, plan: LexicalPlan, enterprise: str, common: CommonWords) -> None:
        self._plan = plan
        self._enterprise = enterprise
        self._common = common
        self._lists: dict[str, list[int]] = {}  # of rare words: all of their documents
        self._recent: dict[str, list[int]] = {}  # of words just looked up: the newest
        self._frequencies: dict[str, int] = {}
        # Many words are looked up less deep: they cost the same together, and are enough together.
        many = 1 + len(plan.words) // _MANY_WORDS
        self._depth = min(max(plan.documents // PROBE_SHARE, PROBE_MIN), PROBE) // many
        self._postings = POSTINGS_PER_PROBE * self._depth
        self._is_filtered = bool(plan.labels or plan.phrases or plan.excluded)
        # What the filters leave, as far as it is known without the engine; if not `_is_known`, it
        # has to be asked.
        self._allowed: set[int] | None = None
        self._denied: set[int] = set()
        self._is_known = not plan.phrases
        self._label_steps = plan.documents
        self._want = plan.limit
        self._share = 1.0  # of what is found, that has labels which were not asked for
        self._holds_labels = bool(plan.labels)
        self._found: dict[int, None] = {}
        self._is_complete = True

    def _known(self, what: str) -> int | None:
        """How many documents a word or a filter has, where a search that looked as deep found it common."""
        return self._common.frequency(self._enterprise, what, self._depth, self._plan.documents)

    def _note(self, what: str, frequency: int) -> None:
        """Remember that it is common."""
        self._common.note(self._enterprise, what, self._depth, self._plan.documents, frequency)

    # -- what an engine answers -------------------------------------------------------------------

    @abstractmethod
    def _look_up(self) -> None:
        """How many documents words and filters have (`_frequencies`, `_label_steps`), and which where they are few
        (`_lists`, `_allow`, `_denied`); the newest of a common word (`_recent`).
        """

    @abstractmethod
    def _newest(self, groups: Sequence[Sequence[str]], limit: int, floor: int) -> list[int]:
        """The newest `limit` documents above `floor` that have a word of every group, everything that is required
        and nothing that is excluded; newest first.
        """

    @abstractmethod
    def _places(self, words: list[str], weights: Mapping[int, float], limit: int) -> dict[int, int]:
        """The order by BM25 of documents that weigh the same where the limit cuts, if they are few."""

    def _scan(self) -> int:
        """About how many steps looking for what must meet may take."""
        return SCAN

    # -- when it is asked -------------------------------------------------------------------------

    def run(self) -> Candidates:
        """Everything."""
        plan = self._plan
        self._look_up()
        self._loosen()
        present = sorted(
            (word for word in plan.words if self._frequencies[word]),
            key=self._frequencies.__getitem__,
        )
        rare, common = self._split(present)
        total = self._add_rare(rare, self._want * 2 // 3 if common else self._want)
        if common:
            self._is_complete = False
            self._add_common(common)
        if plan.phrases:
            total = max(total, self._add_required())
        if common and not self._is_filtered:
            total = max(total, min(self._depth, max(self._frequencies[word] for word in common)))
        numbers = tuple(self._found)[: self._want]
        total = max(total, len(self._found))
        all_looked_at = total == len(numbers)
        return Candidates(
            numbers=numbers,
            frequencies=self._frequencies,
            total=total if all_looked_at else int(total * self._share),
            total_is_estimate=not self._is_complete or (self._share < 1.0 and not all_looked_at),
        )

    def newest(self) -> tuple[int, ...]:
        """The newest documents with one of the words, if there are any, and all that is required."""
        plan = self._plan
        if not (plan.words or plan.phrases or plan.labels):
            return ()
        return tuple(self._newest((plan.words,) if plan.words else (), plan.limit, 0))

    def _loosen(self) -> None:
        """Let labels go that most documents have, where somebody else looks at them."""
        plan = self._plan
        if not plan.loose or plan.phrases or plan.excluded or len(plan.labels) != 1:
            return
        share = min(self._label_steps / max(plan.documents, 1), 1.0)
        if share < _MOSTLY:
            return
        self._share, self._want = share, int(plan.limit / share * _SPARE)
        self._holds_labels = self._is_filtered = False
        self._is_known, self._allowed = True, None

    def _allow(self, numbers: list[int] | None) -> None:
        """Only those documents; None where they are too many to be known."""
        if numbers is None:
            self._is_known = False
        else:
            self._allowed = set(numbers) if self._allowed is None else self._allowed & set(numbers)

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
            allowed = self._newest((tuple(rare),), self._postings, 0)
            weights = {number: weights[number] for number in allowed if number in weights}
        for number in weights.keys() & self._denied:
            del weights[number]
        places = self._places(rare, weights, limit)
        last = len(places)
        ranked = sorted([(-weight, places.get(n, last), -n) for n, weight in weights.items()])
        self._found.update(dict.fromkeys([-number for *_, number in ranked[:limit]]))
        return len(weights)

    def _add_common(self, common: list[str]) -> None:
        """The newest documents in which common words meet, then those with one of them."""
        want = self._want
        # A beginning is put together anew by every query that holds it.
        words = [word for word in common if not word.endswith("*")][:_MEETING_WORDS]
        for pair in combinations(words[:_MEETING_PAIRS], 2):
            if len(self._found) >= want:
                return
            self._add_meeting(words, pair)
        for word in common[:_SINGLES]:
            if len(self._found) >= want:
                return
            recent = self._recent.get(word, ())
            if len(recent) >= want and not self._is_filtered:
                self._add(recent[:want])  # what the next question of the word finds as well
            else:
                floor = self._floor((word,)) if self._is_filtered else 0
                self._add(self._newest(((word,),), want, floor))

    def _add_meeting(self, words: list[str], pair: tuple[str, ...]) -> None:
        """The documents of a pair; where they are too many, first those that have more of the words.

        What is asked first is what likely suffices. If all documents of fewer words fit, those that
        have more of them are among these; if those with more words suffice, so do they alone.
        """
        if pair != tuple(words[:2]):
            self._add(self._meeting(pair))
            return
        groups = list(dict.fromkeys((pair, tuple(words[:3]), tuple(words))))
        want, found = self._want, []
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
        groups = tuple((word,) for word in words)
        return self._newest(groups, self._want, self._floor(words))

    def _add_required(self) -> int:
        """Documents with the phrases and none of the optional words; how many have the phrases."""
        longest = max(self._plan.phrases, key=len)
        floor = self._floor(longest)
        numbers = self._newest((), self._depth, floor)
        self._is_complete = floor == 0 and len(numbers) < self._depth
        self._add(numbers)
        return len(numbers)

    def _add(self, numbers: Sequence[int]) -> None:
        self._found.update(dict.fromkeys(numbers))

    def _floor(self, words: Sequence[str]) -> int:
        """The number below which what must meet is not looked for: about `_scan` steps from the end.

        Steps are those of the rarest of the words, the phrases' words and the filters.
        """
        plan = self._plan
        together = (*words, *(token for phrase in plan.phrases for token in phrase))
        steps = min(self._label_steps, *(self._frequencies[word] for word in together))
        scan = self._scan()
        if steps <= scan or (len(together) == 1 and not self._holds_labels):
            return 0
        return plan.last - int((plan.last - plan.first + 1) * scan / steps)
