"""Searching, and keeping the index in step with what is remembered.

Owns the order of a search: parse, candidates, one score for all, one hydrate read. Never holds a
transaction of its own for indexing: that happens inside the recording one, so that what is
committed can be found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import (
    analysis,
    glossary,
    intent,
    kept,
    labels,
    projects,
    repository,
    timed,
    traits,
    translating,
    when,
)
from claude_mem.domains.retrieval.characters import alone
from claude_mem.domains.retrieval.embedding import VectorKeeper
from claude_mem.domains.retrieval.headings import READ_CHARS, heading
from claude_mem.domains.retrieval.highlight import Wanted
from claude_mem.domains.retrieval.hits import shown
from claude_mem.domains.retrieval.hybrid import (
    EMBED_S,
    NO_MEANING,
    Coming,
    Hybrid,
    Meaning,
    Meant,
    Question,
    Understanding,
    fields_of,
)
from claude_mem.domains.retrieval.model import (
    Collection,
    Filters,
    Hydrate,
    IndexEntry,
    Query,
    Ranked,
    Ranking,
    SearchResult,
    StoredDocument,
)
from claude_mem.domains.retrieval.planning import plan_of
from claude_mem.domains.retrieval.query import ParsedQuery, parse
from claude_mem.domains.retrieval.ranking import (
    FOR_FUSION,
    PLAIN,
    CorpusStatistics,
    inverse_document_frequency,
)
from claude_mem.domains.retrieval.reranking import TOP, Rerank
from claude_mem.domains.retrieval.terms import pack
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.cache import Cache
from claude_mem.ports.database import Database, Tx
from claude_mem.ports.lexical import LexicalDocument, LexicalIndex, LexicalPlan

# With fewer, nearly every word is in many of them, and none would count as rare.
_FEW_DOCUMENTS = 100
_REBUILD_BATCH = 500
_REMOVE_PAGE = 5_000
_REMOVE_STEP = 500


class IndexingService:
    """Keeps the text index; every method works inside the caller's transaction.

    `vectors` keeps the vectors in step, where given. `place` is the zone of enterprises that have none of their own.
    """

    def __init__(
        self, lexical: LexicalIndex, vectors: VectorKeeper | None = None, place: str = "UTC"
    ) -> None:
        self._lexical = lexical
        self._vectors = vectors
        self._place = place

    def index(self, scope: Scope, tx: Tx, entries: Sequence[IndexEntry]) -> None:
        """Index entries; one that is there already is replaced."""
        latest = {EntityRef(entry.kind, entry.entity_id): entry for entry in entries}
        if not latest:
            return
        zone = access.timezone(scope, tx, self._place)
        place = when.zone(zone)
        # Before anything is held: nobody else of the enterprise is given numbers until the transaction ends.
        analysed = [
            (ref, entry, heading(entry, place), analysis.document(entry.body))
            for ref, entry in latest.items()
        ]
        packed = [(pack(title.stored), pack(body.stored)) for _, _, title, body in analysed]
        numbers = repository.numbers_of(scope, tx, latest)
        self._remove(scope, tx, sorted(numbers.values()))
        if self._vectors is not None and numbers:
            self._vectors.replaced(scope, tx, [latest[ref] for ref in numbers])
        first = repository.next_number(scope, tx)
        stored: list[tuple[StoredDocument, IndexEntry]] = []
        documents: list[LexicalDocument] = []
        for number, ((ref, entry, title, body), (in_title, in_body)) in enumerate(
            zip(analysed, packed, strict=True), first
        ):
            stored.append(
                (
                    StoredDocument(
                        number,
                        ref.kind,
                        ref.id,
                        entry.project_id,
                        entry.session_id,
                        entry.role,
                        entry.type,
                        entry.tool,
                        entry.speaker,
                        entry.place,
                        traits.of(entry.body[:READ_CHARS], is_speech=entry.is_speech),
                        entry.importance,
                        entry.occurred_at,
                        in_title,
                        title.length,
                        in_body,
                        body.length,
                    ),
                    entry,
                )
            )
            documents.append(
                LexicalDocument(number, title.indexed, body.indexed, labels.of_entry(entry))
            )
        repository.add(scope, tx, stored, zone)
        self._lexical.add(scope, tx, documents)
        if self._vectors is not None:
            self._vectors.added(scope, tx)

    def remove(self, scope: Scope, tx: Tx, refs: Iterable[EntityRef]) -> None:
        """Take entities out of the index; those that are not in it are passed over."""
        numbers = repository.numbers_of(scope, tx, refs)
        self._remove(scope, tx, sorted(numbers.values()))
        if self._vectors is not None and numbers:
            self._vectors.removed(scope, tx, numbers)

    def purge(self, scope: Scope, tx: Tx) -> None:
        """Leave nothing of what was taken out in the index's files."""
        self._lexical.purge(scope, tx)
        if self._vectors is not None:
            self._vectors.purge(scope, tx)

    def rebuild(self, scope: Scope, tx: Tx, entries: Iterable[IndexEntry]) -> int:
        """Make the enterprise's index anew from what is remembered; returns how many documents."""
        while numbers := repository.numbers_page(scope, tx, 0, _REMOVE_PAGE):
            self._remove(scope, tx, numbers)
        count = 0
        remaining = iter(entries)
        while batch := list(islice(remaining, _REBUILD_BATCH)):
            self.index(scope, tx, batch)
            count += len(batch)
        if self._vectors is not None:
            self._vectors.made_anew(scope, tx)
        repository.mark_current(scope, tx)
        repository.mark_zone(scope, tx, access.timezone(scope, tx, self._place))
        return count

    def start_renewal(self, scope: Scope, tx: Tx) -> None:
        """Begin to make the index anew in steps, or go on where it was broken off.

        Then `renew` everything that is remembered, in any pieces and order, then `finish_renewal`.
        What is indexed meanwhile is already new.
        """
        repository.mark_stale(scope, tx, access.timezone(scope, tx, self._place))

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
        if self._vectors is not None and left:
            self._vectors.removed_numbers(scope, tx, left)
        self._remove(scope, tx, left)
        if len(left) == _REMOVE_STEP:
            return False
        repository.mark_current(scope, tx)
        return True

    def is_current(self, scope: Scope, tx: Tx) -> bool:
        """Whether the index was made by this program's analysis, in the enterprise's zone; if not, `rebuild` it."""
        found = repository.collection(scope, tx)
        zone = access.timezone(scope, tx, self._place)
        in_zone = not found.documents or repository.timezone(scope, tx) == zone
        return found.analysis_version == analysis.ANALYSIS_VERSION and in_zone

    def _remove(self, scope: Scope, tx: Tx, numbers: Sequence[int]) -> None:
        if numbers:
            self._lexical.remove(scope, tx, numbers)
            repository.remove(scope, tx, numbers)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search that has something to look for, with everything its ranking depends on."""

    query: Query
    parsed: ParsedQuery
    filters: Filters
    collection: Collection
    plan: LexicalPlan
    question: Question
    meaning: Meant
    phrases: tuple[glossary.Phrase, ...]  # that are looked for in the other language too

    @property
    def plans(self) -> tuple[LexicalPlan, ...]:
        """For what was asked, and for its translations where there are any."""
        more = translating.plan_of(self.plan, self.phrases)
        return (self.plan,) if more is None else (self.plan, more)


class SearchService:
    """Ranked search by words and by meaning. `hydrate` is `memory`'s read of rows by reference.

    `understanding` makes vectors of questions; without it, or while it cannot, the words alone are searched. `place` is
    the IANA zone in which "yesterday" is meant, where an enterprise has none. `rerank` puts the first results in
    another order, where there is a model that reads them. `at_once`: the words are looked up while a question's vector
    is made. Its reader waits for that then, so it is for databases whose readers keep nobody from anything.

    Where a cache is given, what the index says is kept there until the index changes; rows are always read anew.
    """

    def __init__(
        self,
        database: Database,
        lexical: LexicalIndex,
        hydrate: Hydrate,
        cache: Cache | None = None,
        understanding: Understanding | None = None,
        place: str = "UTC",
        rerank: Rerank | None = None,
        at_once: bool = False,
    ) -> None:
        self._rerank = rerank
        self._at_once = at_once and cache is None
        self.understanding = understanding or Understanding(None, None)
        self._hybrid = Hybrid(self.understanding.leg, lexical)
        self._place = place
        self._database = database
        self._lexical = lexical
        self._scripts = translating.Scripts(lexical)
        self._hydrate = hydrate
        self._cache = cache
        self._names: dict[str, Mapping[str, str]] = {}

    async def search(self, scope: Scope, query: Query, now: int | None = None) -> SearchResult:
        """The best hits of the scope's enterprise; `now` (Unix ms) bounds an open end of time."""
        moment = now_ms() if now is None else now
        if self._rerank is None or query.offset >= TOP or query.fusion != "score":
            return await self._search(scope, query, moment)
        # Every page that has some of the first is cut from the same ones: else a hit would be on two, another on none.
        end = query.offset + query.limit
        found = await self._search(scope, replace(query, offset=0, limit=max(end, TOP)), moment)
        told = await self._rerank(query.text, found.hits)
        page = tuple(told.items[query.offset : end])
        return replace(found, hits=page, not_reranked=told.degraded)

    async def _search(self, scope: Scope, query: Query, moment: int) -> SearchResult:
        meaning = await self.meaning(query, moment)
        try:
            if self._cache is None:
                return await self._database.read(
                    scope, lambda tx: self.find(scope, tx, query, moment, meaning)
                )
            return await self._search_through(self._cache, scope, query, moment, meaning.get())
        finally:
            meaning.drop()

    async def meaning(self, query: Query, now: int, seconds: float = EMBED_S) -> Meant:
        """What a query means, for `find`: made within about so many seconds.

        Before a read begins; or beside it, where readers wait `at_once`: then the caller drops it after the read.
        """
        if query.fusion == "lexical":
            return NO_MEANING
        asked = intent.read(query.text, now, self._place)
        making = self.understanding.begin(asked, seconds, always=query.fusion == "meaning")
        if isinstance(making, Meaning):
            return making
        return Coming(making, seconds) if self._at_once else await making

    def find(
        self, scope: Scope, tx: Tx, query: Query, now: int, meaning: Meant = NO_MEANING
    ) -> SearchResult:
        """The same inside the caller's own read, for what is put together from several reads."""
        asked = self._asked(scope, tx, query, now, meaning)
        if asked is None:
            return _nothing(query)
        return self._result(scope, tx, asked, self._rank(scope, tx, asked))

    def plans(
        self, scope: Scope, tx: Tx, query: Query, now: int
    ) -> tuple[tuple[LexicalPlan, ...], Filters] | None:
        """What a query asks of the index, and its filters looked up; None when nothing can be found."""
        asked = self._asked(scope, tx, query, now, NO_MEANING)
        return None if asked is None else (asked.plans, asked.filters)

    async def _search_through(
        self, cache: Cache, scope: Scope, query: Query, now: int, meaning: Meaning
    ) -> SearchResult:
        """First which ranking it would be, then the kept one with rows read anew; or all of it, to be kept.

        The name is made of what was committed when it was asked for, and a ranking goes under the name that its own
        snapshot makes: none is ever found under a later state of the index.
        """
        asked = await self._database.read(
            scope, lambda tx: self._asked(scope, tx, query, now, meaning)
        )
        if asked is None:
            return _nothing(query)
        ranking = kept.decode(await cache.get(scope, _name(scope, asked)))
        if ranking is not None:
            found = ranking  # the name for the function below, which runs elsewhere
            return await self._database.read(
                scope, lambda tx: self._result(scope, tx, asked, found)
            )

        def work(tx: Tx) -> tuple[SearchResult, tuple[_Asked, Ranking] | None]:
            again = self._asked(scope, tx, query, now, meaning)
            if again is None:
                return _nothing(query), None
            fresh = self._rank(scope, tx, again)
            return self._result(scope, tx, again, fresh), (again, fresh)

        result, to_keep = await self._database.read(scope, work)
        if to_keep is not None and not to_keep[1].degraded:
            name = _name(scope, to_keep[0])
            await cache.put(scope, name, kept.encode(to_keep[1]), kept.KEEP_S)
        return result

    def _asked(self, scope: Scope, tx: Tx, query: Query, now: int, meaning: Meant) -> _Asked | None:
        """None when nothing can be found."""
        place, read = self._place, intent.read(query.text, now, self._place)
        if read.times and (place := access.timezone(scope, tx, place)) != self._place:
            read = intent.read(query.text, now, place)
        parsed = parse(query.text if query.fusion == "lexical" else read.topic)
        filters = _resolve(scope, tx, query)
        collection = repository.collection(scope, tx)
        if filters is None or not collection.documents:
            return None
        if parsed.is_empty and (meaning.get().vector is None or parsed.excluded):
            return None
        plan = plan_of(parsed, filters, collection, query, now)
        question = Question(query.text, read, now, place, query.fusion, query.in_haste)
        both = bool(parsed.loose) and self._scripts.has_chinese(scope, tx, plan, collection)
        phrases = glossary.phrases(parsed.loose, from_english=both)
        return _Asked(query, parsed, filters, collection, plan, question, meaning, phrases)

    def _rank(self, scope: Scope, tx: Tx, asked: _Asked) -> Ranking:
        query, collection = asked.query, asked.collection
        # Nobody turns the pages of what is asked in haste, nor is told how much there is.
        loose = query.in_haste and projects.are_all(asked.filters)
        known: dict[int, StoredDocument] = {}
        find = partial(self._lexical.candidates, scope, tx)
        own, *more = (
            projects.candidates(
                asked.plans, asked.filters, find, partial(repository.load, scope, tx), known
            )
            if loose
            else map(find, asked.plans)
        )
        candidates = translating.joined(own, *more)
        is_patient = query.fusion == "score" and not query.in_haste
        if not candidates.numbers and is_patient and (singles := alone(query.text)):
            candidates = find(replace(asked.plan, words=singles, limit=translating.MOST))
        of_then = timed.candidates(
            *(scope, tx, self._lexical, asked.plan, _times(asked), asked.question.now),
            asked.question.place,
        )
        numbers = dict.fromkeys((*candidates.numbers, *of_then))
        found = [known[it] for it in numbers if it in known]
        found += repository.load(scope, tx, [it for it in numbers if it not in known])
        documents = [it for it in found if asked.filters.holds(it.occurred_at)]
        sums = (collection.documents, collection.title_tokens, collection.body_tokens)
        whole = CorpusStatistics.of(*sums)
        made = partial(translating.scorer, whole, own, more, asked.phrases)
        scorer = made(PLAIN)
        judged_by = scorer if query.fusion == "lexical" else made(FOR_FUSION)
        hits = self._hybrid.find(
            *(scope, tx, asked.question, asked.meaning, asked.filters, asked.plan),
            *(documents, judged_by, query.offset + query.limit),
        )
        page = hits.ranked[query.offset :]
        many = max(collection.documents, _FEW_DOCUMENTS)
        unknown = inverse_document_frequency(many, 0)
        return Ranking(
            page=tuple(
                Ranked(it.ref, scorer.explain(*fields_of(it)), relevance, reasons)
                for it, relevance, reasons in page
            ),
            words=scorer.words,
            total=candidates.total - (len(found) - len(documents)) + hits.meant,
            total_is_estimate=candidates.total_is_estimate or hits.meant > 0,
            degraded=hits.degraded,
            rarity={
                word: inverse_document_frequency(many, count) / unknown
                for word, count in own.frequencies.items()
            },
        )

    def _result(self, scope: Scope, tx: Tx, asked: _Asked, ranking: Ranking) -> SearchResult:
        """A ranking as it is shown: with the rows as they are now."""
        rows = self._hydrate(scope, tx, [ranked.ref for ranked in ranking.page])
        names = self._project_names(scope, tx, rows.values())
        wanted = Wanted(ranking.words) if asked.query.marked else None
        hits = tuple(
            shown(ranked, rows[ranked.ref], names, wanted)
            for ranked in ranking.page
            if ranked.ref in rows
        )
        return SearchResult(
            hits=hits,
            total=max(ranking.total, len(hits)),
            total_is_estimate=ranking.total_is_estimate,
            used=asked.parsed.used,
            dropped=asked.parsed.dropped,
            rarity=ranking.rarity,
            degraded=ranking.degraded or asked.meaning.get().degraded,
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


def _times(asked: _Asked) -> tuple[when.Time, ...]:
    """The times that the fusion weighs."""
    return asked.question.asked.times if asked.question.fusion == "score" else ()


def _nothing(query: Query) -> SearchResult:
    parsed = parse(query.text)
    return SearchResult((), 0, False, parsed.used, parsed.dropped)


def _name(scope: Scope, asked: _Asked) -> str:
    meant = asked.meaning.get()
    meaning = meant.model if meant.vector is not None else None
    place = asked.question.place
    day = when.day_of(asked.question.now, when.zone(place)).isoformat()
    return kept.name_of(
        scope, asked.plan, asked.filters, asked.collection, asked.query, (meaning, f"{day} {place}")
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
