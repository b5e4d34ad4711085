"""The query language: what a person types -> what is looked for.

Owns the syntax and its bounds. Pure. Any string is safe: there is no error, and nothing of the text
reaches an engine but analysed tokens.

    word            optional; the more words match, and the rarer they are, the better the hit
    "some words"    required, next to each other; any kind of double quote, Chinese and Japanese
    ones too word*           optional, every word that begins so (three characters and more) -word
    -"..."   none of these (three characters and more: `-rf` and `-v` are flags somebody pasted)

Stop-words are left out while something else remains. A text of more than `PASTE_WORDS` words is a
paste: text, no operators. AND, OR, NOT, NEAR, parentheses, colons and the like have no meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from claude_mem.domains.retrieval import analysis, forms

MAX_TERMS: Final = 24
MAX_PHRASES: Final = 8
MAX_PHRASE_TOKENS: Final = 32
MAX_PREFIXES: Final = 8
MAX_EXCLUSIONS: Final = 16
PASTE_WORDS: Final = 48

_MIN_PREFIX = 3
_MIN_EXCLUSION = 3
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»「」『』〝〞〟", '"') | {"\x00": " "})
_ITEM = re.compile(r'(?P<minus>(?<!\S)-)?"(?P<phrase>[^"]*)"|(?P<word>[^\s"]+)')
_NOT_PREFIX = re.compile(r"[^\w.-]")
# Endings whose stem may be shorter than what was typed: `runn*` is to find `running`, which is
# stored as `run`, and `optimi*` to find `optimize`, which is stored as `optim`.
_ENDINGS = ("", "e", "ze", "y", "s", "ed", "ing", "er", "ion", "ation", "ment", "ly", "able")


@dataclass(frozen=True, slots=True)
class Prefix:
    """Every token that begins with `text`, and the stems `also` of words that do."""

    text: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """`terms` and `prefixes` are optional, every phrase is required, every exclusion forbidden.

    A phrase is the tokens that must follow each other; one token is a required word. `dropped` says
    what was left out, as it is looked for: stop-words and what went over the bounds. `loose` is the text of the terms:
    neither quoted nor excluded, no beginnings; empty for a paste.
    """

    terms: tuple[str, ...] = ()
    prefixes: tuple[Prefix, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    excluded: tuple[tuple[str, ...], ...] = ()
    excluded_prefixes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    loose: str = field(default="", compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is looked for: exclusions alone find nothing."""
        return not (self.terms or self.prefixes or self.phrases)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every token that counts towards the score, once each: the terms, then the phrases'
        tokens.
        """
        return tuple(dict.fromkeys((*self.terms, *(t for p in self.phrases for t in p))))

    @property
    def used(self) -> tuple[str, ...]:
        """What is looked for, for people."""
        quoted = tuple(f'"{" ".join(phrase)}"' for phrase in self.phrases)
        return (*self.terms, *(f"{prefix.text}*" for prefix in self.prefixes), *quoted)


@dataclass(slots=True)
class _Draft:
    """What has been read so far."""

    terms: list[str]
    prefixes: list[Prefix]
    phrases: list[tuple[str, ...]]
    excluded: list[tuple[str, ...]]
    excluded_prefixes: list[str]
    loose: list[str] = field(default_factory=list)


def parse(text: str) -> ParsedQuery:
    """Read a query of any length and content."""
    text = analysis.fold(text).translate(_QUOTES)
    draft = _Draft([], [], [], [], [])
    if len(text.split(None, PASTE_WORDS)) > PASTE_WORDS:
        draft.terms = analysis.tokens(text)
    else:
        for item in _ITEM.finditer(text):
            if item["phrase"] is not None:
                _read_phrase(draft, item["phrase"], excluded=item["minus"] is not None)
            else:
                _read_word(draft, item["word"])
    return _bounded(draft)


def _read_phrase(draft: _Draft, text: str, *, excluded: bool) -> None:
    phrase = tuple(analysis.tokens(text)[:MAX_PHRASE_TOKENS])
    if phrase:
        (draft.excluded if excluded else draft.phrases).append(phrase)


def _read_word(draft: _Draft, word: str) -> None:
    if word[0] == "-" and word[1:2] != "-":
        body = word[1:]
        if len(body.rstrip("*")) >= _MIN_EXCLUSION or analysis.is_dense(body):
            _exclude(draft, body)
            return
    beginning = _beginning(word)
    if beginning:
        draft.terms += analysis.tokens(word[: -len(beginning) - 1])
        draft.prefixes.append(prefix_of(beginning))
        return
    draft.loose.append(word)
    for token in analysis.tokens(word):
        if analysis.is_hex_id(token):
            draft.prefixes.append(Prefix(token))
        else:
            draft.terms.append(token)


def _exclude(draft: _Draft, body: str) -> None:
    beginning = _beginning(body)
    if beginning:
        text = beginning.lower()[: analysis.MAX_TOKEN_CHARS]
        # Not by the bases of forms: `-found*` would hide what says `find`.
        draft.excluded_prefixes += filter(None, (text, forms.respelt(text)))
    else:
        _read_phrase(draft, body, excluded=True)


def _beginning(word: str) -> str:
    """What stands before a final `*`, after the last character no token holds; empty when there is
    no prefix.
    """
    if word[-1] != "*":
        return ""
    beginning = _NOT_PREFIX.split(word[:-1])[-1].lstrip("_.-")
    if len(beginning) < _MIN_PREFIX or analysis.is_dense(beginning):
        return ""
    return beginning


def prefix_of(word: str) -> Prefix:
    """The prefix for a folded word: itself, and the stems of the words it may be the beginning of
    where they do not begin so: shorter ones, and those of forms (`brok*` is to find `broken`, which
    is stored as `break`).
    """
    text = word.lower()[: analysis.MAX_TOKEN_CHARS]
    if not (text.isascii() and text.isalpha()) or len(text) < _MIN_PREFIX:
        return Prefix(text)
    words = (*(text + ending for ending in _ENDINGS), *forms.begun(text))
    stems = set(map(analysis.stem, words))
    return Prefix(text, tuple(sorted(stem for stem in stems if not stem.startswith(text))))


def informativeness(token: str) -> int:
    """How much a token is likely to tell, before any statistics: identifiers and numbers first,
    then the longer.
    """
    if analysis.is_dense(token):
        return 6 if len(token) > 1 else 1
    special = any(character in "_./-" or character.isdigit() for character in token)
    return min(len(token), 12) + (6 if special and len(token) > 2 else 0)


def _take(items: Iterable[str], limit: int, dropped: list[str]) -> tuple[str, ...]:
    """The `limit` most informative of the distinct items, in their order."""
    distinct = list(dict.fromkeys(items))
    ranked = sorted(
        distinct, key=informativeness, reverse=True
    )  # stable: the earlier of equals stays
    kept = frozenset(ranked[:limit])
    dropped += [item for item in distinct if item not in kept]
    return tuple(item for item in distinct if item in kept)


def _bounded(draft: _Draft) -> ParsedQuery:
    dropped: list[str] = []
    content = [term for term in draft.terms if not analysis.is_stop_word(term)]
    if content or draft.phrases or draft.prefixes:
        dropped += list(dict.fromkeys(t for t in draft.terms if analysis.is_stop_word(t)))
        terms = content
    else:
        terms = draft.terms
    prefixes = list(dict.fromkeys(draft.prefixes))
    phrases = list(dict.fromkeys(draft.phrases))
    excluded = list(dict.fromkeys(draft.excluded))
    excluded_prefixes = list(dict.fromkeys(draft.excluded_prefixes))
    dropped += [f"{prefix.text}*" for prefix in prefixes[MAX_PREFIXES:]]
    dropped += [f'"{" ".join(phrase)}"' for phrase in phrases[MAX_PHRASES:]]
    dropped += [f'-"{" ".join(phrase)}"' for phrase in excluded[MAX_EXCLUSIONS:]]
    dropped += [f"-{prefix}*" for prefix in excluded_prefixes[MAX_EXCLUSIONS:]]
    return ParsedQuery(
        terms=_take(terms, MAX_TERMS, dropped),
        prefixes=tuple(prefixes[:MAX_PREFIXES]),
        phrases=tuple(phrases[:MAX_PHRASES]),
        excluded=tuple(excluded[:MAX_EXCLUSIONS]),
        excluded_prefixes=tuple(excluded_prefixes[:MAX_EXCLUSIONS]),
        dropped=tuple(dropped),
        loose=" ".join(draft.loose),
    )
