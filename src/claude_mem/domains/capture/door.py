"""The hook's way in: raw payloads, forwarded or spooled, become wire events and go through `accept`.

Must never raise for what an agent sent: a payload that is no event is refused with its reason, and a spooled one is
kept aside, counted and shown.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
import structlog

from claude_mem.domains.capture.model import ContextSource
from claude_mem.domains.capture.service import CaptureService
from claude_mem.domains.capture.trim import without_surrogates
from claude_mem.hook import rejected, spool
from claude_mem.hook.agents import claude
from claude_mem.hook.cut import cut_tree
from claude_mem.kernel.errors import Detail, Invalid, NotFound, StoreFull
from claude_mem.kernel.ids import is_id
from claude_mem.kernel.redact import mask_tree
from claude_mem.kernel.scope import Scope

Event = dict[str, Any]
Adapter = Callable[[dict[str, Any], str, int], list[Event]]
_ADAPTERS: dict[str, Adapter] = {"claude-code": claude.to_events, "claude": claude.to_events}
_LARGE = 400_000  # bytes; parsed on another thread
_BATCH_EVENTS, _BATCH_BYTES = 200, 1 << 20
_REASONS = 20  # that a report names
_LATEST_MS = 32_503_680_000_000  # the year 3000: a later clock is a broken one
# The events whose hook may print something; on others output is an error to the client, or begins another turn.
_ANSWERED = ("SessionStart", "UserPromptSubmit")
_log = structlog.get_logger("capture")


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a hook's payload goes, and where its answer comes from."""

    capture: CaptureService
    context: ContextSource


@dataclass(slots=True)
class SpoolReport:
    """What was taken over from the spool."""

    files: int = 0
    events: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)


def hook_events(agent: str, payload: object, event_id: str, ms: int) -> list[Event]:
    """The wire events of one hook payload. Raises NotFound (agent) or Invalid (payload)."""
    adapter = _ADAPTERS.get(agent)
    if adapter is None:
        raise NotFound(f"no hook adapter for {agent!r}; known: {', '.join(sorted(_ADAPTERS))}")
    if not is_id(event_id):
        raise _invalid("X-Event-Id", "expected a UUIDv7")
    if not 0 <= ms <= _LATEST_MS:
        raise _invalid("X-Event-Time", "expected Unix milliseconds")
    if not isinstance(payload, dict):
        raise _invalid("body", "expected a JSON object")
    try:
        events = adapter(payload, event_id, ms)
    except claude.MalformedPayload as error:
        raise _invalid(error.field, error.message) from error
    for event in events:
        event["data"]["origin"] = "live"
    return events


