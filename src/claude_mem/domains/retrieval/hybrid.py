"""Both legs of a search put together: what the words find, what the meaning finds, and one order of it all.

Owns which documents are candidates and what `fusion` is told of each. Works with either leg alone. Never embeds: the
vector of the question is made before the read begins (`Meaning`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Final, TypeAlias
from unicodedata import category

from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import beside, fusion, glossary, intent, repeats, repository
from claude_mem.domains.retrieval.characters import Characters
from claude_mem.domains.retrieval.fusion import Asked, Candidate, Fused
from claude_mem.domains.retrieval.model import Filters, StoredDocument
from claude_mem.domains.retrieval.ranking import Field, Judge, Judged
from claude_mem.domains.retrieval.translating import TranslatingScorer
from claude_mem.domains.retrieval.vector_leg import VectorLeg
from claude_mem.kernel.errors import Invalid, MemError, Unavailable
from claude_mem.kernel.redact import mask_text
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.lexical import LexicalIndex, LexicalPlan
from claude_mem.ports.vectors import VectorModel

NEAREST: Final = 200  # things asked of the vector engine
FILTERED: Final = 600  # of the newest that a filter leaves, where it leaves few of those
NEAREST_IN_HASTE: Final = 40
FEW: Final = 60  # that a filter left
EMBED_S: Final = 2.0  # a question's vector that takes longer is done without
SHORT_ANSWER: Final = 80  # tokens
GLOSS_COVERAGE: Final = 0.6  # of its characters, that a question is understood by its translation
GLOSS_TRUST: Final = 0.4  # in what is understood so
_TOO_LONG: Final = "the model took too long"
_SPARE_S: Final = 0.5  # in which a loop that others keep busy tells of what was made
MAX_EMBEDDED: Final = 2_000  # characters of a question: a model sees less


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a question means: `vector` as `model` made it, or why there is none. `trust` is what it is worth, 0..1.

    `is_translated`: it is what the glossary's words mean, for want of a model that reads the question's.
    """

    vector: bytes | None = None
    model: VectorModel | None = None
    trust: float = 0.0
    degraded: str = ""
    is_translated: bool = False

    def get(self) -> Meaning:
        """Itself: see `Coming`."""
        return self

    def drop(self) -> None:
        """Nothing is being made."""


NO_MEANING: Final = Meaning()


class Coming:
    """A meaning that is being made while a reader looks the words up; it is waited for where it is needed.

    Made on the loop, where `making` runs; `get` blocks, so it is for other threads. `drop` it in the end.
    """

    def __init__(self, making: Coroutine[Any, Any, Meaning], seconds: float) -> None:
        self._future = asyncio.run_coroutine_threadsafe(making, asyncio.get_running_loop())
        self._until = time.monotonic() + seconds + _SPARE_S

    def get(self) -> Meaning:
        """What came of it; why none did, where the loop ends or stands still."""
        try:
            return self._future.result(max(self._until - time.monotonic(), 0.0))
        except (TimeoutError, CancelledError):
            return Meaning(degraded=_TOO_LONG)

    def drop(self) -> None:
        """It is needed no more."""
        self._future.cancel()


Meant: TypeAlias = Meaning | Coming


class Understanding:
    """Makes a question's `Meaning`; without an embedder there is none."""

    def __init__(self, embedder: Embedder | None, leg: VectorLeg | None) -> None:
        self._embedder = embedder
        self.leg = leg

    @property
    def is_there(self) -> bool:
        """Whether anything makes vectors here, now or later."""
        return self._embedder is not None and self.leg is not None

    def begin(
        self, asked: intent.Intent, seconds: float = EMBED_S, *, always: bool = False
    ) -> Meaning | Coroutine[Any, Any, Meaning]:
        """A question's meaning where there is no vector of it, or what makes it, within about so many seconds.

        `always`: also where the model's opinion is worth nothing. Neither raises: what cannot be had is told in
        `degraded`.
        """
        if self._embedder is None or self.leg is None:
            return NO_MEANING  # words are all that is searched here: nothing is missing
        state = self._embedder.state()
        if not state.ready:
            return Meaning(degraded=state.reason or "there is no model")
        said, trust = (asked.topic, 1.0) if always else _readable(asked, state.languages)
        # What is asked was never masked, as all that is remembered was; the model may be somebody else's.
        text = mask_text(said[:MAX_EMBEDDED]).strip()
        if not trust or not _says_something(text, state.languages):
            return NO_MEANING  # nothing is missing: the model has no opinion of it
        return self._made(self._embedder, text, trust, said != asked.topic, seconds)

    @staticmethod
    async def _made(
        embedder: Embedder, text: str, trust: float, is_translated: bool, seconds: float
    ) -> Meaning:
        try:
            async with asyncio.timeout(seconds):
                vector = await embedder.query(text)
        except TimeoutError:
            return Meaning(degraded=_TOO_LONG)
        except MemError as error:
            return Meaning(degraded=error.message)
        return Meaning(vector, embedder.state().model, trust, is_translated=is_translated)


