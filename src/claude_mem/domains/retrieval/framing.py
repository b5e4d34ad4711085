"""Framing: what of a question is about the asking, and what about the matter.

Owns the list of phrases by which people address a memory: "can you list the order in which I brought up", "throughout
our conversations", "mention only five items". Pure. They are common in questions and say nothing about what is looked
for; in a search they find whatever else was worded politely. A question that is nothing but framing is left as it is.
"""

from __future__ import annotations

import re
from typing import Final

_TALK = r"(?:conversations?|chats?|sessions?|discussions?|messages|talks|interactions|exchanges|history)"
_ACCOUNT = r"(?:summary|overview|list|recap|account|outline|breakdown|rundown|timeline|description)"
_ASKED = (
    r"(?:list|tell|give|show|remind|walk|take|help|summari[sz]e|describe|explain|provide|outline|recall|recap|say|"
    r"share|remember|let|clarify|write|make|create)"
)
_ORDER = r"(?:the\s+)?(?:chronological\s+)?(?:order|sequence)\s+(?:in\s+which|that|of\s+when)"

# Sentences that say what the answer shall look like.
_SHAPE: Final = re.compile(
    r"(?:^|(?<=[.?!;\n]))\s*(?:please\s+)?(?:mention|list|include|give|use|answer|reply|respond|keep|limit|write|be)\b"
    r"[^.?!\n]*\b(?:only|items?|words|sentences?|bullets?|points?|brief|concise|short|detailed|briefly|order)\b[^.?!\n]*[.?!]*",
    re.IGNORECASE,
)
_FRAMES: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^\s*(?:(?:hey|hi|hello|ok|okay|so|please|and|also)\b[\s,]*)*"
        rf"(?:can|could|would|will)\s+you\s+(?:please\s+)?{_ASKED}\b(?:\s+(?:me|us))?(?:\s+(?:through|about|of|know|with|to))?",
        rf"^\s*(?:please\s+)?(?:{_ASKED})\s+(?:me|us)\b(?:\s+(?:through|about|of|with))?",
        r"^\s*(?:do\s+you\s+(?:remember|recall|know)|i\s+(?:want|need|would\s+like|'d\s+like)\s+to\s+know)\b",
        rf"(?<!\w)(?:an?|the)\s+(?:\w+\s+)?{_ACCOUNT}\s+of\b",
        rf"(?<!\w){_ORDER}\b",
        r"(?<!\w)(?:that\s+)?(?:i|we)(?:'ve|\s+have)?\s+(?:brought\s+up|mentioned|raised|talked\s+about|spoke\s+about|"
        r"told\s+you\s+about|discussed|covered|asked\s+about)\b",
        r"(?<!\w)(?:the\s+)?(?:different|various|main|key)\s+(?:aspects?|things?|topics?)\s+(?:of|about|in)\b",
        rf"(?<!\w)(?:throughout|across|over|in|during|from)\s+(?:all\s+)?(?:of\s+)?(?:our|my|the|these|those|all)\s+"
        rf"(?:\w+\s+)?{_TALK}\b",
        r"(?<!\w)(?:over\s+time|so\s+far|in\s+(?:the\s+)?(?:right\s+|correct\s+|chronological\s+)?order|step\s+by\s+step)(?=\s*[,.?!]|\s*$)",
        r"^\s*(?:请问|请你?(?:帮我)?(?:列出|总结|概括|说明|告诉我|回忆)(?:一下)?|你还?记得|帮我(?:列出|总结|概括|回忆)(?:一下)?|我想知道)",
        r"(?:在)?我们(?:之前|以前|上次)?的?(?:对话|聊天|会话|谈话|讨论)(?:中|里|里面)?",
    )
)
_WORD: Final = re.compile(r"\w")
_SPACES: Final = re.compile(r"\s+")
_MAX_CHARS: Final = 2_000  # longer texts are pastes: no framing is looked for
_LEAST: Final = 2  # words that must be left


def topic(question: str) -> str:
    """The question without its framing; as it is when hardly anything would be left."""
    if len(question) > _MAX_CHARS:
        return question
    text = _SHAPE.sub(" ", question)
    for frame in _FRAMES:
        text = frame.sub(" ", text)
    text = _SPACES.sub(" ", text).strip(" ,;:")
    return text if _is_enough(text) else question


def _is_enough(text: str) -> bool:
    return len(text.split()) >= _LEAST or (not text.isascii() and len(_WORD.findall(text)) > _LEAST)
