"""Texts into sentences: Markdown, English and Chinese. Pure; linear in the text.

Code blocks, what clients wrap in tags, and table rules are nobody's sentences and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

LONGEST: Final = 320
_WHOLE_ITEM = 240  # a list item up to this length is one thought
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_TAGGED = re.compile(
    r"<(system-reminder|command-[a-z]+|local-command-[a-z]+|task-notification|context"
    r"|memory-context)\b[^>]*>.*?(?:</\1>|\Z)",
    re.DOTALL,
)
_ITEM = re.compile(r"^\s{0,8}(?:[-*+•]|\d{1,3}[.)、])\s+")
_NUMBERED = re.compile(r"^\s{0,8}(\d{1,2})[.)、]\s+(\S.*)$")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+")
_RULE = re.compile(r"^[\s|:+=_*-]{3,}$")
_QUOTED = re.compile(r"^\s{0,3}>")  # somebody else's words
_MARKS = re.compile(r"\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)")
_SHORT = re.compile(
    r"(?:(?i:\b(?:e\.g|i\.e|etc|vs|cf|approx|dr|mr|mrs|ms|st|fig|incl|resp|z\.B))|\b[A-Z])\.$"
)
_END = re.compile(r"(?<=[.!?])[\"')\]”’]*\s+|(?<=[。！？])[”」』）\"]*\s*|(?<=；)")
_CLAUSE = re.compile(r"(?<=[;:]) |(?<= [–—-]) |(?<=[，：；])|(?<=,) ")


def split(text: str) -> list[str]:
    """The sentences of a text in their order, each on one line and at most `LONGEST` characters."""
    found: list[str] = []
    for block, is_item in _blocks(_TAGGED.sub("\n", text)):
        if is_item and len(block) <= _WHOLE_ITEM:
            found.append(block)
        else:
            found += _sentences(block)
    return [part for sentence in found for part in _shortened(sentence)]


def options(text: str) -> dict[str, str]:
    """The items of numbered lists: number -> item, on one line and clipped."""
    found = {}
    for line in text.splitlines():
        match = _NUMBERED.match(line)
        if match:
            found[match[1]] = clip(clean(match[2]), LONGEST)
    return found


def clean(text: str) -> str:
    """One line without marks of emphasis."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [
        _MARKS.sub("", part) for part in parts[::2]
    ]  # what is marked as code stays as it is
    return "`".join(parts)


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, cut where a clause or a word ends."""
    if len(text) <= limit:
        return text
    cut = text[:limit]
    clauses = [match.start() for match in _CLAUSE.finditer(cut) if match.start() >= limit // 2]
    at = clauses[-1] if clauses else max(cut.rfind(" "), limit * 2 // 3)
    return cut[:at].rstrip(" ,;:，；：–—-") + "…"


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """(paragraph or list item on one line, whether it is an item)."""
    lines: list[str] = []
    is_item = fenced = False
    for line in [*text.splitlines(), ""]:
        if _FENCE.match(line):
            fenced = not fenced
            line = ""
        elif fenced:
            continue
        starts = bool(_ITEM.match(line))
        ends = not line.strip() or any(it.match(line) for it in (_HEADING, _RULE, _QUOTED))
        if (starts or ends or line.lstrip().startswith("|")) and lines:
            yield clean(" ".join(lines)), is_item
            lines, is_item = [], False
        if ends:
            continue
        is_item = is_item or starts or line.lstrip().startswith("|")
        lines.append(_row(line) if line.lstrip().startswith("|") else _ITEM.sub("", line))


def _row(line: str) -> str:
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    return " · ".join(cell for cell in cells if cell)


def _sentences(block: str) -> list[str]:
    found: list[str] = []
    start = 0
    for end in [*(match.end() for match in _END.finditer(block)), len(block)]:
        held = block[start:end].strip()
        if not held or ((_SHORT.search(held) or held.count("`") % 2) and end < len(block)):
            continue  # the end of an abbreviation or number, or inside code
        found.append(held)
        start = end
    return found


def _shortened(sentence: str) -> Iterator[str]:
    if len(sentence) <= LONGEST:
        yield sentence
        return
    held = ""
    for part in _CLAUSE.split(sentence):
        if held and len(held) + len(part) > LONGEST:
            yield held
            held = ""
        held = f"{held} {part}".strip() if held and held[-1].isascii() else held + part
    if held:
        yield clip(held, LONGEST)
