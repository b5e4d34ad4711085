"""Letting go for good: rows, search index and journal in one transaction; titles that repeated the forgotten too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from claude_mem.domains.capture import reindex
from claude_mem.domains.intelligence import service as intelligence
from claude_mem.domains.intelligence.index import entry
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import Derived, EntityRef
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.clock import from_iso
from claude_mem.kernel.errors import Detail, Forbidden, Invalid, NotFound
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx
from claude_mem.ports.inbox import Inbox

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gone:
    """What is not there any more under its id; `remade` of the learnings among it are told again, under another id.

    `sessions` are those that it was taken out of.
    """

    refs: tuple[EntityRef, ...]
    remade: int = 0
    sessions: tuple[str, ...] = ()

    def __add__(self, other: Gone) -> Gone:
        return Gone(
            (*self.refs, *other.refs),
            self.remade + other.remade,
            (*self.sessions, *other.sessions),
        )

    def counts(self) -> dict[str, int]:
        """How many of each kind are gone for good."""
        found = Counter(ref.kind for ref in self.refs)
        found["learning"] -= self.remade
        return {kind: number for kind, number in found.items() if number}


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a session: from a moment (Unix ms) on, up to another one (None: to the end)."""

    session_id: str
    since: int
    until: int | None = None


def last_turn(scope: Scope, tx: Tx, project_id: str | None, running: str | None = None) -> Turn:
    """The newest prompt of a project and everything since.

    `running` is the session (our id or the agent's) whose running turn asks for this: that turn is not meant, but the
    one before it in the same session. One that nobody has heard of says nothing. Raises NotFound, or Invalid where it
    cannot be told which turn is running.
    """
    asking = None if running is None else _known_session(scope, tx, running)
    if asking is None:
        return Turn(*memory.last_turn(scope, tx, project_id))
    newest, began = memory.last_turn(scope, tx, asking["project_id"])
    if newest != asking["id"]:
        message = (
            "somebody wrote in another session of the project since, so which turn is the last one cannot be told: "
            "forget what is meant by its id"
        )
        raise Invalid(message, details=(Detail("running", message),))
    own = _prompt_at(scope, tx, newest, began)
    earlier = own
    while earlier is not None and _is_same_turn(earlier, own):
        began = min(began, earlier["occurred_at"])
        earlier = _prompt_at(scope, tx, newest, earlier["occurred_at"] - 1)
    if earlier is None:
        raise NotFound("this session has no turn before the one that is running")
    return Turn(newest, earlier["occurred_at"], began)


def _known_session(scope: Scope, tx: Tx, session_id: str) -> Row | None:
    try:
        return memory.get_session(scope, tx, session_id)
    except NotFound:
        return None


def _prompt_at(scope: Scope, tx: Tx, session_id: str, before: int) -> Row | None:
    """The person's last prompt up to a moment."""
    found = memory.latest_prompt(scope, tx, session_id, before)
    row = None if found is None else memory.get_entity(scope, tx, "prompt", found)
    if row is not None and row["subagent_id"] is not None:
        return _prompt_at(scope, tx, session_id, row["occurred_at"] - 1)
    return row


def _is_same_turn(row: Row, running: Row | None) -> bool:
    """Whether it is the running prompt, or was written while the agent worked on it."""
    if running is None or row["id"] == running["id"]:
        return True
    own = row["agent_prompt_id"]
    return own is not None and own == running["agent_prompt_id"]


def _check_own(scope: Scope, tx: Tx, session_id: str) -> None:
    """Raise Forbidden where another user's session was recorded, and the caller forgets for themselves only."""
    if scope.allows("forget:any"):
        return
    if memory.get_session(scope, tx, session_id)["user_id"] != scope.user_id:
        raise Forbidden("somebody else recorded this: to forget it needs the permission forget:any")


def forget_turn(scope: Scope, tx: Tx, indexing: IndexingService, turn: Turn) -> Gone:
    """Forget a turn, recorded or not; what the agent summed up since may retell it, and goes too.

    Raises Forbidden for another user's, as all that forgets does, where `forget:any` is not held.
    """
    _check_own(scope, tx, turn.session_id)
    refs = memory.entities_since(scope, tx, turn.session_id, turn.since)
    if turn.until is not None:
        left = set(memory.entities_since(scope, tx, turn.session_id, turn.until))
        left.difference_update(memory.compactions_since(scope, tx, turn.session_id, turn.since))
        refs = [ref for ref in refs if ref not in left]
    memory.keep_out(scope, tx, turn.session_id, turn.since)
    # A title that the agent made of the whole talk may repeat what is forgotten.
    return _forget(scope, tx, indexing, refs, turn.session_id, untitled=[turn.session_id])


def forget_last(scope: Scope, tx: Tx, indexing: IndexingService, project_id: str | None) -> Gone:
    """Forget the newest prompt and everything since, recorded or not. Raises NotFound."""
    return forget_turn(scope, tx, indexing, last_turn(scope, tx, project_id))


