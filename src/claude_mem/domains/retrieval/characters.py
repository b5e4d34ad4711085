"""Characters: the share of a question's single characters that a text has, for scripts written without spaces.

Owns what a character of such a script counts beside the pairs the index looks for. Pure. A pair is found only where
the two stand together; a rare character (of a name, a plant, an animal) tells what is meant wherever it stands. How
rare one is, is seen among the candidates alone, which costs no look-up.

Where nothing has a pair of the question, its characters are looked for by themselves (`alone`): few in one place tell
little, but a page with nothing on it tells nothing.

Of a phrase that has translations the characters count for a text that has one of these, too, but less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.ranking import Heard, inverse_document_frequency
from claude_mem.domains.retrieval.terms import Needle

MAX_CHARACTERS: Final = 48
MAX_ALONE: Final = 12  # of them are looked for by themselves
# Of question words: every question has some, and no answer.
_ASKING: Final = frozenset("什么哪几谁何怎吗呢")


def alone(question: str) -> tuple[str, ...]:
    """What of a question is looked for where nothing has a pair of it: single characters that say something."""
    return tuple(islice((it for it in _of(question) if not analysis.is_stop_word(it)), MAX_ALONE))


def _of(question: str) -> list[str]:
    """The characters of a question but those of question words, each once."""
    found = analysis.single_characters(analysis.fold(question))
    return [character for character in found if character not in _ASKING]


class Characters:
    """A question's characters of scripts without spaces; False where it has none."""

    __slots__ = ("_kept", "_needles")

    def __init__(self, question: str) -> None:
        self._kept = _of(question)[:MAX_CHARACTERS]
        self._needles = [Needle(character) for character in self._kept]

    def __bool__(self) -> bool:
        return bool(self._needles)

    def shares(
        self, documents: Iterable[Sequence[bytes]], heard: Sequence[Heard] = ()
    ) -> list[float]:
        """For each document, given by its packed fields: the share, 0..1, of the characters by their rarity among all
        of them. Characters that none has are left out. `heard` are the phrases that each has in another language.
        """
        fields = list(documents)
        also = [_worth_of(it) for it in heard] if any(heard) else []
        weighed: list[tuple[float, list[float]]] = []
        for character, needle in zip(self._kept, self._needles, strict=True):
            has = [float(any(map(needle.count, document))) for document in fields]
            if also:
                has = [
                    max(it, more.get(character, 0.0)) for it, more in zip(has, also, strict=True)
                ]
            frequency = sum(it > 0 for it in has)
            if frequency:
                weighed.append((inverse_document_frequency(len(fields), frequency), has))
        most = sum(weight for weight, _ in weighed)
        if not most:
            return [0.0] * len(fields)
        return [
            sum(weight * has[number] for weight, has in weighed) / most
            for number in range(len(fields))
        ]


def _worth_of(heard: Heard) -> dict[str, float]:
    """Character -> what it counts for being said in another language."""
    found: dict[str, float] = {}
    for phrase, worth in heard:
        for character in phrase:
            found[character] = max(found.get(character, 0.0), worth)
    return found
