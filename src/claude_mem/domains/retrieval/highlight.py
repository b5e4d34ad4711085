"""Highlights: where in the original text the words of the query are.

Owns the choice of the passage and its marking. Pure. The result is safe HTML: everything of the
text is escaped, and the only tag is `<mark>`. Uses the same analysis as the index, so what matched
there is marked here: stems, the forms that lead to them, parts of identifiers, pairs of characters.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from claude_mem.domains.retrieval import analysis, forms

WINDOW_CHARS: Final = 160
# Only this much of a text is looked through: its head and its tail.
_HEAD_CHARS = 6_000
_TAIL_CHARS = 2_000
# ... and only this much word by word, when a quick look finds nothing (folded letters, odd stems).
_THOROUGH_CHARS = 2_000
_MAX_MATCHES = 8  # of a word: the passage is chosen among these
_MAX_PIECE = 128
_TRIES = 6  # passages read before the best of them is taken
_SHORT = 3
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    word: str


@dataclass(frozen=True, slots=True)
class _Window:
    """A passage with its matches; `value` is how many different words, then how many matches."""

    start: int
    end: int
    matches: list[_Match]
    value: tuple[int, int]


class _Place(NamedTuple):
    """Where a match may be: from where to where letters stand, and the word's own letters, whichever these are."""

    start: int
    end: int
    letters: str


class Wanted:
    """What to mark: the words of a query as the ranking writes them, a beginning ending in `*`.

    Remembers what it has analysed, because words come back in every result.
    """

    def __init__(self, words: Collection[str]) -> None:
        self._tokens = frozenset(word for word in words if not word.endswith("*"))
        self._prefixes = tuple(word[:-1] for word in words if word.endswith("*"))
        # Short function words are letters that many other words begin with.
        self._whole = frozenset(
            word for word in words if len(word) <= _SHORT and analysis.is_stop_word(word)
        )
        self._letters = {word: self._letters_of(word) for word in words}
        self._known: dict[str, list[tuple[int, int, str]]] = {}

    def match(self, tokens: tuple[str, ...]) -> str | None:
        """The first of the tokens that is wanted."""
        for token in tokens:
            if token in self._tokens or (self._prefixes and token.startswith(self._prefixes)):
                return token
        return None

    def _letters_of(self, word: str) -> tuple[str, tuple[str, ...]]:
        """The word's own letters, and all to look for: theirs, and those of the forms that lead to it."""
        own = _letters(word)
        sought = (own, *analysis.forms_of(word))
        return own, sought if word in self._whole else forms.shortest(sought)

    def places(self, text: str, only: Collection[str] | None) -> list[_Place]:
        """Where the letters of (only some of) the words are, in order: where a match may be."""
        lower = text.lower()
        if len(lower) != len(text):
            lower = ""  # letters that change their number: positions would be wrong
        found: list[_Place] = []
        for word in self._letters if only is None else only:
            own, sought = self._letters[word]
            within = text if analysis.is_dense(own) else lower
            is_whole = word in self._whole
            for letters in sought:
                size = len(letters)
                found += [_Place(at, at + size, own) for at in _places(within, letters, is_whole)]
        found.sort()
        return found

    def inside(self, piece: str, offset: int) -> list[_Match]:
        """The matches in text without white space that stands at `offset`."""
        found = self._known.get(piece)
        if found is None:
            found = self._known[piece] = self.find_thoroughly(piece)
        return [_Match(offset + start, offset + end, word) for start, end, word in found]

    def find_thoroughly(self, text: str) -> list[tuple[int, int, str]]:
        """(start, end, word) of matches, chunk by chunk."""
        return [
            (start, end, word)
            for start, end, tokens in analysis.spans(text)
            if (word := self.match(tokens)) is not None
        ]


def _letters(word: str) -> str:
    """What to look for in a text in lower case: a stem ends in `i` where the word has `y` or `ies`, in `z` where it may
    have `s`.
    """
    if word.endswith("*") and not analysis.is_dense(word):
        return word[:-1]
    if len(word) > _SHORT and word.endswith("iz"):
        return word[:-1]
    return word.removesuffix("i") if len(word) > 2 else word


def _places(text: str, letters: str, is_whole: bool) -> list[int]:
    """Where the letters are, the first so many; short ones only at the start of a word."""
    found: list[int] = []
    is_short = len(letters) <= _SHORT and letters.isascii()
    start = text.find(letters)
    while start >= 0 and len(found) < _MAX_MATCHES:
        end = start + len(letters)
        inside = is_short and start and text[start - 1].isalnum()
        if not inside and not (is_whole and text[end : end + 1].isalnum()):
            found.append(start)
        start = text.find(letters, end)
    return found


def _piece(text: str, place: int) -> tuple[int, int]:
    """What lies around a place without white space between, within bounds."""
    around = _SPACE.split(text[max(place - _MAX_PIECE, 0) : place])[-1]
    space = _SPACE.search(text, place, place + _MAX_PIECE)
    end = space.start() if space else min(place + _MAX_PIECE, len(text))
    return place - len(around), end


