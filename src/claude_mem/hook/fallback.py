"""The hook's slow path: the worker did not take the event, so mask it here and spool it.

Must never let an unmasked byte reach the disk: what cannot be masked is counted as refused. Must
never raise for a full disk or an odd payload, and never print but one JSON object. Part of the
installed hook.
"""

import json
import os

from claude_mem.hook.append import SpoolFull, append, count_refused, is_due
from claude_mem.hook.cut import UNSURE, cut_tree, masked_length
from claude_mem.hook.launch import start_if_needed
from claude_mem.hook.optout import is_opted_out
from claude_mem.hook.outline import outline
from claude_mem.hook.recall import Ask, await_answer, last_rendered, note_given
from claude_mem.kernel.redact import mask_text, mask_tree

AGENT = "claude-code"
WARN_SECONDS = 60
KEPT_OF_OVERLONG = 1 << 20  # bytes of a payload over the size limit that are kept as text
# Where the client shows a `systemMessage` to the person (and does not give it to the model). What is
# lost must be seen; stderr of a hook that succeeds is not.
SHOWN_ON = ("SessionStart", "UserPromptSubmit", "PostToolUse", "PostToolUseFailure")
# The client waits five seconds, and masking a megabyte can take one: at most so many characters are
# masked. What holds more although its long texts are cut is told in outline.
MASKED_AT_MOST = 2 << 20


def handle(
    folder: str,
    event: str,
    event_id: str,
    ms: int,
    body: bytes,
    size: int,
    why: Exception | None,
    ask: Ask,
) -> None:
    """Spool one event that the worker did not take, and start the worker if it is dead.

    `body` holds all or the first of `size` bytes of stdin; `why` is what the attempt to forward it
    ended with, None when there was none; `ask` makes another.
    """
    payload = _parse(body) if size == len(body) else None
    project = os.environ.get("CLAUDE_PROJECT_DIR", "")
    cwd = payload.get("cwd") if payload else None
    # Both: a session stays its project's wherever it goes, and a folder's wish holds for who comes.
    places = [place for place in (cwd, project) if isinstance(place, str) and place]
    wanted = not any(map(is_opted_out, places))
    warning = ""
    if wanted:
        warning = _spool(folder, event, (event, event_id, ms, project, payload, body, size))
    started = True
    try:
        start_if_needed(folder, event, why)
    except (OSError, ValueError, LookupError, TypeError) as problem:
        started = False
        _note(folder, f"the worker could not be started: {problem}")
    answer: dict[str, object] = {"systemMessage": warning} if warning else {}
    if wanted and event == "SessionStart":
        missing = started and isinstance(why, (FileNotFoundError, ConnectionError))
        answer |= _recall(folder, ms, payload, ask if missing else None)
    if answer:
        _print(json.dumps(answer).encode())


def _recall(
    folder: str, ms: int, payload: dict[str, object] | None, ask: Ask | None
) -> dict[str, object]:
    """What a new session is told: by a worker on its way up (where `ask` is given), or as it was rendered last."""
    said = await_answer(folder, ms, ask) if ask else None
    if said is not None:
        return _parse(said) or {}
    found = last_rendered(folder, payload)
    if found is None:
        return {}
    text, record = found
    note_given(folder, ms, payload, record)
    return {"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": text}}


def _print(answer: bytes) -> None:
    """As the fast path prints: what our plugin adds to a session names the tools as the plugin has them."""
    if "CLAUDE_PLUGIN_ROOT" in os.environ:
        answer = answer.replace(b"mcp__claude-mem__", b"mcp__plugin_memory_claude-mem__")
    while answer:
        answer = answer[os.write(1, answer) :]


def _parse(body: bytes) -> dict[str, object] | None:
    """The payload as an object, or None: not JSON, not an object, nested too deep."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def render(
    event: str,
    event_id: str,
    ms: int,
    project: str,
    payload: dict[str, object] | None,
    body: bytes,
    size: int,
) -> bytes:
    """The spool line: already masked, valid UTF-8, no newline.

    What is over the size limit, nested too deep or more than can be masked in time becomes an outline
    of the event; without a session there is no event, and its first text is kept as it is.
    """
    line: dict[str, object] = {"v": 1, "id": event_id, "ms": ms, "agent": AGENT}
    line.update(event=event, project_dir=mask_text(project))
    if payload is not None and masked_length(payload) <= MASKED_AT_MOST:
        line["payload"] = mask_tree(cut_tree(payload))
        return _encode(line)
    if size > len(body):
        line["payload_bytes"] = size
    known = outline(event, payload, body, size)
    if known is not None:
        line["payload"] = mask_tree(known)
        return _encode(line)
    text = mask_text(body[:KEPT_OF_OVERLONG].decode("utf-8", "replace"))
    line["payload_text"] = text[:-UNSURE] if size > KEPT_OF_OVERLONG else text
    return _encode(line)


def _encode(line: dict[str, object]) -> bytes:
    # "replace": a lone surrogate (half an emoji) is legal in JSON escapes, but not in UTF-8
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _spool(
    folder: str,
    event: str,
    what: tuple[str, str, int, str, dict[str, object] | None, bytes, int],
) -> str:
    """Put the event into the spool; what the person must be shown when it is lost, else ""."""
    try:
        append(folder, event, render(*what))
    except SpoolFull:
        return _refuse(
            folder, event, "the spool is full: run `claude-mem start` to have it emptied"
        )
    except OSError as problem:
        return _refuse(folder, event, f"the event could not be kept: {problem}")
    except Exception as problem:  # noqa: BLE001 - a masker that fails must lose this event, not leak it
        return _refuse(folder, event, f"the event could not be masked: {type(problem).__name__}")
    return ""


def _refuse(folder: str, event: str, why: str) -> str:
    try:
        count_refused(folder, event)
    except OSError as problem:  # the disk that refuses the event may refuse its count too
        why += f" (nor counted: {problem})"
    said = _note(folder, why)
    return f"claude-mem: {why}" if said and event in SHOWN_ON else ""


def _note(folder: str, text: str) -> bool:
    """One line on stderr, at most once a minute; whether it was said."""
    due = is_due(folder + "/spool/.noted", WARN_SECONDS)
    if due:
        os.write(2, f"claude-mem: {text}\n".encode())
    return due
