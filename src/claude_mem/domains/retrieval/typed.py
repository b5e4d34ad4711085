"""What somebody is typing, taken apart: what stands already, and the word that is being written. Pure.

Any text is safe. Only the end of a text counts: the last word as the beginning of others, the words before it as
required ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.query import prefix_of

MIN_LETTERS: Final = 2  # of what is completed; one character where no spaces stand between words
_READ = 400  # characters at the end of what was typed
_REQUIRED = 4
_BEFORE_WORD = re.compile(r"[\w./\\-]+$")
_LAST_PART = re.compile(r"([^\W_]{2,})[./_-]+[^\W_]*$")
_NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Typed:
    """`before` stands already, as it was written; `needle` is being written: folded, in lower case.

    `required` are the words before it, as the analysis writes them.
    """

    before: str
    needle: str
    required: tuple[str, ...]

    @property
    def is_dense(self) -> bool:
        """Whether the word is of a script without spaces."""
        return analysis.is_dense(self.needle)

    @property
    def whole(self) -> str:
        """Everything, folded, in lower case, single spaces."""
        return " ".join(f"{analysis.fold(self.before)}{self.needle}".lower().split())

    def words(self) -> tuple[str, ...]:
        """Beginnings of tokens, ending in `*`, of which a text has one that the word is completed by."""
        if self.is_dense:
            return ()
        prefix = prefix_of("/".join(self.needle.split("/")[-2:]))
        # What is written may stand within a longer identifier, of which only parts and the whole are tokens.
        part = _LAST_PART.search(self.needle)
        parts = analysis.tokens(part[1]) if part else []
        return (f"{prefix.text}*", *prefix.also, *parts)

    def phrases(self) -> tuple[tuple[str, ...], ...]:
        """What a text must have besides."""
        required = tuple((word,) for word in self.required)
        return (tuple(analysis.bigrams(self.needle)), *required) if self.is_dense else required


def read(text: str) -> Typed | None:
    """None when there is nothing to complete: no text, no letters at its end, too few of them."""
    text = _NOT_PRINTED.sub(" ", text)[-_READ:].rstrip()
    word = _BEFORE_WORD.search(text)
    if word is None:
        return None
    start = _start(word.group()) + word.start()
    needle = analysis.fold(text[start:]).replace("\\", "/").lower()
    if len(needle) > analysis.MAX_TOKEN_CHARS or not any(map(str.isalnum, needle)):
        return None
    if len(needle) < MIN_LETTERS and not analysis.is_dense(needle):
        return None
    before = text[:start]
    said = [it for it in analysis.tokens(before) if not analysis.is_stop_word(it)]
    return Typed(before, needle, tuple(dict.fromkeys(said))[-_REQUIRED:])


def _start(word: str) -> int:
    """Where the last run of one kind of script begins in a word, past what no token begins with."""
    if analysis.is_dense(word[-1]):
        start = len(word)
        while start and analysis.is_dense(word[start - 1]):
            start -= 1
        return start
    start = max((at + 1 for at, it in enumerate(word) if analysis.is_dense(it)), default=0)
    return start + len(word[start:]) - len(word[start:].lstrip("./\\-"))


def is_near(word: str, typed: str) -> bool:
    """Whether a beginning of the word is what was typed but for one letter: wrong, missing, too many, or exchanged
    with its neighbour.
    """
    same = 0
    while same < min(len(word), len(typed)) and word[same] == typed[same]:
        same += 1
    if same == len(typed):
        return True
    left, rest = word[same:], typed[same:]
    return (
        left[1:].startswith(rest[1:])
        or left[1:].startswith(rest)
        or left.startswith(rest[1:])
        or (left[:2] == rest[1::-1] and len(rest) > 1 and left[2:].startswith(rest[2:]))
    )
