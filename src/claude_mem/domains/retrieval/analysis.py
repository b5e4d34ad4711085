"""Text analysis: text -> tokens, the same for documents and queries and for every engine.

Owns what counts as a word. Pure: no I/O but reading the packaged lists of words once. Must never
change without a rebuild of the index (`ANALYSIS_VERSION` says so), because stored tokens outlive
the process.

What becomes of a text, in order of appearance:

- words: NFKC-folded, diacritics folded, lower-cased, stemmed (Snowball English, Porter 2001), of
  irregular forms and British spellings the base (`broke` is stemmed as `break`, `colour` as
  `color`, `initialise` as `initialize`: see `forms`);
- identifiers (`getUserById`, `MAX_RETRY`, `jwt.ts`, `foo-bar`, `TS2345`): their parts as words,
  then the whole, unstemmed, then the stem of the whole where it differs, so that `getusers` and
  `getUsers` meet;
- paths: the expansion of each component (so `jwt.ts` is a token), then the last two components
  (`auth/jwt.ts`);
- numbers, hexadecimal ids, UUIDs (with their first group): whole;
- Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese: overlapping bigrams; a run of one character
  is a unigram. Documents also carry each distinct character once, at the end, so that a query of
  one character finds something;
- emoji, punctuation, separators: dropped. Opaque strings longer than 64 characters (base64):
  dropped.

Tokens hold no white space, quote, upper-case ASCII or control character: they can be joined by
spaces and taken apart again.
"""

from __future__ import annotations

import operator
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Final

import Stemmer

from claude_mem.domains.retrieval import forms

ANALYSIS_VERSION: Final = 5
_BRITISH: Final = ("our", "ys", "ogu")
MAX_TOKEN_CHARS: Final = 64
# A document is analysed up to this many characters: its head and its tail. What lies between is
# stored but not searchable.
HEAD_CHARS: Final = 24_576
TAIL_CHARS: Final = 8_192

_CACHE_ENTRIES = 32_768
_CACHE_PIECE_CHARS = 32
_CACHE_WORDS = 8_192
_MAX_CHUNK_CHARS = 256
_HEX_MIN = 7
_CAPS_MIN = 6

# Scripts written without spaces between words (kana, ideographs, hangul, half-width kana, Thai,
# Lao, Burmese, Khmer).
_DENSE = (
    "\u3005-\u3007\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u3131-\u318e"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17d3\u1100-\u11ff\U0001b000-\U0001b16f\U00020000-\U000323af"
)
# Blocks whose vowel signs are not `\w` in Python although words run through them.
_INDIC = "\u0900-\u0963\u0966-\u0dff"
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670"
_WORD = rf"[^\W{_DENSE}{_INDIC}]"
_CHUNK = re.compile(
    rf"{_WORD}+(?:[./'’{_MARKS}-]{_WORD}+)*[{_MARKS}]*|[{_DENSE}]+|[{_INDIC}]+", re.UNICODE
)
_DENSE_RUN = re.compile(rf"[{_DENSE}]")
_DENSE_RUN_FROM = re.compile(rf"[{_DENSE}]+")
_DENSE_RUNS = re.compile(rf"[{_DENSE}]{{2,}}")
_BETWEEN = re.compile(rf"[\s{_DENSE}]")
_INDIC_RUN = re.compile(rf"[{_INDIC}]")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]|\d+")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX = re.compile(rf"(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{{{_HEX_MIN},}}")
_NUMBER = re.compile(r"\d+(?:[./-]\d+)*")
# Where NFD can yield such marks at all: Latin, Greek, Cyrillic, Hebrew, Arabic; a look that is
# cheaper
# than decomposing all the rest.
_ACCENTED = re.compile("[\u00c0-\u0670\u1e00-\u1fff]")
_COMBINING = re.compile(rf"[{_MARKS}]+")
_ASCII_CUT = bytes(
    code if chr(code).isalnum() or chr(code) in "_./'-" else 0x20 for code in range(128)
) + bytes([0x20] * 128)


@dataclass(frozen=True, slots=True)
class Analysed:
    """A document's field, in its two written forms, and its number of tokens (BM25's length).

    `stored` is what the terms to score by are made of: tokens joined by single spaces, but a run of
    a script without spaces stays whole (less than half the bytes of its pairs). `indexed` is what an engine
    gets: every token, and at the end the distinct characters of such runs. For plain ASCII both are
    the same.
    """

    stored: str
    indexed: str
    length: int


def fold(text: str) -> str:
    """NFKC, then combining marks of alphabets removed; case is kept, because identifiers are split
    by it.
    """
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text)
    if _ACCENTED.search(text) is None:
        return text
    return unicodedata.normalize("NFC", _COMBINING.sub("", unicodedata.normalize("NFD", text)))


