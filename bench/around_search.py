"""What stands around a search, beside searches of the same run: suggestions while typing, and facets.

    python -m bench.around_search [--size 100000] [--store FILE] [--postgres] [--out FILE]

The corpus and the searches (`typical`) are those of `bench.search`; what is typed are beginnings of its words, two
letters and more. Times differ by machine and by what else runs on it: the ratio to a search of the same run is what
says something. `--postgres` asks a tenant of that size on PostgreSQL, as the runtime role.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.corpus import Corpus, Observation
from bench.report import facts
from bench.search import Build, families, rows
from bench.server import postgres
from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.lexical import PostgresLexicalIndex
from claude_mem.adapters.sqlite.database import SqliteDatabase
from claude_mem.adapters.sqlite.lexical import SqliteLexicalIndex
from claude_mem.domains.access import founding
from claude_mem.domains.access import service as access
from claude_mem.domains.access.model import Origin
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import NewSession, Recording
from claude_mem.domains.retrieval.facets import NAMES, FacetService
from claude_mem.domains.retrieval.model import Query
from claude_mem.domains.retrieval.service import IndexingService, SearchService
from claude_mem.domains.retrieval.suggesting import SuggestService
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ALL_PERMISSIONS, Scope, local_scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.lexical import LexicalIndex

_ASKED = 100
_BATCH = 500


def typed(corpus: Corpus) -> dict[str, list[str]]:
    """Beginnings by kind."""
    pick = random.Random(5)

    def word() -> str:
        return pick.choice(corpus.words[200:20_000])

    def begun(text: str, low: int) -> str:
        return text[: max(low, pick.randint(low, max(len(text) - 1, low)))]

    makers: dict[str, Callable[[], str]] = {
        "two letters": lambda: word()[:2],
        "three letters": lambda: word()[:3],
        "longer": lambda: begun(word(), 4),
        "identifier": lambda: begun(pick.choice(corpus.names), 3),
        "second word": lambda: f"{word()} {begun(word(), 3)}",
        "one character": lambda: pick.choice(corpus.han[:2_000]),
        "two characters": lambda: "".join(pick.sample(corpus.han[:1_000], 2)),
        "mistyped": lambda: _mistyped(word(), pick),
    }
    return {name: [make() for _ in range(_ASKED)] for name, make in makers.items()}


def _mistyped(word: str, pick: random.Random) -> str:
    at = pick.randrange(3, max(len(word), 4))
    return f"{word[:at]}q{word[at + 1 :]}"


async def timed(ask: Callable[[Any], Awaitable[Any]], asked: Sequence[Any]) -> dict[str, float]:
    """Milliseconds."""
    times, answered = [], 0
    for one in asked:
        started = time.perf_counter()
        found = await ask(one)
        times.append((time.perf_counter() - started) * 1000)
        answered += bool(found)
    ordered = sorted(times)
    return {
        "p50_ms": round(statistics.median(times), 2),
        "p95_ms": round(ordered[int(len(ordered) * 0.95)], 2),
        "answered": answered / len(asked),
    }


async def measure(
    database: Database, lexical: LexicalIndex, scope: Scope, queries: Sequence[Query]
) -> dict[str, Any]:
    """Figures by what is asked; `times_a_search` is p50 over that of the searches."""
    search = SearchService(database, lexical, memory.get_many)
    suggest = SuggestService(database, lexical, memory.get_many)
    facets = FacetService(database, lexical, search)

    async def hits(query: Query) -> Any:
        return (await search.search(scope, query)).hits

    async def counts(query: Query) -> Any:
        return (await facets.count(scope, query, NAMES)).counted

    await timed(hits, queries[:20])
    found: dict[str, Any] = {"search": await timed(hits, queries)}
    for name, texts in typed(Corpus()).items():
        found[f"suggest: {name}"] = await timed(lambda text: suggest.suggest(scope, text), texts)
    found["facets: all of them"] = await timed(counts, queries)
    base = found["search"]["p50_ms"]
    for name, figures in found.items():
        figures["times_a_search"] = round(figures["p50_ms"] / base, 2)
        print(f"  {name:26s}", figures, flush=True)
    return found


async def _sqlite(store: Path, size: int) -> dict[str, Any]:
    Build(store).fill(Corpus(), size)
    database = SqliteDatabase(store)
    try:
        queries = families(Corpus(), size)["typical"]
        return await measure(database, SqliteLexicalIndex(), local_scope(), queries)
    finally:
        await database.close()


async def _postgres(size: int) -> dict[str, Any]:
    with postgres() as server:
        urls = server.database()
        database = PostgresDatabase(urls.runtime, 2)
        made = await founding.found(database, Origin(None, None, 0.0), "bench", "admin", None)
        scope = Scope(made.enterprise["id"], made.user["id"], ALL_PERMISSIONS)
        try:
            corpus = Corpus()
            for first in range(0, size, _BATCH):
                batch = [corpus.observation(n) for n in range(first, min(first + _BATCH, size))]
                await database.write(scope, partial(_record, scope, batch=batch))
            vacuum(urls.admin)
            queries = families(Corpus(), size)["typical"]
            return await measure(database, PostgresLexicalIndex(), scope, queries)
        finally:
            await database.close()


def vacuum(address: str) -> None:
    """As autovacuum does of itself, sooner or later."""
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def _record(scope: Scope, tx: Tx, *, batch: Sequence[Observation]) -> None:
    """Through the product's own recording and indexing."""
    recording, entries = Recording(), []
    sessions: dict[int, tuple[str, str]] = {}
    for made in batch:
        if made.project not in sessions:
            project = access.ensure_project(scope, tx, f"/home/dev/project{made.project}")
            own = new_id(made.occurred_at)
            sessions[made.project] = project, own
            recording.sessions.append(
                NewSession(own, project, None, "bench", own, "A session", made.occurred_at, {})
            )
        row, entry = rows(made, *sessions[made.project])
        recording.observations.append(row)
        entries.append(entry)
    memory.record(scope, tx, recording)
    IndexingService(PostgresLexicalIndex()).index(scope, tx, entries)


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = given.store or Path(folder) / "bench.db"
        found = asyncio.run(_postgres(given.size) if given.postgres else _sqlite(store, given.size))
    if given.out:
        report = {"facts": facts(), "documents": given.size, "results": found}
        given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
