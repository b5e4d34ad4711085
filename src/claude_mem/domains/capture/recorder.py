"""Events become rows: one batch, one transaction. Knows what each event type makes; writes nothing itself.

The builder looks up what is already there (events, sessions, natural keys), then walks the events in order of
(`occurred_at`, `id`) and fills a `Recording`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from claude_mem.domains.access import service as access
from claude_mem.domains.capture.keys import natural_keys
from claude_mem.domains.capture.observe import Seen, see_failure, see_success
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import (
    EntityRef,
    LedgerRow,
    NaturalKey,
    NewCodeChange,
    NewObservation,
    NewPrompt,
    NewSession,
    NewSummary,
    Reason,
    Recording,
    SessionPatch,
    preview,
)
from claude_mem.domains.retrieval.model import IndexEntry
from claude_mem.kernel.clock import from_iso
from claude_mem.kernel.ids import deterministic_id, new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.queue import NewJob

Event = dict[str, Any]
_UNTITLED = "Untitled session"
_REASON_CHARS = 600
_TITLE_CHARS = 120
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
class _Session:
    """A session while its batch is built."""

    id: str
    project_id: str
    role: str | None
    title: str
    status: str
    sequence: int
    prompts: int = 0
    observations: int = 0
    tokens: int = 0
    first_at: int = 1 << 62
    last_at: int = 0
    new_title: str | None = None
    new_status: str | None = None
    model: str | None = None
    ended_at: int | None = None
    last_prompt: tuple[str, int] | None = (
        None  # (id, occurred_at) of the person's last prompt seen in this batch
    )


@dataclass(slots=True)
class Built:
    """What a batch makes."""

    recording: Recording = field(default_factory=Recording)
    entries: list[IndexEntry] = field(default_factory=list)
    jobs: list[NewJob] = field(default_factory=list)
    made: int = 0
    repeated: int = 0


def build(scope: Scope, tx: Tx, events: list[Event]) -> Built:
    """The rows of a batch of valid, masked events; nothing is written but projects first heard of."""
    return _Builder(scope, tx).run(events)


class _Builder:
    def __init__(self, scope: Scope, tx: Tx) -> None:
        self._scope = scope
        self._tx = tx
        self._built = Built()
        self._rec = self._built.recording
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._keys: dict[tuple[str, str], EntityRef] = {}
        self._handlers: dict[str, Callable[[Event, _Session, int], EntityRef | None]] = {
            "session.started": self._session_started,
            "prompt.submitted": self._prompt,
            "assistant.replied": self._reply,
            "tool.used": self._tool_used,
            "tool.failed": self._tool_failed,
            "context.compacted": self._compacted,
            "subagent.stopped": self._subagent_stopped,
            "session.ended": self._session_ended,
            "observation.added": self._observation_added,
            "message.sent": self._message,
        }

    def run(self, events: list[Event]) -> Built:
        fresh = self._without_known(events)
        if not fresh:
            return self._built
        fresh.sort(key=lambda event: (from_iso(event["occurred_at"]), event["id"]))
        sessions = [self._session_of(event) for event in fresh]
        keys = [natural_keys(event) for event in fresh]
        self._look_up(sessions, keys, fresh)
        for event, session, own in zip(fresh, sessions, keys, strict=True):
            self._one(event, session, own)
        self._rec.patches.extend(self._patch(session) for session in self._sessions.values())
        return self._built

    def _without_known(self, events: list[Event]) -> list[Event]:
        unique = {event["id"]: event for event in events}
        known = memory.known_events(self._scope, self._tx, list(unique))
        self._built.repeated = len(events) - len(unique) + len(known)
        return [event for event_id, event in unique.items() if event_id not in known]

    def _look_up(
        self, sessions: list[_Session], keys: list[list[str]], events: list[Event]
    ) -> None:
        wanted: dict[str, set[str]] = {}
        for event, session, own in zip(events, sessions, keys, strict=True):
            bucket = wanted.setdefault(session.id, set())
            bucket.update(own)
            prompt_id = event["data"].get("prompt_id")
            if prompt_id:
                bucket.add(f"prompt:{prompt_id}")
        lists = {session_id: sorted(bucket) for session_id, bucket in wanted.items() if bucket}
        self._keys = memory.find_keys(self._scope, self._tx, lists)

    def _one(self, event: Event, session: _Session, keys: list[str]) -> None:
        at = from_iso(event["occurred_at"])
        session.first_at = min(session.first_at, at)
        session.last_at = max(session.last_at, at)
        existing = self._existing(session, keys)
        if existing is not None:
            made = None
            self._built.repeated += 1
            self._learn_from_repeat(event, session)
        else:
            made = self._handlers[event["type"]](event, session, at)
            self._built.made += 1
        target = existing or made
        if target is not None:
            self._bind(session, keys, target)
        self._rec.ledger.append(
            LedgerRow(event["id"], event["type"], session.id, made.kind if made else None, at)
        )

    def _existing(self, session: _Session, keys: list[str]) -> EntityRef | None:
        for key in keys:
            found = self._keys.get((session.id, key))
            if found is not None:
                return found
        return None

    def _bind(self, session: _Session, keys: list[str], target: EntityRef) -> None:
        for key in keys:
            if (session.id, key) not in self._keys:
                self._keys[(session.id, key)] = target
                self._rec.natural_keys.append(NaturalKey(session.id, key, target.kind, target.id))

    def _learn_from_repeat(self, event: Event, session: _Session) -> None:
        """The second account of a thing may know what the first did not: why, and what it cost."""
        data = event["data"]
        if event["type"] == "tool.used" and data.get("reason") and data.get("tool_use_id"):
            reason = preview(data["reason"], _REASON_CHARS)
            self._rec.reasons.append(Reason(session.id, data["tool_use_id"], reason))
        message = f"message:{data.get('message_id')}"
        if event["type"] == "assistant.replied" and (session.id, message) not in self._keys:
            self._count_usage(event, session)

    # -- sessions ---------------------------------------------------------------------------------

    def _session_of(self, event: Event) -> _Session:
        key = (event["agent"], event["session"])
        session = self._sessions.get(key)
        if session is None:
            session = self._load(event, key) or self._create(event, key)
            self._sessions[key] = session
        return session

    def _load(self, event: Event, key: tuple[str, str]) -> _Session | None:
        ref = memory.find_session(self._scope, self._tx, *key)
        if ref is None:
            return None
        return _Session(
            ref.id, ref.project_id, event.get("role"), ref.title, ref.status, ref.last_sequence
        )

    def _create(self, event: Event, key: tuple[str, str]) -> _Session:
        at = from_iso(event["occurred_at"])
        project_id = access.ensure_project(self._scope, self._tx, event["project"])
        data = event["data"]
        metadata = {name: data[name] for name in ("cwd", "git_branch") if data.get(name)}
        new = NewSession(
            id=deterministic_id(at, f"session\0{key[0]}\0{key[1]}"),
            project_id=project_id,
            role=event.get("role"),
            agent=key[0],
            agent_session=key[1],
            title=_UNTITLED,
            started_at=at,
            metadata=metadata,
        )
        self._rec.sessions.append(new)
        return _Session(new.id, project_id, new.role, _UNTITLED, "active", 0)

    def _patch(self, session: _Session) -> SessionPatch:
        return SessionPatch(
            session_id=session.id,
            prompts=session.prompts,
            observations=session.observations,
            tokens=session.tokens,
            last_sequence=session.sequence,
            started_at=session.first_at,
            last_activity_at=session.last_at,
            title=session.new_title,
            model=session.model,
            status=session.new_status,
            ended_at=session.ended_at,
        )

    def _session_started(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        data = event["data"]
        session.model = data.get("model") or session.model
        if data.get("title"):
            self._entitle(session, data["title"])
        if session.status != "active":
            session.status = session.new_status = "active"
        return EntityRef("session", session.id)

    def _session_ended(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        session.ended_at = max(at, session.ended_at or 0)
        self._catch_up(event, session)
        return EntityRef("session", session.id)

    def _entitle(self, session: _Session, title: str) -> None:
        session.title = session.new_title = preview(title, _TITLE_CHARS)

    # -- prompts and replies ----------------------------------------------------------------------

    def _prompt(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        data = event["data"]
        if not data["content"].strip():
            return None
        machine = bool(data.get("machine"))
        made = self._text_row(event, session, at, "system" if machine else "user", data["content"])
        if not machine:
            session.last_prompt = (made.id, at)
            if session.title == _UNTITLED:
                self._entitle(session, data["content"])
        return made

    def _reply(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        data = event["data"]
        self._count_usage(event, session)
        session.model = data.get("model") or session.model
        self._catch_up(event, session)
        if not data["content"].strip():
            # Usage only: its key still counts once, so the session stands for it.
            return EntityRef("session", session.id)
        return self._text_row(event, session, at, "assistant", data["content"])

    def _subagent_stopped(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        content = event["data"].get("content") or ""
        self._catch_up(event, session)
        if not content.strip():
            return None
        return self._text_row(event, session, at, "assistant", content)

    def _count_usage(self, event: Event, session: _Session) -> None:
        usage = event["data"].get("usage") or {}
        session.tokens += usage.get("input_tokens", 0) + usage.get("output_tokens", 0)

    def _text_row(
        self, event: Event, session: _Session, at: int, prompt_type: str, content: str
    ) -> EntityRef:
        data = event["data"]
        session.sequence += 1
        session.prompts += 1
        usage = data.get("usage") or {}
        row = NewPrompt(
            id=new_id(at),
            session_id=session.id,
            event_id=event["id"],
            sequence_num=session.sequence,
            prompt_type=prompt_type,
            content=content,
            content_hash=_hash(content),
            token_count=usage.get("output_tokens", 0),
            agent_prompt_id=data.get("prompt_id"),
            subagent_id=data.get("agent_id"),
            metadata=_metadata(data),
            occurred_at=at,
        )
        self._rec.prompts.append(row)
        self._index(event, session, "prompt", row.id, session.title, content, prompt_type, at)
        return EntityRef("prompt", row.id)

    # -- observations -----------------------------------------------------------------------------

    def _tool_used(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        data = event["data"]
        return self._seen(
            event, session, at, see_success(data["tool"], data["input"], data.get("response"))
        )

    def _tool_failed(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        data = event["data"]
        return self._seen(
            event, session, at, see_failure(data["tool"], data["input"], data["error"])
        )

    def _seen(self, event: Event, session: _Session, at: int, seen: Seen) -> EntityRef:
        data = event["data"]
        ref = self._observation(
            event,
            session,
            at,
            seen=seen,
            tool=data["tool"],
            tags=(),
        )
        reason = preview(data["reason"], _REASON_CHARS) if data.get("reason") else None
        for change in seen.changes:
            self._rec.code_changes.append(
                NewCodeChange(
                    id=new_id(at),
                    session_id=session.id,
                    project_id=session.project_id,
                    observation_id=ref.id,
                    event_id=event["id"],
                    file_path=change.file_path,
                    operation=change.operation,
                    lines_added=change.lines_added,
                    lines_removed=change.lines_removed,
                    diff=change.diff,
                    reason_prompt_id=self._prompt_behind(event, session, at),
                    reason_text=reason,
                    tool_use_id=data.get("tool_use_id"),
                    occurred_at=at,
                )
            )
        return ref

    def _observation_added(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        data = event["data"]
        seen = Seen(
            observation_type=data["observation_type"],
            title=data.get("title") or preview(data["content"], _TITLE_CHARS),
            content=data["content"],
            command=None,
            exit_status=None,
            importance=data.get("importance", 0.5),
            files=tuple(data.get("files") or ()),
            changes=(),
        )
        tags = tuple(data.get("tags") or ())
        tool = data.get("source_tool") or "note"
        return self._observation(event, session, at, seen=seen, tool=tool, tags=tags)

    def _message(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        """Kept whole as an observation until roles talk to each other in tables of their own."""
        data = event["data"]
        target = data.get("to_role") or "all"
        seen = Seen("info", f"Message to {target}", data["content"], None, None, 0.5, (), ())
        tags = (f"to:{target}", f"visibility:{data.get('visibility', 'shared')}")
        return self._observation(event, session, at, seen=seen, tool="message", tags=tags)

    def _observation(
        self,
        event: Event,
        session: _Session,
        at: int,
        *,
        seen: Seen,
        tool: str,
        tags: tuple[str, ...],
    ) -> EntityRef:
        data = event["data"]
        session.observations += 1
        metadata = _metadata(data)
        if seen.files:
            metadata["files"] = list(seen.files)
        if data.get("tool_use_id"):
            metadata["tool_use_id"] = data["tool_use_id"]
        row = NewObservation(
            id=new_id(at),
            session_id=session.id,
            prompt_id=self._prompt_behind(event, session, at),
            event_id=event["id"],
            observation_type=seen.observation_type,
            source_tool=tool,
            title=seen.title,
            content=seen.content,
            content_hash=_hash(seen.content),
            command=seen.command,
            exit_status=seen.exit_status,
            importance=seen.importance,
            tags=tags,
            metadata=metadata,
            subagent_id=data.get("agent_id"),
            occurred_at=at,
        )
        self._rec.observations.append(row)
        self._index(
            event,
            session,
            "observation",
            row.id,
            seen.title,
            seen.content,
            seen.observation_type,
            at,
            tool=tool,
            tags=tags,
            files=seen.files,
        )
        return EntityRef("observation", row.id)

    def _prompt_behind(self, event: Event, session: _Session, at: int) -> str | None:
        """The prompt that led to a call: by the agent's prompt id, else the last one before it."""
        prompt_id = event["data"].get("prompt_id")
        if prompt_id:
            found = self._keys.get((session.id, f"prompt:{prompt_id}"))
            if found is not None and found.kind == "prompt":
                return found.id
        return session.last_prompt[0] if session.last_prompt else None

    # -- summaries, jobs, index -------------------------------------------------------------------

    def _compacted(self, event: Event, session: _Session, at: int) -> EntityRef | None:
        data = event["data"]
        summary = (data.get("summary") or "").strip()
        if data.get("phase") == "before" or not summary:
            return None
        title = data.get("title") or f"Compaction of {session.title}"
        row = NewSummary(
            id=new_id(at),
            session_id=session.id,
            event_id=event["id"],
            title=preview(title, _TITLE_CHARS),
            content=summary,
            model_used=session.model or event["agent"],
            occurred_at=at,
        )
        self._rec.summaries.append(row)
        self._index(event, session, "summary", row.id, row.title, summary, "session", at)
        return EntityRef("summary", row.id)

    def _catch_up(self, event: Event, session: _Session) -> None:
        path = event["data"].get("transcript_path")
        if path and event["data"].get("origin") == "live":
            self._built.jobs.append(
                NewJob("transcript.catch_up", path, {"path": path, "project": event["project"]})
            )

    def _index(
        self,
        event: Event,
        session: _Session,
        kind: str,
        entity_id: str,
        title: str,
        body: str,
        entry_type: str,
        at: int,
        *,
        tool: str | None = None,
        tags: tuple[str, ...] = (),
        files: tuple[str, ...] = (),
    ) -> None:
        self._built.entries.append(
            IndexEntry(
                kind=kind,
                entity_id=entity_id,
                title=title,
                body=body,
                project_id=session.project_id,
                session_id=session.id,
                type=entry_type,
                tool=tool,
                role=session.role,
                tags=tags,
                files=files,
                occurred_at=at,
            )
        )


def _metadata(data: dict[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in _KEPT_METADATA if data.get(name) is not None}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
