"""Which words of a prompt are somebody else's: what is quoted, handed over to be worked on, or pasted. Pure.

Nobody states a rule by quoting one. Such words are masked letter by letter, so that the masked text has the same
sentences as the text itself.
"""

from __future__ import annotations

import re
from typing import Final

from claude_mem.domains.intelligence.sentences import split

MASK: Final = "\ue000"
_QUOTED: Final = re.compile(
    r"(?<![\w\"])\"(?=\S)[^\"]{12,4000}\"(?!\w)"
    r"|“[^”]{6,4000}”|„[^“”]{6,4000}[“”]|«[^»]{6,4000}»|「[^」]{6,4000}」|『[^』]{6,4000}』"
    r"|(?<![\w'])'(?=\S)[^'\n]{24,2000}'(?!\w)|‘[^’]{24,2000}’(?!\w)"
)
_BEGINS: Final = r"(?:^|(?<=[.!?;,\n])\s*|\b(?:please|can you|could you|and|then|to)\s+)"
_WORK: Final = (
    r"(?:translate|summari[sz]e|proofread|paraphrase|rephrase|polish|tl;?dr)\b[^.!?\n:：]{0,80}(?:[:：]|\n)"
    r"|(?:review|check|read|rewrite|correct|edit|shorten|explain|analy[sz]e|answer|reply to|comment on|look at"
    r"|improve)\b"
    r"[^.!?\n:：]{0,40}\b(?:this|these|that|the following|following|below|text|e-?mail|mail|issue|article|page"
    r"|post|message|comment|letter|paragraph|document|draft)\b[^.!?\n:：]{0,60}(?:[:：]|\n)"
)
_WORK_DENSE: Final = (
    r"(?:翻译|译成|总结|概括|润色|校对|改写|审阅|缩写)[^。！？\n：:]{0,40}(?:[:：]|\n)"
    r"|(?:看看?|检查|解释|分析|回复|评审|阅读)[^。！？\n：:]{0,16}(?:下面|以下|这[段篇封个]|邮件|文章|文本|留言)[^。！？\n：:]{0,16}(?:[:：]|\n)"
)
# What stands below a line like "Here is the page:" or "Aylin wrote:" was not written by whoever says so.
_INTRODUCED: Final = (
    r"^[^\n]{0,120}\b(?:page|article|guide|docs?|documentation|readme|e-?mail|mail|issue|ticket|comment|message|post|blog|website|site"
    r"|paste[ds]?|says?|said|writes?|wrote|log|output|below|following)\b[^\n.!?]{0,40}[:：][ \t]*\n"
    r"|^[^\n]{0,60}(?:网页|文章|指南|文档|邮件|留言|消息|如下|以下|下面|写道|粘贴)[^\n。！？]{0,20}[:：][ \t]*\n"
)
_HANDED: Final = re.compile(
    rf"{_BEGINS}(?:{_WORK})|{_WORK_DENSE}|{_INTRODUCED}", re.IGNORECASE | re.MULTILINE
)
_PAGE_CHARS, _PAGE_BLOCKS = 900, 5  # from which a prompt that begins with a headline is a page
_BLOCK: Final = re.compile(r"\n\s*\n|\n(?=\s{0,3}(?:#|[-*] |\d+[.)] ))")
_LETTER: Final = re.compile(r"\w")


def own_sentences(text: str) -> list[tuple[str, str]]:
    """Each sentence of a prompt, and the same with somebody else's words masked."""
    sentences = split(text)
    masked = masked_of(text)
    if masked == text:
        return [(one, one) for one in sentences]
    own = split(masked)
    if len(own) == len(sentences):
        return list(zip(sentences, own, strict=True))
    kept = frozenset(own)
    return [(one, one if one in kept else MASK * len(one)) for one in sentences]


def masked_of(text: str) -> str:
    """The text with every letter of somebody else's replaced."""
    found = _QUOTED.sub(lambda match: _masked(match[0]), text)
    if _is_page(text):
        return _masked(found)
    handed = _HANDED.search(found)
    if handed is not None and not _is_quoted(found[handed.end() :]):
        found = found[: handed.end()] + _masked(found[handed.end() :])
    return found


def is_own(masked: str) -> bool:
    """Whether most of a masked sentence is its writer's own."""
    letters = _LETTER.findall(masked)
    return len(letters) > masked.count(MASK)


def _masked(text: str) -> str:
    return _LETTER.sub(MASK, text)


def _is_quoted(rest: str) -> bool:
    """Whether what is handed over is marked as quoted, so that it is known where it ends."""
    return re.match(r"\s*[\"“„«「『'‘]" + MASK, rest) is not None


def _is_page(text: str) -> bool:
    """Whether a whole prompt looks pasted: a headline, and many blocks below it."""
    if len(text) < _PAGE_CHARS or len(_BLOCK.split(text.strip())) < _PAGE_BLOCKS:
        return False
    first, _, rest = text.strip().partition("\n")
    return rest.startswith("\n") and len(first) < 160 and first[-1] not in ".!?:,;。！？：，；"
