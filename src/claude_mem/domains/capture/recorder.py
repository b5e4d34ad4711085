"""Events become rows: one batch, one transaction.

The builder looks up what is there already (events, sessions, natural keys), then walks the events in order of
(`occurred_at`, `id`) and lets `makers` fill a `Recording`. It writes nothing but projects first heard of.
"""

from __future__ import annotations

from typing import Any

from claude_mem.domains.capture import repository
from claude_mem.domains.capture.forgotten import Forgotten
from claude_mem.domains.capture.keys import natural_keys
from claude_mem.domains.capture.makers import (
    REASON_CHARS,
    Built,
    Context,
    make,
    summarise_jobs,
    summarise_when,
)
from claude_mem.domains.capture.sessions import OpenSession, Sessions
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef, LedgerRow, NaturalKey, Reason, preview
from claude_mem.kernel.clock import from_iso
from claude_mem.kernel.scope import Scope
from claude_mem.ports.database import Tx

Event = dict[str, Any]


def hold(scope: Scope, tx: Tx, events: list[Event]) -> None:
    """Let nobody else record these events' sessions until the transaction ends: once, before anything is built."""
    repository.hold_sessions(scope, tx, events)


def build(scope: Scope, tx: Tx, events: list[Event]) -> Built:
    """The rows of a batch of valid, masked events whose sessions are held."""
    return _Builder(scope, tx).run(events)


class _Builder:
    def __init__(self, scope: Scope, tx: Tx) -> None:
        self._scope = scope
        self._tx = tx
        self._built = Built()
        self._sessions = Sessions(scope, tx, self._built.recording)
        self._keys: dict[tuple[str, str], EntityRef] = {}
        self._forgotten = Forgotten(scope, tx)
        self._told: dict[str, int] = {}

    def run(self, events: list[Event]) -> Built:
        dated = [(from_iso(event["occurred_at"]), event) for event in self._without_known(events)]
        dated.sort(key=lambda pair: (pair[0], pair[1]["id"]))
        sessions = [self._sessions.of(event) for _, event in dated]
        keys = [natural_keys(event) for _, event in dated]
        self._look_up(sessions, keys, [event for _, event in dated])
        self._forgotten.look_up(sessions)
        for (at, event), session, own in zip(dated, sessions, keys, strict=True):
            if self._forgotten.covers(event, session, at):
                self._pass_over(event, session, at)
            else:
                self._one(self._forgotten.without_title(event, session), session, own, at)
        self._sessions.write_patches()
        self._built.jobs += summarise_jobs(self._told)
        return self._built

    def _without_known(self, events: list[Event]) -> list[Event]:
        unique = {event["id"]: event for event in events}
        known = memory.known_events(self._scope, self._tx, list(unique))
        self._built.repeated = len(events) - len(unique) + len(known)
        return [event for event_id, event in unique.items() if event_id not in known]

    def _look_up(
        self, sessions: list[OpenSession], keys: list[list[str]], events: list[Event]
    ) -> None:
        """One read a session for every key the batch will ask for."""
        wanted: dict[str, set[str]] = {}
        for event, session, own in zip(events, sessions, keys, strict=True):
            bucket = wanted.setdefault(session.id, set())
            bucket.update(own)
            if event["data"].get("prompt_id"):
                bucket.add(f"prompt:{event['data']['prompt_id']}")
        lists = {session_id: sorted(bucket) for session_id, bucket in wanted.items() if bucket}
        self._keys = memory.find_keys(self._scope, self._tx, lists)

    def _one(self, event: Event, session: OpenSession, keys: list[str], at: int) -> None:
        session.saw(at)
        existing = self._existing(session, keys)
        made: EntityRef | None = None
        if existing is not None:
            self._built.repeated += 1
            self._learn_from_repeat(event, session)
        else:
            context = Context(event, session, at, self._prompt_behind(event, session, at))
            made = make(self._built, context)
            self._note(event, session, made)
            self._built.made += 1
        target = existing or made
        if target is not None:
            self._bind(session, keys, target)
        self._built.recording.ledger.append(
            LedgerRow(event["id"], event["type"], session.id, made.kind if made else None, at)
        )

    def _note(self, event: Event, session: OpenSession, made: EntityRef | None) -> None:
        """Remember what the session's summary has to be told, once a batch."""
        when = summarise_when(event, made)
        if when is not None:
            self._told[session.id] = min(when, self._told.get(session.id, when))

    def _pass_over(self, event: Event, session: OpenSession, at: int) -> None:
        """Know the event, and make nothing of it."""
        self._built.repeated += 1
        self._built.passed_over += 1
        self._built.recording.ledger.append(
            LedgerRow(event["id"], event["type"], session.id, None, at)
        )

    def _existing(self, session: OpenSession, keys: list[str]) -> EntityRef | None:
        found = (self._keys.get((session.id, key)) for key in keys)
        return next((ref for ref in found if ref is not None), None)

    def _bind(self, session: OpenSession, keys: list[str], target: EntityRef) -> None:
        for key in keys:
            if (session.id, key) not in self._keys:
                self._keys[(session.id, key)] = target
                self._built.recording.natural_keys.append(
                    NaturalKey(session.id, key, target.kind, target.id)
                )

    def _learn_from_repeat(self, event: Event, session: OpenSession) -> None:
        """The second account of a thing may know what the first did not: why, and what it cost."""
        data = event["data"]
        if event["type"] == "tool.used" and data.get("reason") and data.get("tool_use_id"):
            reason = preview(data["reason"], REASON_CHARS)
            self._built.recording.reasons.append(Reason(session.id, data["tool_use_id"], reason))
        message = (session.id, f"message:{data.get('message_id')}")
        if event["type"] == "assistant.replied" and message not in self._keys:
            session.count_usage(data)
            session.model = data.get("model") or session.model

    def _prompt_behind(self, event: Event, session: OpenSession, at: int) -> str | None:
        """Our id of the prompt that led to an event: by the agent's own id, else the session's last one."""
        prompt_id = event["data"].get("prompt_id")
        if prompt_id:
            found = self._keys.get((session.id, f"prompt:{prompt_id}"))
            if found is not None and found.kind == "prompt":
                return found.id
        if session.last_prompt_id is None and not session.last_prompt_known:
            session.last_prompt_known = True
            session.last_prompt_id = memory.latest_prompt(self._scope, self._tx, session.id, at)
        return session.last_prompt_id
