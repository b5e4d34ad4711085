"""Traits: what a remembered text is, as far as its form tells, seen once when it is indexed.

Owns four marks that a search weighs: a standing rule ("Always show versions when I ask about libraries"), a stated
preference ("I prefer tabs"), a wish in passing ("no new dependencies, please"), and whether a text speaks of a time.
Pure. Stored as one small number beside the text, so a mark must keep its value. Rules, preferences and wishes are marks
of what people say: an assistant that writes "always" gives no orders.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from claude_mem.domains.retrieval import when

RULE: Final = 1
PREFERENCE: Final = 2
TIMED: Final = 4
WISH: Final = 8

_HEAD: Final = 400  # characters: who sets a rule begins with it
_ANY_DAY: Final = date(2024, 1, 1)
_RULE: Final = re.compile(
    r"(?:^|[.!?\n]\s*)(?:please\s+|but\s+|and\s+)?(?:always|never)\b|\bfrom\s+now\s+on\b|\bwhen(?:ever)?\s+i\s+ask\b"
    r"|\bmake\s+sure\s+(?:to|you)\s+always\b|以后(?:都|请|要|别|不要|一律)|(?:^|[。！？\n，,])请?(?:总是|永远|一律|务必|每次都)|从现在开始|从今以后",
    re.IGNORECASE,
)
# Who forbids or asks for one thing, in passing: in a question about what is allowed it is the answer.
_WISH: Final = re.compile(
    r"\brules?\s*:|\byou\s+(?:must|should)\s+(?:always|never)\b|\bplease[,\s]+(?:no\b|don['’]?t\b|do\s+not\b)"
    r"|\bno\s+\w[^.!?\n]{0,60},?\s+please\b|\bnot?\s+(?:\w+\s+)?(?:ever|anywhere)\b"
    r"|\b(?:must\s+not|mustn['’]?t|is\s+forbidden|(?:is|are)\s+not\s+allowed)\b"
    r"|(?:^|[。！？\n，,、])(?:请|你|也)?(?:别再?|不要|不许|不准)|禁止",
    re.IGNORECASE,
)
_PREFERENCE: Final = re.compile(
    r"\b(?:i|we)(?:['’]d|\s+would)?(?:\s+(?:really|also|usually|generally|always|strongly|much|still))?\s+prefer\b"
    r"|\bmy\s+preference\b|\bi(?:['’]d|\s+would)\s+rather\b|\bi\s+like\s+to\b|我们?(?:更|比较|一般|还是)?(?:喜欢|偏好|倾向于?|习惯)",
    re.IGNORECASE,
)


def of(text: str, *, is_speech: bool) -> int:
    """The marks of a text, added up; `is_speech`: a person said it."""
    marks = TIMED if when.times(text, _ANY_DAY) else 0
    if is_speech:
        head = text[:_HEAD]
        marks |= RULE if _RULE.search(head) else 0
        marks |= WISH if _WISH.search(head) else 0
        marks |= PREFERENCE if _PREFERENCE.search(head) else 0
    return marks