def is_dense(text: str) -> bool:
    """Whether the text begins in a script written without spaces."""
    return text >= "\u0e00" and _DENSE_RUN.match(text) is not None


def dense_run(text: str, start: int, most: int) -> str:
    """What stands from a place on in scripts written without spaces, up to `most` characters."""
    found = _DENSE_RUN_FROM.match(text, start, start + most)
    return found.group() if found else ""


def is_hex_id(token: str) -> bool:
    """Whether the token looks like a (shortened) hash: seven hexadecimal digits and more, letters
    and digits both.
    """
    return _HEX.fullmatch(token) is not None


class _Expansions(dict[str, str]):
    """Text without white space -> its tokens in the stored form. Bounded; vocabularies repeat
    themselves: most lookups hit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._snowball: Callable[[str], str] = Stemmer.Stemmer("english", 0).stemWord
        # The stemmer keeps state between calls and is not safe to share between threads.
        self._lock = threading.Lock()
        # British stems, for words that are not on the list: `honourably` stays with `honour`.
        pairs = {self._snowball(form): self._snowball(base) for form, base in forms.BASES.items()}
        british = (it for it in pairs if it.endswith(_BRITISH))
        self._respelt: dict[str, str] = {it: pairs[it] for it in british}

    def __missing__(self, piece: str) -> str:
        with self._lock:
            if piece.isascii() and piece.isalpha() and piece.islower() and len(piece) < 32:
                expansion = self._stem(piece)  # what most pieces are, without the detour
            else:
                expansion = " ".join(
                    [
                        token
                        for chunk in _CHUNK.findall(fold(piece))
                        for token in self._expand(chunk)
                    ]
                )
            if len(piece) <= _CACHE_PIECE_CHARS:
                if len(self) >= _CACHE_ENTRIES:
                    self.clear()
                self[piece] = expansion
        return expansion

    def stem(self, word: str) -> str:
        with self._lock:
            return self._stem(word)

    def _stem(self, word: str) -> str:
        found = self._snowball(forms.plain(word))
        return self._respelt.get(found, found)

    def _expand(self, chunk: str) -> list[str]:
        if is_dense(chunk):
            return [chunk]
        return self._expand_word(chunk) if len(chunk) <= _MAX_CHUNK_CHARS else []

    def _expand_word(self, chunk: str) -> list[str]:
        if chunk.isalpha() and (chunk[1:].islower() or len(chunk) == 1):
            return self._word(chunk.lower())
        if "'" in chunk or "’" in chunk:
            return self._contraction(chunk)
        lower = chunk.lower()
        if _INDIC_RUN.match(chunk):
            return self._word(lower)
        if _UUID.fullmatch(lower):
            return [lower[:8], lower]
        if _NUMBER.fullmatch(lower):
            return _number(lower)
        if "/" in chunk:
            return self._path(chunk, lower)
        return self._compound(chunk, lower)

    def _word(self, lower: str) -> list[str]:
        return [self._stem(lower)] if len(lower) <= MAX_TOKEN_CHARS else []

    def _contraction(self, chunk: str) -> list[str]:
        """`user's` -> user; `don't` -> dont; anything longer after an apostrophe is a word."""
        pieces = re.split("['’]", chunk)
        if len(pieces) == 2 and len(pieces[1]) <= 2:
            if pieces[1] in ("s", "S"):
                return self._expand_word(pieces[0])
            return self._expand_word("".join(pieces))
        return [token for piece in pieces for token in self._expand_word(piece)]

    def _path(self, chunk: str, lower: str) -> list[str]:
        components = chunk.split("/")
        tokens = [token for part in components for token in self._expand_word(part)]
        tail = "/".join(lower.rsplit("/", 2)[-2:])
        if len(tail) <= MAX_TOKEN_CHARS:
            tokens.append(tail)
        return tokens

    def _compound(self, chunk: str, lower: str) -> list[str]:
        segments = re.split("[.-]", chunk)
        if len(segments) == 1:
            return self._segment(chunk, lower)
        tokens = [token for part in segments for token in self._segment(part, part.lower())]
        if len(lower) <= MAX_TOKEN_CHARS:
            tokens.append(lower)
        return tokens

    def _segment(self, segment: str, lower: str) -> list[str]:
        """One identifier: its parts stemmed, the whole, and the whole's stem."""
        if len(segment) > MAX_TOKEN_CHARS:
            return []
        if _HEX.fullmatch(lower):
            return [lower]
        parts = _join_short_digits(_PART.findall(segment))
        if not parts:
            return []
        if _is_opaque(segment, parts):
            return [lower]
        stems = [self._stem(part.lower()) for part in parts]
        if len(parts) == 1 and len(parts[0]) == len(segment):
            whole_kept = segment.isupper() and len(segment) >= _CAPS_MIN and stems[0] != lower
            return [*stems, lower] if whole_kept else stems
        stem = self._stem(lower)
        return [*stems, lower] if stem == lower else [*stems, lower, stem]


