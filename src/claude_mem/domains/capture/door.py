"""The hook's way in: raw payloads, forwarded or spooled, become wire events and go through `accept`.

Must never raise for what an agent sent: a payload that is no event is refused with its reason, and a spooled one is
kept aside, counted and shown.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from claude_mem.domains.capture.model import Receipt
from claude_mem.domains.capture.service import CaptureService
from claude_mem.domains.capture.trim import without_surrogates
from claude_mem.hook import spool
from claude_mem.hook.agents import claude
from claude_mem.kernel.errors import Detail, Invalid, NotFound
from claude_mem.kernel.ids import is_id
from claude_mem.kernel.redact import mask_tree
from claude_mem.kernel.scope import Scope

Event = dict[str, Any]
Adapter = Callable[[dict[str, Any], str, int], list[Event]]
_ADAPTERS: dict[str, Adapter] = {"claude-code": claude.to_events, "claude": claude.to_events}
_LARGE = 400_000  # bytes; parsed on another thread
_LATEST_MS = 32_503_680_000_000  # the year 3000: a later clock is a broken one


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


async def take_hook(
    service: CaptureService, scope: Scope, agent: str, raw: bytes, event_id: str, ms: int
) -> Receipt:
    """One forwarded hook payload; when this returns its events are on disk."""
    if len(raw) < _LARGE:
        events = hook_events(agent, parse_payload(raw), event_id, ms)
    else:
        events = await asyncio.to_thread(
            lambda: hook_events(agent, parse_payload(raw), event_id, ms)
        )
    return await service.accept(scope, events, len(raw)) if events else Receipt(0, 0, 1)


async def take_spool(service: CaptureService, scope: Scope, folder: Path) -> SpoolReport:
    """Everything hooks left behind. A file is deleted only after all its events are durable elsewhere.

    Raises StoreFull or Unavailable: then the files stay for the next time; what was taken of them is known by its ids.
    """
    report = SpoolReport()
    for path in await asyncio.to_thread(spool.take, folder):
        batch: list[Event] = []
        for line in spool.read(path):
            reason = None
            if isinstance(line, spool.BadLine):
                reason = line.reason
            else:
                try:
                    batch += hook_events(line.agent, line.payload, line.id, line.ms)
                except (Invalid, NotFound) as error:
                    reason = error.message
            if reason is not None:
                _set_aside(folder, line, reason)
                report.rejected += 1
                report.reasons.append(reason)
            if len(batch) >= 200:
                await _accept(service, scope, folder, batch, report)
                batch = []
        if batch:
            await _accept(service, scope, folder, batch, report)
        path.unlink(missing_ok=True)
        report.files += 1
    return report


async def _accept(
    service: CaptureService, scope: Scope, folder: Path, batch: list[Event], report: SpoolReport
) -> None:
    taken, faults = await service.accept_valid(scope, batch)
    report.events += taken
    for event, reason in faults:
        _set_aside(folder, event, reason)
        report.rejected += 1
        report.reasons.append(reason)


def _set_aside(folder: Path, line: spool.SpoolLine | spool.BadLine | Event, reason: str) -> None:
    if isinstance(line, spool.BadLine):
        kept: Any = line.text.decode("utf-8", "replace")
    elif isinstance(line, spool.SpoolLine):
        kept = {"id": line.id, "event": line.event, "payload": line.payload or line.payload_text}
    else:
        kept = line
    # Masked here whatever it is: that a line was written by a hook of ours is only what it says.
    masked = mask_tree({"reason": reason, "record": kept})
    record = json.dumps(masked, ensure_ascii=False) + "\n"
    handle = os.open(folder / "rejected.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, record.encode("utf-8", "replace"))
        os.fsync(handle)
    finally:
        os.close(handle)


def _invalid(name: str, message: str) -> Invalid:
    return Invalid(f"{name}: {message}", details=(Detail(name, message),))
