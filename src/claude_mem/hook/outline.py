"""What can be told of an event whose payload cannot be taken whole: over the limit, nested too deep.

Owns which fields make the smallest event of each kind. Reads the first bytes as text where they are
no JSON. Must never return a cut text that was not masked. Part of the installed hook.
"""

import json
import re

from claude_mem.hook.cut import UNSURE
from claude_mem.kernel.redact import mask_text

OUTLINE = 1 << 16  # characters of the content that are kept
# The client writes these before the content.
NAMES = (
    "session_id",
    "transcript_path",
    "cwd",
    "prompt_id",
    "agent_id",
    "agent_type",
    "tool_name",
    "tool_use_id",
)
CONTENT = {
    "UserPromptSubmit": "prompt",
    "Stop": "last_assistant_message",
    "SubagentStop": "last_assistant_message",
    "PostCompact": "compact_summary",
    "PostToolUseFailure": "error",
}
_JSON_TEXT = r'"((?:[^"\\]|\\.)*)'


def outline(
    event: str, payload: dict[str, object] | None, body: bytes, size: int
) -> dict[str, object] | None:
    """A small payload: names, the first of its content and how large it was; None without a session.

    `body` holds all or the first of `size` bytes; `payload` is what was parsed of it, if anything.
    """
    window = body[: OUTLINE + 3 * UNSURE]
    text = window.decode("utf-8", "replace")
    found: dict[str, object] = {}
    for name in NAMES:
        value = _named(text, name) if payload is None else payload.get(name)
        if isinstance(value, str) and 0 < len(value) <= 4096:
            found[name] = value
    if "session_id" not in found:
        return None
    field = CONTENT.get(event, "tool_response")
    kept = mask_text(_content(text, field))
    if size > len(window):
        kept = kept[:-UNSURE]
    note = f"[... of {size} bytes the rest was left out: too large or nested too deep ...]"
    found["hook_event_name"] = event
    found[field] = f"{kept}\n{note}"
    return found


def _named(text: str, name: str) -> str | None:
    """The first whole text under a name, in JSON that may be cut."""
    match = re.search(rf'"{name}"\s*:\s*{_JSON_TEXT}"', text)
    return _unescaped(match[1]) if match else None


def _content(text: str, field: str) -> str:
    """What stands under a field, to the end of the text; all of the text where it is not there."""
    match = re.search(rf'"{field}"\s*:\s*', text)
    if match is None:
        return text
    string = re.compile(_JSON_TEXT).match(text, match.end())
    plain = _unescaped(string[1]) if string else None
    return text[match.end() :] if plain is None else plain


def _unescaped(text: str) -> str | None:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:  # cut in the middle of an escape
        return None
