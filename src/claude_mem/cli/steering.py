"""Which characters of recorded text would steer the terminal that shows them."""

from __future__ import annotations

import re

# What steers a terminal: control characters (but line end and tab), what turns or embeds a direction of writing, the
# two separators that some terminals take for line ends. Halves of surrogates, which no terminal's encoding can carry.
STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(line: str) -> str:
    """A line of JSON with what steers a terminal escaped, which JSON allows and a reader undoes."""
    return STEERS.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
