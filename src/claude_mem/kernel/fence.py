"""Text that stands inside a fence: nothing in it opens or closes a tag, speaks in another's name, or is there unseen.

Pure. Shared by whatever puts remembered text before a model. Must never change what plain text or code says: an angle
bracket that could begin a tag becomes its look-alike, and what cannot be seen goes.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Angle brackets, and what looks like one or turns into one when text is normalised.
_OPENS: Final = (
    "<\uff1c\ufe64\u2039\u3008\u27e8\u276e\u276c\u02c2\u226e\u227a\u22d6\u1438\u29fc\u2329"
    "\u2770\u16b2\U0001d236\u2991\u2993"
)
# The same written as an entity, however often that was escaped again.
_ENTITY: Final = (
    r"&(?:amp;|#0*38;|#x0*26;)*(?:lang;|(?:(?:nv)?lt|#0*60|#x0*3c|#0*65308|#x0*ff1c|lsaquo|#0*8249|#x0*2039"
    r"|#0*10216|#x0*27e8|#0*12296|#x0*3008);?)"
)
# A comparison (`a < b`, `i<3`, `x <= y`) is none; a bracket with a space before a slash or a closed name is, and one at
# the end, for what follows may be put behind it.
_TAG_FOLLOWS: Final = (
    r"(?:(?![\d=\s])|(?=\s{0,64}\Z)|(?=\s{1,64}[/\\!?_|\u2044\u2215\uff0f])"
    r"|(?=\s{1,64}[^\d\s<>=][^<>\n]{0,120}>))"
)
_OPENING = re.compile(rf"(?:[{_OPENS}]|{_ENTITY}){_TAG_FOLLOWS}", re.IGNORECASE)
_BRACKET: Final = "\u2039"
_SPEAKER = re.compile(
    r"^(?P<who>[ \t>#*_-]{0,12}(?:(?i:human|assistant)|System|SYSTEM|User|USER|Developer|DEVELOPER)[*_]{0,2})"
    r"[ \t]{0,8}[:\uff1a](?=[*_]{0,2}(?:\s|$))",
    re.MULTILINE,
)
_UNSEEN_CATEGORIES: Final = frozenset({"Cf", "Cc", "Co", "Cs", "Cn"})
# Letters and marks that show nothing: fillers, joiners and the selectors of variants.
_UNSEEN: Final = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}
    | {0x180B, 0x180C, 0x180D, 0x180F}
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)
_KNOWN: Final = 4_096  # characters whose kind is remembered


class _Visible(dict[int, "str | None"]):
    """What is left of a character, for `str.translate`; looked up once for the usual ones."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        shown: str | None = character
        if code in _UNSEEN:
            shown = None
        elif character.isspace():
            shown = " "
        elif unicodedata.category(character) in _UNSEEN_CATEGORIES:
            shown = None
        if len(self) < _KNOWN:
            self[code] = shown
        return shown


_VISIBLE: Final = _Visible({ord("\n"): "\n", ord("\t"): "\t"})


def visible(text: str) -> str:
    """Without what cannot be seen or turns the direction of writing; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def tagless(text: str) -> str:
    """Nothing in it begins a tag; expects text that is `visible`."""
    return _OPENING.sub(_BRACKET, text)


def neutral(text: str) -> str:
    """Text of any number of lines that can be taken for nothing but text."""
    return _SPEAKER.sub(lambda match: f"{match['who']} -", tagless(visible(text)))
