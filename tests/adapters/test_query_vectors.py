"""Questions that are asked again: answered from memory, and never with another model's vector."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from claude_mem.adapters.local.query_vectors import QueryVectors
from claude_mem.kernel.errors import Unavailable
from claude_mem.ports.embedder import EmbedderState
from claude_mem.ports.vectors import VectorModel, pack


class Counting:
    """An embedder that counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.model: VectorModel | None = VectorModel("one", 2)
        self.ready = True

    def state(self) -> EmbedderState:
        return EmbedderState(self.model, ready=self.ready)

    async def documents(self, texts: Sequence[str]) -> list[bytes]:
        return [pack([1.0, 0.0]) for _ in texts]

    async def query(self, text: str) -> bytes:
        if not self.ready:
            raise Unavailable("away")
        self.asked.append(text)
        self.model = self.model or VectorModel("learned", 2)
        return pack([float(len(self.asked)), 0.0])

    async def close(self) -> None:
        self.ready = False


async def test_the_same_question_is_asked_once() -> None:
    inner = Counting()
    kept = QueryVectors(inner)
    first = await kept.query("a")
    assert await kept.query("a") == first
    assert await kept.query("b") != first
    assert inner.asked == ["a", "b"]


async def test_the_oldest_goes_first() -> None:
    inner = Counting()
    kept = QueryVectors(inner, kept=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        await kept.query(text)
    assert inner.asked == ["a", "b", "c", "b"]


async def test_another_models_vector_is_not_given() -> None:
    inner = Counting()
    kept = QueryVectors(inner)
    first = await kept.query("a")
    inner.model = VectorModel("two", 2)
    assert await kept.query("a") != first


async def test_a_model_that_is_learned_by_the_first_answer_is_remembered() -> None:
    inner = Counting()
    inner.model = None
    kept = QueryVectors(inner)
    assert await kept.query("a") == await kept.query("a")
    assert inner.asked == ["a"]


async def test_nothing_is_answered_for_one_that_is_away() -> None:
    inner = Counting()
    kept = QueryVectors(inner)
    await kept.query("a")
    await kept.close()
    with pytest.raises(Unavailable):
        await kept.query("a")


async def test_a_page_of_text_is_not_kept() -> None:
    inner = Counting()
    kept = QueryVectors(inner)
    await kept.query("a" * 3_000)
    await kept.query("a" * 3_000)
    assert len(inner.asked) == 2
