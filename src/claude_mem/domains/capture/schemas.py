"""The event on the wire: strict, bounded, one model a type. All parsing of events ends here.

The JSON schemas under docs/schemas are generated from these models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from claude_mem.kernel.clock import from_iso
from claude_mem.kernel.errors import Detail, Invalid

MAX_EVENTS = 1000
MAX_CONTENT = 1_000_000  # characters of one text, before trimming

_UUID7 = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"

Short = Annotated[str, StringConstraints(max_length=512)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Text = Annotated[str, StringConstraints(max_length=MAX_CONTENT)]
Path = Annotated[str, StringConstraints(max_length=4096)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Data(_Strict):
    """What the data of every type may carry besides its own."""

    prompt_id: Short | None = None
    agent_id: Short | None = None
    agent_type: Short | None = None
    cwd: Path | None = None
    git_branch: Short | None = None
    origin: Literal["live", "import", "api"] | None = None


# Beyond any model's; what an engine adds up stays far below 64 bits.
Tokens = Annotated[int, Field(ge=0, le=1_000_000_000_000)]


class Usage(_Strict):
    """Tokens of one model call."""

    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cache_creation_input_tokens: Tokens = 0
    cache_read_input_tokens: Tokens = 0


class SessionStartedData(_Data):
    """A session begins, resumes, or starts over after a compaction."""

    source: Short | None = None
    model: Short | None = None
    title: Short | None = None
    transcript_path: Path | None = None


class PromptData(_Data):
    """What was asked. `machine` marks a prompt no person wrote."""

    content: Text
    speaker: Short | None = None
    machine: bool = False
    source: Short | None = None


class ReplyData(_Data):
    """What the assistant said; empty content carries usage only."""

    content: Text
    message_id: Short | None = None
    model: Short | None = None
    usage: Usage | None = None
    tool_use_ids: Annotated[list[Short], Field(max_length=256)] | None = None
    final: bool | None = None
    stop_reason: Short | None = None
    transcript_path: Path | None = None


class ToolUsedData(_Data):
    """A tool call that succeeded. `reason` is the assistant's text that led to it."""

    tool: Name
    tool_use_id: Short | None = None
    input: dict[str, Any]
    response: Any = None
    duration_ms: Annotated[float, Field(ge=0)] | None = None
    mcp_server: Short | None = None
    reason: Text | None = None


class ToolFailedData(_Data):
    """A tool call that failed."""

    tool: Name
    tool_use_id: Short | None = None
    input: dict[str, Any]
    error: Text
    is_interrupt: bool | None = None
    duration_ms: Annotated[float, Field(ge=0)] | None = None
    mcp_server: Short | None = None
    reason: Text | None = None


class CompactedData(_Data):
    """The agent's context was, or is about to be, compacted."""

    phase: Literal["before", "after"] = "after"
    trigger: Short | None = None
    summary: Text | None = None
    title: Short | None = None
    custom_instructions: Text | None = None


class SubagentStoppedData(_Data):
    """A subagent ended, with what it said last."""

    agent_id: Short
    content: Text | None = None
    transcript_path: Path | None = None


class SessionEndedData(_Data):
    """The session ended."""

    reason: Short | None = None
    transcript_path: Path | None = None


class ObservationData(_Data):
    """Something worth knowing, said outright."""

    observation_type: Literal["tool_result", "error", "warning", "info"]
    content: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CONTENT)]
    title: Short | None = None
    source_tool: Short | None = None
    tags: Annotated[list[Name], Field(max_length=64)] | None = None
    files: Annotated[list[Path], Field(max_length=256)] | None = None
    importance: Annotated[float, Field(ge=0, le=1)] | None = None


class MessageData(_Data):
    """A message from one role to another, or to all."""

    content: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CONTENT)]
    to_role: Short | None = None
    visibility: Literal["shared", "private"] = "shared"


class _Envelope(_Strict):
    id: Annotated[str, StringConstraints(pattern=_UUID7)]
    occurred_at: Annotated[str, StringConstraints(pattern=_MOMENT)]
    agent: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    session: Name
    project: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    role: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None