def _readable(asked: intent.Intent, languages: str) -> tuple[str, float]:
    """What of a question the model can read, and what its opinion of that is worth: to a model of English a question
    in Chinese is given in the words of the glossary, where these are most of it.
    """
    trust = intent.trust(asked, languages)
    if trust == 1.0 or not asked.foreign:
        return asked.topic, trust
    english, coverage = glossary.gloss(asked.topic)
    worth = GLOSS_TRUST * coverage if coverage >= GLOSS_COVERAGE else 0.0
    return (english, worth) if worth > trust else (asked.topic, trust)


def _says_something(text: str, languages: str) -> bool:
    """Whether a model can have an opinion: marks alone mean nothing, and pictures nothing to a model of English.

    It makes a vector of anything, to which something is always the nearest.
    """
    is_wide = languages != "en"
    return any(it.isalnum() or (is_wide and category(it) == "So") for it in text)


@dataclass(frozen=True, slots=True)
class Found:
    """The best, in order; `meant` says how many documents only their meaning found, `degraded` why none could be."""

    ranked: Sequence[tuple[StoredDocument, float, tuple[tuple[str, float], ...]]]
    meant: int
    degraded: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, read; `day` times are counted from the moment `now` (Unix ms) in the zone `place`.

    `in_haste`: a person waits, so that fewer of what is near are looked at, and less thoroughly.
    """

    text: str
    asked: intent.Intent
    now: int
    place: str
    fusion: str
    in_haste: bool = False


class Hybrid:
    """One search's candidates of both legs, judged together."""

    def __init__(self, leg: VectorLeg | None, lexical: LexicalIndex) -> None:
        self._leg = leg
        self._lexical = lexical

    def find(
        self,
        scope: Scope,
        tx: Tx,
        question: Question,
        meant: Meant,
        filters: Filters,
        plan: LexicalPlan,
        lexical: Sequence[StoredDocument],
        scorer: Judge,
        limit: int,
    ) -> Found:
        """The best `limit` of what either leg has; `lexical` are the candidates of the words, filtered already."""
        read = scorer.read(lexical)
        meaning = meant.get()  # no sooner: it may still be being made
        if meaning.is_translated and not isinstance(scorer, TranslatingScorer):
            meaning = NO_MEANING  # nothing is remembered in the language that it is translated to
        documents = list(lexical)
        refs = [document.ref for document in documents]
        known = frozenset(refs)
        look = partial(self._near, scope, tx, meaning, filters, plan, known)
        near, others, degraded = look(limit, in_haste=question.in_haste)
        if question.fusion == "lexical":
            return Found(_by_words(documents, scorer.judged(read), limit), 0, "")
        if question.fusion == "meaning":
            return Found(_by_meaning(documents + others, near, limit), len(others), degraded)
        meanings = dict(near)
        if near and self._leg is not None and meaning.vector is not None:
            missing = [ref for ref in refs if ref not in meanings]
            meanings |= self._leg.similarities(scope, tx, meaning.vector, missing)
        documents += others
        files = question.asked.files
        refs += [document.ref for document in others]
        known_of = beside.look(scope, tx, self._lexical, plan, files, refs)
        read += scorer.read(others)
        judged = scorer.judged(read)
        candidates = _candidates(documents, refs, judged, meanings, question, known_of)
        trust = meaning.trust * (judged.need if meaning.is_translated else 1.0) if near else 0.0
        by_number = {document.number: document for document in documents}

        def kept(numbers: Sequence[int]) -> Sequence[float]:
            return repeats.factors([by_number[number] for number in numbers])

        fused = _fused(candidates, question, trust, limit, kept)
        ranked = [
            (by_number[hit.key], hit.relevance, tuple(sorted(hit.parts.items(), key=_greatest)))
            for hit in fused
        ]
        return Found(ranked, len(others), degraded)

    def _near(
        self,
        scope: Scope,
        tx: Tx,
        meaning: Meaning,
        filters: Filters,
        plan: LexicalPlan,
        known: frozenset[EntityRef],
        limit: int,
        *,
        in_haste: bool,
    ) -> tuple[Mapping[EntityRef, float], list[StoredDocument], str]:
        """(what is near, those of it that the filters leave and the words did not find, why nothing is).

        The engine knows projects and no other filters: where these leave few, the newest that they leave are compared.
        """
        if self._leg is None or meaning.vector is None:
            return {}, [], meaning.degraded
        by_columns = _only_by_columns(filters, plan)
        try:
            most = NEAREST_IN_HASTE if in_haste else max(NEAREST, min(limit, FILTERED))
            found = self._leg.nearest(
                *(scope, tx, meaning.vector, filters.project_ids, most), quick=in_haste
            )
            near = {it.ref: it.similarity for it in found}
            others: list[StoredDocument] = []
            if by_columns:
                others = self._left(scope, tx, [ref for ref in near if ref not in known], filters)
            is_few = len(others) + len(known & near.keys()) < max(FEW, limit)
            if near and is_few and not in_haste and _is_narrow(filters, plan):
                have = known.union(it.ref for it in others)
                more = self._newest(scope, tx, meaning.vector, filters, plan, have)
                others += [document for document, _ in more]
                near |= {document.ref: similarity for document, similarity in more}
        except (Unavailable, Invalid) as error:
            return {}, [], error.message
        return near, others, ""

    def _newest(
        self,
        scope: Scope,
        tx: Tx,
        vector: bytes,
        filters: Filters,
        plan: LexicalPlan,
        have: frozenset[EntityRef],
    ) -> list[tuple[StoredDocument, float]]:
        """Of the newest that the filters leave, which the index of words knows, the nearest with their cosines."""
        assert self._leg is not None  # noqa: S101 - asked by `_near` alone
        numbers = self._lexical.newest(scope, tx, replace(plan, words=(), limit=FILTERED))
        found = [it for it in repository.load(scope, tx, numbers) if allows(filters, it)]
        fresh = {it.ref: it for it in found if it.ref not in have}
        close = self._leg.similarities(scope, tx, vector, fresh)
        best = sorted(close, key=lambda ref: (-close[ref], fresh[ref].number))[:NEAREST]
        return [(fresh[ref], close[ref]) for ref in best]

    @staticmethod
    def _left(
        scope: Scope, tx: Tx, refs: Sequence[EntityRef], filters: Filters
    ) -> list[StoredDocument]:
        """Of some documents those that the filters leave."""
        found = repository.load_refs(scope, tx, refs)
        return [document for document in found if allows(filters, document)]


