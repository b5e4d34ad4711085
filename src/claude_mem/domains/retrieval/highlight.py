"""Highlights: where in the original text the words of the query are.

Owns the choice of the passage and its marking. Pure. The result is safe HTML: everything of the
text is escaped, and the only tag is `<mark>`. Uses the same analysis as the index, so what matched
there is marked here: stems, parts of identifiers, pairs of characters.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from claude_mem.domains.retrieval import analysis

WINDOW_CHARS: Final = 160
# Only this much of a text is looked through: its head and its tail.
_HEAD_CHARS = 6_000
_TAIL_CHARS = 2_000
# ... and only this much word by word, when a quick look finds nothing (folded letters, odd stems).
_THOROUGH_CHARS = 2_000
_MAX_MATCHES = 8  # of a word: the passage is chosen among these
_MAX_PIECE = 128
_SHORT = 3
_SPACE = re.compile(r"\s")


class Wanted:
    """What to mark: the words of a query as the ranking writes them, a beginning ending in `*`."""

    def __init__(self, words: Collection[str]) -> None:
        self._tokens = frozenset(word for word in words if not word.endswith("*"))
        self._prefixes = tuple(word[:-1] for word in words if word.endswith("*"))
        self._dense = [token for token in self._tokens if analysis.is_dense(token)]
        # A stem ends in `i` where the word has `y` or `ies`.
        self._plain = {
            token.removesuffix("i") if len(token) > 2 else token
            for token in (*self._tokens, *self._prefixes)
            if not analysis.is_dense(token)
        }
        self._known: dict[str, list[tuple[int, int, str]]] = {}

    def match(self, tokens: tuple[str, ...]) -> str | None:
        """The first of the tokens that is wanted."""
        for token in tokens:
            if token in self._tokens or (self._prefixes and token.startswith(self._prefixes)):
                return token
        return None

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """(start, end, word) of matches: quickly, by looking for the words' letters first."""
        for token in self._dense:
            for start in _places(text, token):
                yield start, start + len(token), token
        lower = text.lower()
        if len(lower) != len(text):
            return  # letters that change their number: positions would be wrong
        places = sorted(start for letters in self._plain for start in _places(lower, letters))
        seen = 0
        for place in places:
            if place >= seen:
                start, seen = _piece(text, place)
                for begin, end, word in self._in_piece(text[start:seen]):
                    yield start + begin, start + end, word

    def _in_piece(self, piece: str) -> list[tuple[int, int, str]]:
        """Matches in text without white space; remembered, because words come back."""
        found = self._known.get(piece)
        if found is None:
            found = self._known[piece] = self.find_thoroughly(piece)
        return found

    def find_thoroughly(self, text: str) -> list[tuple[int, int, str]]:
        """(start, end, word) of matches, chunk by chunk."""
        return [
            (start, end, word)
            for start, end, tokens in analysis.spans(text)
            if (word := self.match(tokens)) is not None
        ]


def _places(text: str, letters: str) -> Iterator[int]:
    """Where the letters are, the first so many; short ones only at the start of a word."""
    start, count, is_short = text.find(letters), 0, len(letters) <= _SHORT
    while start >= 0 and count < _MAX_MATCHES:
        if not (is_short and start and text[start - 1].isalnum() and letters.isascii()):
            yield start
            count += 1
        start = text.find(letters, start + 1)


def _piece(text: str, place: int) -> tuple[int, int]:
    """What lies around a place without white space between, within bounds."""
    around = _SPACE.split(text[max(place - _MAX_PIECE, 0) : place])[-1]
    space = _SPACE.search(text, place, place + _MAX_PIECE)
    end = space.start() if space else min(place + _MAX_PIECE, len(text))
    return place - len(around), end


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    word: str


def highlights(text: str, wanted: Wanted, windows: int = 1, width: int = WINDOW_CHARS) -> list[str]:
    """Up to `windows` passages of about `width` characters with the most different words of the
    query, as safe HTML.

    In the order of the text; empty when nothing matches.
    """
    found = matches = _matches(text, wanted)
    passages: list[tuple[int, int]] = []
    while matches and len(passages) < windows:
        start, end = _best_window(text, matches, width)
        passages.append((start, end))
        matches = [match for match in matches if match.end <= start or match.start >= end]
    return [_render(text, start, end, found) for start, end in sorted(passages)]


def _matches(text: str, wanted: Wanted) -> list[_Match]:
    """Where wanted words are, in order."""
    found = [
        _Match(offset + start, offset + end, word)
        for offset, part in _parts(text)
        for start, end, word in wanted.find(part)
    ]
    if not found:
        found = [_Match(*match) for match in wanted.find_thoroughly(text[:_THOROUGH_CHARS])]
    return sorted(found, key=lambda match: match.start)


def _parts(text: str) -> list[tuple[int, str]]:
    if len(text) <= _HEAD_CHARS + _TAIL_CHARS:
        return [(0, text)]
    return [(0, text[:_HEAD_CHARS]), (len(text) - _TAIL_CHARS, text[-_TAIL_CHARS:])]


def _best_window(text: str, matches: list[_Match], width: int) -> tuple[int, int]:
    """The window that begins a little before a match and holds the most different words, then the
    most matches.
    """
    best, best_key = matches[0], (-1, -1)
    for index, match in enumerate(matches):
        words: set[str] = set()
        count = 0
        for later in matches[index:]:
            if later.end > match.start + width:
                break
            words.add(later.word)
            count += 1
        if (len(words), count) > best_key:
            best, best_key = match, (len(words), count)
    lead = width // 5
    start = max(best.start - lead, 0)
    end = min(max(start + width, best.end), len(text))
    return _at_word(text, start, best.start, forward=True), _at_word(
        text, end, best.end, forward=False
    )


def _at_word(text: str, position: int, limit: int, *, forward: bool) -> int:
    """Move a cut to white space, at most to `limit` and not further than a word's length."""
    if position in (0, len(text)):
        return position
    step = 1 if forward else -1
    for shift in range(24):
        at = position + step * shift
        if (forward and at >= limit) or (not forward and at <= limit):
            return limit
        if text[at - 1].isspace() if forward else text[at].isspace():
            return at
    return position


def _render(text: str, start: int, end: int, matches: list[_Match]) -> str:
    pieces = ["…"] if start > 0 else []
    at = start
    for begin, finish in _merged(matches, start, end):
        pieces.append(html.escape(text[at:begin]))
        pieces.append(f"<mark>{html.escape(text[begin:finish])}</mark>")
        at = finish
    pieces.append(html.escape(text[at:end]))
    if end < len(text):
        pieces.append("…")
    return " ".join("".join(pieces).split())


def _merged(matches: list[_Match], start: int, end: int) -> list[tuple[int, int]]:
    """The matches inside the window, in order, overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    inside = sorted((m.start, m.end) for m in matches if m.start >= start and m.end <= end)
    for begin, finish in inside:
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], finish))
        else:
            merged.append((begin, finish))
    return merged
