"""Names that are looked up by an index, brought to a length that every engine's index takes. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

LONGEST: Final = 1_000  # bytes; PostgreSQL refuses an entry of some 2,700
_KEPT: Final = 900


def fitted(name: str) -> str:
    """The name, or its beginning with a digest of the whole: two long ones stay two."""
    raw = name.encode("utf-8", "surrogatepass")
    if len(raw) <= LONGEST:
        return name
    digest = hashlib.sha256(raw).hexdigest()[:32]
    return f"{raw[:_KEPT].decode('utf-8', 'ignore')}…{digest}"
