"""Making vectors of texts: a model on this machine, or an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from claude_mem.ports.vectors import VectorModel


@dataclass(frozen=True, slots=True)
class EmbedderState:
    """`reason` says why it is not ready, and the way out; empty when it is. `languages`: "en", or "any".

    `model` may be None of one that is ready: an endpoint says its number of dimensions with its first answer.
    """

    model: VectorModel | None
    ready: bool
    reason: str = ""
    languages: str = "en"


class Embedder(Protocol):
    """One model. Loads nothing before it is first used, and may let go of what it loaded when it rests."""

    def state(self) -> EmbedderState:
        """What it is and whether it can be used now. Cheap: asked on every search."""
        ...

    async def documents(self, texts: Sequence[str]) -> list[bytes]:
        """A vector a text (`ports.vectors.pack`, length 1), each text as it is: what is too long for the model is cut.

        Raises Unavailable while there is no model, or it cannot be reached; Invalid for texts it refuses.
        """
        ...

    async def query(self, text: str) -> bytes:
        """The vector of a question, ahead of documents that wait; errors as `documents`."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
