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

    `type` is the kind's own (observation type, prompt type, ...); `occurred_at` is in Unix ms.
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


@dataclass(frozen=True, slots=True)
class Query:
    """A search as it came in, parsed to values; `project` and `session` are what a person calls
    them.

    A project is known by id, key or name; a session by our id or by the agent's. `marked` is whether
    hits come with highlights.
    """

    text: str
    filters: Filters = Filters()
    project: str | None = None
    session: str | None = None
    limit: int = 20
    offset: int = 0
    marked: bool = True


@dataclass(frozen=True, slots=True)
class Hit:
    """A result with its reasons. `row` is what `memory` remembers of it, as it is stored.

    `relevance` is in 0..1; `shares` are the matched words and their parts of it, the greatest
    first; `highlights` are passages as safe HTML.
    """

    ref: EntityRef
    row: Mapping[str, Any]
    project: str | None
    relevance: float
    shares: tuple[tuple[str, float], ...]
    matched_fields: tuple[str, ...]
    highlights: tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Collection:
    """What the index holds for an enterprise: documents, their total lengths in tokens, the span of
    their numbers; `shared` says whether other enterprises have documents too.
    """

    documents: int
    title_tokens: int
    body_tokens: int
    first: int
    last: int
    shared: bool
    analysis_version: int


class StoredDocument(NamedTuple):
    """A document as it is scored: its fields as packed terms. A tuple, because a search makes many."""

    number: int
    kind: str
    entity_id: str
    occurred_at: int
    title: bytes
    title_length: int
    body: bytes
    body_length: int

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
