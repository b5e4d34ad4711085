"""Terms: a field of a document as it is scored, packed so that looking a word up is one short scan.

Owns the packed form, which is stored. Pure. Must never change without a rebuild of the index
(`analysis.ANALYSIS_VERSION`).

A packed field holds every distinct token once with its count, in order:

    header, "\\n", then for each token: the token, its count, "\\n"; then runs, if there are any

The count is written in upper-case letters (base 26, A = 0), which no token holds. In that order a
token stands before every longer one that begins with it, so the first place of "\\n" + token is the
token itself if the field has it. Runs of scripts without spaces stay whole behind the tokens, split
by spaces (less than half the bytes of their pairs): pairs are counted inside them. The header says
where the tokens of each of sixteen ranges of first letters begin; a short field has none and is
scanned as a whole.
"""

from __future__ import annotations

import operator
import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from claude_mem.domains.retrieval.analysis import is_dense

EMPTY: Final = b"\n"

# Ranges of first letters, about equally full in English and code.
_STARTS: Final = ("a", "b", "c", "d", "e", "f", "g", "i", "l", "m", "o", "p", "r", "s", "t")
_RANGES: Final = len(_STARTS) + 1
_LONG: Final = 600  # bytes of tokens: below, a header costs more than it saves
_MARK: Final = b"\x01"  # the first byte of a field with a header
_OFFSETS: Final = struct.Struct(f"<{_RANGES + 1}I")
_RANGE: Final = struct.Struct("<2I")
_A: Final = ord("A")
_Z: Final = ord("Z")
_NEWLINE: Final = ord("\n")
_DIGITS: Final = 26


class _Written(dict[int, str]):
    """Counts as they are written, with the end of the line; those that were needed so far."""

    def __missing__(self, count: int) -> str:
        left, digits = count, ""
        while left:
            left, digit = divmod(left, _DIGITS)
            digits = chr(_A + digit) + digits
        self[count] = digits + "\n"
        return self[count]


_WRITTEN: Final = _Written()


def pack(stored: str) -> bytes:
    """The packed form of a field in the stored form of the analysis."""
    tokens, runs = (stored.split(), "") if stored.isascii() else _parted(stored)
    counts = Counter(tokens)
    distinct = sorted(counts)
    written = map(_WRITTEN.__getitem__, map(counts.__getitem__, distinct))
    lines = map(operator.add, distinct, written)
    packed = "".join(("\n", *lines, runs)).encode()
    if len(packed) < _LONG or not distinct:
        return packed
    return _header(packed, distinct) + packed


def _parted(stored: str) -> tuple[list[str], str]:
    """(tokens, runs of scripts without spaces, joined by spaces)."""
    tokens: list[str] = []
    runs: list[str] = []
    for token in stored.split():
        (runs if is_dense(token) else tokens).append(token)
    return tokens, " ".join(runs)


def _header(packed: bytes, tokens: list[str]) -> bytes:
    """Where the "\\n" before the first token of each range will stand, and behind the last token."""
    size = len(_MARK) + _OFFSETS.size
    places = [0]
    last = packed.rindex(b"\n")
    for start in _STARTS:
        cut = bisect_left(tokens, start)
        is_past = cut == len(tokens)
        places.append(last if is_past else packed.index(f"\n{tokens[cut]}".encode(), places[-1]))
    offsets = [size + place for place in (*places, last)]
    return _MARK + _OFFSETS.pack(*offsets)


