"""Cut down what is too long to be masked in time, without leaving half a secret behind.

Owns how much of a long text is kept before masking. A cut may go through a secret, and masking knows
a secret only whole: so each piece is masked first and an unsure margin at its cut is dropped then.
Must never cut without masking. Part of the installed hook; the door uses it too.
"""

import re

from claude_mem.kernel.redact import MAX_DEPTH, mask_text

CUT_OVER, CUT_KEEP = 1 << 18, 1 << 17  # characters: what is longer is cut, and what is kept of it
UNSURE = 1 << 14  # characters dropped at a cut after masking; no secret is known to be longer

# Text behind a cut may belong to a block that began before it.
_BLOCK_TAG = r"(?:<|\\u003[cC])\s{0,3}/?\s{0,3}[pP][rR][iI][vV][aA][tT][eE]"


def cut_text(text: str, over: int = CUT_OVER, keep: int = CUT_KEEP) -> str:
    """`text` when it has at most `over` characters, else head and tail, masked, around its size.

    `over` must be at least `keep` and two margins, or the pieces would meet.
    """
    if len(text) <= over:
        return text
    tail = 0 if re.search(_BLOCK_TAG, text) else keep // 3
    head = keep - tail
    start = mask_text(text[: head + UNSURE])[:-UNSURE]
    end = mask_text(text[-(tail + UNSURE) :])[UNSURE:] if tail else ""
    left_out = len(text) - len(start) - len(end)
    return f"{start}\n[... {left_out} of {len(text)} characters left out ...]\n{end}"


def cut_tree(value: object, over: int = CUT_OVER, keep: int = CUT_KEEP, depth: int = 0) -> object:
    """The JSON value with every text cut; keys, and what masking drops for its depth, are left."""
    if isinstance(value, str):
        return cut_text(value, over, keep)
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {key: cut_tree(item, over, keep, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [cut_tree(item, over, keep, depth + 1) for item in value]
    return value


def masked_length(value: object) -> int:
    """Characters that are masked when a JSON value is cut and masked: what it costs."""
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            total += min(len(item), CUT_OVER)
        elif isinstance(item, dict):
            total += sum(map(len, item))
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return total
