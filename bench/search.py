"""Speed of lexical search by size of the store and family of query, beside plain FTS5 in one run.

    python -m bench.search [--sizes 10000,100000,1000000] [--store FILE] [--out FILE]

The corpus is generated (fixed seed): observations of 400 bytes median and about 4 KB at the 95th
percentile, their words drawn by Zipf's law from English, Chinese and code. A search is measured from
the call of the service to its result, with rows and highlights; the file is in the system's cache.
The baseline is what FTS5 does by itself with the same tokens: any of them, best `bm25()` first.
Absolute times differ by machine and by what else runs on it; the baseline is there to divide by, and
`cpu` is the processor time of the whole process during a search.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.app.migrate import ensure_current
from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import NewObservation, NewSession, Recording
from claude_mem.domains.retrieval import analysis, repository
from claude_mem.domains.retrieval.model import Filters, IndexEntry, Query
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Tx

_SCOPE = local_scope()
_QUERIES = 100
_BASELINE_QUERIES = 5
_BATCH = 500
_START = 1_735_689_600_000  # 2025-01-01; a thousand observations a day
_STEP = 86_400

# fmt: off
_FUNCTION_WORDS = [
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
_COMMON_HAN = (
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
        return _FUNCTION_WORDS + derived + sorted(made)

    def _han_words(self) -> list[str]:
        han = [chr(code) for code in range(0x4E00, 0x4E00 + 3_000)]
        pairs = {"".join(self.random.choices(han, k=2)) for _ in range(30_000)}
        return list(_COMMON_HAN) + sorted(pairs)

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
            occurred_at=_START + number * _STEP,
        )

    def observations(self, count: int) -> Iterator[Observation]:
        """The first `count`."""
        return (self.observation(number) for number in range(count))


def _zipf(count: int, exponent: float) -> list[float]:
    return list(itertools.accumulate(1 / rank**exponent for rank in range(1, count + 1)))


class Build:
    """Fills a store through the product's own recording and indexing."""

    def __init__(self, path: Path) -> None:
        ensure_current(path)
        self._engine = make_engine(path, writer=True)
        self._indexing = IndexingService(SqliteLexicalIndex())
        self.index_seconds = 0.0
        with self._engine.connect() as connection:
            self.count = repository.collection(_SCOPE, connection).documents

    def fill(self, corpus: Corpus, count: int) -> None:
        """Add observations until there are `count`."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA synchronous=OFF")  # not what is measured here
            if not self.count:
                self._run(connection, access.make_local_organisation)
            while self.count < count:
                batch = [
                    corpus.observation(n)
                    for n in range(self.count, min(self.count + _BATCH, count))
                ]
                self._run(connection, partial(self._write, batch=batch))
                self.count += len(batch)
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @staticmethod
    def _run(connection: Tx, work: Callable[[Tx], None]) -> None:
        connection.exec_driver_sql("BEGIN")
        work(connection)
        connection.exec_driver_sql("COMMIT")

    def _write(self, tx: Tx, *, batch: list[Observation]) -> None:
        recording, entries = Recording(), []
        projects: dict[int, tuple[str, str]] = {}
        for made in batch:
            if made.project not in projects:
                project = access.ensure_project(_SCOPE, tx, f"/home/dev/project{made.project}")
                session = new_id(made.occurred_at)
                projects[made.project] = project, session
                recording.sessions.append(
                    NewSession(
                        session, project, None, "bench", session, "A session", made.occurred_at, {}
                    )
                )
            row, entry = _rows(made, *projects[made.project])
            recording.observations.append(row)
            entries.append(entry)
        memory.record(_SCOPE, tx, recording)
        started = time.perf_counter()
        self._indexing.index(_SCOPE, tx, entries)
        self.index_seconds += time.perf_counter() - started


def _rows(made: Observation, project: str, session: str) -> tuple[NewObservation, IndexEntry]:
    entity = new_id(made.occurred_at)
    row = NewObservation(
        id=entity,
        session_id=session,
        prompt_id=None,
        event_id=entity,
        observation_type="tool_result",
        source_tool=made.tool,
        title=made.title,
        content=made.body,
        content_hash="",
        command=None,
        exit_status=None,
        importance=0.5,
        tags=(),
        metadata={},
        subagent_id=None,
        occurred_at=made.occurred_at,
    )
    entry = IndexEntry(
        kind="observation",
        entity_id=entity,
        title=made.title,
        body=made.body,
        project_id=project,
        session_id=session,
        type="tool_result",
        tool=made.tool,
        role=None,
        tags=(),
        files=(made.title.removeprefix("Edit "),),
        occurred_at=made.occurred_at,
    )
    return row, entry


def families(corpus: Corpus, count: int) -> dict[str, list[Query]]:
    """Queries by family, from the words of the corpus."""
    pick = random.Random(11)
    english = corpus.words[len(_FUNCTION_WORDS) :]

    def typical() -> str:
        """Words of every rank, about as often as they are written."""
        return corpus.random.choice((corpus.english(4), corpus.english(2) + " " + corpus.code(1)))

    def sample(words: list[str], low: int, high: int, size: int) -> str:
        return " ".join(pick.sample(words[low:high], size))

    def neighbours() -> str:
        words = corpus.observation(pick.randrange(count)).body.split()
        start = pick.randrange(max(len(words) - 1, 1))
        return " ".join(words[start : start + 2])

    def filtered(number: int) -> Query:
        since = _START + count * _STEP - 7 * 86_400_000
        choices: list[dict[str, Any]] = [
            {"project": f"project{pick.randrange(20)}"},
            {"filters": Filters(tool="Bash")},
            {"filters": Filters(since=since)},
            {"project": "project0", "filters": Filters(tool="Edit", since=since)},
        ]
        return Query(typical(), **choices[number % len(choices)])

    texts: dict[str, Callable[[], str]] = {
        "typical": typical,
        "rare": lambda: sample(english, len(english) // 2, len(english), 3),
        "common": lambda: sample(english, 0, 300, 3),
        "stop-words": lambda: sample(_FUNCTION_WORDS, 0, len(_FUNCTION_WORDS), 4),
        "single letters": lambda: pick.choice(("a", "x", "a b", "e x i", pick.choice(_COMMON_HAN))),
        "paste of 200 words": lambda: corpus.english(160) + " " + corpus.code(40),
        "phrase": lambda: f'"{neighbours()}"',
        "prefix": lambda: pick.choice(english)[: pick.randint(3, 6)] + "*",
        "Chinese": lambda: "".join(pick.sample(corpus.han[50:5_000], 3)),
        "code": lambda: pick.choice(corpus.names),
        "exclusion": lambda: f"{typical()} -{pick.choice(english[:500])}",
    }
    made = {name: [Query(text()) for _ in range(_QUERIES)] for name, text in texts.items()}
    made["filtered"] = [filtered(number) for number in range(_QUERIES)]
    return made


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


async def measure(path: Path, queries: dict[str, list[Query]]) -> dict[str, dict[str, float]]:
    """Milliseconds by family."""
    _warm(path)
    database = SqliteDatabase(path)
    service = SearchService(database, SqliteLexicalIndex(), memory.get_many)
    found: dict[str, dict[str, float]] = {}
    for name, family in queries.items():
        times, cpu, hits = [], [], 0
        for query in family:
            started, busy = time.perf_counter(), time.process_time()
            result = await service.search(_SCOPE, query)
            times.append((time.perf_counter() - started) * 1000)
            cpu.append((time.process_time() - busy) * 1000)
            hits += bool(result.hits)
        baseline = await database.read(_SCOPE, partial(_baseline, family=family))
        found[name] = {
            "p50_ms": round(statistics.median(times), 2),
            "p99_ms": round(_percentile(times, 0.99), 2),
            "max_ms": round(max(times), 2),
            "cpu_p50_ms": round(statistics.median(cpu), 2),
            "cpu_p99_ms": round(_percentile(cpu, 0.99), 2),
            "with_hits": hits / len(family),
            "fts5_alone_p50_ms": round(baseline, 2),
        }
        print(f"  {name:20s}", found[name], flush=True)
    await database.close()
    return found


def _baseline(tx: Tx, *, family: list[Query]) -> float:
    """What FTS5 alone takes for any of the tokens, ranked by itself."""
    times = []
    for query in family[:_BASELINE_QUERIES]:
        words = [f'"{token}"' for token in dict.fromkeys(analysis.tokens(query.text))]
        if query.text.endswith("*") and words:
            words[-1] += " *"
        started = time.perf_counter()
        tx.exec_driver_sql(
            "SELECT rowid FROM search_fts WHERE search_fts MATCH ? "
            "ORDER BY bm25(search_fts, 2.0, 1.0, 0.0) LIMIT 20",
            (" OR ".join(words),),
        ).fetchall()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def _warm(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 22):
            pass


def main() -> None:
    """Build, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--store", type=Path, help="keep the store here, and go on with it")
    parser.add_argument("--out", type=Path, default=Path("bench/results/search.json"))
    given = parser.parse_args()
    report: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    report |= {"machine": platform.machine(), "python": platform.python_version()}
    with tempfile.TemporaryDirectory() as folder:
        path = given.store or Path(folder) / "bench.db"
        build, corpus = Build(path), Corpus()
        for size in sorted(int(size) for size in given.sizes.split(",")):
            report[str(size)] = report.get(str(size), {}) | _one_size(path, build, corpus, size)
    report["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _one_size(path: Path, build: Build, corpus: Corpus, size: int) -> dict[str, Any]:
    before, seconds = build.count, build.index_seconds
    build.fill(corpus, size)
    result: dict[str, Any] = {"file_mb": round(path.stat().st_size / 1e6, 1)}
    if build.count > before:
        cost = (build.index_seconds - seconds) / (build.count - before) * 1e6
        result["index_us_per_document"] = round(cost, 1)
    print(size, "observations", result, flush=True)
    result["families"] = asyncio.run(measure(path, families(Corpus(seed=13), size)))
    result["load_average"] = round(os.getloadavg()[0], 1)
    return result


if __name__ == "__main__":
    main()
