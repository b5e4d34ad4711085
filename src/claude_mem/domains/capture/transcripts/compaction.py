"""The summary inside a compaction's user line: the client wraps it for the model. Pure."""

from __future__ import annotations

from claude_mem.domains.capture.keys import summary_words
from claude_mem.hook.agents.claude import strip_injected

_HEAD = "The summary below covers the earlier portion of the conversation."
_HEADS = (_HEAD, "The conversation is summarized below:")
_TAILS = (
    "\nIf you need specific details from before compaction",
    "\nPlease continue the conversation from where",
    "\nContinue the conversation from where",
)


def summary_of(text: str) -> str:
    """What the model wrote, without what the client put before and after it."""
    for head in _HEADS:
        before, found, rest = text.partition(head)
        if found and len(before) < 400:
            text = rest
            break
    for tail in _TAILS:
        before, found, _ = text.rpartition(tail)
        if found:
            text = before
    return summary_words(strip_injected(text.strip()))