def forget_session(scope: Scope, tx: Tx, indexing: IndexingService, session_id: str) -> Gone:
    """Forget a session and everything it holds; nothing of it is recorded any more. Raises NotFound."""
    own_id = memory.get_session(scope, tx, session_id)["id"]
    _check_own(scope, tx, own_id)
    refs = memory.entities_since(scope, tx, own_id, 0)
    gone = _forget(scope, tx, indexing, refs, own_id)
    memory.empty_session(scope, tx, own_id)
    return gone


def forget_entity(scope: Scope, tx: Tx, indexing: IndexingService, ref: EntityRef) -> Gone:
    """Forget one thing; a tool call with the changes of files it made. Raises NotFound.

    What the agent itself summed up later goes too: it may retell the thing. What we derived is made anew without it.
    """
    row = memory.get_entity(scope, tx, ref.kind, ref.id)
    ref = EntityRef(ref.kind, row["id"])  # it may have been asked for by the short form
    refs = [ref]
    if ref.kind == "learning":
        return _forget_learning(scope, tx, indexing, row)
    _check_own(scope, tx, row["session_id"])
    if ref.kind == "summary":  # what nothing else is made from
        return _forget(scope, tx, indexing, refs, None)
    if ref.kind == "observation":
        refs += memory.changes_of(scope, tx, ref.id)
    refs += memory.compactions_since(scope, tx, row["session_id"], row["occurred_at"])
    return _forget(scope, tx, indexing, refs, row["session_id"])


def _forget_learning(scope: Scope, tx: Tx, indexing: IndexingService, learning: Row) -> Gone:
    """With the points of the summaries that said it: they would go on being told."""
    ref = EntityRef("learning", learning["id"])
    sessions = intelligence.withhold(scope, tx, learning)
    for session_id in sessions:  # whoever taught it, too
        _check_own(scope, tx, session_id)
    gone = _forget(scope, tx, indexing, [ref], None)
    for session_id in sessions:
        withdrawn = intelligence.withdraw(scope, tx, indexing, session_id)
        gone += _remade(withdrawn, intelligence.distil(scope, tx, indexing, session_id))
    indexing.purge(scope, tx)
    return gone


def _forget(
    scope: Scope,
    tx: Tx,
    indexing: IndexingService,
    refs: Sequence[EntityRef],
    session_id: str | None,
    untitled: Sequence[str] = (),
) -> Gone:
    """Take the rows out, and remake what was derived from the rest of their session; returns what is gone."""
    derived = Derived()
    if session_id is not None:
        derived = intelligence.withdraw(scope, tx, indexing, session_id)
    behind = _behind(scope, tx, refs, session_id)
    indexing.remove(scope, tx, [*refs, *behind])
    for changed in memory.erase(scope, tx, refs, untitled):
        # Prompts are indexed under their session's title: it must not live on there.
        indexing.index(
            scope, tx, list(reindex.entries(scope, tx, session_id=changed, kinds=("prompt",)))
        )
    if behind:
        there = memory.get_many(scope, tx, behind)
        indexing.index(scope, tx, [entry(ref.kind, row) for ref, row in there.items()])
    again = Derived()
    if session_id is not None:
        again = intelligence.distil(scope, tx, indexing, session_id)
    indexing.purge(scope, tx)
    sessions = () if session_id is None else (session_id,)
    return Gone(tuple(refs), sessions=sessions) + _remade(derived, again)


def _behind(
    scope: Scope, tx: Tx, refs: Sequence[EntityRef], session_id: str | None
) -> list[EntityRef]:
    """What was said right after a forgotten prompt: its vector is made of that prompt too, and is made anew."""
    gone = {ref.id for ref in refs if ref.kind == "prompt"}
    if not gone or session_id is None:
        return []
    return memory.said_after(scope, tx, session_id, gone)


def _remade(withdrawn: Derived, again: Derived) -> Gone:
    """What is gone of what was derived: a summary comes back under its id, a learning under another one."""
    back = set(again.changed)
    removed = tuple(ref for ref in withdrawn.removed if ref not in back)
    fresh = back.difference(withdrawn.removed, withdrawn.changed)
    learned = sum(1 for ref in removed if ref.kind == "learning")
    return Gone(removed, min(learned, sum(1 for ref in fresh if ref.kind == "learning")))


async def drop_dead_letters(
    scope: Scope, inbox: Inbox, agent: str, agent_session: str, since: int
) -> int:
    """Delete what could not become rows of an agent's session from a moment (Unix ms) on; returns how many."""
    doomed = [
        letter.event_id
        async for letter in inbox.every_dead_letter(scope)
        if _is_since(letter.body, agent, agent_session, since)
    ]
    return await inbox.drop_dead_letters(scope, doomed)


def _is_since(body: bytes, agent: str, agent_session: str, since: int) -> bool:
    """Whether a letter is of a session from a moment on; one that cannot be read as an event is of none."""
    try:
        event = orjson.loads(body)
        mine = (event["agent"], event["session"]) == (agent, agent_session)
        return mine and from_iso(event["occurred_at"]) >= since
    except (KeyError, TypeError, ValueError, Invalid):
        return False
