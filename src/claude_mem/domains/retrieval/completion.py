"""Completion: the words, identifiers, files, tags, tools and titles of some texts that what was typed begins. Pure.

Words are given as they are written, never as the index has them. Nothing is known here but the texts: what is not in
them is not suggested.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from claude_mem.domains.retrieval import analysis
from claude_mem.domains.retrieval.typed import Typed, is_near

PREFIX, INSIDE, TYPO = "prefix", "inside", "typo"
_ORDER: Final = {PREFIX: 0, INSIDE: 1, TYPO: 2}
_KINDS: Final = ("title", "file", "tag", "tool", "identifier", "word")
_HEAD = 8_000  # characters of a text that are looked through
_DENSE_HEAD = 1_500  # the same in a script without spaces, which says more in as many
_PLACES = 12  # of a text
_LONGEST_TITLE = 160
_LONGEST_RUN = 5  # further characters of a script without spaces
_OFTEN = 0.75  # of a beginning's texts that the longer one must have to stand for it
_TYPO_LETTERS = 4
_PIECES = re.compile(r"\w[\w./-]*", re.UNICODE)
_OPAQUE = re.compile(r"[\d./_-]+")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`text` is what to search for; `seen` is how many of the texts that were looked at have it.

    `kind` is title, file, tag, tool, identifier or word; `match` is prefix (it begins so), inside (a word or part of it
    does) or typo (it nearly does).
    """

    text: str
    kind: str
    match: str
    seen: int


@dataclass(slots=True)
class _Found:
    """One thing under the name that tells it from others."""

    kind: str
    match: str
    spelled: Counter[str] = field(default_factory=Counter)
    seen: int = 0


