"""Places in listings, as clients are given them (`cursor`): sealed, so that only what was given out is taken back.

A place goes on with the listing it is of, of the same enterprise, and with no other. What is inside can be read by who
has it: ids and moments that were just shown to them. It has no end of its own; a new key ends all of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from claude_mem.kernel.errors import Detail, Invalid

_USE = b"claude-mem places"
_DIGITS = 32  # hexadecimal, of the seal


def stretched(secret: str) -> bytes:
    """A key from a secret that a person may have chosen: slow on purpose, for a seal must not help to guess it."""
    text = secret.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=_USE, n=2**14, r=8, p=1, dklen=32)


class Places:
    """Seals places and opens them again, with the installation's `key`: the same in each of its processes."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, _USE, "sha256")

    def seal(self, place: Sequence[str | int], listing: Sequence[str]) -> str:
        """`place` of a listing, which is named by its enterprise and all that decides on its rows."""
        whole = _dump([self._seal(place, listing), *place])
        return base64.urlsafe_b64encode(whole).decode().rstrip("=")

    def open(self, cursor: str, listing: Sequence[str]) -> list[Any]:
        """The place that was sealed. Raises Invalid for one that was not given out here for this listing."""
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
            told: list[Any] = json.loads(text)
            seal, *place = told
        except (binascii.Error, ValueError, TypeError, RecursionError):
            raise _not_ours() from None
        given = seal.encode("utf-8", "surrogatepass") if isinstance(seal, str) else b""
        if not hmac.compare_digest(given, self._seal(place, listing).encode()):
            raise _not_ours()
        return place

    def _seal(self, place: Sequence[Any], listing: Sequence[str]) -> str:
        # As JSON, so that no listing and place read as another listing and place.
        said = _dump([list(listing), list(place)])
        return hmac.digest(self._key, said, "sha256").hex()[:_DIGITS]


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _not_ours() -> Invalid:
    message = "not a cursor of this listing, or one of before an upgrade: leave it out to start at the beginning"
    return Invalid(f"cursor: {message}", details=(Detail("cursor", message),))