class Needle:
    """A word to look up: a token as a whole, or, ending in `*`, the beginning of one."""

    __slots__ = ("_dense", "_end", "_letters", "_prefix", "_range")

    def __init__(self, word: str) -> None:
        self._dense = is_dense(word)
        self._prefix = word.endswith("*") and not self._dense
        token = word[:-1] if self._prefix else word
        line = token if self._dense else f"\n{token}"
        self._letters = line.encode()
        self._end = len(self._letters)
        self._range = len(_MARK) + 4 * bisect_right(_STARTS, token[:1])

    def count(self, packed: bytes) -> int:
        """How often the packed field has the word."""
        if self._dense:
            return packed.count(self._letters)
        if packed[0] == _NEWLINE:
            low, high = 0, len(packed)
        else:
            low, high = _RANGE.unpack_from(packed, self._range)
            high += 1
        if self._prefix:
            return self._count_beginnings(packed, low, high)
        place = packed.find(self._letters, low, high)
        if place < 0:
            return 0
        end = place + self._end
        first = packed[end]
        if not _A <= first <= _Z:
            return 0  # a longer token that begins so
        return first - _A if packed[end + 1] == _NEWLINE else _read(packed, end)

    @property
    def is_whole(self) -> bool:
        """Whether it is a token as a whole, of a script with spaces: what `counts` looks up quickly."""
        return not (self._dense or self._prefix)

    @property
    def place(self) -> tuple[bytes, int, int]:
        """(what is looked for, its length, where the header says in which range it is): for `counts`."""
        return self._letters, self._end, self._range

    def _count_beginnings(self, packed: bytes, low: int, high: int) -> int:
        total = 0
        place = packed.find(self._letters, low, high)
        while place >= 0:
            end = packed.find(b"\n", place + 1)
            start = end
            while _A <= packed[start - 1] <= _Z:
                start -= 1
            total += _read(packed, start)
            place = packed.find(self._letters, end, high)
        return total


class Needles:
    """Several words to look up in each of many fields, in their order: as `Needle.count` of each, in a fraction of its
    time.
    """

    __slots__ = ("_needles", "_places")

    def __init__(self, needles: Sequence[Needle]) -> None:
        self._needles = needles
        self._places = [(it.place if it.is_whole else None) for it in needles]

    def hits(self, fields: Sequence[bytes]) -> list[list[tuple[int, int]]]:
        """By word: which fields have it, and how often; most words are in few of them.

        Fields that are scanned whole are scanned as one.
        """
        found: list[list[tuple[int, int]]] = [[] for _ in self._places]
        rows = [row for row, packed in enumerate(fields) if packed[0] == _NEWLINE]
        if len(rows) < len(fields):
            for row, packed in enumerate(fields):
                if packed[0] != _NEWLINE:
                    for number, count in enumerate(self.counts(packed)):
                        if count:
                            found[number].append((row, count))
        joined = b"".join([fields[row] for row in rows])
        # No word is found across two fields: each begins with a "\n" of its own.
        starts = list(accumulate([len(fields[row]) for row in rows], initial=0))
        for number, place in enumerate(self._places):
            those = found[number]
            if place is None:
                needle = self._needles[number]
                those += [(row, count) for row in rows if (count := needle.count(fields[row]))]
                continue
            letters, length, _ = place
            at = joined.find(letters)
            while at >= 0:
                end = at + length
                first = joined[end]
                if not _A <= first <= _Z:  # a longer token that begins so
                    at = joined.find(letters, end)
                    continue
                which = bisect_right(starts, at)
                is_short = joined[end + 1] == _NEWLINE
                those.append((rows[which - 1], first - _A if is_short else _read(joined, end)))
                at = joined.find(letters, starts[which])
        return found

    def counts(self, packed: bytes) -> list[int]:
        """How often the packed field has each word."""
        found: list[int] = []
        is_short = packed[0] == _NEWLINE
        low, high = 0, len(packed)
        for number, place in enumerate(self._places):
            if place is None:
                found.append(self._needles[number].count(packed))
                continue
            letters, length, within = place
            if not is_short:
                low, high = _RANGE.unpack_from(packed, within)
                high += 1
            at = packed.find(letters, low, high)
            if at < 0:
                found.append(0)
                continue
            end = at + length
            first = packed[end]
            if not _A <= first <= _Z:
                found.append(0)  # a longer token that begins so
            else:
                found.append(first - _A if packed[end + 1] == _NEWLINE else _read(packed, end))
        return found


def _read(packed: bytes, at: int) -> int:
    """The count that is written at `at`."""
    count = 0
    while packed[at] != _NEWLINE:
        count = count * _DIGITS + packed[at] - _A
        at += 1
    return count