def highlights(
    text: str,
    wanted: Wanted,
    windows: int = 1,
    width: int = WINDOW_CHARS,
    only: Collection[str] | None = None,
) -> list[str]:
    """Up to `windows` passages of about `width` characters with the most different words of the
    query, as safe HTML.

    In the order of the text; empty when nothing matches. `only` are those words of the query that
    are known to be in the text.
    """
    passages: list[_Window] = []
    for start, part in _parts(text):
        places = wanted.places(part, only)
        found = _best_windows(part, places, wanted, windows, width)
        passages += [_moved(window, start) for window in found]
    if not passages:
        passages = _thorough(text, wanted, windows, width)
    best = sorted(passages, key=lambda window: window.value, reverse=True)[:windows]
    return [_render(text, window) for window in sorted(best, key=lambda window: window.start)]


def _parts(text: str) -> list[tuple[int, str]]:
    if len(text) <= _HEAD_CHARS + _TAIL_CHARS:
        return [(0, text)]
    return [(0, text[:_HEAD_CHARS]), (len(text) - _TAIL_CHARS, text[-_TAIL_CHARS:])]


def _moved(window: _Window, offset: int) -> _Window:
    if not offset:
        return window
    matches = [_Match(m.start + offset, m.end + offset, m.word) for m in window.matches]
    return _Window(window.start + offset, window.end + offset, matches, window.value)


def _thorough(text: str, wanted: Wanted, windows: int, width: int) -> list[_Window]:
    """Word by word through the beginning of the text: folded letters, odd stems."""
    head = text[:_THOROUGH_CHARS]
    places = [_Place(*found) for found in wanted.find_thoroughly(head)]
    return _best_windows(head, places, wanted, windows, width)


def _best_windows(
    text: str, places: list[_Place], wanted: Wanted, windows: int, width: int
) -> list[_Window]:
    """The best passages that do not overlap.

    Letters only promise a match, so the most promising passages are read until no other one
    promises more than the best so far holds.
    """
    chosen: list[_Window] = []
    while places and len(chosen) < windows:
        best: _Window | None = None
        for promised, first, last in _promising(places, width)[:_TRIES]:
            if best is not None and promised <= best.value:
                break
            window = _read(text, places[first:last], wanted, width)
            if window is not None and (best is None or window.value > best.value):
                best = window
        if best is None:
            break
        chosen.append(best)
        start, end = best.start, best.end
        places = [place for place in places if not start <= place.start < end]
    return chosen


def _promising(places: list[_Place], width: int) -> list[tuple[tuple[int, int], int, int]]:
    """((different letters, places), first, behind the last) of every stretch of `width`, best first."""
    found: list[tuple[tuple[int, int], int, int]] = []
    counts: dict[str, int] = {}
    last = 0
    for first, (start, _, letters) in enumerate(places):
        while last < len(places) and places[last].end <= start + width:
            counts[places[last].letters] = counts.get(places[last].letters, 0) + 1
            last += 1
        if last > first:
            found.append(((len(counts), last - first), first, last))
            if counts[letters] == 1:
                del counts[letters]
            else:
                counts[letters] -= 1
        else:
            last = first + 1  # longer than a passage
    found.sort(key=lambda stretch: stretch[0], reverse=True)  # stable: of equals the first
    return found


def _read(text: str, places: list[_Place], wanted: Wanted, width: int) -> _Window | None:
    """The passage at some places, with what really matches there."""
    matches: set[_Match] = set()
    seen = -1
    for place, _, letters in places:
        if analysis.is_dense(letters) and text.startswith(letters, place):
            matches.add(_Match(place, place + len(letters), letters))
        elif place >= seen:
            start, seen = _piece(text, place)
            matches.update(wanted.inside(text[start:seen], start))
    if not matches:
        return None
    return _around(text, sorted(matches, key=lambda match: match.start), width)


def _around(text: str, matches: list[_Match], width: int) -> _Window:
    """The passage that begins a little before the first match."""
    first = matches[0]
    inside = [match for match in matches if match.end <= first.start + width] or [first]
    start = max(first.start - width // 5, 0)
    end = min(max(start + width, first.end), len(text))
    return _Window(
        _at_word(text, start, first.start, forward=True),
        _at_word(text, end, first.end, forward=False),
        inside,
        (len({match.word for match in inside}), len(inside)),
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


def _render(text: str, window: _Window) -> str:
    pieces = ["…"] if window.start > 0 else []
    at = window.start
    for begin, finish in _merged(window.matches, window.start, window.end):
        pieces.append(html.escape(text[at:begin]))
        pieces.append(f"<mark>{html.escape(text[begin:finish])}</mark>")
        at = finish
    pieces.append(html.escape(text[at : window.end]))
    if window.end < len(text):
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
