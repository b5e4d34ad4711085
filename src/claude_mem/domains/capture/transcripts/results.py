"""A tool's result out of a transcript's user line: what came back, or what went wrong. Pure."""

from __future__ import annotations

from typing import Any

from claude_mem.domains.capture.trim import trim_text

Json = dict[str, Any]

KEEP = 200_000  # characters of one text; the door trims further, this bounds a batch
_DEEPEST = 60
_BULKY = frozenset({"originalFile", "original_file"})  # an edit's answer repeats the whole file
_MEDIA = frozenset({"base64", "data", "bytes"})
_MEDIA_CHARS = 1_000
_INTERRUPTIONS = (
    "[Request interrupted by user",
    "The user doesn't want to proceed with this tool use",
    "The user doesn't want to take this action",
)


def outcome(block: Json, line_result: Any, alone: bool) -> tuple[str, Json]:
    """("tool.used", {response}) or ("tool.failed", {error, is_interrupt}) of one `tool_result`
    block.

    `line_result` is the line's `toolUseResult`, which holds the full response when the block is
    `alone` in its line.
    """
    result = line_result if alone else None
    said = text_of(block.get("content"))
    failed_by_text = isinstance(result, str) and result.startswith("Error:")
    if block.get("is_error") is True or failed_by_text:
        error = said or (result if isinstance(result, str) else "")
        error = _without_tags(error.removeprefix("Error:").strip())
        data: Json = {"error": trim_text(error, KEEP)}
        if error.startswith(_INTERRUPTIONS):
            data["is_interrupt"] = True
        return "tool.failed", data
    response = block.get("content") if result is None else result
    data = {"response": slim(response)}
    duration = _duration(result)
    if duration is not None:
        data["duration_ms"] = duration
    return "tool.used", data


def text_of(content: Any) -> str:
    """The text of a content value: a string, or the text blocks of a list."""
    if isinstance(content, str):
        return content.strip()
    if not isinstance(content, list):
        return ""
    texts = [
        block["text"]
        for block in content
        if isinstance(block, dict)
        and block.get("type") == "text"
        and isinstance(block.get("text"), str)
    ]
    return "\n".join(texts).strip()


def slim(value: Any, depth: int = 0) -> Any:
    """The JSON value without the bulk that no memory needs: whole files, images, endless texts and
    nestings.
    """
    if isinstance(value, str):
        return trim_text(value, KEEP)
    if depth > _DEEPEST:
        return "[nested too deeply]" if isinstance(value, dict | list) else value
    if isinstance(value, dict):
        return {key: _media(key, item, depth) for key, item in value.items() if key not in _BULKY}
    if isinstance(value, list):
        return [slim(item, depth + 1) for item in value]
    return value


def _media(key: str, value: Any, depth: int) -> Any:
    if key in _MEDIA and isinstance(value, str) and _is_encoded(value):
        return f"[{len(value)} characters of encoded data left out]"
    return slim(value, depth + 1)


def _is_encoded(text: str) -> bool:
    return len(text) > _MEDIA_CHARS and " " not in text[:_MEDIA_CHARS] and "\n" not in text[:60]


def _without_tags(error: str) -> str:
    start, end = "<tool_use_error>", "</tool_use_error>"
    if error.startswith(start) and error.endswith(end):
        return error[len(start) : -len(end)].strip()
    return error


def _duration(result: Any) -> int | None:
    if not isinstance(result, dict):
        return None
    for name in ("durationMs", "totalDurationMs"):
        value = result.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12:
            return int(value)
    return None
