"""What the recording processes of a `claude-mem serve` say of themselves, for those beside them that answer.

A file without a name that all of them inherit: a page for each process, written whole by that process alone. What is
older than `STALE_S`, or half written, counts as silence. Standard library only.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from typing import Any, Final

STALE_S: Final = 15.0
_PAGE: Final = 8_192  # bytes
_LONGEST_REASON: Final = 300  # characters


class Board:
    """Pages are numbered from 0. `descriptor` is inherited, or made by `make`."""

    def __init__(self, descriptor: int, pages: int) -> None:
        self.descriptor = descriptor
        self.pages = pages

    @classmethod
    def make(cls, pages: int) -> Board:
        """An empty one, gone with the last process that has it open."""
        descriptor, path = tempfile.mkstemp(prefix="claude-mem-board-")
        os.unlink(path)  # noqa: PTH108 - by name, as it was made
        os.ftruncate(descriptor, pages * _PAGE)
        return cls(descriptor, pages)

    def write(self, page: int, said: dict[str, Any]) -> None:
        """Say how it goes. What does not fit into a page is cut to the reasons' beginnings."""
        body = _encode(said)
        if len(body) > _PAGE:
            degraded = {k: str(v)[:_LONGEST_REASON] for k, v in said.get("degraded", {}).items()}
            body = _encode({"pid": said.get("pid"), "degraded": dict(list(degraded.items())[:10])})
        os.pwrite(self.descriptor, body.ljust(_PAGE), page * _PAGE)

    def read(self) -> list[dict[str, Any] | None]:
        """What each says; None for one that says nothing (any more)."""
        return [self._page(number) for number in range(self.pages)]

    def _page(self, number: int) -> dict[str, Any] | None:
        try:
            said = json.loads(os.pread(self.descriptor, _PAGE, number * _PAGE))
            at = float(said["at"])
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return said if isinstance(said, dict) and 0 <= _now() - at <= STALE_S else None


def _encode(said: dict[str, Any]) -> bytes:
    return json.dumps({**said, "at": _now()}).encode()


def _now() -> float:
    """Of the machine: all its processes share it, and nobody sets it."""
    return time.monotonic()
