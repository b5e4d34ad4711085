"""Which of two program versions is older.

Owns that one comparison (the order of PEP 440 for the forms we publish). Text that is no version
compares as neither older nor newer, so nobody is ever replaced because of it.
"""

from __future__ import annotations

import re

_FORM = re.compile(r"v?(\d+(?:\.\d+)*)(?:[.-]?(dev|a|b|rc|post)(\d*))?(?:\+.*)?")
_RANK = {"dev": 0, "a": 1, "b": 2, "rc": 3, "": 4, "post": 5}
_Key = tuple[tuple[int, ...], int, int]


def is_older(version: str, than: str) -> bool:
    """Whether `version` precedes `than`: `0.9` < `0.10rc1` < `0.10.0` == `0.10` < `0.10.post1`."""
    left, right = _key(version), _key(than)
    return left is not None and right is not None and left < right


def _key(version: str) -> _Key | None:
    match = _FORM.fullmatch(version.strip())
    if match is None:
        return None
    release = [int(part) for part in match.group(1).split(".")]
    while release and release[-1] == 0:
        release.pop()
    return tuple(release), _RANK[match.group(2) or ""], int(match.group(3) or 0)
