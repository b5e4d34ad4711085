"""Lexical search on PostgreSQL under row-level security: speed by size of the tenant and family of query.

    python -m bench.server_search [--sizes 100000,1000000] [--queries 100] [--keep FOLDER] [--out FILE]

The corpus and the families of queries are those of `bench.search`. A question is asked of the service, as the runtime
role, with rows and highlights. The largest tenant's documents are analysed one by one, in two processes, and go in by
COPY; the others have the first of the same ones, as rows of their own under their own lexemes. That a document lies
there as the adapter would have written it is compared afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from bench.corpus import Corpus
from bench.report import facts
from bench.search import families
from bench.server import Cost, backend, filled, machine, postgres, tenants
from claude_mem.adapters.postgres import lexical
from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.adapters.postgres.lexical import PostgresLexicalIndex
from claude_mem.app.collecting import settle
from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import NewSession, Recording
from claude_mem.domains.retrieval import analysis, labels
from claude_mem.domains.retrieval.model import IndexEntry, Query
from claude_mem.domains.retrieval.planning import CANDIDATES, MAX_CANDIDATES
from claude_mem.domains.retrieval.service import SearchService
from claude_mem.domains.retrieval.terms import pack
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import Scope, local_scope
from claude_mem.ports.lexical import LexicalDocument

_PROCESSES: Final = 2
_PROJECTS: Final = 20
_WARMING: Final = 20  # questions of a family
_STAGED = (
    "number bigint, entity uuid, session uuid, project uuid, title text, body text, tool text, at timestamptz,"
    " terms_title bytea, terms_body bytea, length_title int, length_body int, lexemes text, tokens text"
)
_MADE = """
INSERT INTO observations (enterprise_id, id, session_id, event_id, observation_type, source_tool, title, content,
  content_preview, content_hash, importance_score, is_flagged, tags_json, metadata_json, version, occurred_at,
  created_at)
SELECT %(tenant)s, entity, session, entity, 'tool_result', tool, title, body, left(body, 200), '', 0.5, false, '[]',
  '{}', 1, at, at FROM staged WHERE number <= %(count)s;
INSERT INTO search_documents (id, enterprise_id, kind, entity_id, project_id, session_id, type, tool, occurred_at,
  length_title, length_body, terms_title, terms_body)
SELECT number, %(tenant)s, 'observation', entity, project, session, 'tool_result', tool, at, length_title, length_body,
  terms_title, terms_body FROM staged WHERE number <= %(count)s;
INSERT INTO search_index (enterprise_id, number, terms, tokens)
SELECT %(tenant)s, number, array_to_tsvector(ARRAY(
  SELECT %(code)s || to_hex(number / 4096) || l FROM string_to_table(lexemes, E'\\n') AS l)), tokens
