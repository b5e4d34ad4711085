"""What each event type makes: rows, index entries, jobs. Fills a `Built`; reads and writes nothing itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_mem.domains.capture.fitting import fitted
from claude_mem.domains.capture.keys import summary_words
from claude_mem.domains.capture.observe import Seen, see_failure, see_success
from claude_mem.domains.capture.sessions import OpenSession
from claude_mem.domains.intelligence.jobs import QUIET_MS, SOON_MS, summarise_job
from claude_mem.domains.memory.model import (
    TITLE_CHARS,
    UNTITLED,
    EntityRef,
    NewCodeChange,
    NewObservation,
    NewPrompt,
    NewSummary,
    Recording,
    preview,
)
from claude_mem.domains.retrieval.model import IndexEntry
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import new_id
from claude_mem.ports.queue import NewJob

Event = dict[str, Any]
_ENDS_OF_TURN = frozenset({"assistant.replied", "subagent.stopped", "context.compacted"})
CATCH_UP = "transcript.catch_up"  # the job that reads on in an agent's own transcript
REASON_CHARS = 600
_KEPT_METADATA = (
    "agent_type",
    "mcp_server",
    "duration_ms",
    "origin",
    "git_branch",
    "speaker",
    "source",
)


@dataclass(slots=True)
class Built:
    """What a batch makes: rows, index entries, jobs, and how many events were new or repeats."""

    recording: Recording = field(default_factory=Recording)
    entries: list[IndexEntry] = field(default_factory=list)
    jobs: list[NewJob] = field(default_factory=list)
    made: int = 0
    repeated: int = 0
    passed_over: int = 0  # of those, what is of something forgotten


@dataclass(frozen=True, slots=True)
class Context:
    """An event with what is known around it: `at` in Unix ms, `prompt_id` is ours, of the prompt behind it."""

    event: Event
    session: OpenSession
    at: int
    prompt_id: str | None

    @property
    def data(self) -> dict[str, Any]:
        """The event's data."""
        data: dict[str, Any] = self.event["data"]
        return data


Maker = Callable[[Built, Context], EntityRef | None]


def make(built: Built, context: Context) -> EntityRef | None:
    """Add what the event makes; None when it makes no row (it is in the ledger all the same)."""
    return MAKERS[context.event["type"]](built, context)


def _session_started(_built: Built, context: Context) -> EntityRef | None:
    session, data = context.session, context.data
    session.model = data.get("model") or session.model
    if data.get("title"):
        session.entitle(data["title"])
    if session.status != "active":
        session.status = session.new_status = "active"
    return EntityRef("session", session.id)


def _session_ended(built: Built, context: Context) -> EntityRef | None:
    session = context.session
    session.ended_at = max(context.at, session.ended_at or 0)
    _catch_up(built, context)
    return EntityRef("session", session.id)


def _prompt(built: Built, context: Context) -> EntityRef | None:
    content, session = context.data["content"], context.session
    if not content.strip():
        return None
    if context.data.get("machine"):
        return _text_row(built, context, "system", content)
    if session.title == UNTITLED:
        session.entitle(content)
    made = _text_row(built, context, "user", content)
    session.last_prompt_id = made.id
    return made


def _reply(built: Built, context: Context) -> EntityRef | None:
    data, session = context.data, context.session
    session.count_usage(data)
    session.model = data.get("model") or session.model
    _catch_up(built, context)
    if not data["content"].strip():
        # Usage only: its key must count once all the same, so the session stands for it.
        return EntityRef("session", session.id)
    return _text_row(built, context, "assistant", data["content"])


def _subagent_stopped(built: Built, context: Context) -> EntityRef | None:
    content = context.data.get("content") or ""
    _catch_up(built, context)
    return _text_row(built, context, "assistant", content) if content.strip() else None


def _compacted(built: Built, context: Context) -> EntityRef | None:
    data, session = context.data, context.session
    summary = summary_words(data.get("summary") or "")
    if data.get("phase") == "before" or not summary:
        return None
    row = NewSummary(
        id=new_id(context.at),
        session_id=session.id,
        event_id=context.event["id"],
        title=preview(data.get("title") or f"Compaction of {session.title}", TITLE_CHARS),
        content=summary,
        model_used=session.model or context.event["agent"],
        occurred_at=context.at,
    )
    built.recording.summaries.append(row)
    ref = EntityRef("summary", row.id)
    _index(built, context, ref, row.title, summary, entry_type="session")
    return ref


def _tool_used(built: Built, context: Context) -> EntityRef | None:
    data = context.data
    seen = see_success(data["tool"], data["input"], data.get("response"))
    ref = _observation(built, context, seen, tool=data["tool"])
    reason = preview(data["reason"], REASON_CHARS) if data.get("reason") else None
    for change in seen.changes:
        built.recording.code_changes.append(
            NewCodeChange(
                id=new_id(context.at),
                session_id=context.session.id,
                project_id=context.session.project_id,
                observation_id=ref.id,
                event_id=context.event["id"],
                file_path=fitted(change.file_path),
                operation=change.operation,
                lines_added=change.lines_added,
                lines_removed=change.lines_removed,
                diff=change.diff,
                reason_prompt_id=context.prompt_id,
                reason_text=reason,
                tool_use_id=data.get("tool_use_id"),
                occurred_at=context.at,
            )
        )
    return ref


def _tool_failed(built: Built, context: Context) -> EntityRef | None:
    data = context.data
    seen = see_failure(data["tool"], data["input"], data["error"])
    return _observation(built, context, seen, tool=data["tool"])