def allows(filters: Filters, document: StoredDocument) -> bool:
    """Whether a document is what the filters leave, as far as its own row tells (not its tags and files)."""
    return (
        (filters.project_ids is None or document.project_id in filters.project_ids)
        and filters.session_id in (None, document.session_id)
        and filters.kind in (None, document.kind)
        and filters.type in (None, document.type)
        and filters.tool in (None, document.tool)
        and filters.role in (None, document.role)
        and (filters.since is None or document.occurred_at >= filters.since)
        and (filters.until is None or document.occurred_at <= filters.until)
    )


def fields_of(document: StoredDocument) -> tuple[Field, Field]:
    """Its fields as the scorer takes them."""
    return (
        Field(document.title, document.title_length),
        Field(document.body, document.body_length),
    )


def _is_narrow(filters: Filters, plan: LexicalPlan) -> bool:
    """Whether more is required of a document than to be of some projects, and the index of words tells what has it."""
    is_filtered = filters != Filters(project_ids=filters.project_ids)
    return bool(plan.phrases) or (bool(plan.labels) and (is_filtered or bool(plan.excluded)))


def _only_by_columns(filters: Filters, plan: LexicalPlan) -> bool:
    """Whether a document's own row tells all that is required: what must or must not stand in a text it does not."""
    return not (filters.tag or filters.file or plan.phrases or plan.excluded)


