"""Values of the search: what goes into the index, what is asked, what comes out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from claude_mem.domains.memory.model import EntityRef
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

KINDS: Final = ("prompt", "observation", "summary", "learning", "code_change", "session")
MAX_QUERY_CHARS: Final = 10_000


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A remembered thing as the index needs it: plain text and what it can be filtered by.

    `type` is the kind's own (observation type, prompt type, ...); `occurred_at` is in Unix ms. `speaker` is who said
    it, where that is told; `place` is a prompt's number in its session: 1, 2, 3 in order; `before` is what was said
    just before it, where a model is to see it; `importance` is 0..1.
    """

    kind: str
    entity_id: str
    title: str
    body: str
    project_id: str | None
    session_id: str | None
    type: str | None
    tool: str | None
    role: str | None
    tags: tuple[str, ...]
    files: tuple[str, ...]
    occurred_at: int
    speaker: str | None = None
    place: int | None = None
    before: str = ""
    importance: float = 0.5

    @property
    def is_speech(self) -> bool:
        """Whether a person said it."""
        return self.kind == "prompt" and self.type == "user"


@dataclass(frozen=True, slots=True)
class Filters:
    """All of them must hold; None does not filter. Moments are Unix ms, both ends included.

    `file` is a path or its end in whole components: `jwt.ts`, `auth/jwt.ts`. An empty tuple of
    projects means: none of them.
    """

    project_ids: tuple[str, ...] | None = None
    session_id: str | None = None
    kind: str | None = None
    type: str | None = None
    tool: str | None = None
    role: str | None = None
    tag: str | None = None
    file: str | None = None
    since: int | None = None
    until: int | None = None

    def holds(self, moment: int) -> bool:
        """Whether a moment is between both ends, exactly: labels are whole days."""
        return (self.since is None or moment >= self.since) and (
            self.until is None or moment <= self.until
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A search as it came in, parsed to values; `project` and `session` are what a person calls
    them.

    A project is known by id, key or name; a session by our id or by the agent's. `marked` is whether
    hits come with highlights; `in_haste` whether a person waits for more than the hits: see `hybrid.Question`.
    """

    text: str
    filters: Filters = Filters()
    project: str | None = None
    session: str | None = None
    limit: int = 20
    offset: int = 0
    marked: bool = True
    in_haste: bool = False
    fusion: str = "score"  # or "rank": reciprocal ranks; or "lexical", or "meaning": that leg alone


class Translated(NamedTuple):
    """What a text has of the question in the other language: for which phrase, by which words, and the share of how
    well the words match that this adds.
    """

    phrase: str
    translation: str
    words: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A result with its reasons. `row` is what `memory` remembers of it, as it is stored.

    `relevance` is in 0..1, and `reasons` are its parts, which add up to it. `shares` are the matched words and their
    parts of how well the words match, the greatest first; `highlights` are passages as safe HTML.
    """

    ref: EntityRef
    row: Mapping[str, Any]
    project: str | None
    relevance: float
    shares: tuple[tuple[str, float], ...]
    matched_fields: tuple[str, ...]
    highlights: tuple[str, ...]
    reasons: tuple[tuple[str, float], ...] = ()
    translated: tuple[Translated, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """`relevance` is in 0..1; `parts` are the matched words and each one's share of it, the
    greatest first; `translated` is what was matched in the other language, and is no part of it.
    """

    relevance: float
    parts: tuple[tuple[str, float], ...]
    in_title: tuple[str, ...]
    in_body: tuple[str, ...]
    translated: tuple[Translated, ...] = ()


class Ranked(NamedTuple):
    """A document of a ranking: how well its words match, and everything that speaks for it together."""

    ref: EntityRef
    score: Score
    relevance: float
    reasons: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What the index says to a query: a page of it, the best first, and the words looked for.

    `total`, `total_is_estimate` and `rarity` are as in `SearchResult`.
    """

    page: tuple[Ranked, ...]
    words: tuple[str, ...]
    total: int
    total_is_estimate: bool
    rarity: Mapping[str, float]
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, the best first; `total` is exact, or a lower bound when `total_is_estimate`.

    `used` and `dropped` are what was looked for and what was left out of the query; `rarity` is how rare each word
    looked for is, by inverse document frequency: 1 for a word that no document has.
    """

    hits: tuple[Hit, ...]
    total: int
    total_is_estimate: bool
    used: tuple[str, ...]
    dropped: tuple[str, ...]
    rarity: Mapping[str, float] = field(default_factory=dict)
    degraded: str = ""  # why nothing was found by its meaning; empty where it was
    not_reranked: str = ""  # why no model read the results; empty where one did, or there is none


@dataclass(frozen=True, slots=True)
class Collection:
    """What the index holds for an enterprise: documents, their total lengths in tokens, the span of
    their numbers; `shared` says whether other enterprises have documents too.

    No two states of an enterprise's index have the same `generation`, also where a backup was brought back.
    """

    documents: int
    title_tokens: int
    body_tokens: int
    first: int
    last: int
    shared: bool
    analysis_version: int
    generation: int


class StoredDocument(NamedTuple):
    """A document as it is scored: its fields as packed terms. A tuple, because a search makes many."""

    number: int
    kind: str
    entity_id: str
    project_id: str | None
    session_id: str | None
    role: str | None
    type: str | None
    tool: str | None
    speaker: str | None
    place: int | None
    traits: int
    importance: float
    occurred_at: int
    title: bytes
    title_length: int
    body: bytes
    body_length: int

    @property
    def ref(self) -> EntityRef:
        """The entity."""
        return EntityRef(self.kind, self.entity_id)


class DescribedDocument(NamedTuple):
    """What a document can be filtered and counted by, without its terms."""

    kind: str
    entity_id: str
    project_id: str | None
    role: str | None
    type: str | None
    tool: str | None
    occurred_at: int

    @property
    def ref(self) -> EntityRef:
        """The entity."""
        return EntityRef(self.kind, self.entity_id)


class Hydrate(Protocol):
    """The one read that turns references into rows (implemented by `memory`).

    Tenancy and visibility are applied there: what is gone or not ours is left out.
    """

    def __call__(
        self, scope: Scope, tx: Tx, refs: Sequence[EntityRef]
    ) -> Mapping[EntityRef, Mapping[str, Any]]:
        """Rows by reference."""
        ...
