"""What a person decided (paused, opted out) and how full the disk share is; asked at every event, so cached."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from claude_mem.adapters.local.pauses import Pauses
from claude_mem.adapters.local.rendered import drop_opted_out
from claude_mem.hook.optout import is_opted_out

_FRESH_S = 2.0  # of the disk share
_OPTED_FRESH_S = 0.3  # of a folder's wish: whoever says it expects it to hold at once
_BOUND = 4096


class FolderGate:
    """Implements `capture.model.Gate` on a data folder. `cap_bytes` bounds the files in `counted` (with -wal)."""

    def __init__(self, home: Path, cap_bytes: int, counted: Sequence[Path]) -> None:
        self._home = home
        self._pause = home / "paused"
        self._pauses = Pauses(home)
        self._cap = cap_bytes
        self._counted = [Path(f"{path}{end}") for path in counted for end in ("", "-wal")]
        self._opted: dict[str, tuple[float, bool]] = {}
        self._seen: tuple[float, int] = (0.0, 0)  # until when it counts, bytes
        self._since = 0  # bytes taken in since that look

    def paused(self) -> bool:
        """See the protocol. The file is empty (until resumed) or holds Unix ms until which it counts."""
        try:
            text = self._pause.read_text().strip()
        except OSError:
            return False
        return not text.isdigit() or int(text) > time.time() * 1000

    def paused_at(self, moment: int) -> bool:
        """See the protocol."""
        return self._pauses.cover(moment)

    def opted_out(self, folder: str) -> bool:
        """See the protocol."""
        now = time.monotonic()
        known = self._opted.get(folder)
        if known is not None and known[0] > now:
            return known[1]
        try:
            answer = is_opted_out(folder)
        except (OSError, ValueError):
            answer = False  # no folder of this machine has a say here
        if len(self._opted) >= _BOUND:
            self._opted.clear()
        if answer and not (known and known[1]):
            drop_opted_out(self._home)
        self._opted[folder] = (now + _OPTED_FRESH_S, answer)
        return answer

    def fill(self) -> float:
        """See the protocol."""
        now = time.monotonic()
        if self._seen[0] <= now:
            self._seen, self._since = (now + _FRESH_S, self.size()), 0
        return (self._seen[1] + self._since) / self._cap

    def grew(self, size: int) -> None:
        """See the protocol."""
        self._since += size

    def size(self) -> int:
        """Bytes of the counted files."""
        total = 0
        for path in self._counted:
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total