def _candidates(
    documents: Sequence[StoredDocument],
    refs: Sequence[EntityRef],
    judged: Judged,
    meanings: Mapping[EntityRef, float],
    question: Question,
    known_of: beside.Beside,
) -> list[Candidate]:
    characters = Characters(question.text)
    shares = (
        characters.shares([(document.title, document.body) for document in documents], judged.heard)
        if characters
        else [0.0] * len(documents)
    )
    read, place = question.asked, question.place
    names, uses, about = _Named(read), known_of.uses, known_of.about
    timed = bool(read.times)
    # By position: a search makes hundreds.
    return [
        Candidate(
            document.number,
            match,
            meanings.get(ref),
            share,
            document.session_id,
            document.place,
            document.occurred_at,
            document.traits,
            _voice(document),
            names.speaker(document.speaker),
            timed and read.is_in_time(document.occurred_at, place),
            timed and read.is_on_day(document.occurred_at, place),
            document.number in about,
            names.tool(document.tool),
            document.importance,
            False,
            uses.get(ref, 0),
        )
        for document, ref, share, match in zip(
            documents, refs, shares, judged.relevances, strict=True
        )
    ]


class _Named:
    """Who and which tool a question names; each is looked at once, for they come again and again."""

    __slots__ = ("speaker", "tool")

    def __init__(self, read: intent.Intent) -> None:
        self.speaker = cache(lambda who: bool(who) and read.names_speaker(who))
        self.tool = cache(read.names_tool)


def _voice(document: StoredDocument) -> float:
    """See `Candidate`: a long answer says a little of everything, a short one what was asked."""
    if document.kind != "prompt" or document.type != "assistant":
        return 1.0
    return min(1.0, SHORT_ANSWER / max(document.body_length, 1))


def _fused(
    candidates: Sequence[Candidate],
    question: Question,
    trust: float,
    limit: int,
    kept: fusion.Repeats,
) -> list[Fused]:
    if question.fusion == "rank":
        return fusion.fuse_by_rank(candidates, trust, limit)
    asked = question.asked
    return fusion.fuse(
        candidates,
        Asked(
            now=question.now,
            trust=trust,
            wants_speech=asked.wants_speech,
            is_first_person=asked.is_first_person,
            is_when=intent.WHEN in asked.kinds,
            is_of_rules=intent.RULES in asked.kinds,
        ),
        limit,
        kept,
    )


def _by_words(
    documents: Sequence[StoredDocument], judged: Judged, limit: int
) -> list[tuple[StoredDocument, float, tuple[tuple[str, float], ...]]]:
    """By how well the words match alone; of equals the newer."""
    scored = [
        (match, it.occurred_at, it.number, it)
        for match, it in zip(judged.relevances, documents, strict=True)
    ]
    best = sorted(scored, key=lambda one: one[:3], reverse=True)[:limit]
    return [(document, score, ((fusion.LEXICAL, score),)) for score, _, _, document in best]


def _by_meaning(
    documents: Sequence[StoredDocument], near: Mapping[EntityRef, float], limit: int
) -> list[tuple[StoredDocument, float, tuple[tuple[str, float], ...]]]:
    """By the nearest alone."""
    close = [(max(near[it.ref], 0.0), it.number, it) for it in documents if it.ref in near]
    best = sorted(close, key=lambda one: one[:2], reverse=True)[:limit]
    return [(document, score, ((fusion.MEANING, score),)) for score, _, document in best]


def _greatest(part: tuple[str, float]) -> float:
    return -part[1]