class Completion:
    """Gathers from rows of `memory`, one after the other; `best` when all were looked at."""

    def __init__(self, typed: Typed, *, with_typos: bool = False) -> None:
        self._typed = typed
        self._typos = with_typos
        self._found: dict[tuple[str, str], _Found] = {}
        self._runs: Counter[str] = Counter()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found so far."""
        return not (self._found or self._runs)

    def add_titles(self, titles: Iterable[str]) -> None:
        """Titles, each of which counts once."""
        for title in titles:
            self._add_title(title)

    def add_row(self, row: Mapping[str, Any], title: str, text: str, *, is_named: bool) -> None:
        """A row with its title and text; `is_named`: the title was given by somebody."""
        mine: dict[tuple[str, str], str] = {}
        metadata = row.get("metadata_json") or {}
        for path in metadata.get("files") or ():
            self._note_path(mine, str(path))
        for tag in row.get("tags_json") or ():
            self._note(mine, "tag", str(tag))
        if row.get("source_tool"):
            self._note(mine, "tool", str(row["source_tool"]))
        for part in (title, text[:_HEAD]):
            if self._typed.is_dense:
                self._runs.update(set(self._runs_of(part[:_DENSE_HEAD])))
            elif self._typos:
                self._near(mine, part)
            else:
                self._words(mine, part)
        for key in mine:
            self._found[key].seen += 1
        if is_named:
            self._add_title(title)

    def best(self, limit: int) -> list[Suggestion]:
        """Those that begin so first, then the frequent ones; no kind takes all the places while others have any."""
        found = [self._suggestion(it) for it in self._found.values()] + self._frequent_runs()
        found.sort(key=lambda it: (_ORDER[it.match], -it.seen, _KINDS.index(it.kind), len(it.text)))
        share = max(limit // 3, 1)
        taken: Counter[str] = Counter()
        first: list[Suggestion] = []
        rest: list[Suggestion] = []
        for it in found:
            taken[it.kind] += 1
            (first if taken[it.kind] <= share else rest).append(it)
        chosen = (first + rest)[:limit]
        return sorted(chosen, key=found.index)

    # -- what matches --------------------------------------------------------------------------------

    def _match(self, text: str) -> str | None:
        """How a name begins with what is being written."""
        folded = analysis.fold(text).lower()
        needle = self._typed.needle
        if self._typos:
            near = len(needle) >= _TYPO_LETTERS and is_near(folded, needle)
            return TYPO if near else None
        if folded.startswith(needle):
            return PREFIX
        return INSIDE if _begins_within(folded, folded, needle) else None

    def _note(self, mine: dict[tuple[str, str], str], kind: str, text: str) -> None:
        match = self._match(text)
        if match is not None and len(text) <= _LONGEST_TITLE:
            self._put(mine, kind, text, match)

    def _note_path(self, mine: dict[tuple[str, str], str], path: str) -> None:
        """A path begins so also where its last component does: that is what people call a file."""
        match = self._match(path.replace("\\", "/"))
        last = self._match(path.replace("\\", "/").rsplit("/", 1)[-1])
        best = min((it for it in (match, last) if it), key=_ORDER.__getitem__, default=None)
        if best is not None and len(path) <= _LONGEST_TITLE:
            self._put(mine, "file", path, best)

    def _put(self, mine: dict[tuple[str, str], str], kind: str, text: str, match: str) -> None:
        key = kind, text.lower()
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = _Found(kind, match)
        elif _ORDER[match] < _ORDER[found.match]:
            found.match = match
        found.spelled[text] += 1
        mine[key] = text

    def _add_title(self, title: str) -> None:
        flat = " ".join(title.split())
        folded = analysis.fold(flat).lower()
        if not flat or len(flat) > _LONGEST_TITLE or self._typos:
            return
        typed = self._typed
        if folded.startswith(typed.whole):
            match = PREFIX
        elif _has(folded, typed.needle) and (
            not typed.required or set(typed.required) <= set(analysis.tokens(flat))
        ):
            match = INSIDE
        else:
            return
        if folded != typed.whole:
            self._put({}, "title", flat, match)
            self._found["title", flat.lower()].seen += 1

    def _words(self, mine: dict[tuple[str, str], str], text: str) -> None:
        """The words and identifiers that have it where one of their parts begins."""
        folded = analysis.fold(text)
        if len(folded) != len(text):
            text = folded  # places would be wrong: it is shown as it is folded
        lowered = folded.lower()
        if len(lowered) != len(text):
            text = lowered
        needle, at = self._typed.needle, -1
        for _ in range(_PLACES):
            at = lowered.find(needle, at + 1)
            if at < 0:
                return
            start, end = _piece(text, at, len(needle))
            piece = text[start:end].rstrip("./-")
            if at == start:
                self._put_word(mine, piece, PREFIX)
            elif _is_part(text, at):
                self._put_word(mine, piece, INSIDE)

    def _near(self, mine: dict[tuple[str, str], str], text: str) -> None:
        needle = self._typed.needle
        if len(needle) < _TYPO_LETTERS:
            return
        for piece in _PIECES.findall(text):
            if piece[0].lower() == needle[0] and is_near(piece.lower(), needle):
                self._put_word(mine, piece.rstrip("./-"), TYPO)

    def _put_word(self, mine: dict[tuple[str, str], str], piece: str, match: str) -> None:
        lower = piece.lower()
        if (
            lower == self._typed.needle
            or not 1 < len(piece) <= analysis.MAX_TOKEN_CHARS
            or _OPAQUE.fullmatch(piece)
            or analysis.is_hex_id(lower)
        ):
            return
        if "/" in piece:
            self._note_path(mine, piece)
        elif piece.isalpha() and piece[1:].islower():
            if not analysis.is_stop_word(analysis.stem(lower)):
                self._put(mine, "word", piece, match)
        else:
            self._put(mine, "identifier", piece, match)

    def _runs_of(self, text: str) -> Iterable[str]:
        """What goes on after it in a script without spaces, up to each length."""
        needle = self._typed.needle
        folded, at = analysis.fold(text), -1
        for _ in range(_PLACES):
            at = folded.find(needle, at + 1)
            if at < 0:
                return
            end = at + len(needle)
            for size in range(1, len(analysis.dense_run(folded, end, _LONGEST_RUN)) + 1):
                yield folded[at : end + size]

    # -- what is given ---------------------------------------------------------------------------

    def _suggestion(self, found: _Found) -> Suggestion:
        text = max(found.spelled, key=lambda it: (found.spelled[it], it.islower(), it))
        is_word = found.kind in ("word", "identifier", "tool")
        before = self._typed.before if is_word else ""
        return Suggestion(f"{before}{text}", found.kind, found.match, found.seen)

    def _frequent_runs(self) -> list[Suggestion]:
        """Runs that come back and end where a word may: not within a longer one that is about as frequent."""
        repeated = {run: seen for run, seen in self._runs.items() if seen > 1}
        runs = repeated or self._runs
        longer: Counter[str] = Counter()
        for run, seen in runs.items():
            longer[run[:-1]] = max(longer[run[:-1]], seen)
        return [
            Suggestion(f"{self._typed.before}{run}", "word", PREFIX, seen)
            for run, seen in runs.items()
            if longer[run] < seen * _OFTEN and not analysis.is_stop_word(run[-1])
        ]


def _has(folded: str, needle: str) -> bool:
    """Whether a word of the text begins so; where there are no spaces, whether it has it."""
    if analysis.is_dense(needle):
        return needle in folded
    return folded.startswith(needle) or _begins_within(folded, folded, needle)


def _begins_within(text: str, lowered: str, needle: str) -> bool:
    if analysis.is_dense(needle):
        return needle in lowered
    at = lowered.find(needle, 1)
    while at >= 0:
        if not text[at - 1].isalnum():
            return True
        at = lowered.find(needle, at + 1)
    return False


def _is_part(text: str, at: int) -> bool:
    """Whether a part of an identifier begins there: behind what is no letter, or where capitals begin."""
    before, here = text[at - 1], text[at]
    return (
        not before.isalnum()
        or (here.isupper() and not before.isupper())
        or (here.isalpha() and before.isdigit())
    )


def _piece(text: str, at: int, size: int) -> tuple[int, int]:
    """The word, identifier or path around a place."""
    start, end = at, at + size
    low, high = max(at - 80, 0), min(end + 80, len(text))
    while start > low and _in_piece(text[start - 1]):
        start -= 1
    while start < at and text[start] in "./-":
        start += 1
    while end < high and _in_piece(text[end]):
        end += 1
    return start, end


def _in_piece(character: str) -> bool:
    return (character.isalnum() and not analysis.is_dense(character)) or character in "_./-"
