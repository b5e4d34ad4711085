"""What the recorder must make nothing of: events of turns and sessions that were forgotten.

Hooks come late and transcripts are read afterwards, so what was forgotten is told again. Must never hold or compare
words: ids and moments decide.
"""

from __future__ import annotations

from typing import Any

from claude_mem.domains.capture.sessions import FORGOTTEN, OpenSession
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef, ForgottenTurns
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Event = dict[str, Any]
_FRAME = frozenset({"session.started", "session.ended"})  # of the session, not of a turn
_OF_A_TURN = frozenset(
    {"assistant.replied", "tool.used", "tool.failed", "context.compacted", "subagent.stopped"}
)


class Forgotten:
    """The forgotten turns of a batch's sessions; events are to be asked about in the order they happened."""

    def __init__(self, scope: Scope, tx: Tx) -> None:
        self._scope = scope
        self._tx = tx
        self._turns: dict[str, ForgottenTurns] = {}
        self._prompted: dict[str, int] = {}

    def look_up(self, sessions: list[OpenSession]) -> None:
        """One read for all sessions of the batch."""
        ids = sorted({session.id for session in sessions})
        self._turns = memory.forgotten_turns(self._scope, self._tx, ids)

    def covers(self, event: Event, session: OpenSession, at: int) -> bool:
        """Whether the event is of something forgotten."""
        if session.status == FORGOTTEN:
            return True
        turns = self._turns.get(session.id)
        if turns is None or event["type"] in _FRAME:
            return False
        prompt_id = event["data"].get("prompt_id")
        if turns.covers(prompt_id, at):
            return not self._is_of_left_turn(prompt_id, session, turns, at)
        if _is_asked(event):
            self._prompted[session.id] = at
            return False
        return not prompt_id and self._is_of_forgotten_turn(event, session, turns, at)

    def without_title(self, event: Event, session: OpenSession) -> Event:
        """The event without a title that the agent may have made of forgotten words."""
        if session.id not in self._turns or event["type"] != "session.started":
            return event
        data = {name: value for name, value in event["data"].items() if name != "title"}
        return {**event, "data": data}

    def _is_of_left_turn(
        self, prompt_id: str | None, session: OpenSession, turns: ForgottenTurns, at: int
    ) -> bool:
        """Whether its prompt is still there: it asked to forget the turn before its own, and was left.

        A prompt from before what is forgotten of its turn is no such.
        """
        if prompt_id is None:
            found, since = memory.latest_prompt(self._scope, self._tx, session.id, at), None
        else:
            keys = {session.id: [key := f"prompt:{prompt_id}"]}
            ref = memory.find_keys(self._scope, self._tx, keys).get((session.id, key))
            found, since = ref.id if ref else None, turns.prompts.get(prompt_id)
        since = turns.last_before(at) if since is None else since
        if found is None or since is None:
            return False
        ref = EntityRef("prompt", found)
        row = memory.get_many(self._scope, self._tx, [ref]).get(ref)
        return row is not None and row["occurred_at"] >= since

    def _is_of_forgotten_turn(
        self, event: Event, session: OpenSession, turns: ForgottenTurns, at: int
    ) -> bool:
        """Of an event that names no prompt: nobody asked for anything between the forgotten prompt and it."""
        since = turns.last_before(at)
        if since is None or event["type"] not in _OF_A_TURN:
            return False
        if self._prompted.get(session.id, -1) >= since:
            return False
        return not memory.prompted_since(self._scope, self._tx, session.id, since, at)


def _is_asked(event: Event) -> bool:
    """Whether a person wrote it: a turn begins."""
    data = event["data"]
    written = event["type"] == "prompt.submitted" and bool(data["content"].strip())
    return written and not data.get("machine") and not data.get("agent_id")
