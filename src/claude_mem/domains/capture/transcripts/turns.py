"""The lines of a transcript, in order, as events: what a turn is made of.

Pure. Owns the state between lines: the session, the turn, the message that is still growing, the
calls without a result. `safe` is the offset where reading may start again without losing any of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from claude_mem.domains.capture.keys import FOLLOW_UP, text_hash
from claude_mem.domains.capture.transcripts import reasons
from claude_mem.domains.capture.transcripts.compaction import summary_of
from claude_mem.domains.capture.transcripts.envelope import (
    envelope,
    moment,
    server_of,
    surroundings,
    text,
)
from claude_mem.domains.capture.transcripts.messages import Message, ToolCall
from claude_mem.domains.capture.transcripts.position import Known
from claude_mem.domains.capture.transcripts.prompts import asked
from claude_mem.domains.capture.transcripts.recent import Recent
from claude_mem.domains.capture.transcripts.results import outcome, slim, text_of
from claude_mem.domains.capture.transcripts.titles import title_of
from claude_mem.domains.capture.trim import trim_text
from claude_mem.hook.agents.claude import UNKNOWN_PROJECT, is_own_tool

Event = dict[str, Any]
Json = dict[str, Any]

# Lines that are written when a turn is over.
_TURN_ENDS = frozenset({"stop_hook_summary", "turn_duration"})
_SESSION_COSTS = "cost-state"
# Prompts that no person wrote, by what started the turn.
_MACHINE = frozenset({"system", "loop_wakeup", "schedule_wakeup", "poll_event"})
_PROMPT_CHARS = 900_000
_REASON_CHARS = 2_000
_PATIENCE = 2  # turns a call may wait for its result


class Turns:
    """Takes lines one by one; see the module."""

    def __init__(
        self,
        offset: int,
        known: Known,
        skip: Callable[[str], None],
        agent_id: str = "",
        agent_type: str = "",
    ) -> None:
        self._skip = skip
        self._agent_id = agent_id
        self._agent_type = agent_type
        self._session, self._project = known.session, known.project
        self._prompt_id, self._asked = known.prompt_id, known.asked
        self._title, self._at = "", known.at
        self._title_hash, self._title_rank = known.title_hash, known.title_rank
        self._uuids = Recent()
        self._open: Message | None = None
        self._after_open: list[Event] = []
        self._calls: dict[str, tuple[int, ToolCall | None]] = {}
        self._turn = 0
        self._starts: deque[tuple[int, int, Known]] = deque([(0, offset, known)])
        self._reason = ""
        self._trigger = ""

    @property
    def safe(self) -> tuple[int, Known]:
        """The offset before which everything is told, and what was known there."""
        return self._starts[0][1:]

    @property
    def at(self) -> int:
        """Unix milliseconds of the last dated line, 0 when there was none."""
        return self._at

    @property
    def holds_back(self) -> bool:
        """Whether something waits for its end."""
        return self._open is not None or bool(self._calls)

    def take(self, start: int, line: Json) -> Iterator[Event]:
        """The events that the line at byte `start` completes."""
        kind = line.get("type")
        if kind in ("user", "assistant"):
            yield from self._message_line(start, line, kind)
        elif kind == "system":
            yield from self._system_line(start, line)
        elif isinstance(kind, str):
            yield from self._other_line(kind, line)
        else:
            self._skip(reasons.NO_TYPE)

    def settle(self) -> Iterator[Event]:
        """The file gets nothing more for now: the events of what was held back."""
        if self._open is not None and not self._open.worth_telling:
            self._skip(reasons.UNFINISHED)
            self._open = None
        yield from self._close(turn_over=True)
        for _, call in self._calls.values():
            if call is not None:
                self._skip(reasons.NO_RESULT)
        self._calls.clear()

    # -- one kind of line each --------------------------------------------------------------------

    def _message_line(self, start: int, line: Json, kind: str) -> Iterator[Event]:
        message = line.get("message")
        fault = self._fault(line, message)
        if fault or not isinstance(message, dict):
            self._skip(fault or reasons.NO_MESSAGE)
            return
        at = moment(line) or self._at
        if not at:
            self._skip(reasons.NO_TIME)
            return
        if kind == "assistant":
            yield from self._entered(line, at)
            yield from self._assistant(line, message)
        elif line.get("isCompactSummary") is True:
            yield from self._close(turn_over=True)
            yield from self._entered(line, at)
            yield from self._compaction(line, message)
        elif line.get("isMeta") is True:
            self._skip(reasons.META)
        else:
            yield from self._user(start, line, message, at)

    def _fault(self, line: Json, message: object) -> str:
        """Why the line is skipped, "" when it is not."""
        if not isinstance(message, dict):
            return reasons.NO_MESSAGE
        if line.get("isSidechain") is True and not self._agent_id:
            return reasons.SIDECHAIN
        if not (text(line, "sessionId") or self._session):
            return reasons.NO_SESSION
        if line.get("isApiErrorMessage") is True or message.get("model") == "<synthetic>":
            return reasons.API_ERROR
        uuid = text(line, "uuid")
        return reasons.DUPLICATE if uuid and self._uuids.seen(uuid) else ""

    def _system_line(self, start: int, line: Json) -> Iterator[Event]:
        subtype = text(line, "subtype")
        if subtype == "compact_boundary":
            yield from self._new_turn(start)
            details = line.get("compactMetadata")
            self._trigger = text(details, "trigger") if isinstance(details, dict) else ""
        elif subtype in _TURN_ENDS:
            yield from self._close_if_final()
        self._skip(reasons.SYSTEM)

    def _other_line(self, kind: str, line: Json) -> Iterator[Event]:
        if kind == _SESSION_COSTS:
            yield from self._close_if_final()
        titled = None if self._agent_id else title_of(kind, line)
        if titled is not None:
            yield from self._entitled(*titled, text(line, "sessionId"))
        else:
            self._skip(f"{kind[:40]} line")

    def _entitled(self, rank: int, title: str, session: str) -> Iterator[Event]:
        title_hash = text_hash(title)
        if rank < self._title_rank or title_hash == self._title_hash:
            return
        if self._session and session not in ("", self._session):
            return  # older versions leave summaries of other sessions in a file
        self._title, self._title_hash, self._title_rank = title, title_hash, rank
        if self._session:
            yield self._session_started({})

    def _entered(self, line: Json, at: int) -> Iterator[Event]:
        """Take over what every message line says; a session that was not heard of begins."""
        self._at = at
        session = text(line, "sessionId")[:200] or self._session
        self._project = self._project or text(line, "cwd")[:4096]
        if session == self._session:
            return
        if self._session:
            yield from self._close(turn_over=True)
            self._title, self._title_hash, self._title_rank = "", "", 0
        self._session = session
        self._project = text(line, "cwd")[:4096] or UNKNOWN_PROJECT
        if not self._agent_id:
            yield self._session_started(line)

    def _user(self, start: int, line: Json, message: Json, at: int) -> Iterator[Event]:
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        results = [
            block
            for block in blocks
            if isinstance(block, dict) and block.get("type") == "tool_result"
        ]
        if not results:
            yield from self._new_turn(start)
        yield from self._entered(line, at)
        self._belongs_to(text(line, "promptId"))
        for block in results:
            yield from self._result(line, block, alone=len(results) == 1)
        said = text_of(content)
        if said:
            yield from self._prompt(line, said, text(line, "promptId"))
        elif not results:
            self._skip(reasons.NO_TEXT)

    def _prompt(self, line: Json, said: str, prompt_id: str) -> Iterator[Event]:
        content, reason = asked(said)
        if reason:
            self._skip(reason)
            return
        if not prompt_id:
            # Older files number no prompts: the line's own id serves, the same at every reading.
            self._belongs_to(text(line, "uuid") or text_hash(f"{self._at} {content}"))
        data: Json = {"content": trim_text(content, _PROMPT_CHARS)}
        origins = {text(line, "promptSource"), text(line, "turnOrigin")}
        if self._agent_id or "<skill-format>" in said or origins & _MACHINE:
            data["machine"] = True
        if self._asked and not self._agent_id:
            data["source"] = FOLLOW_UP
        self._asked = True
        yield self._event("prompt.submitted", self._at, data, line)

    def _compaction(self, line: Json, message: Json) -> Iterator[Event]:
        self._belongs_to(text(line, "promptId"))
        summary = summary_of(text_of(message.get("content")))
        if not summary:
            self._skip(reasons.EMPTY_SUMMARY)
            return
        data: Json = {"phase": "after", "summary": trim_text(summary, _PROMPT_CHARS)}
        if self._trigger:
            data["trigger"] = self._trigger[:512]
        yield self._event("context.compacted", self._at, data, line)

    def _assistant(self, line: Json, message: Json) -> Iterator[Event]:
        message_id = text(message, "id") or text(line, "uuid") or text_hash(repr(message))
        if self._open is not None and self._open.id != message_id:
            yield from self._close(turn_over=False)
        if self._open is None:
            self._open = Message(message_id, self._at, line, self._prompt_id)
        if self._agent_id and not self._agent_type:
            self._agent_type = text(line, "attributionAgent")[:512]
        for call in self._open.add(message, self._at, self._reason):
            own = is_own_tool(call.tool, server_of(call.tool) or None, call.given)
            if own:
                self._skip(reasons.OWN_TOOL)
            self._calls[call.id] = (self._turn, None if own else call)

    def _result(self, line: Json, block: Json, *, alone: bool) -> Iterator[Event]:
        call_id = text(block, "tool_use_id")
        if call_id not in self._calls:
            self._skip(reasons.NO_CALL)
            return
        call = self._calls.pop(call_id)[1]
        if call is None:
            return
        kind, came = outcome(block, line.get("toolUseResult"), alone)
        data: Json = {"tool": call.tool, "tool_use_id": call.id[:512], "input": slim(call.given)}
        server = server_of(call.tool)
        if server:
            data["mcp_server"] = server
        if call.reason:
            data["reason"] = call.reason[:_REASON_CHARS]
        event = self._event(kind, self._at, data | came, line)
        if self._open is None:
            yield event
        else:  # the message that asked may still grow; it is told before its results
            self._after_open.append(event)

    # -- turns ------------------------------------------------------------------------------------

    def _belongs_to(self, prompt_id: str) -> None:
        if prompt_id and prompt_id != self._prompt_id:
            self._prompt_id, self._asked = prompt_id[:512], False

    def _new_turn(self, start: int) -> Iterator[Event]:
        yield from self._close(turn_over=True)
        self._turn += 1
        self._reason = ""
        for call_id, (turn, call) in list(self._calls.items()):
            if turn <= self._turn - _PATIENCE:
                del self._calls[call_id]
                if call is not None:
                    self._skip(reasons.NO_RESULT)
        place = (start, self._known())
        if self._title and not self._session:
            # The title waits for its session, and a position keeps no titles: it is read once more.
            place = self._starts[-1][1:]
        self._starts.append((self._turn, *place))
        oldest = min((turn for turn, _ in self._calls.values()), default=self._turn)
        while self._starts[0][0] < oldest:
            self._starts.popleft()

    def _known(self) -> Known:
        return Known(
            session=self._session,
            project=self._project,
            prompt_id=self._prompt_id,
            asked=self._asked,
            title_hash=self._title_hash,
            title_rank=self._title_rank,
            at=self._at,
        )

    def _close_if_final(self) -> Iterator[Event]:
        if self._open is not None and self._open.is_final(turn_over=True):
            yield from self._close(turn_over=True)

    def _close(self, *, turn_over: bool) -> Iterator[Event]:
        """Tell the open message, then the results that waited for it."""
        message, self._open = self._open, None
        if message is not None:
            yield from self._told(message, turn_over)
            self._reason = message.text or self._reason
        waiting, self._after_open = self._after_open, []
        yield from waiting

    def _told(self, message: Message, turn_over: bool) -> Iterator[Event]:
        data = message.data(turn_over) | _of_turn(message)
        data["content"] = trim_text(data["content"], _PROMPT_CHARS)
        yield self._event("assistant.replied", message.at, data, message.line)
        if self._agent_id and data["final"]:
            stopped = {"content": data["content"]} | _of_turn(message)
            yield self._event("subagent.stopped", message.last_at, stopped, message.line)

    # -- events -----------------------------------------------------------------------------------

    def _session_started(self, line: Json) -> Event:
        data: Json = {"title": self._title} if self._title else {}
        return self._event("session.started", self._at, data, line)

    def _event(self, kind: str, at: int, data: Json, line: Json) -> Event:
        context = surroundings(line)
        if self._prompt_id and kind != "session.started":
            context["prompt_id"] = self._prompt_id
        if self._agent_id:
            context["agent_id"] = self._agent_id
            if self._agent_type:
                context["agent_type"] = self._agent_type
        project = self._project or UNKNOWN_PROJECT
        return envelope(kind, at, self._session, project, context | data)


def _of_turn(message: Message) -> Json:
    return {"prompt_id": message.prompt_id} if message.prompt_id else {}