class SessionStarted(_Envelope):
    """`session.started`"""

    type: Literal["session.started"]
    data: SessionStartedData


class PromptSubmitted(_Envelope):
    """`prompt.submitted`"""

    type: Literal["prompt.submitted"]
    data: PromptData


class AssistantReplied(_Envelope):
    """`assistant.replied`"""

    type: Literal["assistant.replied"]
    data: ReplyData


class ToolUsed(_Envelope):
    """`tool.used`"""

    type: Literal["tool.used"]
    data: ToolUsedData


class ToolFailed(_Envelope):
    """`tool.failed`"""

    type: Literal["tool.failed"]
    data: ToolFailedData


class ContextCompacted(_Envelope):
    """`context.compacted`"""

    type: Literal["context.compacted"]
    data: CompactedData


class SubagentStopped(_Envelope):
    """`subagent.stopped`"""

    type: Literal["subagent.stopped"]
    data: SubagentStoppedData


class SessionEnded(_Envelope):
    """`session.ended`"""

    type: Literal["session.ended"]
    data: SessionEndedData


class ObservationAdded(_Envelope):
    """`observation.added`"""

    type: Literal["observation.added"]
    data: ObservationData


class MessageSent(_Envelope):
    """`message.sent`"""

    type: Literal["message.sent"]
    data: MessageData


Event = Annotated[
    SessionStarted
    | PromptSubmitted
    | AssistantReplied
    | ToolUsed
    | ToolFailed
    | ContextCompacted
    | SubagentStopped
    | SessionEnded
    | ObservationAdded
    | MessageSent,
    Field(discriminator="type"),
]
EVENT_MODELS: tuple[type[_Envelope], ...] = (
    SessionStarted,
    PromptSubmitted,
    AssistantReplied,
    ToolUsed,
    ToolFailed,
    ContextCompacted,
    SubagentStopped,
    SessionEnded,
    ObservationAdded,
    MessageSent,
)
_EVENTS: TypeAdapter[list[Event]] = TypeAdapter(list[Event])


class EventBatch(BaseModel):
    """The body of `POST /events`."""

    events: Annotated[list[Event], Field(min_length=1, max_length=MAX_EVENTS)]


class Accepted(BaseModel):
    """The answer of `POST /events`: how many were new, how many were known."""

    accepted: int
    duplicates: int


def check_events(events: object) -> list[dict[str, Any]]:
    """The events as they came, after strict validation.

    Raises Invalid naming index and field of every fault (at most 20), without repeating a value.
    """
    if not isinstance(events, list):
        raise _invalid([Detail("events", "expected a list of 1 to 1000 events")])
    if not 1 <= len(events) <= MAX_EVENTS:
        raise _invalid([Detail("events", f"expected 1 to {MAX_EVENTS} events, got {len(events)}")])
    try:
        _EVENTS.validate_python(events)
    except ValidationError as error:
        raise _invalid(_details(error)) from None
    faults = _moment_faults(events)
    if faults:
        raise _invalid(faults)
    return events


def _moment_faults(events: Sequence[dict[str, Any]]) -> list[Detail]:
    faults = []
    for index, event in enumerate(events):
        try:
            from_iso(event["occurred_at"])
        except ValueError:
            faults.append(Detail(f"events[{index}].occurred_at", "not a moment in time"))
    return faults


def _details(error: ValidationError) -> list[Detail]:
    details = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:20]:
        parts = list(fault["loc"])
        path = f"events[{parts[0]}]" if parts else "events"
        # The second part is the union's tag (`prompt.submitted`), which is no field of the event.
        rest = parts[2:] if len(parts) > 2 else []
        if fault["type"].startswith("union_tag"):
            rest = ["type"]
        details.append(Detail(".".join([path, *map(str, rest)]), str(fault["msg"])))
    return details


def _invalid(details: list[Detail]) -> Invalid:
    first = details[0]
    return Invalid(
        f"{first.field}: {first.message}. None of the batch was taken: mend it and send it again.",
        details=tuple(details),
    )
