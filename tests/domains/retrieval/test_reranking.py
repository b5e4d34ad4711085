"""When a model's order of the first results stands, and when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from claude_mem.domains.retrieval.reranking import QUERY_CHARS, TEXT_CHARS, rerank_top
from claude_mem.kernel.errors import Unavailable

pytestmark = pytest.mark.anyio
ITEMS = ["b", "dddd", "a", "ccc", "eeeee"]


class ByLength:
    """A reranker without a model: longer texts are better. Fails as it is told."""

    def __init__(self, fault: Any = None) -> None:
        self.fault = fault
        self.asked: list[tuple[str, list[str]]] = []

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((query, list(texts)))
        if isinstance(self.fault, Exception):
            raise self.fault
        if self.fault == "hang":
            await asyncio.Event().wait()
        if isinstance(self.fault, list):
            return self.fault
        return [float(len(text)) for text in texts]

    async def close(self) -> None:
        pass


async def test_the_first_few_by_the_model_equals_and_others_as_they_were() -> None:
    found = await rerank_top(ByLength(), "q", ITEMS, str, top=4)
    assert found.items == ["dddd", "ccc", "b", "a", "eeeee"]
    assert found.scores == (4.0, 3.0, 1.0, 1.0)
    assert found.degraded == ""


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Unavailable("no graph: get one"), "no graph: get one"),
        (ValueError("secret"), "the reranker failed"),
        ("hang", "took more than"),
        ([1.0], "no score for each"),
        ([1.0, 2.0, 3.0, 4.0, float("nan")], "no score for each"),
    ],
)
async def test_without_it_the_order_is_as_it_was(fault: Any, says: str) -> None:
    found = await rerank_top(ByLength(fault), "q", ITEMS, str, deadline_s=0.05)
    assert found.items == ITEMS
    assert found.scores == ()
    assert says in found.degraded
    assert "secret" not in found.degraded


@pytest.mark.parametrize(("query", "items"), [("q", []), ("q", ["one"]), (" ", ITEMS)])
async def test_where_there_is_no_order_to_be_made_it_is_not_asked(
    query: str, items: list[str]
) -> None:
    model = ByLength()
    assert (await rerank_top(model, query, items, str)).items == items
    assert model.asked == []
    assert (await rerank_top(None, "q", ITEMS, str)).degraded == ""


async def test_long_texts_and_queries_are_cut() -> None:
    model = ByLength()
    await rerank_top(model, "q" * 9_000, ["x" * 9_000, "y"], str)
    [(query, texts)] = model.asked
    assert (len(query), [len(it) for it in texts]) == (QUERY_CHARS, [TEXT_CHARS, 1])
