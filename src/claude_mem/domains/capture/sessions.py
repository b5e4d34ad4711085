"""The sessions of a batch while it is built: found or made once, changed in memory, written as one patch each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from claude_mem.domains.access import service as access
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import (
    TITLE_CHARS,
    UNTITLED,
    NewSession,
    Recording,
    SessionPatch,
    preview,
)
from claude_mem.kernel.clock import from_iso
from claude_mem.kernel.ids import deterministic_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Event = dict[str, Any]
FORGOTTEN = "deleted"  # the status of a session that must not come back


@dataclass(slots=True)
class OpenSession:
    """A session while its batch is built; `new_*` are what the batch changes of it."""

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
    last_prompt_id: str | None = None  # of the person's last prompt, once known
    last_prompt_known: bool = False

    def saw(self, at: int) -> None:
        """Widen the session's span."""
        self.first_at = min(self.first_at, at)
        self.last_at = max(self.last_at, at)

    def entitle(self, title: str) -> None:
        """Call it by a better name."""
        self.title = self.new_title = preview(title, TITLE_CHARS)

    def count_usage(self, data: dict[str, Any]) -> None:
        """Add the tokens of a model call."""
        usage = data.get("usage") or {}
        self.tokens += usage.get("input_tokens", 0) + usage.get("output_tokens", 0)

    def patch(self) -> SessionPatch:
        """What the batch changes of it."""
        return SessionPatch(
            session_id=self.id,
            prompts=self.prompts,
            observations=self.observations,
            tokens=self.tokens,
            last_sequence=self.sequence,
            started_at=self.first_at,
            last_activity_at=self.last_at,
            title=self.new_title,
            model=self.model,
            status=self.new_status,
            ended_at=self.ended_at,
        )


class Sessions:
    """Finds or makes the sessions that events name."""

    def __init__(self, scope: Scope, tx: Tx, recording: Recording) -> None:
        self._scope = scope
        self._tx = tx
        self._recording = recording
        self._open: dict[tuple[str, str], OpenSession] = {}

    def of(self, event: Event) -> OpenSession:
        """The session of an event."""
        key = (event["agent"], event["session"])
        session = self._open.get(key)
        if session is None:
            session = self._open[key] = self._load(event, key) or self._make(event, key)
        return session

    def write_patches(self) -> None:
        """Put one patch a session into the recording."""
        self._recording.patches.extend(
            session.patch() for session in self._open.values() if session.status != FORGOTTEN
        )

    def _load(self, event: Event, key: tuple[str, str]) -> OpenSession | None:
        found = memory.find_session(self._scope, self._tx, *key)
        if found is None:
            return None
        return OpenSession(
            id=found.id,
            project_id=found.project_id,
            role=event.get("role"),
            title=found.title,
            status=found.status,
            sequence=found.last_sequence,
        )

    def _make(self, event: Event, key: tuple[str, str]) -> OpenSession:
        at = from_iso(event["occurred_at"])
        data = event["data"]
        new = NewSession(
            id=deterministic_id(at, f"session\0{key[0]}\0{key[1]}"),
            project_id=access.ensure_project(self._scope, self._tx, event["project"]),
            role=event.get("role"),
            agent=key[0],
            agent_session=key[1],
            title=UNTITLED,
            started_at=at,
            metadata={name: data[name] for name in ("cwd", "git_branch") if data.get(name)},
        )
        self._recording.sessions.append(new)
        return OpenSession(new.id, new.project_id, new.role, UNTITLED, "active", 0)
