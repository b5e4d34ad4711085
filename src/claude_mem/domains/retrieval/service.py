"""Searching, and keeping the index in step with what is remembered.

Owns the order of a search: parse, candidates, one score for all, one hydrate read. Never holds a
transaction of its own for indexing: that happens inside the recording one, so that what is
committed can be found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import analysis, labels, repository
from claude_mem.domains.retrieval.highlight import Wanted, highlights
from claude_mem.domains.retrieval.model import (
    Collection,
    Filters,
    Hit,
    Hydrate,
    IndexEntry,
    Query,
    SearchResult,
    StoredDocument,
)
from claude_mem.domains.retrieval.query import ParsedQuery, parse
from claude_mem.domains.retrieval.ranking import CorpusStatistics, Field, Scorer
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.lexical import LexicalDocument, LexicalIndex, LexicalPlan

# How many documents are scored: enough that a page is never cut short by the engine's first guess.
CANDIDATES: Final = 100
MAX_CANDIDATES: Final = 2_000
_SPARE = 60
_REBUILD_BATCH = 500
_REMOVE_PAGE = 5_000


class IndexingService:
    """Keeps the text index; every method works inside the caller's transaction."""

    def __init__(self, lexical: LexicalIndex) -> None:
        self._lexical = lexical

    def index(self, scope: Scope, tx: Tx, entries: Sequence[IndexEntry]) -> None:
        """Index entries; one that is there already is replaced."""
        latest = {EntityRef(entry.kind, entry.entity_id): entry for entry in entries}
        if not latest:
            return
        self.remove(scope, tx, latest)
        first = repository.last_number(scope, tx) + 1
        stored: list[tuple[StoredDocument, IndexEntry]] = []
        documents: list[LexicalDocument] = []
        for number, (ref, entry) in enumerate(latest.items(), first):
            title, body = analysis.document(entry.title), analysis.document(entry.body)
            stored.append(
                (
                    StoredDocument(
                        number,
                        ref,
                        entry.occurred_at,
                        title.stored,
                        title.length,
                        body.stored,
                        body.length,
                    ),
                    entry,
                )
            )
            documents.append(
                LexicalDocument(number, title.indexed, body.indexed, labels.of_entry(entry))
            )
        repository.add(scope, tx, stored)
        self._lexical.add(scope, tx, documents)

    def remove(self, scope: Scope, tx: Tx, refs: Iterable[EntityRef]) -> None:
        """Take entities out of the index; those that are not in it are passed over."""
        numbers = sorted(repository.numbers_of(scope, tx, refs).values())
        self._remove(scope, tx, numbers)

    def purge(self, scope: Scope, tx: Tx) -> None:
        """Leave nothing of what was taken out in the index's files."""
        self._lexical.purge(scope, tx)

    def rebuild(self, scope: Scope, tx: Tx, entries: Iterable[IndexEntry]) -> int:
        """Make the enterprise's index anew from what is remembered; returns how many documents."""
        while numbers := repository.numbers_page(scope, tx, 0, _REMOVE_PAGE):
            self._remove(scope, tx, numbers)
        count = 0
        remaining = iter(entries)
        while batch := list(islice(remaining, _REBUILD_BATCH)):
            self.index(scope, tx, batch)
            count += len(batch)
        repository.mark_current(scope, tx)
        return count

    def is_current(self, scope: Scope, tx: Tx) -> bool:
        """Whether the index was made by this program's analysis; if not, `rebuild` it."""
        found = repository.collection(scope, tx)
        return found.analysis_version == analysis.ANALYSIS_VERSION

    def _remove(self, scope: Scope, tx: Tx, numbers: Sequence[int]) -> None:
        if numbers:
            self._lexical.remove(scope, tx, numbers)
            repository.remove(scope, tx, numbers)