def _observation_added(built: Built, context: Context) -> EntityRef | None:
    data = context.data
    seen = Seen(
        observation_type=data["observation_type"],
        title=data.get("title") or preview(data["content"], TITLE_CHARS),
        content=data["content"],
        command=None,
        exit_status=None,
        importance=data.get("importance", 0.5),
        files=tuple(data.get("files") or ()),
        changes=(),
    )
    tags = tuple(data.get("tags") or ())
    return _observation(built, context, seen, tool=data.get("source_tool") or "note", tags=tags)


def _message(built: Built, context: Context) -> EntityRef | None:
    """Kept whole as an observation until roles talk to each other in tables of their own."""
    data = context.data
    target = data.get("to_role") or "all"
    seen = Seen("info", f"Message to {target}", data["content"], None, None, 0.5, (), ())
    tags = (f"to:{target}", f"visibility:{data.get('visibility', 'shared')}")
    return _observation(built, context, seen, tool="message", tags=tags)


MAKERS: Mapping[str, Maker] = {
    "session.started": _session_started,
    "prompt.submitted": _prompt,
    "assistant.replied": _reply,
    "tool.used": _tool_used,
    "tool.failed": _tool_failed,
    "context.compacted": _compacted,
    "subagent.stopped": _subagent_stopped,
    "session.ended": _session_ended,
    "observation.added": _observation_added,
    "message.sent": _message,
}


def _text_row(built: Built, context: Context, prompt_type: str, content: str) -> EntityRef:
    data, session = context.data, context.session
    session.sequence += 1
    session.prompts += 1
    row = NewPrompt(
        id=new_id(context.at),
        session_id=session.id,
        event_id=context.event["id"],
        sequence_num=session.sequence,
        prompt_type=prompt_type,
        content=content,
        content_hash=content_hash(content),
        token_count=(data.get("usage") or {}).get("output_tokens", 0),
        agent_prompt_id=data.get("prompt_id"),
        subagent_id=data.get("agent_id"),
        metadata=_metadata(data),
        occurred_at=context.at,
    )
    built.recording.prompts.append(row)
    ref = EntityRef("prompt", row.id)
    _index(
        *(built, context, ref, session.title, content),
        entry_type=prompt_type,
        speaker=data.get("speaker"),
        place=row.sequence_num,
    )
    return ref


def _observation(
    built: Built, context: Context, seen: Seen, *, tool: str, tags: tuple[str, ...] = ()
) -> EntityRef:
    data, session = context.data, context.session
    session.observations += 1
    metadata = _metadata(data)
    if seen.files:
        metadata["files"] = list(seen.files)
    if data.get("tool_use_id"):
        metadata["tool_use_id"] = data["tool_use_id"]
    row = NewObservation(
        id=new_id(context.at),
        session_id=session.id,
        prompt_id=context.prompt_id,
        event_id=context.event["id"],
        observation_type=seen.observation_type,
        source_tool=tool,
        title=seen.title,
        content=seen.content,
        content_hash=content_hash(seen.content),
        command=seen.command,
        exit_status=seen.exit_status,
        importance=seen.importance,
        tags=tags,
        metadata=metadata,
        subagent_id=data.get("agent_id"),
        occurred_at=context.at,
    )
    built.recording.observations.append(row)
    ref = EntityRef("observation", row.id)
    _index(
        built,
        context,
        ref,
        seen.title,
        seen.content,
        entry_type=seen.observation_type,
        tool=tool,
        tags=tags,
        files=seen.files,
        importance=seen.importance,
    )
    return ref


def _catch_up(built: Built, context: Context) -> None:
    """What the transcript knows beyond the hooks is read afterwards, by a job."""
    path = context.data.get("transcript_path")
    if path and context.data.get("origin") == "live":
        built.jobs.append(NewJob(CATCH_UP, path, {"path": path}))


def summarise_when(event: Event, made: EntityRef | None) -> int | None:
    """In how many milliseconds a session's summary is due because of an event; None when it need not hear of it.

    The end of a turn is the moment; a prompt or a call only makes sure that a session that ends without one is told.
    """
    kind, origin = event["type"], event["data"].get("origin")
    if kind == "session.ended":
        return 0
    if made is None:
        return None
    if origin == "live" and kind not in _ENDS_OF_TURN:
        return QUIET_MS
    return SOON_MS


def summarise_jobs(due: Mapping[str, int]) -> list[NewJob]:
    """One job a session of the batch."""
    now = now_ms()
    return [summarise_job(session_id, now + delay) for session_id, delay in due.items()]


def _index(
    built: Built,
    context: Context,
    ref: EntityRef,
    title: str,
    body: str,
    *,
    entry_type: str,
    tool: str | None = None,
    tags: tuple[str, ...] = (),
    files: tuple[str, ...] = (),
    speaker: str | None = None,
    place: int | None = None,
    importance: float = 0.5,
) -> None:
    built.entries.append(
        IndexEntry(
            kind=ref.kind,
            entity_id=ref.id,
            title=title,
            body=body,
            project_id=context.session.project_id,
            session_id=context.session.id,
            type=entry_type,
            tool=tool,
            role=context.session.role,
            tags=tags,
            files=files,
            occurred_at=context.at,
            speaker=speaker,
            place=place,
            importance=importance,
        )
    )


def _metadata(data: dict[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in _KEPT_METADATA if data.get(name) is not None}


def content_hash(text: str) -> str:
    """SHA-256 of a text, for finding repeats."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
