"""An embedder for tests: each word points somewhere, a text points where its words do. No model, always the same."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from claude_mem.kernel.errors import Invalid, Unavailable
from claude_mem.ports.embedder import EmbedderState
from claude_mem.ports.vectors import VectorModel, pack

_WORD = re.compile(r"[a-z0-9]+|[\u4e00-\u9fff]")


@dataclass
class WordEmbedder:
    """Implements `ports.embedder.Embedder`. `seen` are the texts it was given; a text with `refused` it refuses."""

    name: str = "words"
    dimension: int = 64
    ready: bool = True
    away: bool = False
    refused: str = ""
    seen: list[str] = field(default_factory=list)

    @property
    def model(self) -> VectorModel:
        return VectorModel(self.name, self.dimension)

    def state(self) -> EmbedderState:
        reason = "" if self.ready else "no model: run claude-mem model install"
        return EmbedderState(self.model, self.ready, reason, "any")

    async def documents(self, texts: Sequence[str]) -> list[bytes]:
        if self.away:
            raise Unavailable("the endpoint cannot be reached")
        if self.refused and any(self.refused in text for text in texts):
            raise Invalid("a text was refused")
        self.seen += texts
        return [self.vector(text) for text in texts]

    async def query(self, text: str) -> bytes:
        return self.vector(text)

    async def close(self) -> None:
        return None

    def vector(self, text: str) -> bytes:
        total = [1e-3] * self.dimension
        for word in _WORD.findall(text.lower()):
            noise = random.Random(f"{self.name} {word}")
            total = [it + noise.gauss(0, 1) for it in total]
        length = sum(it * it for it in total) ** 0.5
        return pack(it / length for it in total)
