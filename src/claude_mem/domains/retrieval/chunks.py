"""What a model is given of a remembered thing: its text in pieces that a small model can see whole. Pure.

A piece is as long as `WIDTH` says, where a letter is 1 and a Chinese, Japanese or Korean character 4: models of 256
tokens see about four letters a token, and one such character. Pieces end where a paragraph, a sentence, a line or a
word does, and overlap a little, so that what is said across a cut is whole in one of them. Of what is very long the
head and the tail are kept: what a log or a file is about stands at its beginning, how it ended at its end.

A change of what comes out is a new `CHUNKING`: everything is then made anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from claude_mem.domains.retrieval.model import IndexEntry

CHUNKING: Final = 2
WIDTH: Final = 800
OVERLAP: Final = 100
MOST: Final = 24  # pieces of one thing: more would crowd out everything else
_TAIL: Final = 8  # of them
_WIDE = 4
_TITLE = 120  # characters of a title that every piece is told
_WIDE_CHARACTER = re.compile("[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_ENDS = (
    re.compile(r"\n\s*\n"),
    re.compile(r"[.!?…][\"')\]]*\s|[。！？；…][”’」』）]*"),
    re.compile(r"\n"),
    re.compile(r"[\s，、,;:]"),
)


def pieces_of(entry: IndexEntry) -> list[str]:
    """The texts a model is to see of an entry, `MOST` at most; none for what says nothing.

    Each begins with what the thing is called, or with who said it and what was said before: a piece from the middle
    tells neither, and an answer without its question says little.
    """
    heading = _heading(entry)
    bodies = list(split(entry.body))
    if not bodies:
        return [heading] if entry.kind != "prompt" and heading else []
    between = ": " if entry.kind == "prompt" else "\n"
    before = f"{entry.before}\n" if entry.before else ""
    return [f"{before}{heading}{between}{body}" if heading else before + body for body in bodies]


def fingerprint(entry: IndexEntry) -> bytes:
    """Of a thing's own part of what `pieces_of` looks at: 16 bytes, the same only where that is the same.

    What was said before it is left out: it is not at hand where this is asked. Who takes it away has the thing indexed
    anew, as `forget` does.
    """
    told = f"{CHUNKING}\0{entry.kind}\0{_heading(entry)}\0{entry.body}"
    return fingerprint_of(told)


def fingerprint_of(text: str) -> bytes:
    """Of one text: 16 bytes."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def split(text: str) -> Iterator[str]:
    """A text in pieces; of one that would give more than `MOST`, the first and the last ones."""
    if len(text) > MOST * WIDTH * 2:  # never walked whole, however long it is
        text = f"{text[: MOST * WIDTH]}\n\n{text[-MOST * WIDTH :]}"
    pieces = [text[start:end].strip() for start, end in _spans(text)]
    pieces = [piece for piece in pieces if piece]
    if len(pieces) > MOST:
        pieces = pieces[: MOST - _TAIL] + pieces[-_TAIL:]
    yield from pieces


def _heading(entry: IndexEntry) -> str:
    """A prompt's title is its session's, which changes and says little of the prompt: who spoke says more, by name."""
    if entry.kind == "prompt":
        return entry.speaker or ""
    return " ".join(entry.title.split())[:_TITLE]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start, size = 0, len(text)
    while start < size:
        limit = _reach(text, start)
        if limit >= size:
            yield start, size
            return
        end = _cut(text, start + (limit - start) // 2, limit)
        yield start, end
        start = _resume(text, start, end)


def _reach(text: str, start: int) -> int:
    """Where a piece from `start` on is full."""
    window = text[start : start + WIDTH]
    if window.isascii():
        return start + len(window)
    room, at = WIDTH, start
    for character in window:
        room -= _WIDE if _WIDE_CHARACTER.match(character) else 1
        if room < 0:
            break
        at += 1
    return at


def _cut(text: str, low: int, high: int) -> int:
    """The best end in the second half of a piece: after the last of the strongest kind of end there is."""
    for end in _ENDS:
        last = None
        for last in end.finditer(text, low, high):  # noqa: B007 - the last one is wanted
            pass
        if last is not None:
            return last.end()
    return high


def _resume(text: str, start: int, end: int) -> int:
    """Where the next piece begins: a little before the cut, at the beginning of a sentence or word."""
    span = end - start
    back = min(OVERLAP if span > WIDTH // 2 else OVERLAP // _WIDE, span // 4)
    for kind in (_ENDS[1], _ENDS[3]):
        found = kind.search(text, end - back, end - 1)
        if found is not None and found.end() < end:
            return found.end()
    return end - back
