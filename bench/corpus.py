"""The corpus that searching is measured on: generated, endless, the same for the same seed.

Observations of 400 bytes median and about 4 KB at the 95th percentile, their words drawn by Zipf's law from English,
Chinese and code.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

START = 1_735_689_600_000  # 2025-01-01; a thousand observations a day
STEP = 86_400

# fmt: off
FUNCTION_WORDS = [
    "the", "of", "and", "to", "a", "in", "is", "it",
    "that", "for", "was", "on", "are", "with", "as", "be",
    "this", "by", "from", "at", "or", "an", "not", "have",
    "has", "we", "you", "can", "if", "but", "all", "will",
    "when", "so", "do", "which", "their", "there", "more", "one",
]
# fmt: on
# fmt: off
_STEMS = [
    "auth", "token", "session", "cache", "query", "index", "schema", "migrate",
    "deploy", "worker", "queue", "retry", "timeout", "connect", "socket", "parse",
    "render", "route", "user", "account", "invoice", "payment", "order", "ledger",
    "balance", "report", "export", "import", "config", "secret", "vault", "cluster",
    "replica", "shard", "lock", "thread", "memory", "buffer", "stream", "event",
    "handler", "hook", "render", "view", "component", "state", "store", "reducer",
    "effect", "test", "fixture", "mock", "assert", "coverage", "build", "bundle",
    "lint", "format", "type", "module", "package", "version", "release", "branch",
    "commit", "merge", "rebase", "review", "error", "exception", "trace", "panic",
    "log", "metric", "alert", "health", "probe", "limit", "quota", "budget",
    "search", "rank", "score", "vector", "embed", "graph", "node", "edge",
    "path", "file", "folder", "archive", "backup", "restore", "compress", "encrypt",
    "decrypt", "sign", "verify", "certificate", "header", "cookie", "request", "response",
    "status", "redirect", "proxy", "gateway", "balancer", "container", "image", "volume",
    "network", "policy", "role", "permission",
]
# fmt: on
_SYLLABLES = (
    "ra",
    "lo",
    "mi",
    "ten",
    "gor",
    "vas",
    "pel",
    "dun",
    "ki",
    "sha",
    "bre",
    "tor",
    "lim",
    "nes",
    "qua",
    "fi",
    "hol",
    "jur",
    "wex",
    "zan",
)
_ENDINGS = ("", "s", "ed", "ing", "er", "ion", "able", "ment", "ness", "ly")
_SUFFIXES = (".py", ".ts", ".go", ".rs", ".md", ".sql", ".yaml", "_test.py", ".tsx")
COMMON_HAN = (
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学"
)
_ERRORS = (
    "ECONNREFUSED",
    "ETIMEDOUT",
    "E0308",
    "TS2345",
    "ENOENT",
    "HTTP 502",
    "SIGSEGV",
    "KeyError",
)


@dataclass(frozen=True, slots=True)
class Observation:
    """One generated document."""

    title: str
    body: str
    tool: str
    project: int
    occurred_at: int


class Corpus:
    """An endless, reproducible stream of observations."""

    def __init__(self, seed: int = 7) -> None:
        self.random = random.Random(seed)
        self.words = self._vocabulary()
        self._word_weights = _zipf(len(self.words), 1.05)
        self.han = self._han_words()
        self._han_weights = _zipf(len(self.han), 1.0)
        self.names = [self._identifier() for _ in range(20_000)]
        self._name_weights = _zipf(len(self.names), 0.9)

    def _vocabulary(self) -> list[str]:
        derived = [stem + ending for ending in _ENDINGS for stem in _STEMS]
        made = {
            "".join(self.random.choices(_SYLLABLES, k=self.random.randint(2, 4)))
            for _ in range(60_000)
        }
        return FUNCTION_WORDS + derived + sorted(made)

    def _han_words(self) -> list[str]:
        han = [chr(code) for code in range(0x4E00, 0x4E00 + 3_000)]
        pairs = {"".join(self.random.choices(han, k=2)) for _ in range(30_000)}
        return list(COMMON_HAN) + sorted(pairs)

    def _identifier(self) -> str:
        parts = self.random.sample(_STEMS, self.random.randint(2, 3))
        style = self.random.randrange(4)
        if style == 0:
            return parts[0] + "".join(part.title() for part in parts[1:])
        if style == 1:
            return "_".join(parts)
        if style == 2:
            return "".join(part.title() for part in parts)
        return "/".join(("src", *parts)) + self.random.choice(_SUFFIXES)

    def english(self, count: int) -> str:
        """`count` words by Zipf's law."""
        return " ".join(self.random.choices(self.words, cum_weights=self._word_weights, k=count))

    def chinese(self, count: int) -> str:
        """`count` words by Zipf's law, a stop after every eight."""
        drawn = self.random.choices(self.han, cum_weights=self._han_weights, k=count)
        return "，".join("".join(drawn[i : i + 8]) for i in range(0, count, 8))

    def code(self, count: int) -> str:
        """`count` identifiers and paths, a hash and an error among them."""
        drawn = self.random.choices(self.names, cum_weights=self._name_weights, k=count)
        return f"{'(x) = '.join(drawn)} {self.random.getrandbits(40):010x} {self.random.choice(_ERRORS)}"

    def observation(self, number: int) -> Observation:
        """The `number`-th observation; 1,000 a day from 2025 on, in twenty projects of different sizes."""
        size = min(max(self.random.lognormvariate(5.99, 1.4), 40), 16_000)
        kind = self.random.random()
        if kind < 0.2:
            body = self.chinese(int(size / 6)) + " " + self.code(2)
        elif kind < 0.6:
            body = self.english(int(size * 0.7 / 7)) + " " + self.code(max(int(size * 0.3 / 16), 1))
        else:
            body = self.english(int(size / 7))
        name = self.random.choices(self.names, cum_weights=self._name_weights)[0]
        return Observation(
            title=f"Edit {name}",
            body=body,
            tool=self.random.choice(("Bash", "Edit", "Read", "Write")),
            project=min(int(self.random.expovariate(0.3)), 19),
            occurred_at=START + number * STEP,
        )

    def observations(self, count: int) -> Iterator[Observation]:
        """The first `count`."""
        return (self.observation(number) for number in range(count))


def _zipf(count: int, exponent: float) -> list[float]:
    return list(itertools.accumulate(1 / rank**exponent for rank in range(1, count + 1)))
