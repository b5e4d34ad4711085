"""Identifiers: UUIDv7, random or derived.

Owns the one way ids are made. Never does I/O. Ids outlive the process: they are primary keys and idempotency keys.

Layout (RFC 9562, section 5.7): 48 bits of Unix milliseconds, version 7, 12 + 62 further bits. In a fresh id the 12
bits are the part of the millisecond that has passed (section 6.2, method 3), so ids made one after another by one
process sort in the order of their making, to about a quarter of a microsecond; the 62 are random.
"""

from __future__ import annotations

import hashlib
import os
import re
import time

_UUID7 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_MASK_A = 0xFFF << 64
_MASK_B = (1 << 62) - 1
_MAX_MS = (1 << 48) - 1
_NS_A_MS = 1_000_000


def _format(value: int) -> str:
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _compose(epoch_ms: int, entropy: int) -> str:
    stamp = min(max(epoch_ms, 0), _MAX_MS) << 80
    return _format(stamp | _VERSION | (entropy & _MASK_A) | _VARIANT | (entropy & _MASK_B))


def new_id(epoch_ms: int | None = None) -> str:
    """A fresh UUIDv7 as 36 lower-case characters; `epoch_ms` defaults to now."""
    entropy = int.from_bytes(os.urandom(16), "big")
    if epoch_ms is not None:
        return _compose(epoch_ms, entropy)
    stamp, rest = divmod(time.time_ns(), _NS_A_MS)
    passed = (rest << 12) // _NS_A_MS
    return _compose(stamp, entropy & _MASK_B | passed << 64)


def deterministic_id(epoch_ms: int, key: str) -> str:
    """The UUIDv7 that always belongs to (`epoch_ms`, `key`): importing twice makes the same ids."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return _compose(epoch_ms, int.from_bytes(digest[:16], "big"))


def first_id(epoch_ms: int) -> str:
    """The least UUIDv7 of a moment: all ids made from then on come after it."""
    return _compose(epoch_ms, 0)


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID of any version in canonical lower-case form."""
    return _UUID.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether `text` is a UUIDv7 in canonical lower-case form."""
    return _UUID7.match(text) is not None


def id_epoch_ms(identifier: str) -> int:
    """The Unix milliseconds carried by a UUIDv7."""
    return int(identifier[:8] + identifier[9:13], 16)
