"""Natural keys: what makes the same thing the same, seen live or read later from a transcript.

Pure. Owns the only spelling of these keys; the recorder stores them (unique by session) and the
importer derives its event ids from them. Must never depend on where an event came from or when it
arrived. Keys outlive the program: they are stored, so a changed spelling would make every old row
new again.
"""

from __future__ import annotations

import hashlib
from typing import Any

Event = dict[str, Any]

# A second text under a prompt id that already has one (written while the agent worked): the
# importer says so here.
FOLLOW_UP = "follow-up"


def natural_keys(event: Event) -> list[str]:
    """The keys of an event, unique within its session, the most telling first; [] when nothing
    identifies it.

    Every key of the list names the same thing: when one of them is known, the event repeats what is
    there.
    """
    maker = _MAKERS.get(event["type"])
    return [] if maker is None else maker(event["data"])


def text_hash(text: str) -> str:
    """16 hexadecimal digits for a text, whatever its white space: blocks are joined differently on
    each path.
    """
    flat = " ".join(text.split())
    return hashlib.sha256(flat.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _prompt(data: dict[str, Any]) -> list[str]:
    prompt_id = data.get("prompt_id")
    if not prompt_id:
        return []
    if data.get("agent_id"):
        # A subagent's tasks all carry the id of the person's prompt behind them.
        return [f"prompt:{prompt_id}:{data['agent_id']}:{text_hash(data['content'])}"]
    if data.get("source") == FOLLOW_UP:
        return [f"prompt:{prompt_id}:{text_hash(data['content'])}"]
    return [f"prompt:{prompt_id}"]


def _reply(data: dict[str, Any]) -> list[str]:
    """By message id; the last text of a turn also by its words, since the Stop hook knows no
    message id.
    """
    message_id, content = data.get("message_id"), data["content"]
    keys = [f"message:{message_id}"] if message_id else []
    # Within a turn only the last text is a fair alias: "Let me look." may well be said twice.
    if content.strip() and (data.get("final") or not message_id):
        if data.get("agent_id"):
            keys.append(f"subagent:{data['agent_id']}:{text_hash(content)}")
        elif data.get("prompt_id"):
            keys.append(f"turn:{data['prompt_id']}:{text_hash(content)}")
    return keys


def _tool(data: dict[str, Any]) -> list[str]:
    return [f"tool:{data['tool_use_id']}"] if data.get("tool_use_id") else []


def _subagent(data: dict[str, Any]) -> list[str]:
    content = data.get("content") or ""
    return [f"subagent:{data['agent_id']}:{text_hash(content)}"] if content.strip() else []


def _compaction(data: dict[str, Any]) -> list[str]:
    """By the summary's words; one that a person asked for is a turn of its own, so its prompt id is
    a key too.
    """
    prompt_id = data.get("prompt_id")
    manual = f"compact:{prompt_id}" if prompt_id and data.get("trigger") == "manual" else None
    if data.get("phase") == "before":
        return [f"{manual}:before"] if manual else []
    summary = summary_words(data.get("summary") or "")
    keys = [f"compact:{text_hash(summary)}"] if summary else []
    return [*keys, manual] if manual else keys


def summary_words(summary: str) -> str:
    """A compaction's summary without the model's scratch pad and the tags around it."""
    head, opened, rest = summary.partition("<analysis>")
    if opened and "</analysis>" in rest:
        summary = head + rest.partition("</analysis>")[2]
    inner, closed, _ = summary.partition("<summary>")[2].rpartition("</summary>")
    text = (inner if closed else summary).strip()
    return text.removeprefix("Summary:").strip()


_MAKERS = {
    "prompt.submitted": _prompt,
    "assistant.replied": _reply,
    "tool.used": _tool,
    "tool.failed": _tool,
    "subagent.stopped": _subagent,
    "context.compacted": _compaction,
}