def _number(lower: str) -> list[str]:
    """`502` as it is; `2026-11-20` also in its groups of two digits and more."""
    if len(lower) > MAX_TOKEN_CHARS:
        return []
    groups = re.split("[./-]", lower)
    if len(groups) == 1:
        return [lower]
    return [*(group for group in groups if len(group) > 1), lower]


def _join_short_digits(parts: list[str]) -> list[str]:
    """Digits part from letters only where both say something: `TS2345`, not `utf8`, `E0308`."""
    joined: list[str] = []
    for part in parts:
        previous = joined[-1] if joined else ""
        glued = previous and (
            (part.isdigit() and (len(part) < 3 or len(previous) < 2))
            or (previous[-1].isdigit() and (not previous.isdigit() or len(previous) < 3))
        )
        if glued and not (part[0].isupper() and len(part) > 1 and previous[-1].isdigit()):
            joined[-1] = previous + part
        else:
            joined.append(part)
    return joined


def _is_opaque(segment: str, parts: list[str]) -> bool:
    """Random letters and digits (keys, base64): so many parts that none of them is a word."""
    return len(segment) >= 16 and len(parts) * 3 > len(segment)


def bigrams(run: str) -> list[str]:
    """Overlapping pairs of a folded run; the run itself when it is one character."""
    if len(run) < 2:
        return [run]
    return list(map(operator.add, run, run[1:]))


_EXPANSIONS: Final = _Expansions()


def _bounded(text: str) -> str:
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return text[:HEAD_CHARS] + "\n" + text[-TAIL_CHARS:]


def _pieces(text: str) -> list[str]:
    """The text cut at white space; plain ASCII also at whatever no token holds, which is quick and
    caches better.
    """
    if text.isascii():
        return text.encode("ascii").translate(_ASCII_CUT).decode("ascii").split()
    return text.split()


def _stored(text: str) -> str:
    joined = " ".join(map(_EXPANSIONS.__getitem__, _pieces(text)))
    if "  " in joined or joined[:1] == " " or joined[-1:] == " ":
        return " ".join(joined.split())  # a piece without tokens leaves a double space
    return joined


def _spread(stored: str) -> str:
    """The stored form with its runs taken apart into pairs."""
    return _DENSE_RUNS.sub(lambda run: " ".join(bigrams(run[0])), stored)


def tokens(text: str) -> list[str]:
    """The tokens of a text, in order, stop-words included; without the single characters."""
    stored = _stored(_bounded(text))
    return (stored if stored.isascii() else _spread(stored)).split()


def words(text: str) -> frozenset[str]:
    """The distinct tokens of a text without stop-words: by what a text is compared with another, or with a question."""
    return frozenset().union(*map(words_of_piece, set(_pieces(_bounded(text)))))


def each_word(text: str) -> Iterator[str]:
    """The same one after the other in the order of the text, repeats too: for who may have heard enough."""
    for piece in _pieces(_bounded(text)):
        yield from words_of_piece(piece)


def words_of_piece(piece: str) -> tuple[str, ...]:
    """The tokens, without stop-words, of text without white space."""
    return _WORDS[piece]


