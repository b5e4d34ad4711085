"""Reading a question and each of a few texts together: how well they meet. Dearer and surer than comparing vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """One model, here or at an endpoint. Loads and connects to nothing before it is first used."""

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """A score a text, in their order: the greater the better. Only their order means anything.

        What is too long for the model is cut. Raises Unavailable while it cannot be asked.
        """
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
