"""Owns everything in the sample that looks random: ids, gaps, token counts; all from hashes.

Never uses the clock or a random generator: the same sources must give the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class Stable:
    """A stream of hash-derived values; two streams with different seeds never meet."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def _digest(self) -> bytes:
        self._count += 1
        return hashlib.sha256(f"{self._seed}/{self._count}".encode()).digest()

    def uuid(self) -> str:
        """A version 4 UUID in its usual spelling."""
        raw = bytearray(self._digest()[:16])
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        text = raw.hex()
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def base58(self, prefix: str, length: int) -> str:
        """`prefix` followed by `length` base 58 characters."""
        return prefix + "".join(_BASE58[byte % 58] for byte in self._digest()[:length])

    def hexes(self, prefix: str, length: int) -> str:
        """`prefix` followed by `length` hexadecimal digits."""
        return prefix + self._digest().hex()[:length]

    def between(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        return low + int.from_bytes(self._digest()[:6], "big") % (high - low + 1)


class Clock:
    """The time of one session; it only moves forward."""

    def __init__(self, start: str) -> None:
        self._now = datetime.fromisoformat(start).replace(tzinfo=UTC)

    def forward(self, milliseconds: int) -> None:
        """Let `milliseconds` pass."""
        self._now += timedelta(milliseconds=milliseconds)

    @property
    def stamp(self) -> str:
        """ISO 8601 with milliseconds and Z, as transcripts write it."""
        return self._now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self._now.microsecond // 1000:03d}Z"

    @property
    def epoch_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self._now.timestamp() * 1000)

    @property
    def date(self) -> str:
        """The day in UTC."""
        return self._now.strftime("%Y-%m-%d")
