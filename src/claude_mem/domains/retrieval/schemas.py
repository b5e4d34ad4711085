"""Search results on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from claude_mem.domains.memory.model import preview
from claude_mem.domains.retrieval.model import MAX_QUERY_CHARS, Hit
from claude_mem.kernel.clock import to_iso

Kind = Literal["prompt", "observation", "summary", "learning"]  # what the index holds
ObservationType = Literal["tool_result", "error", "warning", "info"]
Name = Annotated[str | None, Field(min_length=1, max_length=200)]
Path = Annotated[str | None, Field(min_length=1, max_length=4096)]
Moment = Annotated[
    str | None, Field(max_length=40, description="ISO 8601, or a span ago such as 7d or 12h")
]
FacetName = Literal[
    "all", "project", "role", "type", "observation_type", "tool", "tag", "file", "day", "month"
]


_FACETS, _FACET_CHARS = 20, 200  # of a list, and of one of its entries, which may be several names


def _facet_names(given: Any) -> Any:
    """`true` is all of them; names may be separated by commas."""
    if isinstance(given, bool):
        return ["all"] if given else []
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        return given
    if len(given) > _FACETS or any(isinstance(it, str) and len(it) > _FACET_CHARS for it in given):
        raise ValueError(f"at most {_FACETS} entries, of {_FACET_CHARS} characters each")
    names = [part for it in given for part in (it.split(",") if isinstance(it, str) else [it])]
    return ["all" if it == "true" else it for it in names if it not in ("", "false")]


class SearchParameters(BaseModel):
    """What can be asked; every filter that is given must hold."""

    q: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_QUERY_CHARS,
            description='Words, "phrases", prefix*, -exclusions, in any script',
        ),
    ]
    project: Path = None
    role: Name = None
    type: Annotated[Kind | None, Field(description="Kind of result")] = None
    observation_type: ObservationType | None = None
    tool: Name = None
    tag: Name = None
    file: Path = None
    session: Name = None
    since: Moment = None
    until: Moment = None
    now: Annotated[
        str | None,
        Field(max_length=40, description='The moment that "yesterday" is counted from, ISO 8601'),
    ] = None
    fusion: Annotated[
        Literal["score", "rank", "lexical"],
        Field(description="How both legs are put together; lexical: the words alone"),
    ] = "score"
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    offset: Annotated[int, Field(ge=0, le=1_000)] = 0
    facets: Annotated[
        list[FacetName],
        # The bound before the reading: else each of a million names is looked at, and is an error of its own.
        Field(max_length=_FACETS, description="Facets to be counted: names, or `true` for all"),
        BeforeValidator(_facet_names),
    ] = []


class SearchBody(SearchParameters):
    """The same as a JSON body; a field that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


class Reason(BaseModel):
    """A word of the query that matched, and its share of the relevance."""

    term: str
    share: float


class Translation(BaseModel):
    """A phrase of the query that the text has in the other language, and what that adds to how well the words match."""

    asked: str
    found: str
    share: float


class Part(BaseModel):
    """What speaks for a result (lexical, meaning, session, speech, speaker, date, rule, file, tool, importance,
    recency, use), and its share of the relevance. The shares add up to it.
    """

    part: str
    share: float


class Terms(BaseModel):
    """What was looked for, and what was left out: stop-words and what went over the bounds."""

    used: list[str]
    dropped: list[str]


class FoundItem(BaseModel):
    """A result. `highlights` are safe HTML whose only tag is `<mark>`; `why` explains the score, and `translated` what
    of it was found in the other of English and Chinese.

    `subtype` is the kind's own: user, assistant or system of a prompt, error or tool_result of an observation.
    """

    id: str
    type: str
    subtype: str | None
    title: str
    content_preview: str
    content_chars: int
    relevance_score: float
    source_session: str | None
    project: str | None
    role: str | None
    tool: str | None
    occurred_at: str | None
    event_id: str | None
    matched_fields: list[str]
    highlights: list[str]
    why: list[Reason]
    translated: list[Translation] = []
    explain: list[Part]


class FacetValue(BaseModel):
    """What to filter by, how it is called, and how many documents have it."""

    value: str
    label: str
    count: int


class SearchResponse(BaseModel):
    """`total_results` is exact, or a number reached at least when `total_is_estimate`.

    `facets`, where they were asked for, are counted over all that matches (`facets_are_of` is `all`), or over the 500
    most promising (`candidates`). Days and months are those of UTC, newest first.

    `degraded` says why nothing was looked for by its meaning, or no model read the results, and the way out; null where
    one did, or need not.
    """

    query: str
    total_results: int
    total_is_estimate: bool
    took_ms: float
    results: list[FoundItem]
    terms: Terms
    degraded: str | None = None
    facets: dict[str, list[FacetValue]] | None = None
    facets_are_of: Literal["all", "candidates"] | None = None


def facet_values(pairs: Sequence[tuple[str, int]], labels: Mapping[str, str]) -> list[FacetValue]:
    """A facet as JSON; what has no label is called by its value."""
    return [
        FacetValue(value=value, label=labels.get(value, value), count=count)
        for value, count in pairs
    ]


def found_item(hit: Hit, title: str, text: str) -> FoundItem:
    """A hit as JSON."""
    row: dict[str, Any] = dict(hit.row)
    moment = row.get("occurred_at") or row.get("created_at") or row.get("started_at")
    return FoundItem(
        id=hit.ref.id,
        type=hit.ref.kind,
        subtype=row.get("prompt_type") or row.get("observation_type"),
        title=title,
        content_preview=preview(text),
        content_chars=len(text),
        relevance_score=round(hit.relevance, 4),
        source_session=row.get("session_id"),
        project=hit.project,
        role=row.get("role"),
        tool=row.get("source_tool"),
        occurred_at=None if moment is None else to_iso(moment),
        event_id=row.get("event_id"),
        matched_fields=list(hit.matched_fields),
        highlights=list(hit.highlights),
        why=[Reason(term=word, share=round(share, 4)) for word, share in hit.shares],
        translated=[
            Translation(asked=it.phrase, found=it.translation, share=round(it.share, 4))
            for it in hit.translated
        ],
        explain=[Part(part=name, share=round(share, 4)) for name, share in hit.reasons],
    )


class SuggestedItem(BaseModel):
    """`text` is what to search for. `kind`: title, file, tag, tool, identifier or word.

    `match`: `prefix` when it begins as typed, `inside` when a word or part of it does, `typo` when it nearly does.
    `seen`: in how many of the newest texts that were looked at it stands; not how many there are.
    """

    text: str
    kind: str
    match: str
    seen: int


class SuggestResponse(BaseModel):
    """What the query may become, the best first."""

    query: str
    took_ms: float
    suggestions: list[SuggestedItem]