FROM staged WHERE number <= %(count)s;
INSERT INTO search_statistics (enterprise_id, documents, title_tokens, body_tokens, analysis_version)
SELECT %(tenant)s, count(*), sum(length_title), sum(length_body), %(version)s FROM staged WHERE number <= %(count)s;
"""
_FIRST: Final = local_scope()
_SHARED = ("projects", "sessions")  # with the same ids in every tenant
Places = Mapping[int, tuple[str, str]]  # (project, session) by the corpus's number of a project


def _placed(tx: sa.Connection, scope: Scope) -> Places:
    """Projects of a tenant that nobody asks, each with a session; the others are given the same."""
    found: dict[int, tuple[str, str]] = {}
    recording = Recording()
    for number in range(_PROJECTS):
        project = access.ensure_project(scope, tx, f"/home/dev/project{number}")
        session = new_id()
        at = int(time.time() * 1_000)
        recording.sessions.append(
            NewSession(session, project, None, "bench", session, "A session", at, {})
        )
        found[number] = project, session
    memory.record(scope, tx, recording)
    return found


def _rows(
    corpus: Corpus, places: Places, first: int, last: int, part: int
) -> Iterator[tuple[Any, ...]]:
    """Every `_PROCESSES`-th document; all are drawn, for the corpus is one stream."""
    for number in range(first, last):
        made = corpus.observation(number)
        if number % _PROCESSES != part:
            continue
        project, session = places[made.project]
        entity = new_id(made.occurred_at)
        files = (made.title.removeprefix("Edit "),)
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
            files=files,
            occurred_at=made.occurred_at,
        )
        title, body = analysis.document(made.title), analysis.document(made.body)
        document = LexicalDocument(number + 1, title.indexed, body.indexed, labels.of_entry(entry))
        lexemes, tokens = _indexed(document)
        yield (
            number + 1,
            entity,
            session,
            project,
            made.title,
            made.body,
            made.tool,
            to_iso(made.occurred_at),
            pack(title.stored),
            pack(body.stored),
            title.length,
            body.length,
            lexemes,
            tokens,
        )


def _indexed(document: LexicalDocument) -> tuple[str, str]:
    """What the adapter makes of a document: its lexemes without what they begin with, and its tokens."""
    prefix = f"code{document.number // lexical.SEGMENT:x}"
    written = lexical._lexemes("code", document).split("\n")
    tokens = f" {document.title} \n {document.body} "
    return "\n".join(lexeme.removeprefix(prefix) for lexeme in written), tokens


def stage(address: str, places: Places, first: int, last: int, part: int) -> None:
    """One process's share of the documents, analysed and copied in."""
    rows = _rows(Corpus(), places, first, last, part)
    with (
        psycopg.connect(address, autocommit=True) as raw,
        raw.cursor() as cursor,
        cursor.copy("COPY staged FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def fill(urls: Any, size: int) -> dict[str, Any]:
    """Every tenant's documents; seconds and megabytes."""
    address = urls.admin.replace("+psycopg", "")
    by_size = tenants(size)
    engine = sa.create_engine(urls.admin, poolclass=sa.NullPool)
    with engine.begin() as tx:
        tx.exec_driver_sql("SET session_replication_role = replica")
        access.make_local_organisation(tx)
        places = _placed(tx, _FIRST)
    engine.dispose()
    began = time.perf_counter()
    with psycopg.connect(address, autocommit=True) as raw:
        raw.execute(f"CREATE UNLOGGED TABLE staged ({_STAGED})".encode())
        context = multiprocessing.get_context("spawn")
        most = int(next(iter(by_size)))
        workers = [
            context.Process(target=stage, args=(address, places, 0, most, part))
            for part in range(_PROCESSES)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        analysed = time.perf_counter() - began
        print(f"{most} documents analysed after {analysed:.0f} s", flush=True)
        _spread(raw, by_size)
        began = time.perf_counter()
        raw.execute(
            "CREATE INDEX ix_search_terms ON search_index USING gin (terms)"
            " WITH (fastupdate = on, gin_pending_list_limit = 512)"
        )
        indexed = time.perf_counter() - began
        print(f"indexed after {indexed:.0f} s", flush=True)
        raw.execute("DROP TABLE staged")
        raw.execute("VACUUM ANALYZE")
        room = raw.execute(
            "SELECT pg_table_size('search_index'), pg_relation_size('ix_search_terms'),"
            " pg_total_relation_size('search_documents'), pg_database_size(current_database())"
        ).fetchone()
        assert room is not None
    return {
        "analysis_seconds": round(analysed),
        "gin_seconds": round(indexed),
        "search_index_mb": round(room[0] / 1e6),
        "gin_mb": round(room[1] / 1e6),
        "search_documents_mb": round(room[2] / 1e6),
        "database_mb": round(room[3] / 1e6),
    }


def _spread(raw: psycopg.Connection[Any], by_size: Mapping[str, Any]) -> None:
    """The staged documents as rows of every tenant, as many as it has."""
    raw.execute("SET session_replication_role = replica")
    raw.execute("DROP INDEX ix_search_terms")
    raw.execute("ALTER TABLE staged ADD PRIMARY KEY (number)")
    for label, scopes in by_size.items():
        for scope in scopes:
            values = {
                "tenant": scope.enterprise_id,
                "count": int(label),
                "code": lexical._code(scope.enterprise_id),
                "version": analysis.ANALYSIS_VERSION,
            }
            cursor = psycopg.ClientCursor(raw)
            cursor.execute(_MADE.encode(), values)
            for table in _SHARED:
                columns = raw.execute(
                    "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns"
                    " WHERE table_name = %s AND column_name <> 'enterprise_id'",
                    (table,),
                ).fetchone()
                assert columns is not None
                cursor.execute(
                    f"INSERT INTO {table} (enterprise_id, {columns[0]}) SELECT %s, {columns[0]} FROM {table}"
                    " WHERE enterprise_id = %s".encode(),
                    (scope.enterprise_id, _FIRST.enterprise_id),
                )
        print(f"  tenants of {label} are in", flush=True)


def check(urls: Any, scope: Scope, count: int) -> None:
    """That the adapter itself would have written the same row."""
    engine = sa.create_engine(urls.admin, poolclass=sa.NullPool)
    index = PostgresLexicalIndex()
    read = "SELECT terms::text, tokens FROM search_index WHERE enterprise_id = %s AND number = %s"
    with engine.connect() as tx:
        for number in (1, count // 2, count):
            key = (scope.enterprise_id, number)
            row = tx.exec_driver_sql(
                "SELECT o.title, o.content, d.project_id::text, d.session_id::text, d.entity_id::text, d.tool,"
                " extract(epoch FROM d.occurred_at) * 1000 FROM search_documents d JOIN observations o"
                " ON o.enterprise_id = d.enterprise_id AND o.id = d.entity_id"
                " WHERE d.enterprise_id = %s AND d.id = %s",
                key,
            ).one()
            title, body = analysis.document(row[0]), analysis.document(row[1])
            files = (row[0].removeprefix("Edit "),)
            entry = IndexEntry(
                "observation", row[4], row[0], row[1], row[2], row[3], "tool_result", row[5], None,
                (), files, int(row[6]),
            )  # fmt: skip
            there = tx.exec_driver_sql(read, key).one()
            index.remove(scope, tx, [number])
            document = LexicalDocument(number, title.indexed, body.indexed, labels.of_entry(entry))
            index.add(scope, tx, [document])
            assert tuple(tx.exec_driver_sql(read, key).one()) == tuple(there)
        tx.rollback()
    engine.dispose()


async def measure(urls: Any, size: int, queries: int) -> dict[str, Any]:
    """By size of the tenant and family of query."""
    database = PostgresDatabase(urls.runtime, 1)
    searching = SearchService(database, PostgresLexicalIndex(), memory.get_many)
    settle()  # as a replica does
    found: dict[str, Any] = {}
    for label, scopes in tenants(size).items():
        scope = scopes[0]
        # As on a server that has been asked before: other questions first, not measured.
        for family in families(Corpus(seed=14), int(label)).values():
            for query in family[:_WARMING]:
                await searching.search(scope, query)
        cost_of_all = Cost(await backend(database, scope))
        by_family: dict[str, Any] = {}
        for name, family in families(Corpus(seed=13), int(label)).items():
            cost = Cost(await backend(database, scope))
            await _ask(searching, scope, family[:queries], cost, cost_of_all)
            by_family[name] = cost.figures()
            print(f"  {label:8s}{name:20s}", json.dumps(by_family[name]), flush=True)
        found[label] = {"all": cost_of_all.figures(), "families": by_family}
    await database.close()
    return found


async def _ask(searching: SearchService, scope: Scope, family: list[Query], *costs: Cost) -> None:
    for query in family:
        with costs[0].of_one(), costs[1].of_one():
            await searching.search(scope, query)


def _fill(size: int, urls: Any) -> dict[str, Any]:
    """Fill, and look at what was filled."""
    result = fill(urls, size)
    label, scopes = next(iter(tenants(size).items()))
    check(urls, scopes[0], int(label))
    return result


def main() -> None:
    """Fill, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument(
        "--keep", type=Path, help="keep the server's data here, and go on with what is there"
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results/server_search.json"))
    given = parser.parse_args()
    report: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    report |= facts() | {"candidates": [CANDIDATES, MAX_CANDIDATES]}
    with postgres(given.keep) as server:
        for size in sorted(int(size) for size in given.sizes.split(",")):
            with filled(server, size, partial(_fill, size), given.keep) as (
                urls,
                result,
            ):
                print(size, "documents", result, flush=True)
                result["tenants"] = asyncio.run(measure(urls, size, given.queries))
            report[str(size)] = result | machine()
            given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
