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
import heapq
import json
import math
import os
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.corpus import COMMON_HAN, FUNCTION_WORDS, START, STEP, Corpus, Observation
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.app.migrate import ensure_current
from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import NewObservation, NewSession, Recording
from claude_mem.domains.retrieval import analysis, repository
from claude_mem.domains.retrieval.model import Filters, IndexEntry, Query, StoredDocument
from claude_mem.domains.retrieval.planning import plan_of
from claude_mem.domains.retrieval.query import parse
from claude_mem.domains.retrieval.ranking import CorpusStatistics, Field, Scorer
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.database import Tx

_SCOPE = local_scope()
_QUERIES = 100
_BASELINE_QUERIES = 5
_BASELINE_MOST_MS = 20_000  # a paste takes FTS5 more than a minute at a million
_RECALL_QUERIES = 20
_MOST_SCORED = 100_000  # documents: scoring all of them for each query takes half a second
_RECALLED = ("typical", "rare", "common", "stop-words", "paste of 200 words", "prefix", "code")
_BATCH = 500


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
            row, entry = rows(made, *projects[made.project])
            recording.observations.append(row)
            entries.append(entry)
        memory.record(_SCOPE, tx, recording)
        started = time.perf_counter()
        self._indexing.index(_SCOPE, tx, entries)
        self.index_seconds += time.perf_counter() - started


def rows(made: Observation, project: str, session: str) -> tuple[NewObservation, IndexEntry]:
    """A generated observation as a row and as an entry of the index."""
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
    english = corpus.words[len(FUNCTION_WORDS) :]

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
        since = START + count * STEP - 7 * 86_400_000
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
        "stop-words": lambda: sample(FUNCTION_WORDS, 0, len(FUNCTION_WORDS), 4),
        "single letters": lambda: pick.choice(("a", "x", "a b", "e x i", pick.choice(COMMON_HAN))),
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
    searching = SearchService(database, SqliteLexicalIndex(), memory.get_many)
    found: dict[str, dict[str, float]] = {}
    for name, family in queries.items():
        times, cpu, hits = [], [], 0
        for query in family:
            started, busy = time.perf_counter(), time.process_time()
            result = await searching.search(_SCOPE, query)
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


def recall(path: Path, queries: dict[str, list[Query]], size: int) -> dict[str, float]:
    """By family: how many of the ten best documents of the whole store a search finds.

    Both are scored with the same numbers; of documents with the same score any will do.
    """
    engine = make_engine(path, writer=False)
    found: dict[str, float] = {}
    with engine.connect() as tx:
        everything = repository.load(_SCOPE, tx, range(1, size + 1))
        for name in _RECALLED:
            shares = [
                share
                for query in queries[name][:_RECALL_QUERIES]
                if (share := _found_of_best(tx, query, everything)) is not None
            ]
            found[name] = round(statistics.fmean(shares), 3)
    engine.dispose()
    print("  recall at 10:", found, flush=True)
    return found


def _found_of_best(tx: Tx, query: Query, everything: Sequence[StoredDocument]) -> float | None:
    """None where nothing matches."""
    collection = repository.collection(_SCOPE, tx)
    plan = plan_of(parse(query.text), Filters(), collection, query, START)
    candidates = SqliteLexicalIndex().candidates(_SCOPE, tx, plan)
    frequencies = {word: count for word, count in candidates.frequencies.items() if count}
    scorer = Scorer(
        CorpusStatistics.of(collection.documents, collection.title_tokens, collection.body_tokens),
        frequencies,
    )

    def best(documents: Iterable[StoredDocument]) -> list[float]:
        scores = (
            scorer.relevance(Field(d.title, d.title_length), Field(d.body, d.body_length))
            for d in documents
        )
        return [score for score in heapq.nlargest(10, scores) if score]

    whole, ours = best(everything), best(repository.load(_SCOPE, tx, candidates.numbers))
    if not whole:
        return None
    return sum(score >= whole[-1] - 1e-12 for score in ours) / len(whole)


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
        if sum(times) > _BASELINE_MOST_MS:
            break
    return statistics.median(times)


def _stored_bytes(path: Path) -> tuple[int, int]:
    """(bytes of packed terms, documents)."""
    engine = make_engine(path, writer=False)
    with engine.connect() as connection:
        row = connection.exec_driver_sql(
            "SELECT sum(length(terms_title) + length(terms_body)), count(*) FROM search_documents"
        ).one()
    engine.dispose()
    return int(row[0]), int(row[1])


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
    queries = families(Corpus(seed=13), size)
    result["families"] = asyncio.run(measure(path, queries))
    if size <= _MOST_SCORED:
        result["recall_at_10"] = recall(path, queries, size)
    terms, documents = _stored_bytes(path)
    result["bytes_per_document"] = {
        "file": round(path.stat().st_size / build.count),
        "terms": round(terms / documents),
    }
    result["load_average"] = round(os.getloadavg()[0], 1)
    return result


if __name__ == "__main__":
    main()