def spaced(folded: str) -> str:
    """Folded text with a space for each character that stands in no word of a script with spaces: places stay."""
    if folded.isascii():
        return folded.encode("ascii").translate(_ASCII_CUT).decode("ascii")
    return _BETWEEN.sub(" ", folded)


def document(text: str) -> Analysed:
    """A document's field; at most HEAD_CHARS + TAIL_CHARS characters of it are read."""
    stored = _stored(_bounded(text))
    spread = stored if stored.isascii() else _spread(stored)
    length = spread.count(" ") + 1 if spread else 0
    if spread is not stored:
        spread = " ".join([spread, *single_characters(stored)])
    return Analysed(stored, spread, length)


def single_characters(stored: str) -> list[str]:
    """The distinct characters of the scripts written without spaces, in order of appearance."""
    return _DENSE_RUN.findall("".join(dict.fromkeys(stored)))


def spans(text: str) -> list[tuple[int, int, tuple[str, ...]]]:
    """Where tokens come from: (start, end, tokens) of every chunk, for highlighting.

    Dense runs are given pair by pair, each with its own two characters, and character by character.
    """
    found: list[tuple[int, int, tuple[str, ...]]] = []
    for match in _CHUNK.finditer(text):
        chunk = match.group()
        if is_dense(chunk):
            found += _dense_spans(chunk, match.start())
        else:
            found.append((match.start(), match.end(), tuple(_spread(_EXPANSIONS[chunk]).split())))
    return found


def _dense_spans(run: str, start: int) -> list[tuple[int, int, tuple[str, ...]]]:
    found: list[tuple[int, int, tuple[str, ...]]] = [
        (start + i, start + i + 1, (fold(run[i]),)) for i in range(len(run))
    ]
    found += [(start + i, start + i + 2, (fold(run[i : i + 2]),)) for i in range(len(run) - 1)]
    return found


def stem(word: str) -> str:
    """The Snowball English stem of a folded, lower-case word, or of the base that it is a form of."""
    return _EXPANSIONS.stem(word)


def forms_of(token: str) -> tuple[str, ...]:
    """The listed forms that become the token, which may have none of its letters: `went` of `go`."""
    return _forms().get(token, ())


@cache
def _forms() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for form, base in forms.BASES.items():
        token = stem(base)
        found[token] = (*found.get(token, ()), form)
    return found


def _load(name: str) -> frozenset[str]:
    text = resources.files("claude_mem.assets").joinpath("stopwords", name).read_text("utf-8")
    lines = (line.split("#", 1)[0].split() for line in text.splitlines())
    return frozenset(word for words in lines for word in words)


class _Words(dict[str, tuple[str, ...]]):
    """Text without white space -> its tokens without stop-words. Bounded, as `_Expansions` is.

    Taking the tokens of a text apart and asking of each whether it is a stop-word costs several times the look-up.
    """

    def __missing__(self, piece: str) -> tuple[str, ...]:
        stored = _EXPANSIONS[piece]
        found = (stored if stored.isascii() else _spread(stored)).split()
        kept = tuple(token for token in found if not is_stop_word(token))
        if len(piece) <= _CACHE_PIECE_CHARS:
            if len(self) >= _CACHE_WORDS:
                self.clear()
            self[piece] = kept
        return kept


_WORDS: Final = _Words()
_STOP_STEMS: Final = frozenset(stem(word) for word in _load("en.txt"))
_STOP_DENSE: Final = _load("zh.txt")
_STOP_CHARACTERS: Final = frozenset(word for word in _STOP_DENSE if len(word) == 1)
_KEPT_DENSE: Final = _load("zh-kept.txt")


def is_stop_word(token: str) -> bool:
    """Whether a token says nothing about the matter: English function words, Chinese function words
    and characters.

    A bigram that holds a function character is one too, unless it is a word of its own (the kept
    list).
    """
    if token in _STOP_STEMS or token in _STOP_DENSE:
        return True
    return not token.isascii() and _holds_function_character(token)


@lru_cache(maxsize=8_192)  # there are not many more pairs in use
def _holds_function_character(token: str) -> bool:
    if token in _KEPT_DENSE or not is_dense(token):
        return False
    return any(character in _STOP_CHARACTERS for character in token)
