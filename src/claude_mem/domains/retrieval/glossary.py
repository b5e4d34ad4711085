"""The glossary: words of software development in Chinese and English, and where a question has some of them.

Owns the reading of `assets/glossary`, and which phrases of a question are looked for in the other language too. Pure
but for the files, which are read when the first question needs them, never by an import. Which documents have a
translation and what that is worth is `translating`'s to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Final, NamedTuple

from claude_mem.domains.retrieval import analysis

MAX_CHARS: Final = 400  # of a question: what is longer is a text of its own
MAX_PHRASES: Final = 8
MAX_TRANSLATIONS: Final = 4  # of a phrase
MAX_WORDS: Final = 24  # that a question is looked for by besides its own
_LONGEST: Final = 5  # words of an English phrase
# Beside the phrases of the glossary these say nothing: they ask, join and address.
_EMPTY: Final = frozenset(
    "的了吗呢吧啊嘛呀哦着么什怎样如何为哪里谁几多少是在有和与或就都也很还没不又再上下中个这那我你您他她它们把被给让用要会能可以"
    "请问想到从对时候之前后来过去得地所因次做最一二三"
)


class Translation(NamedTuple):
    """A phrase in the other language: as it is read, and the tokens that it is looked for by."""

    text: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phrase:
    """What a question says (`text`, whose tokens are `own`), and what may stand for it in the other language."""

    text: str
    own: tuple[str, ...]
    translations: tuple[Translation, ...]


class Gloss(NamedTuple):
    """A question in English as far as the glossary goes, and the share, 0..1, of its Chinese that this is."""

    text: str
    coverage: float


class _Found(NamedTuple):
    start: int
    end: int
    translations: tuple[str, ...]


def phrases(text: str, *, from_english: bool = True) -> tuple[Phrase, ...]:
    """The phrases of a question that have translations, Chinese ones first; bounded in all there is.

    `from_english`: also the English ones, which only matter where something is remembered in Chinese.
    """
    text = analysis.fold(text[:MAX_CHARS])
    found: list[Phrase] = []
    if not text.isascii():
        ranked = sorted(_of_chinese(text), key=lambda it: it.start - it.end)  # of equals the first
        found += (_phrase_of(text, it) for it in ranked[:MAX_PHRASES])
    if from_english and len(found) < MAX_PHRASES:
        found += _of_english(text)
    return tuple(_bounded(found))


def gloss(text: str) -> Gloss:
    """The question with each Chinese phrase as its most usual translation; what has none is left out.

    Coverage is of the characters that say something: of a question without any it is 0.
    """
    text = analysis.fold(text[:MAX_CHARS])
    if text.isascii():
        return Gloss(text, 0.0)
    found = sorted(_of_chinese(text))
    pieces, at, known = [], 0, 0
    for it in found:
        pieces += [_plain(text[at : it.start]), it.translations[0]]
        known += it.end - it.start
        at = it.end
    pieces.append(_plain(text[at:]))
    left = "".join(_between(text, found))
    unknown = sum(analysis.is_dense(it) and it not in _EMPTY for it in left)
    share = known / (known + unknown) if known else 0.0
    return Gloss(" ".join(" ".join(pieces).split()), share)


# -- where phrases are ------------------------------------------------------------------------------


def _of_chinese(text: str) -> list[_Found]:
    """Phrases of folded text that do not overlap: the longest first, of equals the first; in no order."""
    book = _book()
    plain = text.translate(book.simplified)
    matches = [
        (start, start + length)
        for start, character in enumerate(plain)
        for length in book.lengths.get(character, ())
        if start + length <= len(plain) and plain[start : start + length] in book.english
    ]
    matches.sort(key=lambda it: (it[0] - it[1], it[0]))
    taken: set[int] = set()
    found = []
    for start, end in matches:
        if taken.isdisjoint(range(start, end)):
            taken.update(range(start, end))
            found.append(_Found(start, end, book.english[plain[start:end]]))
    return found


def _phrase_of(text: str, found: _Found) -> Phrase:
    said = text[found.start : found.end]
    simplified = said.translate(_book().simplified)
    others = (simplified,) if simplified != said else ()
    return Phrase(said, _telling(said), _distinct((*others, *found.translations)))


def _of_english(text: str) -> Iterator[Phrase]:
    """The English phrases of folded text in order, at each word the longest."""
    tokens = analysis.tokens(text)
    known = _chinese()
    at = 0
    while at < len(tokens):
        for length in range(min(_LONGEST, len(tokens) - at), 0, -1):
            key = tuple(tokens[at : at + length])
            own = tuple(it for it in key if not analysis.is_stop_word(it))
            if own and key in known:
                yield Phrase(known[key].text, own, known[key].translations)
                break
        else:
            length = 1
        at += length


def _bounded(found: Sequence[Phrase]) -> Iterator[Phrase]:
    """The first of them, with no translation by words of which there are too many by then."""
    looked_for: set[str] = set()
    for phrase in dict.fromkeys(found[:MAX_PHRASES]):
        kept = []
        for translation in phrase.translations:
            more = looked_for.union(translation.tokens)
            if len(more) <= MAX_WORDS:
                looked_for = more
                kept.append(translation)
        if kept:
            yield Phrase(phrase.text, phrase.own, tuple(kept))


def _between(text: str, found: Sequence[_Found]) -> Iterator[str]:
    at = 0
    for it in found:
        yield text[at : it.start]
        at = it.end
    yield text[at:]


def _plain(text: str) -> str:
    """Without what a model of English cannot read."""
    return "".join(" " if analysis.is_dense(it) else it for it in text)


def _distinct(texts: Iterable[str]) -> tuple[Translation, ...]:
    """As translations, the first so many of those that are looked for by other words."""
    made = {it.tokens: it for it in map(_translation, reversed(tuple(texts))) if it.tokens}
    return tuple(made.values())[::-1][:MAX_TRANSLATIONS]


@lru_cache(maxsize=4_096)
def _translation(text: str) -> Translation:
    return Translation(text, _telling(text))


def _telling(text: str) -> tuple[str, ...]:
    tokens = dict.fromkeys(analysis.tokens(text))
    return tuple(it for it in tokens if not analysis.is_stop_word(it))


# -- the files --------------------------------------------------------------------------------------

_LINE: Final = re.compile(r"(?P<chinese>[^#=<>]+) (?P<way>[=<>]) (?P<english>.+)")


class _Book(NamedTuple):
    """Chinese phrase -> its translations; the lengths of phrases by their first character, longest first."""

    english: Mapping[str, tuple[str, ...]]
    lengths: Mapping[str, tuple[int, ...]]
    simplified: Mapping[int, str]


def lines() -> Iterator[tuple[tuple[str, ...], str, tuple[str, ...]]]:
    """(Chinese phrases, "=", "<" or ">", English phrases) of each line of the glossary."""
    for line in _read("zh-en.txt"):
        if found := _LINE.fullmatch(line):
            english = tuple(it.strip() for it in found["english"].split(","))
            yield tuple(found["chinese"].split()), found["way"], english


def simplified() -> dict[int, str]:
    """Traditional character -> the simplified one, for `str.translate`."""
    pairs = [pair for line in _read("hant.txt") for pair in line.split()]
    return {ord(it): pair[0] for pair in pairs for it in pair[1:]}


def _read(name: str) -> list[str]:
    text = resources.files("claude_mem.assets").joinpath("glossary", name).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@cache
def _book() -> _Book:
    english = {it: words for said, way, words in lines() if way != "<" for it in said}
    lengths: dict[str, set[int]] = {}
    for it in english:
        lengths.setdefault(it[0], set()).add(len(it))
    by_first = {it: tuple(sorted(found, reverse=True)) for it, found in lengths.items()}
    return _Book(english, by_first, simplified())


@cache
def _chinese() -> dict[tuple[str, ...], Phrase]:
    """Tokens of an English phrase, stop-words too -> the phrase. Of many meanings those that it stands for first come
    first.
    """
    found: dict[tuple[str, ...], tuple[str, list[tuple[int, str]]]] = {}
    for said, way, words in lines():
        if way == ">":
            continue
        for place, english in enumerate(words):
            key = tuple(analysis.tokens(english))
            _, meanings = found.setdefault(key, (english, []))
            meanings += ((place + at, it) for at, it in enumerate(said))
    return {
        key: Phrase(
            english,
            (),
            _distinct(text for _, text in sorted(meanings, key=lambda one: one[0])),
        )
        for key, (english, meanings) in found.items()
    }