def parse_payload(raw: bytes) -> object:
    """JSON from an agent; lone surrogates, which JavaScript can write, become U+FFFD. Raises Invalid."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return without_surrogates(json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise _invalid("body", "not JSON") from error


def project_dir(header: str) -> str:
    """The folder in an `X-Project-Dir` header: the bytes of a path, percent-encoded where not plain."""
    return os.fsdecode(unquote_to_bytes(header))


async def take_hook(
    doors: Doors,
    scope: Scope,
    agent: str,
    raw: bytes,
    event_id: str,
    ms: int,
    project: str = "",
) -> bytes:
    """One forwarded hook payload; when this returns its events are on disk. The answer is what the hook prints.

    `project` is the folder the session was started in; its opting out holds wherever the session goes. The context is
    looked up while the events are written; whatever becomes of it, they are taken.
    """
    service = doors.capture
    if len(raw) < _LARGE:
        payload, events = _payload_and_events(agent, raw, event_id, ms)
    else:
        payload, events = await asyncio.to_thread(_payload_and_events, agent, raw, event_id, ms)
    wanted = [event for event in events if not service.is_out(scope, event, project)]
    if not wanted:
        return b""
    kind = str(payload.get("hook_event_name"))
    if kind not in _ANSWERED or not service.wants(scope, wanted[0]):
        await service.accept(scope, wanted, len(raw))
        return b""
    context = asyncio.create_task(doors.context.answer(scope, kind, payload, project))
    try:
        await asyncio.sleep(0)  # so that it begins before this event is one of those that wait
        await service.accept(scope, wanted, len(raw))
    except BaseException:
        context.cancel()
        raise
    try:
        return await context
    except Exception as error:  # noqa: BLE001 - the event is taken; a context that fails is none
        _log.error("context.failed", hook_event=kind, exc_info=error)
        return b""


def _payload_and_events(
    agent: str, raw: bytes, event_id: str, ms: int
) -> tuple[dict[str, Any], list[Event]]:
    payload = parse_payload(raw)
    events = hook_events(agent, payload, event_id, ms)
    return (payload if isinstance(payload, dict) else {}), events


async def take_spool(service: CaptureService, scope: Scope, folder: Path) -> SpoolReport:
    """Everything hooks left behind. A file is deleted only after all its events are durable elsewhere.

    Raises StoreFull or Unavailable: then the files stay for the next time; what was taken of them is known by its ids.
    What is no event is set aside only when its file is done with, or each try would do so again.
    """
    report = SpoolReport()
    full: StoreFull | None = None
    for path in await asyncio.to_thread(spool.take, folder):
        full = await _take_file(service, scope, path, report) or full
    if full is not None:
        raise full
    return report


async def _take_file(
    service: CaptureService, scope: Scope, path: Path, report: SpoolReport
) -> StoreFull | None:
    """Take over one file; StoreFull when some of it has to wait there, which holds up nothing behind it."""
    full: StoreFull | None = None
    aside = _Aside()
    batches = _batches(path, aside, lambda event, project: service.is_out(scope, event, project))
    # Reading, parsing and masking are other threads' work: others are answered meanwhile.
    while (batch := await asyncio.to_thread(next, batches, None)) is not None:
        try:
            taken, faults = await service.accept_valid(scope, batch.events, batch.size)
        except StoreFull as error:
            full = error
            continue
        report.events += taken
        for event, reason in faults:
            await asyncio.to_thread(aside.add, event, reason)
    if full is not None:
        return full  # the file stays, and what was taken of it is known by its ids
    await asyncio.to_thread(_finish, path, aside)
    report.rejected += aside.count
    report.reasons += aside.reasons
    report.files += 1
    return None


@dataclass(slots=True)
class _Batch:
    """Events of a file that are handed in together; `size` in bytes as they were spooled."""

    events: list[Event] = field(default_factory=list)
    size: int = 0


def _batches(path: Path, aside: _Aside, is_out: Callable[[Event, str], bool]) -> Iterator[_Batch]:
    """A file's events; what is none goes to `aside`. A large event makes a batch of its own."""
    batch = _Batch()
    for line in spool.read(path):
        if isinstance(line, spool.BadLine):
            aside.add(line, line.reason)
            continue
        try:
            events = hook_events(line.agent, line.payload, line.id, line.ms)
        except (Invalid, NotFound) as error:
            aside.add(line, error.message)
            continue
        batch.events += [event for event in events if not is_out(event, line.project_dir)]
        batch.size += line.size
        if len(batch.events) >= _BATCH_EVENTS or batch.size >= _BATCH_BYTES:
            yield batch
            batch = _Batch()
    if batch.events:
        yield batch


class _Aside:
    """What of one file is no event, masked."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.reasons: list[str] = []
        self.count = 0

    def add(self, line: spool.SpoolLine | spool.BadLine | Event, reason: str) -> None:
        """Note one with what is wrong with it."""
        if isinstance(line, spool.BadLine):
            kept: Any = line.text.decode("utf-8", "replace")
        elif isinstance(line, spool.SpoolLine):
            kept = {
                "id": line.id,
                "event": line.event,
                "payload": line.payload or line.payload_text,
            }
        else:
            kept = line
        # Masked here whatever it is: that a line was written by a hook of ours is only what it says.
        masked = mask_tree(cut_tree({"reason": reason, "record": kept}))
        self.records.append(json.dumps(masked, ensure_ascii=False).encode("utf-8", "replace"))
        self.count += 1
        if len(self.reasons) < _REASONS:
            self.reasons.append(reason)


def _finish(path: Path, aside: _Aside) -> None:
    rejected.set_aside(path.parent, aside.records)
    path.unlink(missing_ok=True)


def _invalid(name: str, message: str) -> Invalid:
    return Invalid(f"{name}: {message}", details=(Detail(name, message),))
