"""Cutting a text into passages that say one thing each. Pure.

A passage is a sentence or a line or a few short ones together, about as long as a statement; code and output keep their
line breaks as " / " once they are shown on one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

TARGET: Final = 260  # characters of a passage
LONGEST: Final = 420
WHOLE, WHOLE_DENSE = 480, 220  # characters up to which what somebody said is taken whole
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s{0,3}(?:#|\d+[.)] |[-*] ))")
_HEAD, _TAIL = 9_000, 4_000  # of a long text: what is looked through
_END = re.compile(r"[.!?;]\s+(?=[\w`\"'*(\[-])")  # of a sentence, with the white space behind it
_DENSE_END = re.compile(r"(?<=[。！？；])")
_BLANK = re.compile(r"^[\s\-=_*#|+~`.]*$")


def paragraphs(text: str) -> list[str]:
    """What somebody said in its order: whole while it is short, else paragraphs of about WHOLE characters' room."""
    room = WHOLE if text.isascii() else WHOLE_DENSE
    if len(text) <= room:
        return [text.strip()]
    found: list[str] = []
    for part in _PARAGRAPH.split(text):
        piece = part.strip()
        if not piece or _BLANK.match(piece):
            continue
        if len(piece) > room:
            found += passages(piece)
        elif found and len(found[-1]) + len(piece) < room // 2:
            found[-1] = f"{found[-1]}\n{piece}"
        else:
            found.append(piece)
    return found


def passages(text: str) -> Iterator[str]:
    """The passages of a text in its order, each at most LONGEST characters."""
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]}\n{text[-_TAIL:]}"
    piece = ""
    for part in _sentences(text):
        if piece and len(piece) + len(part) + 1 > TARGET:
            yield from _bounded(piece)
            piece = part
        else:
            piece = f"{piece}\n{part}" if piece else part
    if piece:
        yield from _bounded(piece)


def _sentences(text: str) -> Iterator[str]:
    """The sentences and lines of a text that hold more than signs.

    Beginning with what ends a sentence the expression is quick: what looks behind at every place takes ten times as
    long, and this runs through every output that a search finds.
    """
    for line in text.split("\n"):
        start = 0
        for match in _END.finditer(line):
            yield from _parts(line[start : match.start() + 1])
            start = match.end()
        yield from _parts(line[start:])


def _parts(sentence: str) -> Iterator[str]:
    pieces = [sentence] if sentence.isascii() else _DENSE_END.split(sentence)
    for piece in pieces:
        part = piece.strip()
        if part and (part[0].isalnum() or not _BLANK.match(part)):
            yield part


def _bounded(piece: str) -> Iterator[str]:
    """A sentence without end is cut at white space."""
    while len(piece) > LONGEST:
        cut = piece.rfind(" ", TARGET, LONGEST)
        cut = cut if cut > 0 else LONGEST
        yield piece[:cut]
        piece = piece[cut:].strip()
    if piece:
        yield piece


def shorten(text: str, limit: int = LONGEST) -> str:
    """At most `limit` characters, cut at a word."""
    flat = " ".join(text[: limit * 4].split())
    if len(flat) <= limit:
        return flat
    cut = flat.rfind(" ", limit // 2, limit - 1)
    return flat[: cut if cut > 0 else limit - 1].rstrip(" ,;:") + "…"
