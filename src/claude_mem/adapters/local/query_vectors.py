"""Vectors of the questions asked last, in memory, in front of any embedder.

A search as one types, the next page and a filter ask the same question again; what is kept is some megabytes at most,
and ends with the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from claude_mem.ports.embedder import Embedder, EmbedderState
from claude_mem.ports.vectors import VectorModel

KEPT: Final = 256
_LONGEST: Final = 2_000  # characters: longer ones are hardly asked twice


class QueryVectors:
    """An embedder that asks another one once for the same question."""

    def __init__(self, embedder: Embedder, kept: int = KEPT) -> None:
        self._embedder, self._size = embedder, kept
        self._kept: OrderedDict[tuple[VectorModel | None, str], bytes] = OrderedDict()

    def state(self) -> EmbedderState:
        """The other's."""
        return self._embedder.state()

    async def documents(self, texts: Sequence[str]) -> list[bytes]:
        """The other's."""
        return await self._embedder.documents(texts)

    async def query(self, text: str) -> bytes:
        """Of memory, or the other's; nothing is answered of an embedder that is not ready."""
        state = self._embedder.state()
        key = (state.model, text)
        found = self._kept.get(key) if state.ready else None
        if found is None:
            found = await self._embedder.query(text)
            # An endpoint's model is known by its first answer only.
            key = (self._embedder.state().model, text)
            if len(text) <= _LONGEST:
                self._kept[key] = found
        if key in self._kept:
            self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return found

    async def close(self) -> None:
        """The other's, and what is kept."""
        self._kept.clear()
        await self._embedder.close()
