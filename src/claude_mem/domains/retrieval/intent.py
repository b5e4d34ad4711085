"""Intent: what a question asks for beyond its words.

Owns how a question is read: who it names, whether it is about what the person or the assistant said, the times it
speaks of, files and identifiers, what kind of question it is, and in which scripts it is written. Pure: `now` and the
zone are given. English and Chinese. Any text is safe, and nothing here filters: an intent only moves what was found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from typing import Final

from claude_mem.domains.retrieval import analysis, framing, when

MAX_CHARS: Final = 2_000  # a longer text is a paste: only its beginning is read
MAX_FILES: Final = 8

# Kinds of question.
WHEN: Final = "when"
COUNT: Final = "count"
WHO: Final = "who"
WHERE: Final = "where"
WHY: Final = "why"
HOW: Final = "how"
SUMMARY: Final = "summary"
RULES: Final = "rules"

_KINDS: Final = {
    WHEN: re.compile(
        r"\bwhen\b|\b(?:what|which)\s+(?:date|day|month|year|time)\b|\bhow\s+(?:long|recently)\b|\bsince\s+when\b"
        r"|什么时候|何时|哪一?[天年月日]|几[月号点]|多久|什么日期|啥时候",
        re.IGNORECASE,
    ),
    COUNT: re.compile(r"\bhow\s+(?:many|much|often)\b|多少|几[个次条天人家种]", re.IGNORECASE),
    WHO: re.compile(r"\bwho(?:m|se)?\b|谁|哪位", re.IGNORECASE),
    WHERE: re.compile(r"\bwhere\b|哪里|哪儿|何处|什么地方", re.IGNORECASE),
    WHY: re.compile(r"\bwhy\b|为什么|为何|为啥", re.IGNORECASE),
    HOW: re.compile(
        r"\bhow\s+(?!many\b|much\b|often\b|long\b|recently\b)|怎么|如何|怎样", re.IGNORECASE
    ),
    RULES: re.compile(
        r"\b(?:may|must|should|shall)\s+(?:i|we|you|one)\b|\bcan\s+(?:i|we)\b|\b(?:dis)?allowed\b|\bforbidden\b"
        r"|\bpermitted\b|\bprefer(?:s|red|ence|ences)?\b|\bpolic(?:y|ies)\b|\brules?\b|\bconventions?\b"
        r"|\b(?:do|does)\s+\w+\s+(?:want|like)\b|可不可以|能不能|可以[^，。？]{0,12}吗|允许|偏好|喜欢|规矩|规定|规则|要求",
        re.IGNORECASE,
    ),
    SUMMARY: re.compile(
        r"\bsummar(?:y|ies|i[sz]e\w*)\b|\boverview\b|\brecap\b|总结|概括|概述|综述", re.IGNORECASE
    ),
}
_FIRST: Final = re.compile(
    r"\b(?:I|I['’](?:m|ve|d|ll)|[Mm]e|[Mm]y|[Mm]ine|[Ww]e|[Oo]ur|[Uu]s)\b|(?<![\w])i\b|我"
)
_ANSWERED: Final = re.compile(
    r"\b(?:did|had)\s+you\b|\byou(?:['’]ve|\s+have|\s+had)?\s+(?:just\s+|already\s+|once\s+)?(?:said|told|suggested|"
    r"recommended|advised|proposed|explained|mentioned|gave|wrote|answered|came\s+up)\b|\byour\s+(?:last\s+|previous\s+)?"
    r"(?:answer|advice|suggestions?|recommendations?|reply|replies|proposals?)\b"
    r"|你(?:之前|上次|曾经?)?(?:说|建议|推荐|提到|告诉|回答|给)过?(?:的|了|我)",
    re.IGNORECASE,
)
_NAME: Final = re.compile(r"[^\W\d_][^\W\d_’'-]+")
# The letters of an id are nobody's name, though "bea" and "dee" are made of its digits.
_ID: Final = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?=[a-f]*\d)[0-9a-f]{7,40}\b", re.IGNORECASE
)
_FILE: Final = re.compile(
    r"(?<![\w/.~-])(?:~?/)?(?:[\w.-]+/)*[\w-]+(?:\.[\w-]+)*\.[A-Za-z][A-Za-z0-9]{0,7}(?![\w/-])"
    r"|(?<![\w:/.~-])(?:~?/|\.{1,2}/)?(?:[\w.-]+/)+[\w.-]+",
    re.ASCII,
)
_IDENTIFIER: Final = re.compile(
    r"\b(?:[A-Za-z]+\d+[A-Za-z0-9]*|[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+|[a-z]+(?:[A-Z][a-z0-9]+)+|(?:[A-Z][a-z0-9]+){2,}"
    r"|[A-Z]{2,}-\d+|[0-9a-f]{7,40})\b"
)
# A tool's name is told from other words by a capital or an underscore in it, or by the word after it.
_TOOL: Final = re.compile(r"(?<![\w/.-])(?=\w*[A-Z_])[A-Za-z]\w{2,63}(?![\w/.-])", re.ASCII)
_CALLED_TOOL: Final = re.compile(
    r"(?<![\w/.-])([A-Za-z][A-Za-z0-9_]{1,63})\s*(?:tools?\b|工具)", re.IGNORECASE
)
_WEB: Final = re.compile(r"(?:com|org|net|io|dev|cn)", re.IGNORECASE)
_LETTER: Final = re.compile(r"[^\W\d_]")
# Words that stand capitalised at the beginning of a question, and are nobody's name there.
_OPENERS: Final = frozenset(
    re.findall(
        r"\w+",
        "what when where who whom whose why which how did does do is are was were can could would will should "
        "has have had the a an in on at of for to from by with about and or but if list give tell show find "
        "please ",
    )
)
_LABELS: Final = frozenset(("user", "assistant", "system", "tool", "human", "agent"))


@dataclass(frozen=True)
class Intent:
    """What a question asks for.

    `topic` is the question without its framing: what both legs are to look for. `names` are its capitalised words in
    lower case (all words, where it has no capitals); `files` are paths and file names as written; `kinds` are of the
    constants above; `tools` are what may be names of tools, in lower case; `foreign` is the share of its letters that
    are of other scripts than Latin.
    """

    topic: str
    names: frozenset[str]
    is_first_person: bool
    is_about_answers: bool
    times: tuple[when.Time, ...]
    files: tuple[str, ...]
    identifiers: tuple[str, ...]
    tools: frozenset[str]
    kinds: frozenset[str]
    foreign: float

    @property
    def wants_speech(self) -> bool:
        """Whether what a person said is likelier meant than what an assistant answered."""
        return not (self.is_about_answers or SUMMARY in self.kinds)

    def names_speaker(self, speaker: str) -> bool:
        """Whether the question names who spoke: by any part of the name. Roles are no names."""
        if not speaker:
            return False
        if analysis.is_dense(speaker):
            return speaker in self.topic
        parts = _parts(speaker)
        return not parts.isdisjoint(self.names)

    def names_file(self, paths: tuple[str, ...]) -> bool:
        """Whether one of the paths is a file that the question names: the same in whole components from the end."""
        return any(_is_tail(file, path.lower()) for file in self._tails for path in paths)

    def names_tool(self, tool: str | None) -> bool:
        """Whether the question names the tool: whole, or `get_issue` of `mcp__github__get_issue`."""
        if not tool or not self.tools:
            return False
        name = tool.lower()
        return name in self.tools or name.rpartition("__")[2] in self.tools

    @cached_property
    def _days(self) -> tuple[when.Time, ...]:
        return tuple(time for time in self.times if time.is_day)

    @cached_property
    def _tails(self) -> tuple[str, ...]:
        return tuple(file.lower().lstrip("~./") for file in self.files)

    def is_in_time(self, day_ms: int, place: str = "UTC") -> bool:
        """Whether the day of the moment (Unix ms) is one that the question speaks of."""
        return _is_of(self.times, day_ms, place)

    def is_on_day(self, day_ms: int, place: str = "UTC") -> bool:
        """Whether the question names the very day of the moment, and not a week or a month it is in."""
        return _is_of(self._days, day_ms, place)


def _is_of(times: tuple[when.Time, ...], moment: int, place: str) -> bool:
    if not times:
        return False
    day = when.day_of(moment, when.zone(place))
    return any(time.holds(day) for time in times)


def read(question: str, now: int, place: str = "UTC") -> Intent:
    """Read a question of any length and content; `now` is in Unix ms, `place` an IANA zone."""
    today = when.day_of(now, when.zone(place))
    return _reread(question, today) if len(question) <= MAX_CHARS else _read(question, today)


def _read(question: str, today: date) -> Intent:
    text = question[:MAX_CHARS]
    files = tuple(dict.fromkeys(it for it in _FILE.findall(text) if _is_file(it)))[:MAX_FILES]
    return Intent(
        topic=framing.topic(question),
        names=_names(text),
        is_first_person=_FIRST.search(text) is not None,
        is_about_answers=_ANSWERED.search(text) is not None,
        times=when.times(text, today),
        files=files,
        identifiers=tuple(dict.fromkeys(_IDENTIFIER.findall(text))),
        tools=_tools(text),
        kinds=frozenset(kind for kind, pattern in _KINDS.items() if pattern.search(text)),
        foreign=_foreign(text),
    )


# A search reads its question before its vector is made, and again in its transaction.
_reread: Final = lru_cache(maxsize=16)(_read)


def trust(intent: Intent, languages: str) -> float:
    """What a model's opinion of the question is worth, 0..1, by the languages it knows ("en", or "any").

    A model of English tells little of a text that is partly in other scripts, and nothing of one that mostly is.
    """
    if languages != "en":
        return 1.0
    return max(0.0, 1.0 - intent.foreign / _FOREIGN_LIMIT)


_FOREIGN_LIMIT: Final = 0.5


def _names(text: str) -> frozenset[str]:
    words = _NAME.findall(_ID.sub(" ", text))
    if any(word[0].isupper() for word in words[1:]):
        words = [word for word in words if word[0].isupper()]
    return frozenset(word.lower() for word in words) - _OPENERS - _LABELS


def _tools(text: str) -> frozenset[str]:
    """The first word has its capital for standing there: it names a tool only where it is said to be one."""
    written = [it for it in _TOOL.finditer(text) if it.start() > 0 or "_" in it.group()]
    named = [it.group() for it in written] + _CALLED_TOOL.findall(text)
    return frozenset(name.lower() for name in named)


@lru_cache(maxsize=1_024)
def _parts(speaker: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _NAME.findall(_ID.sub(" ", speaker))) - _LABELS


def _is_file(text: str) -> bool:
    """Not a number, an abbreviation (`e.g`), a fraction (`and/or`) or an address of the web."""
    name = text.rsplit("/", 1)[-1]
    stem, dot, ending = name.rpartition(".")
    if not dot:
        return text.count("/") > 1 or text.startswith(("/", "./", "~"))
    return len(stem) > 1 and not _WEB.fullmatch(ending) and not stem.replace(".", "").isdigit()


def _is_tail(file: str, path: str) -> bool:
    return path == file or path.endswith("/" + file)


def _foreign(text: str) -> float:
    letters = _LETTER.findall(text)
    if not letters:
        return 0.0
    # Beyond the last Latin block; a Chinese character says as much as some letters of an alphabet, and counts once.
    return sum(1 for letter in letters if letter > "\u024f") / len(letters)
