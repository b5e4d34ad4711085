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
from claude_mem.domains.retrieval.ranking import (
    CorpusStatistics,
    Field,
    Scorer,
    inverse_document_frequency,
)
from claude_mem.domains.retrieval.terms import pack
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.lexical import LexicalDocument, LexicalIndex, LexicalPlan

# How many documents are scored: enough that a page is never cut short by the engine's first guess.
CANDIDATES: Final = 100
MAX_CANDIDATES: Final = 2_000
_SPARE = 60
_FEW_DOCUMENTS = (
    100  # with fewer, nearly every word is in many of them, and none would count as rare
)
_MARKED = 12  # words that are looked for in a result's text, those with the greatest shares first
_REBUILD_BATCH = 500
_REMOVE_PAGE = 5_000
_REMOVE_STEP = 500


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
        first = repository.next_number(scope, tx)
        stored: list[tuple[StoredDocument, IndexEntry]] = []
        documents: list[LexicalDocument] = []
        for number, (ref, entry) in enumerate(latest.items(), first):
            title, body = analysis.document(entry.title), analysis.document(entry.body)
            stored.append(
                (
                    StoredDocument(
                        number,
                        ref.kind,
                        ref.id,
                        entry.occurred_at,
                        pack(title.stored),
                        title.length,
                        pack(body.stored),
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

    def start_renewal(self, scope: Scope, tx: Tx) -> None:
        """Begin to make the index anew in steps, or go on where it was broken off.

        Then `renew` everything that is remembered, in any pieces and order, then `finish_renewal`.
        What is indexed meanwhile is already new.
        """
        repository.mark_stale(scope, tx)

    def renew(self, scope: Scope, tx: Tx, entries: Sequence[IndexEntry]) -> int:
        """Make anew what is still old of some entries; returns how many that were."""
        through = repository.stale_through(scope, tx)
        refs = [EntityRef(entry.kind, entry.entity_id) for entry in entries]
        numbers = repository.numbers_of(scope, tx, refs)
        old = [
            entry
            for entry, ref in zip(entries, refs, strict=True)
            if numbers.get(ref, 0) <= through
        ]
        self.index(scope, tx, old)
        return len(old)

    def finish_renewal(self, scope: Scope, tx: Tx) -> bool:
        """Take out some of what is remembered no more; True when nothing old is left."""
        through = repository.stale_through(scope, tx)
        numbers = repository.numbers_page(scope, tx, 0, _REMOVE_STEP)
        left = [number for number in numbers if number <= through]
        self._remove(scope, tx, left)
        if len(left) == _REMOVE_STEP:
            return False
        repository.mark_current(scope, tx)
        return True

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
        self._names: dict[str, Mapping[str, str]] = {}

    async def search(self, scope: Scope, query: Query, now: int | None = None) -> SearchResult:
        """The best hits of the scope's enterprise; `now` (Unix ms) bounds an open end of time."""
        moment = now_ms() if now is None else now
        return await self._database.read(scope, lambda tx: self.find(scope, tx, query, moment))

    def find(self, scope: Scope, tx: Tx, query: Query, now: int) -> SearchResult:
        """The same inside the caller's own read, for what is put together from several reads."""
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
        hits = self._hits(scope, tx, scorer, page, marked=query.marked)
        many = max(collection.documents, _FEW_DOCUMENTS)
        unknown = inverse_document_frequency(many, 0)
        return SearchResult(
            hits=hits,
            total=max(candidates.total - (len(found) - len(documents)), len(hits)),
            total_is_estimate=candidates.total_is_estimate,
            used=parsed.used,
            dropped=parsed.dropped,
            rarity={
                word: inverse_document_frequency(many, count) / unknown
                for word, count in candidates.frequencies.items()
            },
        )

    def _hits(
        self, scope: Scope, tx: Tx, scorer: Scorer, page: Sequence[StoredDocument], *, marked: bool
    ) -> tuple[Hit, ...]:
        rows = self._hydrate(scope, tx, [document.ref for document in page])
        names = self._project_names(scope, tx, rows.values())
        wanted = Wanted(scorer.words) if marked else None
        return tuple(
            _hit(document, rows[document.ref], names, scorer, wanted)
            for document in page
            if document.ref in rows
        )

    def _project_names(
        self, scope: Scope, tx: Tx, rows: Iterable[Mapping[str, Any]]
    ) -> Mapping[str, str]:
        """Names by id. A project keeps its name, so they are read again only when one is missing."""
        known = self._names.get(scope.enterprise_id, {})
        if any((row.get("project_id") or "") not in known for row in rows):
            known = {"": "", **{row["id"]: row["name"] for row in access.projects(scope, tx)}}
            self._names[scope.enterprise_id] = known
        return known


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
    wanted: Wanted | None,
) -> Hit:
    score = scorer.explain(*_fields(document))
    in_fields = (("title", score.in_title), ("content", score.in_body))
    passages: Sequence[str] = ()
    if wanted is not None:
        matched = [word for word, _ in score.parts[:_MARKED]]
        passages = highlights(text_of(row), wanted, only=matched)
        if not passages and score.in_title:
            passages = highlights(title_of(row), wanted, only=matched)
    return Hit(
        ref=document.ref,
        row=row,
        project=projects.get(row.get("project_id") or "") or None,
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