class SearchService:
    """Ranked lexical search. `hydrate` is `memory`'s read of rows by reference."""

    def __init__(self, database: Database, lexical: LexicalIndex, hydrate: Hydrate) -> None:
        self._database = database
        self._lexical = lexical
        self._hydrate = hydrate

    async def search(self, scope: Scope, query: Query, now: int | None = None) -> SearchResult:
        """The best hits of the scope's enterprise; `now` (Unix ms) bounds an open end of time."""
        moment = now_ms() if now is None else now
        return await self._database.read(scope, lambda tx: self._search(scope, tx, query, moment))

    def _search(self, scope: Scope, tx: Tx, query: Query, now: int) -> SearchResult:
        parsed = parse(query.text)
        nothing = SearchResult((), 0, False, parsed.used, parsed.dropped)
        filters = _resolve(scope, tx, query)
        collection = repository.collection(scope, tx)
        if parsed.is_empty or filters is None or not collection.documents:
            return nothing
        plan = _plan(parsed, filters, collection, query, now)
        candidates = self._lexical.candidates(scope, tx, plan)
        found = repository.load(scope, tx, candidates.numbers)
        documents = [document for document in found if _in_time(document, filters)]
        scorer = Scorer(
            _statistics(collection),
            # A word that nobody has cannot be scored by any document: it is no part of the scale.
            {word: count for word, count in candidates.frequencies.items() if count},
        )
        page = _best(documents, scorer)[query.offset : query.offset + query.limit]
        hits = self._hits(scope, tx, scorer, page)
        return SearchResult(
            hits=hits,
            total=max(candidates.total - (len(found) - len(documents)), len(hits)),
            total_is_estimate=candidates.total_is_estimate,
            used=parsed.used,
            dropped=parsed.dropped,
        )

    def _hits(
        self, scope: Scope, tx: Tx, scorer: Scorer, page: Sequence[StoredDocument]
    ) -> tuple[Hit, ...]:
        rows = self._hydrate(scope, tx, [document.ref for document in page])
        names = {row["id"]: row["name"] for row in access.projects(scope, tx)} if rows else {}
        wanted = Wanted(scorer.words)
        return tuple(
            _hit(document, rows[document.ref], names, scorer, wanted)
            for document in page
            if document.ref in rows
        )


def _resolve(scope: Scope, tx: Tx, query: Query) -> Filters | None:
    """The filters with projects and session looked up; None when there is no such session."""
    filters = query.filters
    if query.project is not None:
        wanted = tuple(access.match_projects(scope, tx, query.project))
        filters = replace(filters, project_ids=wanted)
    if query.session is not None:
        try:
            session = memory.get_session(scope, tx, query.session)
        except NotFound:
            return None
        filters = replace(filters, session_id=session["id"])
    return filters


def _plan(
    parsed: ParsedQuery, filters: Filters, collection: Collection, query: Query, now: int
) -> LexicalPlan:
    beginnings = [f"{prefix.text}*" for prefix in parsed.prefixes]
    stems = [stem for prefix in parsed.prefixes for stem in prefix.also]
    excluded_beginnings = tuple((f"{prefix}*",) for prefix in parsed.excluded_prefixes)
    return LexicalPlan(
        words=tuple(dict.fromkeys((*parsed.terms, *beginnings, *stems))),
        phrases=parsed.phrases,
        excluded=(*parsed.excluded, *excluded_beginnings),
        labels=labels.of_filters(filters, now),
        documents=collection.documents,
        first=collection.first,
        last=collection.last,
        shared=collection.shared,
        limit=min(max(query.offset + query.limit + _SPARE, CANDIDATES), MAX_CANDIDATES),
    )


def _statistics(collection: Collection) -> CorpusStatistics:
    documents = max(collection.documents, 1)
    return CorpusStatistics(
        documents, collection.title_tokens / documents, collection.body_tokens / documents
    )


def _in_time(document: StoredDocument, filters: Filters) -> bool:
    """The moment exactly: labels are whole days."""
    return (filters.since is None or document.occurred_at >= filters.since) and (
        filters.until is None or document.occurred_at <= filters.until
    )


def _fields(document: StoredDocument) -> tuple[Field, Field]:
    return (
        Field(document.title, document.title_length),
        Field(document.body, document.body_length),
    )


def _best(documents: Iterable[StoredDocument], scorer: Scorer) -> list[StoredDocument]:
    """Highest relevance first; of equals the newer."""
    return sorted(
        documents,
        key=lambda document: (
            scorer.relevance(*_fields(document)),
            document.occurred_at,
            document.number,
        ),
        reverse=True,
    )


def _hit(
    document: StoredDocument,
    row: Mapping[str, Any],
    projects: Mapping[str, str],
    scorer: Scorer,
    wanted: Wanted,
) -> Hit:
    score = scorer.explain(*_fields(document))
    in_fields = (("title", score.in_title), ("content", score.in_body))
    passages = highlights(text_of(row), wanted)
    if not passages and score.in_title:
        passages = highlights(title_of(row), wanted)
    return Hit(
        ref=document.ref,
        row=row,
        project=projects.get(row.get("project_id") or ""),
        relevance=score.relevance,
        shares=score.parts,
        matched_fields=tuple(name for name, words in in_fields if words),
        highlights=tuple(passages),
    )


def title_of(row: Mapping[str, Any]) -> str:
    """What a result is called, whatever its kind: its own title, its file, or its session's title."""
    return str(row.get("title") or row.get("file_path") or row.get("session_title") or "")


def text_of(row: Mapping[str, Any]) -> str:
    """The text of a row, whatever its kind."""
    return str(row.get("content") or row.get("description") or row.get("diff") or "")
